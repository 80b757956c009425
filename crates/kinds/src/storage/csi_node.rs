//! CSINode: which drivers of volumes a node has, by the node's name.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative, shown_text};
use crate::validate::volume;

const ID_MAX: usize = 256;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![Subresource { resets: &[&["metadata"], &["spec"]], ..STATUS }],
        columns: vec![
            NAME,
            Column {
                kind: "integer".into(),
                ..computed("Drivers", "How many drivers it has.", |node, _| {
                    json!(tree::list(node, "spec.drivers").len())
                })
            },
            AGE,
        ],
        hooks: Hooks { prepare, validate, ..HOOKS },
        writes: Writes { conditional: true, returns_deleted: true, ..WRITES },
        ..Kind::cluster("storage.k8s.io/v1", "CSINode", "csinodes").dormant("nodes do not run CSI drivers yet")
    }
}

/// Of the health of its storage upstream keeps nothing unless a feature is switched on.
fn prepare(_: &Kind, node: &mut Value, old: Option<&Value>, context: &Context) {
    if old.is_none() || context.subresource == "status" {
        node["status"] = json!({});
    }
}

fn validate(kind: &Kind, node: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, node, old);
    if context.subresource == "status" {
        return errors;
    }
    let drivers = At::root(node).get("spec").get("drivers");
    let mut seen = BTreeSet::new();
    for driver in drivers.items() {
        judge(&driver, &mut errors);
        if !seen.insert(driver.get("name").text()) {
            errors.push(driver.get("name").duplicate());
        }
        keys(&driver, &mut errors);
    }
    for before in old.into_iter().flat_map(|old| tree::list(old, "spec.drivers")) {
        let same = drivers.items().filter(|driver| driver.value["name"] == before["name"]);
        for driver in same.filter(|driver| ["nodeID", "topologyKeys"].iter().any(|f| driver.value[f] != before[f])) {
            errors.push(FieldError { value: shown(&driver), ..drivers.invalid("field is immutable") });
        }
    }
    errors
}

fn judge(driver: &At, errors: &mut Errors) {
    volume::driver(&driver.get("name"), errors);
    let id = driver.get("nodeID");
    match id.text().len() {
        0 => errors.push(id.required("")),
        1..=ID_MAX => {}
        _ => errors.push(id.invalid("must be 256 characters or less")),
    }
    non_negative(&driver.get("allocatable").get("count"), errors);
}

/// Labels by which the driver tells places apart; upstream shows them at the driver.
fn keys(driver: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for key in driver.get("topologyKeys").items().map(|key| driver.with(key.value)) {
        if key.text().is_empty() {
            errors.push(key.required(""));
        }
        if !seen.insert(key.text()) {
            errors.push(key.duplicate());
        }
        errors.extend(names::qualified(key.text()).iter().map(|m| key.invalid(m)));
    }
}

/// As upstream's own type of it is printed.
fn shown(driver: &At) -> String {
    let (name, id) = (shown_text(&driver.get("name")), shown_text(&driver.get("nodeID")));
    let keys = driver.get("topologyKeys").value;
    format!("{{\"Name\":{name},\"NodeID\":{id},\"TopologyKeys\":{keys},\"Allocatable\":null}}")
}

#[cfg(test)]
mod tests;
