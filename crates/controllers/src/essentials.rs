//! What every namespace holds at once: the default account and the authority's certificate.
//!
//! pkg/controller/serviceaccount (serviceaccounts_controller.go) and
//! pkg/controller/certificates/rootcacertpublisher: both come back when somebody deletes them, and
//! the certificate when somebody changes it.

use std::sync::Arc;

use api::resource::{CONFIG_MAPS, NAMESPACES, Named, SERVICE_ACCOUNTS};
use api::{Object, Reason, Status};
use client::Key;
use client::reconcile::{self, Requeue};
use futures::StreamExt;
use futures::stream::select_all;
use serde_json::{Value, json};

use crate::Parts;
use crate::namespace::takes_nothing_new;

const AUTHORITY: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";

/// One object of every namespace: its kind, its name and what it holds.
struct Essential {
    resource: &'static Named,
    name: &'static str,
    body: fn(&Parts) -> Value,
}

static ACCOUNT: Essential = Essential { resource: &SERVICE_ACCOUNTS, name: "default", body: |_| json!({}) };

static CERTIFICATE: Essential = Essential {
    resource: &CONFIG_MAPS,
    name: AUTHORITY,
    body: |parts| {
        json!({"metadata": {"annotations": {"kubernetes.io/description": DESCRIPTION}},
            "data": {"ca.crt": parts.config.authority}})
    },
};

/// The account `default` of every namespace.
pub async fn accounts(parts: Arc<Parts>) {
    run(parts, &ACCOUNT).await;
}

/// The authority's certificate in every namespace.
pub async fn authority(parts: Arc<Parts>) {
    run(parts, &CERTIFICATE).await;
}

async fn run(parts: Arc<Parts>, essential: &'static Essential) {
    let caches = [parts.cache(&NAMESPACES), parts.cache(essential.resource)];
    parts.synced(&caches.each_ref().map(|cache| &**cache)).await;
    let keys = caches.map(|cache| cache.subscribe().keys());
    let concerned = select_all(keys).filter_map(|key| std::future::ready(namespace_of(essential, &key)));
    let work = |namespace: String| {
        let parts = parts.clone();
        async move { ensure(&parts, essential, &namespace).await }
    };
    reconcile::run(concerned, 8, work).await;
}

/// The namespace whose essential a change may concern.
fn namespace_of(essential: &Essential, key: &Key) -> Option<String> {
    if key.namespace.is_empty() {
        return Some(key.name.to_string());
    }
    (essential.name == &*key.name).then(|| key.namespace.to_string())
}

async fn ensure(parts: &Parts, essential: &Essential, namespace: &str) -> Result<Requeue, Status> {
    let space = parts.cache(&NAMESPACES).get("", namespace);
    if space.is_none_or(|space| space.meta().is_deleting()) {
        return Ok(Requeue::Done);
    }
    let kind = &**essential.resource;
    let mut body = (essential.body)(parts);
    let cache = parts.cache(kind);
    let wrote = match cache.get(namespace, essential.name) {
        Some(found) if holds(&found, &body) => return Ok(Requeue::Done),
        Some(found) => {
            let mut object = found.value();
            object["data"] = body["data"].take();
            parts.client.update(kind, namespace, essential.name, &object).await
        }
        None => {
            body["apiVersion"] = json!("v1");
            body["kind"] = json!(kind.kind);
            body["metadata"]["name"] = json!(essential.name);
            parts.client.create(kind, namespace, &body).await
        }
    };
    match wrote {
        // The next run sees it: none is made twice.
        Ok(written) => cache.reached(written.revision()).await,
        // The cache is behind: the change comes and this runs again.
        Err(status) if matches!(status.reason, Reason::AlreadyExists | Reason::NotFound) => {}
        // The namespace began to end meanwhile.
        Err(status) if is_terminating(&status) => {}
        Err(status) => return Err(status),
    }
    Ok(Requeue::Done)
}

/// Whether the object has the data that it should.
fn holds(found: &Object, body: &Value) -> bool {
    match body.get("data") {
        Some(data) => found.value()["data"] == *data,
        None => true,
    }
}

/// Whether a write was refused since its namespace ends; what a quota refuses may be allowed later.
fn is_terminating(status: &Status) -> bool {
    status.reason == Reason::Forbidden && takes_nothing_new(status)
}
