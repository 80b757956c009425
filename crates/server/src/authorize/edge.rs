//! What serving Ingresses takes: their objects, and of Secrets only those that they show.
//!
//! No identity reads all Secrets for it. The ingress in the server's own process and a node that an administrator has
//! made an edge (by a label that no node gives to itself) read a Secret by its name, as long as an Ingress of our class
//! in its namespace names it, and only if it is of type `kubernetes.io/tls`. The rest is the ClusterRole
//! `gousse:ingress`.

use api::names::{INGRESS_CONTROLLER, INGRESS_EDGE};
use serde_json::Value;

use super::{Attributes, defaults};
use crate::records::{Snapshot, each};

const ROLE: &str = "gousse:ingress";
const READ: [&str; 3] = ["get", "list", "watch"];
const INGRESSES: &str = "ingresses.networking.k8s.io";
/// By which an Ingress named its class before there was a field; it counts before that.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// Whether a node may, since it is an edge.
pub fn node_may(node: &str, asked: &Attributes, snapshot: &Snapshot) -> bool {
    let by_role = defaults::rules_of(ROLE).iter().any(|rule| rule.allows(asked));
    if !by_role && asked.resource != "secrets" {
        return false;
    }
    let node = snapshot.value("nodes", "", node);
    let is_edge = node.is_some_and(|node| node["metadata"]["labels"].get(INGRESS_EDGE).is_some());
    is_edge && if by_role { is_shown_status(asked, snapshot) } else { shows(asked, snapshot) }
}

/// Whether it is a Secret that an Ingress of ours shows.
pub fn shows(asked: &Attributes, snapshot: &Snapshot) -> bool {
    let Attributes { namespace, name, .. } = asked;
    let is_one = asked.group.is_empty() && asked.resource == "secrets" && asked.subresource.is_empty();
    if !is_one || !READ.contains(&asked.verb.as_str()) || namespace.is_empty() || name.is_empty() {
        return false;
    }
    // What is not there yet is waited for.
    let secret = snapshot.value("secrets", namespace, name);
    if secret.is_some_and(|secret| secret["type"] != "kubernetes.io/tls") {
        return false;
    }
    let needle = format!("{name:?}");
    snapshot.all(INGRESSES, namespace).iter().any(|entry| {
        let text = std::str::from_utf8(&entry.bytes).unwrap_or_default();
        if !text.contains(&needle) {
            return false;
        }
        let Ok(ingress) = serde_json::from_str::<Value>(text) else { return false };
        each(&ingress["spec"]["tls"]).any(|tls| tls["secretName"] == *name) && is_ours(&ingress, snapshot)
    })
}

/// A node writes no status but those of the Ingresses that it serves.
fn is_shown_status(asked: &Attributes, snapshot: &Snapshot) -> bool {
    if asked.subresource != "status" {
        return true;
    }
    let ingress = snapshot.value(INGRESSES, &asked.namespace, &asked.name);
    ingress.is_some_and(|ingress| is_ours(&ingress, snapshot))
}

fn is_ours(ingress: &Value, snapshot: &Snapshot) -> bool {
    let annotated = ingress["metadata"]["annotations"].get(ANNOTATION);
    let class = annotated.unwrap_or(&ingress["spec"]["ingressClassName"]).as_str();
    let class = class.and_then(|class| snapshot.value("ingressclasses.networking.k8s.io", "", class));
    class.is_some_and(|class| class["spec"]["controller"] == INGRESS_CONTROLLER)
}

#[cfg(test)]
mod tests;
