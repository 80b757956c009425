//! serviceAccountToken: a token of the pod's own account, renewed in time.

use crate::view::ServiceAccountTokenProjection;

use crate::sources::TokenRequest;
use crate::volumes::atomic::{Contents, clean};
use crate::volumes::files::{Files, Projection, mode_of};
use crate::volumes::ownership;
use crate::volumes::plugin::Ask;

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.service_account_token.is_some(),
    needs: |_| Vec::new(),
    collect: |ask, part, mode, files| {
        Box::pin(async move {
            let Some(source) = &part.service_account_token else { return Ok(()) };
            collect(ask, source, mode_of(mode), files).await
        })
    },
};

async fn collect(
    ask: Ask<'_>,
    source: &ServiceAccountTokenProjection,
    mode: u32,
    files: &mut Files<'_>,
) -> Result<(), String> {
    let meta = &ask.pod.metadata;
    let account = ask.pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default();
    let request = TokenRequest {
        namespace: ask.namespace().to_owned(),
        service_account: if account.is_empty() { "default".into() } else { account },
        pod_name: meta.name.clone().unwrap_or_default(),
        pod_uid: meta.uid.clone().unwrap_or_default(),
        audience: source.audience.clone().unwrap_or_default(),
        seconds: source.expiration_seconds.unwrap_or(3600),
    };
    let token = ask.sources.token(&request).await.map_err(|e| format!("failed to fetch token: {e}"))?;
    let user = ownership::user_of(ask.pod);
    // Whoever may read it is its owner or its group, and nobody else.
    let mode = if user.is_some() || ownership::group_of(ask.pod).is_some() { 0o600 } else { mode };
    files.insert(clean(&source.path), Contents { data: token.token.into_bytes(), mode, user })
}
