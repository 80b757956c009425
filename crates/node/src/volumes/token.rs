//! serviceAccountToken: a token of the pod's own account, renewed in time.

use crate::view::ServiceAccountTokenProjection;

use crate::sources::TokenRequest;
use crate::volumes::atomic::clean;
use crate::volumes::files::{Files, Projection, guarded, mode_of};
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
    let request = TokenRequest {
        namespace: ask.namespace().to_owned(),
        service_account: ask.account().to_owned(),
        pod_name: meta.name.clone().unwrap_or_default(),
        pod_uid: meta.uid.clone().unwrap_or_default(),
        audience: source.audience.clone().unwrap_or_default(),
        seconds: source.expiration_seconds.unwrap_or(3600),
    };
    let token = ask.sources.token(&request).await.map_err(|e| format!("failed to fetch token: {e}"))?;
    files.insert(clean(&source.path), guarded(ask.pod, token.token.into_bytes(), mode))
}
