//! CSIStorageCapacity: how much room a driver has left for a class in some part of the cluster.

use api::FieldError;
use api::quantity::Quantity;
use serde_json::Value;

use crate::pod::validate::{deprecated_keys, deprecated_label};
use crate::row::*;
use crate::validate::at::At;
use crate::validate::{meta, volume};

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, CREATED],
        hooks: Hooks { validate, warnings, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::namespaced("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities")
            .dormant("the scheduler does not look at it yet")
    }
}

fn warnings(_: &Kind, capacity: &Value, _: Option<&Value>) -> Vec<String> {
    let nodes = At::root(capacity).get("nodeTopology");
    let labels = nodes
        .get("matchLabels")
        .entries()
        .filter_map(|(key, _)| deprecated_label(key).map(|text| format!("nodeTopology.matchLabels.{key}: {text}")));
    deprecated_keys(&nodes).into_iter().chain(labels).collect()
}

fn validate(kind: &Kind, capacity: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, capacity, old);
    let at = At::root(capacity);
    let (nodes, class, room) = (at.get("nodeTopology"), at.get("storageClassName"), at.get("capacity"));
    meta::label_selector(&nodes, &mut errors);
    volume::class(&class, &mut errors);
    let amount = Quantity::of(room.value);
    if amount.is_negative() {
        errors.push(room.invalid_as(amount.to_string(), "must be greater than or equal to 0"));
    }
    if let Some(was) = old.map(At::root) {
        if nodes.value != was.get("nodeTopology").value {
            errors.push(nodes.invalid_as(nodes.value.clone(), "field is immutable"));
        }
        meta::immutable(&class, &was.get("storageClassName"), &mut errors);
    }
    errors
}

#[cfg(test)]
mod tests;
