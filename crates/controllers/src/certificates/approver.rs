//! csrapproving: certificates of nodes' agents, for whoever may have them without being asked.
//!
//! pkg/controller/certificates/approver/sarapprove.go.

use std::sync::{Arc, LazyLock};

use api::resource::{CERTIFICATE_SIGNING_REQUESTS, Named};
use api::{Resource, Status, tree};
use client::Key;
use client::reconcile::{self, Requeue};
use futures::StreamExt;
use futures::stream::{self, select_all};
use serde_json::{Value, json};

use super::{Asked, KUBELET_CLIENTS, has_condition, is_issued, of_kubelet_client};
use crate::Parts;

static REVIEWS: Named =
    LazyLock::new(|| Resource::cluster("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews"));

/// Whose objects are the rights that are asked about.
const RIGHTS: &str = "rbac.authorization.k8s.io";

/// What may be approved: the subresource whose creation is the right to it, and what is said.
type Way = (&'static str, &'static str);
const OWN: Way = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const ANY: Way = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

pub async fn run(parts: Arc<Parts>) {
    let requests = parts.cache(&CERTIFICATE_SIGNING_REQUESTS);
    let rights = parts.resources.iter().filter(|resource| resource.group == RIGHTS);
    let rights: Vec<_> = rights.map(|resource| parts.cache(resource)).collect();
    parts.synced(&[&requests].into_iter().chain(&rights).map(|cache| &**cache).collect::<Vec<_>>()).await;
    let own = requests.subscribe().keys().boxed();
    // A right may be granted after it was asked for.
    let granted = rights.iter().map(|cache| {
        let requests = requests.clone();
        let waiting = move |_| stream::iter(requests.list().iter().map(Key::of).collect::<Vec<_>>());
        cache.subscribe().keys().flat_map(waiting).boxed()
    });
    let work = |key: Key| {
        let parts = parts.clone();
        async move { judge(&parts, &key).await }
    };
    reconcile::run(select_all(granted.chain([own])), 4, work).await;
}

async fn judge(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(request) = parts.cache(&CERTIFICATE_SIGNING_REQUESTS).get("", &key.name) else {
        return Ok(Requeue::Done);
    };
    let mut request = request.value();
    for (right, message) in ways(&request) {
        if !may(parts, &request, right).await? {
            continue;
        }
        if !request["status"]["conditions"].is_array() {
            request["status"]["conditions"] = json!([]);
        }
        let approved = json!({"type": "Approved", "status": "True", "reason": "AutoApproved", "message": message});
        request["status"]["conditions"].as_array_mut().expect("made above").push(approved);
        parts.client.update_sub(&CERTIFICATE_SIGNING_REQUESTS, "", &key.name, "approval", &request).await?;
        return Ok(Requeue::Done);
    }
    Ok(Requeue::Done)
}

/// By which rights a request may be approved; none: it is decided, or it is not ours to decide.
fn ways(request: &Value) -> &'static [Way] {
    let is_decided = is_issued(request) || ["Approved", "Denied"].iter().any(|kind| has_condition(request, kind));
    if is_decided || tree::text(request, "spec.signerName") != KUBELET_CLIENTS {
        return &[];
    }
    match Asked::of(request) {
        Ok(asked) if of_kubelet_client(&asked, request).is_err() => &[],
        Ok(asked) if asked.common_name == tree::text(request, "spec.username") => &[OWN, ANY],
        Ok(_) => &[ANY],
        Err(_) => &[],
    }
}

async fn may(parts: &Parts, request: &Value, right: &str) -> Result<bool, Status> {
    let spec = &request["spec"];
    let review = json!({
        "apiVersion": REVIEWS.api_version(), "kind": REVIEWS.kind,
        "spec": {
            "user": spec["username"], "uid": spec["uid"], "groups": spec["groups"], "extra": spec["extra"],
            "resourceAttributes": {"group": "certificates.k8s.io", "resource": "certificatesigningrequests",
                "verb": "create", "subresource": right, "version": "*"},
        },
    });
    let answer = parts.client.create(&REVIEWS, "", &review).await?;
    Ok(tree::flag(&answer.value(), "status.allowed"))
}

#[cfg(test)]
mod tests;
