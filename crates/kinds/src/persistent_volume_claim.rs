//! PersistentVolumeClaim: what its pods ask of storage, and the volume that they got.

use api::quantity::Quantity;
use api::tree;
use serde_json::{Value, json};

use crate::persistent_volume::{amount, or_unset, phase};
use crate::pod::resource_lists;
use crate::row::*;
use crate::validate::at::At;
use crate::validate::volume::{self, access_modes_text};

pub(crate) mod validate;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Status", "Whether it has a volume.", |claim, _| json!(phase(claim))),
            text("Volume", "The volume that it has.", "spec.volumeName"),
            computed("Capacity", "How much the volume holds.", |claim, _| {
                json!(if is_bound(claim) { amount(claim, "status.capacity") } else { "" })
            }),
            computed("Access Modes", "How the volume may be mounted.", |claim, _| {
                let modes = if is_bound(claim) { tree::list(claim, "status.accessModes") } else { &[] };
                json!(access_modes_text(modes))
            }),
            computed("StorageClass", "The class of its volume.", |claim, _| {
                json!(volume::class_of(claim).unwrap_or_default())
            }),
            computed("VolumeAttributesClass", "The class of what may change.", |claim, _| {
                json!(or_unset(claim, "spec.volumeAttributesClassName"))
            }),
            AGE,
            wide(computed("VolumeMode", "Whether it needs a file system.", |claim, _| {
                json!(or_unset(claim, "spec.volumeMode"))
            })),
        ],
        hooks: Hooks { default, prepare, validate: validate::validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
            .judged_as_new()
            .short("pvc")
            .dormant("no controller binds claims to volumes yet")
    }
}

fn is_bound(claim: &Value) -> bool {
    !tree::text(claim, "spec.volumeName").is_empty()
}

fn default(_: &Kind, claim: &mut Value) {
    if let Some(status) = tree::child(claim, "status") {
        tree::set_default_text(status, "phase", "Pending");
        for list in ["capacity", "allocatedResources"] {
            status.get_mut(list).map(crate::pod::canonical);
        }
    }
    let Some(spec) = tree::child(claim, "spec") else { return };
    tree::set_default(spec, "volumeMode", "Filesystem");
    if let Some(resources) = spec.get_mut("resources") {
        resource_lists(resources);
    }
}

fn prepare(_: &Kind, claim: &mut Value, old: Option<&Value>, context: &Context) {
    match (old, context.subresource.as_str()) {
        (Some(old), "status") => {
            // A feature that is off: what is there stays.
            if !tree::has(old, "status.healthStatus")
                && let Some(status) = claim["status"].as_object_mut()
            {
                status.remove("healthStatus");
            }
        }
        (Some(old), _) => sources(&mut claim["spec"], &old["spec"]),
        (None, _) => {
            claim["status"] = json!({"phase": "Pending"});
            sources(&mut claim["spec"], &Value::Null);
        }
    }
}

/// What the volume is to hold from the start: `dataSource` and `dataSourceRef` say the same, and what the first
/// does not support is no data source (pkg/api/persistentvolumeclaim).
fn sources(spec: &mut Value, old: &Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    let elsewhere = |spec: &serde_json::Map<String, Value>| {
        spec.get("dataSourceRef").is_some_and(|source| !tree::text(source, "namespace").is_empty())
    };
    if elsewhere(spec) && !tree::has(old, "dataSourceRef") {
        spec.remove("dataSourceRef");
    }
    let is_new = !tree::has(old, "dataSource") && !tree::has(old, "dataSourceRef");
    if is_new && !spec.contains_key("dataSourceRef") && !spec.get("dataSource").is_some_and(is_claim_or_snapshot) {
        spec.remove("dataSource");
    }
    let (from, to) = match (spec.contains_key("dataSource"), spec.contains_key("dataSourceRef")) {
        (true, false) => ("dataSource", "dataSourceRef"),
        (false, true) if !elsewhere(spec) => ("dataSourceRef", "dataSource"),
        _ => return,
    };
    let mut source = spec[from].clone();
    if let Some(source) = source.as_object_mut() {
        source.remove("namespace");
    }
    spec.insert(to.into(), source);
}

fn is_claim_or_snapshot(source: &Value) -> bool {
    let named = (tree::text(source, "apiGroup"), tree::text(source, "kind"));
    matches!(named, ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
}

fn warnings(_: &Kind, claim: &Value, _: Option<&Value>) -> Vec<String> {
    let note = volume::CLASS;
    let noted = claim["metadata"]["annotations"].get(note).is_some();
    let text = "deprecated since v1.8; use \"storageClassName\" attribute instead";
    let mut out: Vec<String> = noted.then(|| format!("metadata.annotations[{note}]: {text}")).into_iter().collect();
    for list in ["requests", "limits"] {
        let storage = At::root(claim).get("spec").get("resources").get(list).key("storage");
        let amount = Quantity::of(storage.value);
        if !amount.is_integer() {
            let path = storage.path();
            out.push(format!("{path}: fractional byte value \"{amount}\" is invalid, must be an integer"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
