//! StorageClass: who makes the volumes of a claim, and how. Provisioners come from elsewhere, here as upstream.

use std::collections::{BTreeMap, BTreeSet};

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::{parameters, provisioner, unshown_duplicate};
use crate::pod::validate::deprecated_label;
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            Column { cell: Cell::Of(|class, _| json!(name(class))), ..NAME },
            text("Provisioner", "Who makes its volumes.", "provisioner"),
            computed("ReclaimPolicy", "What becomes of a volume whose claim is gone.", |class, _| {
                json!(or(class, "reclaimPolicy", "Delete"))
            }),
            computed("VolumeBindingMode", "When claims get their volumes.", |class, _| {
                json!(or(class, "volumeBindingMode", "Immediate"))
            }),
            computed("AllowVolumeExpansion", "Whether claims may grow.", |class, _| {
                json!(tree::flag(class, "allowVolumeExpansion"))
            }),
            AGE,
        ],
        hooks: Hooks { default, validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::cluster("storage.k8s.io/v1", "StorageClass", "storageclasses").judged_as_new().short("sc")
    }
}

/// Whether a claim that names no class gets this one (pkg/volume/util/storageclass.go).
pub fn is_default(class: &Value) -> bool {
    let notes = &class["metadata"]["annotations"];
    ["storageclass", "storageclass.beta"]
        .iter()
        .any(|of| notes[format!("{of}.kubernetes.io/is-default-class")] == "true")
}

fn name(class: &Value) -> String {
    let name = tree::text(class, "metadata.name");
    if is_default(class) { format!("{name} (default)") } else { name.to_owned() }
}

fn or<'a>(class: &'a Value, field: &str, absent: &'a str) -> &'a str {
    class[field].as_str().unwrap_or(absent)
}

fn default(_: &Kind, class: &mut Value) {
    tree::set_default(class, "reclaimPolicy", "Delete");
    tree::set_default(class, "volumeBindingMode", "Immediate");
}

fn warnings(_: &Kind, class: &Value, _: Option<&Value>) -> Vec<String> {
    let terms = At::root(class).get("allowedTopologies");
    let expressions = terms.items().flat_map(|term| term.get("matchLabelExpressions").items().collect::<Vec<_>>());
    let keys = expressions.map(|expression| expression.get("key"));
    keys.filter_map(|key| Some(format!("{}: {}", key.path(), deprecated_label(key.text())?))).collect()
}

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, class, old);
    let at = At::root(class);
    let (made_by, reclaim, mode) = (at.get("provisioner"), at.get("reclaimPolicy"), at.get("volumeBindingMode"));
    if !made_by.text().is_empty() {
        provisioner(&made_by, &mut errors);
    }
    parameters(&at.get("parameters"), &mut errors);
    if !["", "Delete", "Retain"].contains(&reclaim.text()) {
        errors.push(reclaim.not_supported(&["Delete", "Retain"]));
    }
    if !["Immediate", "WaitForFirstConsumer"].contains(&mode.text()) {
        errors.push(mode.not_supported(&["Immediate", "WaitForFirstConsumer"]));
    }
    topologies(&at.get("allowedTopologies"), &mut errors);
    if made_by.text().is_empty() {
        errors.push(made_by.required(""));
    }
    if let Some(old) = old {
        for field in ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"] {
            meta::fixed(&at.get(field), &At::root(old).get(field), &mut errors);
        }
    }
    errors
}

/// Terms of labels that nodes may have; no two are the same, and none is empty (upstream counts one as
/// another of its own empty slots).
fn topologies(at: &At, errors: &mut Errors) {
    let mut seen: BTreeSet<BTreeMap<&str, BTreeSet<&str>>> = BTreeSet::from([BTreeMap::new()]);
    for term in at.items() {
        let expressions = term.get("matchLabelExpressions");
        let mut labels = BTreeMap::new();
        for expression in expressions.items() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            if values.is_empty() {
                errors.push(values.required(""));
            }
            let mut known = BTreeSet::new();
            errors.extend(values.items().filter(|value| !known.insert(value.text())).map(|value| value.duplicate()));
            invalid_each(&key, names::qualified(key.text()), errors);
            if labels.insert(key.text(), known).is_some() {
                errors.push(key.duplicate());
            }
        }
        if !seen.insert(labels) {
            errors.push(unshown_duplicate(&expressions));
        }
    }
}

#[cfg(test)]
mod tests;
