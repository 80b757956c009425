//! csrapproving: certificates of nodes' agents, for whoever may have them without being asked.
//!
//! pkg/controller/certificates/approver/sarapprove.go. Serving certificates, which upstream leaves to others, are
//! approved for what the Node says it is called (docs/decisions/node-certificates.md).

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use api::resource::{CERTIFICATE_SIGNING_REQUESTS, NODES, Named};
use api::{Object, Resource, Status, tree};
use client::Key;
use client::reconcile::{self, Requeue};
use futures::StreamExt;
use futures::stream::{self, select_all};
use serde_json::{Value, json};
use x509_cert::ext::pkix::name::GeneralName;

use super::{
    Asked, KUBELET_CLIENTS, KUBELET_SERVING, address, has_condition, is_issued, of_kubelet_client, of_kubelet_serving,
};
use crate::{MayBear, Parts};

static REVIEWS: Named =
    LazyLock::new(|| Resource::cluster("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews"));

/// Whose objects are the rights that are asked about.
const RIGHTS: &str = "rbac.authorization.k8s.io";

/// What may be approved: the subresource whose creation is the right to it, and what is said.
type Way = (&'static str, &'static str);
const OWN: Way = ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const ANY: Way = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
const SERVING: Way = ("selfnodeserver", "Auto approving self kubelet serving certificate after SubjectAccessReview.");

const NODE_PREFIX: &str = "system:node:";

pub async fn run(parts: Arc<Parts>) {
    let requests = parts.cache(&CERTIFICATE_SIGNING_REQUESTS);
    let rights = parts.resources.iter().filter(|resource| resource.group == RIGHTS);
    let rights: Vec<_> = rights.map(|resource| parts.cache(resource)).collect();
    let nodes = parts.cache(&NODES);
    let needed = [&requests, &nodes].into_iter().chain(&rights);
    parts.synced(&needed.map(|cache| &**cache).collect::<Vec<_>>()).await;
    let own = requests.subscribe().keys().boxed();
    // A right may be granted after it was asked for.
    let granted = rights.iter().map(|cache| {
        let requests = requests.clone();
        let waiting = move |_| stream::iter(requests.list().iter().map(Key::of).collect::<Vec<_>>());
        cache.subscribe().keys().flat_map(waiting).boxed()
    });
    // A node may say what it is called after it asked.
    let of_node = requests.clone();
    let told = nodes.subscribe().keys().flat_map(move |node| {
        let user = format!("{NODE_PREFIX}{}", node.name);
        let is_its = |request: &Object| tree::text(&request.value(), "spec.username") == user;
        stream::iter(of_node.list().iter().filter(|request| is_its(request)).map(Key::of).collect::<Vec<_>>())
    });
    let work = |key: Key| {
        let parts = parts.clone();
        async move { judge(&parts, &key).await }
    };
    reconcile::run(select_all(granted.chain([own, told.boxed()])), 4, work).await;
}

async fn judge(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(request) = parts.cache(&CERTIFICATE_SIGNING_REQUESTS).get("", &key.name) else {
        return Ok(Requeue::Done);
    };
    let mut request = request.value();
    let node = tree::text(&request, "spec.username").strip_prefix(NODE_PREFIX);
    let node = node.and_then(|node| parts.cache(&NODES).get("", node)).map(|node| node.value());
    for (right, message) in ways(&request, node.as_ref(), &parts.config.may_bear) {
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

/// By which rights a request may be approved; none: it is decided, or it is not ours to decide. `node`: the Node of
/// who asks.
fn ways(request: &Value, node: Option<&Value>, may_bear: &MayBear) -> &'static [Way] {
    let is_decided = is_issued(request) || ["Approved", "Denied"].iter().any(|kind| has_condition(request, kind));
    let signer = tree::text(request, "spec.signerName");
    if is_decided || ![KUBELET_CLIENTS, KUBELET_SERVING].contains(&signer) {
        return &[];
    }
    let Ok(asked) = Asked::of(request) else { return &[] };
    // Of several some would read another one.
    if asked.common_names != 1 {
        return &[];
    }
    let is_own = asked.common_name == tree::text(request, "spec.username");
    match signer {
        KUBELET_CLIENTS if of_kubelet_client(&asked, request).is_err() => &[],
        KUBELET_CLIENTS if is_own => &[OWN, ANY],
        KUBELET_CLIENTS => &[ANY],
        _ if is_own && of_kubelet_serving(&asked, request).is_ok() && is_told(&asked, request, node, may_bear) => {
            &[SERVING]
        }
        _ => &[],
    }
}

/// Whether a node asks for nothing but what its Node says it is called, and what it may be called.
fn is_told(asked: &Asked, request: &Value, node: Option<&Value>, may_bear: &MayBear) -> bool {
    let groups = tree::list(request, "spec.groups");
    let Some(node) = node.filter(|_| groups.iter().any(|group| group == "system:nodes")) else { return false };
    let (name, addresses) = (tree::text(node, "metadata.name"), tree::list(node, "status.addresses"));
    let is_said = |kinds: &[&str], host: &dyn Fn(&str) -> bool| {
        let of_kind = |one: &&Value| kinds.contains(&tree::text(one, "type"));
        addresses.iter().filter(of_kind).any(|one| host(tree::text(one, "address")))
    };
    asked.names.iter().all(|host| match host {
        GeneralName::DnsName(host) => {
            let host = host.as_str();
            is_said(&["Hostname", "InternalDNS", "ExternalDNS"], &|said| said == host) && may_bear(name, host)
        }
        GeneralName::IpAddress(bytes) => address(bytes.as_bytes()).is_some_and(|host| {
            let is_it = |said: &str| said.parse::<IpAddr>().is_ok_and(|said| said == host);
            is_said(&["InternalIP", "ExternalIP", "Hostname"], &is_it) && may_bear(name, &host.to_string())
        }),
        _ => false,
    })
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
