//! Node: one machine, registered and reported on by its agent.

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{Context, DeleteStrategy, FieldSelector, Hooks, Kind};
use crate::tree;
use crate::validate::cluster;

pub static NODE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.core.v1.Node",
    verbs: ALL_VERBS,
    subresources: &[body("proxy", "NodeProxyOptions", "", PROXY), STATUS],
    columns: &[
        NAME,
        column("Status", "Whether it is ready, and whether pods are placed on it.", |node, _| json!(status(node))),
        column("Roles", "The roles in its labels.", |node, _| json!(roles(node))),
        AGE,
        column("Version", "The version of its agent.", |node, _| {
            json!(tree::text(node, "status.nodeInfo.kubeletVersion"))
        }),
        wide("Internal-IP", "The address inside the cluster.", |node, _| json!(address(node, "InternalIP"))),
        wide("External-IP", "The address outside the cluster.", |node, _| json!(address(node, "ExternalIP"))),
        wide("OS-Image", "The operating system.", |node, _| json!(or_unknown(node, "status.nodeInfo.osImage"))),
        wide("Kernel-Version", "The kernel.", |node, _| json!(kernel(node))),
        wide("Container-Runtime", "The runtime and its version.", |node, _| {
            json!(or_unknown(node, "status.nodeInfo.containerRuntimeVersion"))
        }),
    ],
    field_selectors: &[FieldSelector {
        name: "spec.unschedulable",
        value: |node| tree::flag(node, "spec.unschedulable").to_string(),
    }],
    versions: &[],
    hooks: Hooks { prepare, default, validate: cluster::validate_node, warnings: cluster::node_warnings },
    delete: DeleteStrategy::Immediate,
};

/// A node may be created with its status (pkg/registry/core/node/strategy.go); afterwards spec and
/// status are written apart.
fn prepare(node: &mut Value, old: Option<&Value>, context: &Context) {
    match old {
        None => {
            if let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut) {
                spec.remove("configSource");
            }
            if let Some(status) = node.get_mut("status").and_then(Value::as_object_mut) {
                status.remove("config");
            }
        }
        Some(before) => {
            split_status(node, old, context);
            if !tree::has(before, "spec.configSource")
                && let Some(spec) = node.get_mut("spec").and_then(Value::as_object_mut)
            {
                spec.remove("configSource");
            }
        }
    }
}

/// Allocatable is the capacity until the agent says otherwise; `podCIDR` is the first of `podCIDRs`,
/// and right where they differ.
fn default(node: &mut Value) {
    let single = tree::at(node, "spec.podCIDR").clone();
    let first = tree::list(node, "spec.podCIDRs").first().cloned();
    if let Some(spec) = node.get_mut("spec") {
        match first {
            Some(first) if first == single => {}
            _ if !single.as_str().unwrap_or("").is_empty() => spec["podCIDRs"] = json!([single]),
            Some(first) => spec["podCIDR"] = first,
            None => {}
        }
    }
    let capacity = tree::at(node, "status.capacity").clone();
    if let Some(status) = node.get_mut("status")
        && capacity.is_object()
    {
        tree::set_default(status, "allocatable", capacity);
    }
}

fn status(node: &Value) -> String {
    let ready = tree::list(node, "status.conditions").iter().find(|c| tree::text(c, "type") == "Ready");
    let word = match ready.map(|c| tree::text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let disabled = if tree::flag(node, "spec.unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{word}{disabled}")
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = tree::entries(node, "metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn address(node: &Value, kind: &str) -> String {
    let found = tree::list(node, "status.addresses").iter().find(|a| tree::text(a, "type") == kind);
    found.map_or("<none>".into(), |a| tree::text(a, "address").into())
}

fn or_unknown(node: &Value, path: &str) -> String {
    match tree::text(node, path) {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

fn kernel(node: &Value) -> String {
    let version = or_unknown(node, "status.nodeInfo.kernelVersion");
    match tree::text(node, "status.nodeInfo.architecture") {
        "" => version,
        architecture => format!("{version} ({architecture})"),
    }
}
