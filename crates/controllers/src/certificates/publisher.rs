//! The bundle by which the server is known, named after its contents.
//!
//! pkg/controller/certificates/clustertrustbundlepublisher. Of this signer there is no other one.

use std::sync::Arc;

use api::resource::CLUSTER_TRUST_BUNDLES;
use api::{Object, Reason, Status, tree};
use client::DeleteOptions;
use client::reconcile::{self, Requeue};
use futures::StreamExt;
use futures::stream;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::Parts;

const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";

pub async fn run(parts: Arc<Parts>) {
    let bundles = parts.cache(&CLUSTER_TRUST_BUNDLES);
    bundles.synced().await;
    let changes = stream::once(std::future::ready(())).chain(bundles.subscribe().keys().map(|_| ()));
    let work = |()| {
        let parts = parts.clone();
        async move { publish(&parts).await }
    };
    reconcile::run(Box::pin(changes), 1, work).await;
}

async fn publish(parts: &Parts) -> Result<Requeue, Status> {
    let (kind, anchors) = (&CLUSTER_TRUST_BUNDLES, &parts.config.authority);
    let name = name_of(anchors);
    let cache = parts.cache(kind);
    match cache.get("", &name) {
        None => {
            let bundle = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name},
                "spec": {"signerName": SIGNER, "trustBundle": anchors}});
            match parts.client.create(kind, "", &bundle).await {
                Ok(made) => cache.reached(made.revision()).await,
                Err(status) if status.reason == Reason::AlreadyExists => {}
                Err(status) => return Err(status),
            }
        }
        Some(known) if tree::text(&known.value(), "spec.trustBundle") != anchors => {
            let mut bundle = known.value();
            bundle["spec"]["trustBundle"] = json!(anchors);
            parts.client.update(kind, "", &name, &bundle).await?;
        }
        Some(_) => {}
    }
    let is_old =
        |bundle: &Object| bundle.meta().name != name && tree::text(&bundle.value(), "spec.signerName") == SIGNER;
    for old in cache.list().into_iter().filter(is_old) {
        match parts.client.delete(kind, "", &old.meta().name, &DeleteOptions::default()).await {
            Err(status) if status.reason != Reason::NotFound => return Err(status),
            _ => {}
        }
    }
    Ok(Requeue::Done)
}

fn name_of(anchors: &str) -> String {
    let hash = Sha256::digest(anchors);
    let hash: String = hash[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hash}", SIGNER.replace('/', ":"))
}
