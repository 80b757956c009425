//! clusterTrustBundle: the anchors of one bundle, or of those of a signer, each once.
//!
//! pkg/kubelet/clustertrustbundle. Upstream shuffles them so that nobody relies on their order.

use std::collections::BTreeSet;

use kinds::certificates::x509;
use pem::Pem;

use crate::sources::{Bundles, Source};
use crate::view::ClusterTrustBundleProjection;
use crate::volumes::atomic::clean;
use crate::volumes::files::{Files, Projection, guarded, mode_of};
use crate::volumes::plugin::Ask;

pub(super) const PROJECTION: Projection = Projection {
    is: |part| part.cluster_trust_bundle.is_some(),
    needs: |part| part.cluster_trust_bundle.iter().map(|source| Source::bundles(&wanted(source))).collect(),
    collect: |ask, part, mode, files| {
        Box::pin(async move {
            let Some(source) = &part.cluster_trust_bundle else { return Ok(()) };
            collect(ask, source, mode_of(mode), files).await
        })
    },
};

fn wanted(source: &ClusterTrustBundleProjection) -> Bundles {
    match &source.name {
        Some(name) => Bundles::Named(name.clone()),
        None => Bundles::Of {
            signer: source.signer_name.clone().unwrap_or_default(),
            labels: source.label_selector.clone().unwrap_or_default(),
        },
    }
}

async fn collect(
    ask: Ask<'_>,
    source: &ClusterTrustBundleProjection,
    mode: u32,
    files: &mut Files<'_>,
) -> Result<(), String> {
    let bundles = ask.sources.bundles(&wanted(source)).await?;
    if bundles.is_empty() && source.optional != Some(true) {
        return Err(match &source.name {
            Some(name) => {
                format!("while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io {name:?} not found")
            }
            None => "combination of signerName and labelSelector matched zero ClusterTrustBundles".into(),
        });
    }
    files.insert(clean(&source.path), guarded(ask.pod, anchors(&bundles).into_bytes(), mode))
}

/// Without what stands between and in front of them.
fn anchors(bundles: &[String]) -> String {
    let blocks = bundles.iter().flat_map(|bundle| x509::blocks(bundle));
    let anchors: BTreeSet<Vec<u8>> = blocks.map(Pem::into_contents).collect();
    anchors.into_iter().map(|der| x509::written("CERTIFICATE", der)).collect()
}
