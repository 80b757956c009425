//! What holding pods to policies takes: labels and addresses of other nodes' pods.
//!
//! A node has no business with pods that are not its own, until a NetworkPolicy says with whom they talk. From
//! then on every node lists and watches all of them; one by its name, and every write, stays with its own node
//! (docs/decisions/network-policy.md).

use super::Attributes;
use crate::records::Snapshot;

const POLICIES: &str = "networkpolicies.networking.k8s.io";

/// Whether a node may, since there are policies.
pub fn node_may(asked: &Attributes, snapshot: &Snapshot) -> bool {
    let is_peers = asked.group.is_empty() && asked.resource == "pods";
    let is_all = asked.namespace.is_empty() && asked.name.is_empty() && asked.subresource.is_empty();
    is_peers && is_all && matches!(asked.verb.as_str(), "list" | "watch") && snapshot.has_any(POLICIES)
}
