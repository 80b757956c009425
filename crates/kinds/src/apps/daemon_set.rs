//! DaemonSet: one pod on each node that fits.

use api::selector::Labels;
use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::pod::validate::template;
use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::{meta, selector as shown};
use crate::workload::{self, amount, at_most_all, int_or_percent};

/// How often the template changed, as it was counted before there were revisions. No client sees it but as this
/// annotation (DeprecatedTemplateGeneration).
const TEMPLATES: &str = "deprecated.daemonset.template.generation";

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: columns(),
        hooks: Hooks { prepare, default, validate, warnings, ..HOOKS },
        ..Kind::namespaced("apps/v1", "DaemonSet", "daemonsets").short("ds").in_all()
    }
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        NAME,
        count("Desired", "On how many nodes it shall run.", "status.desiredNumberScheduled"),
        count("Current", "On how many of them it has a pod.", "status.currentNumberScheduled"),
        count("Ready", "On how many of them the pod is ready.", "status.numberReady"),
        count("Up-to-date", "On how many the pod is of the newest template.", "status.updatedNumberScheduled"),
        count("Available", "On how many the pod has been ready for long enough.", "status.numberAvailable"),
        computed("Node Selector", "The labels of its nodes.", |set, _| {
            json!(labels_text(set, "spec.template.spec.nodeSelector"))
        }),
        AGE,
    ];
    columns.extend(workload::containers());
    columns.push(workload::SELECTOR);
    columns
}

fn prepare(_: &Kind, set: &mut Value, old: Option<&Value>, context: &Context) {
    let born = json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0,
        "numberReady": 0});
    workload::count_born(set, old, born);
    let changes = match old {
        None => templates(set).max(1),
        Some(old) => {
            let changed = context.subresource.is_empty() && set["spec"]["template"] != old["spec"]["template"];
            templates(old) + i64::from(changed)
        }
    };
    note(set, changes);
}

fn note(set: &mut Value, changes: i64) {
    if let Some(notes) = tree::child(set, "metadata").and_then(|metadata| tree::child(metadata, "annotations")) {
        notes[TEMPLATES] = json!(changes.to_string());
    }
}

/// Zero where it is none.
fn templates(set: &Value) -> i64 {
    let note = set["metadata"]["annotations"][TEMPLATES].as_str();
    note.and_then(|note| note.parse().ok()).unwrap_or(0)
}

/// Whoever writes one writes the annotation, also if the request has none: it is made of a field when upstream
/// converts (pkg/apis/apps/v1/conversion.go), before managers are told apart.
fn default(_: &Kind, set: &mut Value) {
    note(set, templates(set));
    let Some(spec) = workload::default_spec(set) else { return };
    tree::set_default(spec, "revisionHistoryLimit", 10);
    let Some(strategy) = tree::child(spec, "updateStrategy") else { return };
    tree::set_default_text(strategy, "type", "RollingUpdate");
    if tree::text(strategy, "type") == "RollingUpdate"
        && let Some(update) = tree::child(strategy, "rollingUpdate")
    {
        tree::set_default(update, "maxUnavailable", 1);
        tree::set_default(update, "maxSurge", 0);
    }
}

fn validate(kind: &Kind, set: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, set, old);
    let at = At::root(set);
    if context.subresource == "status" {
        status(&at.get("status"), old, &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    let selector = spec.get("selector");
    if let Some(old) = old {
        shown::immutable(&selector, &At::root(old).get("spec").get("selector"), &mut errors);
    }
    meta::label_selector(&selector, &mut errors);
    let pods = spec.get("template");
    if let Ok(labels) = Labels::from_label_selector(selector.value) {
        workload::matches(&pods, &labels, &mut errors);
    }
    if selector.has() && selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
        errors.push(shown::wrong(&selector, "empty selector is invalid for daemonset"));
    }
    template(&pods, context, &mut errors);
    workload::runs_for_good(&pods, "DaemonSet", &mut errors);
    non_negative(&spec.get("minReadySeconds"), &mut errors);
    strategy(&spec.get("updateStrategy"), &mut errors);
    non_negative(&spec.get("revisionHistoryLimit"), &mut errors);
    errors
}

fn strategy(strategy: &At, errors: &mut Errors) {
    let update = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" if !update.has() => errors.push(update.required("")),
        "RollingUpdate" => {
            let (missing, more) = (update.get("maxUnavailable"), update.get("maxSurge"));
            int_or_percent(&missing, errors);
            int_or_percent(&more, errors);
            at_most_all(&missing, errors);
            at_most_all(&more, errors);
            match (amount(&missing) != 0, amount(&more) != 0) {
                (true, true) => errors.push(more.invalid("may not be set when maxUnavailable is non-zero")),
                (false, false) => errors.push(missing.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        _ => errors.push(workload::unknown_strategy(strategy, &["RollingUpdate", "OnDelete"])),
    }
}

fn status(status: &At, old: Option<&Value>, errors: &mut Errors) {
    for field in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        non_negative(&status.get(field), errors);
    }
    if let Some(old) = old {
        workload::collisions(status, &At::root(old).get("status"), errors);
    }
}

fn warnings(_: &Kind, set: &Value, old: Option<&Value>) -> Vec<String> {
    match old {
        Some(old) if set["spec"]["template"] == old["spec"]["template"] => Vec::new(),
        _ => workload::warnings(set, None),
    }
}

#[cfg(test)]
mod tests;
