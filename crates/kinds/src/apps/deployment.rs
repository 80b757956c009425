//! Deployment: pods that are alike, and how they are replaced when the template changes.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::selector;
use crate::workload::{self, amount, at_most_all, int_or_percent};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![SCALE, Subresource { resets: &[&["spec"], &["metadata", "labels"]], ..STATUS }],
        columns: columns(),
        hooks: Hooks { prepare, default, validate, warnings: workload::named_warnings, ..HOOKS },
        ..Kind::namespaced("apps/v1", "Deployment", "deployments").short("deploy").in_all()
    }
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        NAME,
        computed("Ready", "How many pods are ready, of how many.", |deployment, _| {
            json!(workload::ready_of(deployment))
        }),
        computed("Up-to-date", "How many pods are of the newest template.", |deployment, _| {
            json!(tree::int(deployment, "status.updatedReplicas").unwrap_or(0))
        }),
        computed("Available", "How many pods have been ready for long enough.", |deployment, _| {
            json!(tree::int(deployment, "status.availableReplicas").unwrap_or(0))
        }),
        AGE,
    ];
    columns.extend(workload::containers());
    columns.push(wide(computed("Selector", "The labels of its pods.", |deployment, _| {
        let line = api::selector::line(tree::at(deployment, "spec.selector"));
        json!(line.unwrap_or_else(|_| "<invalid>".into()))
    })));
    columns
}

/// Annotations count too, since its ReplicaSets get them; a write of the status leaves the labels.
fn prepare(_: &Kind, deployment: &mut Value, old: Option<&Value>, context: &Context) {
    workload::count_born(deployment, old, json!({}));
    let Some(old) = old else { return };
    let notes = |object: &Value| object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let same_spec = deployment["spec"] == old["spec"];
    let renoted = notes(deployment) != notes(old);
    let Some(metadata) = tree::child(deployment, "metadata") else { return };
    if context.subresource == "status" {
        tree::keep(metadata, &old["metadata"], "labels");
    } else if same_spec && renoted {
        metadata["generation"] = json!(tree::int(old, "metadata.generation").unwrap_or(0) + 1);
    }
}

fn default(_: &Kind, deployment: &mut Value) {
    let Some(spec) = workload::default_spec(deployment) else { return };
    tree::set_default(spec, "replicas", 1);
    tree::set_default(spec, "revisionHistoryLimit", 10);
    tree::set_default(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = tree::child(spec, "strategy") else { return };
    tree::set_default_text(strategy, "type", "RollingUpdate");
    if tree::text(strategy, "type") == "RollingUpdate"
        && let Some(update) = tree::child(strategy, "rollingUpdate")
    {
        tree::set_default(update, "maxUnavailable", "25%");
        tree::set_default(update, "maxSurge", "25%");
    }
}

fn validate(kind: &Kind, deployment: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, deployment, old);
    let at = At::root(deployment);
    let was = old.map(At::root);
    if context.subresource == "status" {
        let status = at.get("status");
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        let more = ["unavailableReplicas", "terminatingReplicas", "collisionCount"];
        let all = [&["observedGeneration", "replicas"], &parts[..], &more].concat();
        workload::counts(&status, &all, &parts, &mut errors);
        workload::available_are_ready(&status, "readyReplicas", &mut errors);
        if let Some(was) = was {
            workload::collisions(&status, &was.get("status"), &mut errors);
        }
        return errors;
    }
    let spec = at.get("spec");
    non_negative(&spec.get("replicas"), &mut errors);
    workload::selected_template(&spec, "deployment", "ReplicaSet", context, &mut errors);
    strategy(&spec.get("strategy"), &mut errors);
    let (pause, deadline) = (spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds"));
    non_negative(&pause, &mut errors);
    non_negative(&spec.get("revisionHistoryLimit"), &mut errors);
    if deadline.has() {
        non_negative(&deadline, &mut errors);
        if deadline.number() <= pause.number() {
            errors.push(deadline.invalid("must be greater than minReadySeconds"));
        }
    }
    if let Some(was) = was {
        selector::immutable(&spec.get("selector"), &was.get("spec").get("selector"), &mut errors);
    }
    errors
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "Recreate" if update.has() => {
            errors.push(update.forbidden("may not be specified when strategy `type` is 'Recreate'"));
        }
        "Recreate" => {}
        "RollingUpdate" if !update.has() => {
            errors.push(update.required("this should be defaulted and never be nil"));
        }
        "RollingUpdate" => {
            let (missing, more) = (update.get("maxUnavailable"), update.get("maxSurge"));
            int_or_percent(&missing, errors);
            int_or_percent(&more, errors);
            if amount(&missing) == 0 && amount(&more) == 0 {
                errors.push(missing.invalid("may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(&missing, errors);
        }
        _ => errors.push(workload::unknown_strategy(strategy, &["Recreate", "RollingUpdate"])),
    }
}

#[cfg(test)]
mod tests;
