//! ReplicaSet: so many pods of one template, all alike.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::selector;
use crate::workload;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![SCALE, STATUS],
        columns: columns(),
        hooks: Hooks {
            prepare: |_, set, old, _| workload::count_born(set, old, json!({"replicas": 0})),
            default: |_, set| {
                workload::default_spec(set).map(|spec| tree::set_default(spec, "replicas", 1));
            },
            validate,
            warnings: workload::named_warnings,
            ..HOOKS
        },
        ..Kind::namespaced("apps/v1", "ReplicaSet", "replicasets").short("rs").in_all()
    }
}

/// Also of its older kin.
pub fn columns() -> Vec<Column> {
    let mut columns = vec![
        NAME,
        count("Desired", "How many pods there shall be.", "spec.replicas"),
        count("Current", "How many there are.", "status.replicas"),
        count("Ready", "How many of them are ready.", "status.readyReplicas"),
        AGE,
    ];
    columns.extend(workload::containers());
    columns.push(workload::SELECTOR);
    columns
}

fn validate(kind: &Kind, set: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, set, old);
    let at = At::root(set);
    if context.subresource == "status" {
        status(&at.get("status"), &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    non_negative(&spec.get("replicas"), &mut errors);
    non_negative(&spec.get("minReadySeconds"), &mut errors);
    // Upstream's word, here too.
    workload::selected_template(&spec, "deployment", "ReplicaSet", context, &mut errors);
    if let Some(old) = old {
        selector::immutable(&spec.get("selector"), &At::root(old).get("spec").get("selector"), &mut errors);
    }
    errors
}

/// Also of its older kin.
pub fn status(status: &At, errors: &mut Errors) {
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    let all = [&["replicas"], &parts[..], &["observedGeneration", "terminatingReplicas"]].concat();
    workload::counts(status, &all, &parts, errors);
    workload::available_are_ready(status, "readyReplicas", errors);
}

#[cfg(test)]
mod tests;
