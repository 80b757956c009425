//! Namespace: a scope for names. It is deleted in two steps: emptied, then finalized.

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{Context, DeleteStrategy, FieldSelector, Hooks, Kind, Subresource};
use crate::tree;
use crate::validate::cluster;

pub static NAMESPACE: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.core.v1.Namespace",
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[
        Subresource { name: "finalize", body_kind: "", body_group_version: "", owns: &["spec"], verbs: &["update"] },
        STATUS,
    ],
    columns: &[NAME, column("Status", "The phase.", |space, _| json!(tree::text(space, "status.phase"))), AGE],
    field_selectors: &[FieldSelector { name: "status.phase", value: |space| tree::text(space, "status.phase").into() }],
    versions: &[],
    hooks: Hooks { prepare, default, validate: cluster::validate_namespace, warnings: warn_nothing },
    delete: DeleteStrategy::Namespace,
};

/// The finalizer that every namespace is born with.
const FINALIZER: &str = "kubernetes";

/// A write changes either the object, its status or its finalizers
/// (pkg/registry/core/namespace/strategy.go).
fn prepare(space: &mut Value, old: Option<&Value>, context: &Context) {
    match (old, context.subresource.as_str()) {
        (None, _) => {
            space["status"] = json!({"phase": "Active"});
            if let Some(spec) = tree::child(space, "spec") {
                match spec.get_mut("finalizers").and_then(Value::as_array_mut) {
                    Some(list) if list.iter().any(|f| f == FINALIZER) => {}
                    Some(list) => list.push(json!(FINALIZER)),
                    None => spec["finalizers"] = json!([FINALIZER]),
                }
            }
        }
        (Some(old), "status") => tree::keep(space, old, "spec"),
        (Some(old), "finalize") => tree::keep(space, old, "status"),
        (Some(old), _) => {
            tree::keep(space, old, "spec");
            tree::keep(space, old, "status");
        }
    }
}

fn default(space: &mut Value) {
    let name = tree::text(space, "metadata.name").to_string();
    if !name.is_empty()
        && let Some(labels) = tree::child(space, "metadata").and_then(|m| tree::child(m, "labels"))
    {
        labels["kubernetes.io/metadata.name"] = json!(name);
    }
    if let Some(status) = tree::child(space, "status") {
        tree::set_default_text(status, "phase", "Active");
    }
}
