//! podCertificate: a key that was made here and what its signer made of it, in up to three files.

use crate::sources::{CertificateRequest, Source};
use crate::view::{PodCertificateProjection, VolumeProjection};
use crate::volumes::atomic::clean;
use crate::volumes::files::{Files, Projection, guarded, mode_of};
use crate::volumes::plugin::Ask;

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.pod_certificate.is_some(),
    needs: |_| vec![Source::certificate_requests()],
    collect: |ask, part, mode, files| {
        Box::pin(async move {
            let Some(source) = &part.pod_certificate else { return Ok(()) };
            collect(ask, source, index_of(ask, part), mode_of(mode), files).await
        })
    },
};

async fn collect(
    ask: Ask<'_>,
    source: &PodCertificateProjection,
    index: usize,
    mode: u32,
    files: &mut Files<'_>,
) -> Result<(), String> {
    let meta = &ask.pod.metadata;
    let request = CertificateRequest {
        namespace: ask.namespace().to_owned(),
        pod_name: meta.name.clone().unwrap_or_default(),
        pod_uid: meta.uid.clone().unwrap_or_default(),
        service_account: ask.account().to_owned(),
        volume: ask.volume.name.clone(),
        index,
        signer: source.signer_name.clone(),
        key_type: source.key_type.clone(),
        seconds: source.max_expiration_seconds,
        annotations: source.user_annotations.clone().unwrap_or_default(),
    };
    let made = ask.sources.certificate(&request).await?;
    let both = format!("{}{}", made.key, made.chain);
    for (path, text) in [
        (&source.credential_bundle_path, both),
        (&source.key_path, made.key),
        (&source.certificate_chain_path, made.chain),
    ] {
        if !path.is_empty() {
            files.insert(clean(path), guarded(ask.pod, text.into_bytes(), mode))?;
        }
    }
    Ok(())
}

/// Which of the volume's sources it is.
fn index_of(ask: Ask<'_>, part: &VolumeProjection) -> usize {
    let sources = ask.volume.projected.iter().flat_map(|volume| volume.sources.iter().flatten());
    sources.take_while(|other| !std::ptr::eq(*other, part)).count()
}
