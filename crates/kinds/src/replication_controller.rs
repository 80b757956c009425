//! ReplicationController: the ReplicaSet's older kin, which selects by a plain map.

use std::collections::BTreeMap;

use api::selector::Labels;
use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::apps::replica_set;
use crate::pod::defaults;
use crate::pod::validate::template;
use crate::row::*;
use crate::validate::at::{At, non_negative};
use crate::validate::meta;
use crate::workload;

pub(crate) fn row() -> Kind {
    let mut columns = replica_set::columns();
    columns.pop();
    columns.push(wide(computed("Selector", "The labels of its pods.", |controller, _| {
        json!(labels_text(controller, "spec.selector"))
    })));
    Kind {
        subresources: vec![SCALE, STATUS],
        columns,
        field_selectors: vec![made("status.replicas", |controller| {
            tree::int(controller, "status.replicas").unwrap_or(0).to_string()
        })],
        hooks: Hooks {
            prepare: |_, controller, old, _| workload::count_born(controller, old, json!({"replicas": 0})),
            default,
            validate,
            warnings: workload::named_warnings,
            ..HOOKS
        },
        writes: Writes { orphans: true, ..WRITES },
        ..Kind::namespaced("v1", "ReplicationController", "replicationcontrollers")
            .kept_in("controllers")
            .short("rc")
            .in_all()
    }
}

/// Labels and selector are the template's where they are missing.
fn default(_: &Kind, controller: &mut Value) {
    let labels = tree::at(controller, "spec.template.metadata.labels").clone();
    let is_empty = |value: &Value| value.as_object().is_none_or(|map| map.is_empty());
    let Some(spec) = tree::child(controller, "spec") else { return };
    tree::set_default(spec, "replicas", 1);
    if let Some(template) = spec.get_mut("template").filter(|template| template.is_object()) {
        defaults::template(template);
    }
    if !labels.is_object() {
        return;
    }
    if is_empty(&spec["selector"]) {
        spec["selector"] = labels.clone();
    }
    if let Some(metadata) = tree::child(controller, "metadata")
        && is_empty(&metadata["labels"])
    {
        metadata["labels"] = labels;
    }
}

fn validate(kind: &Kind, controller: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    meta::object_by_bytes(kind, controller, old, &mut errors);
    let at = At::root(controller);
    if context.subresource == "status" {
        replica_set::status(&at.get("status"), &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    non_negative(&spec.get("minReadySeconds"), &mut errors);
    let selector = spec.get("selector");
    if selector.is_empty() {
        errors.push(selector.required(""));
    }
    non_negative(&spec.get("replicas"), &mut errors);
    let pods = spec.get("template");
    if !pods.has() {
        errors.push(pods.required(""));
        return errors;
    }
    let pairs: BTreeMap<String, String> = selector.entries().map(|(k, v)| (k.clone(), v.text().into())).collect();
    workload::matches(&pods, &Labels::from_map(&pairs), &mut errors);
    template(&pods, context, &mut errors);
    workload::runs_for_good(&pods, "ReplicationController", &mut errors);
    errors
}

#[cfg(test)]
mod tests;
