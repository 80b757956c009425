//! Job: pods that run until so many have succeeded.

use api::{age, tree};
use serde_json::{Map, Value, json};

use crate::row::*;
use crate::workload;

pub mod validate;

/// By which a Job selects its pods: today's names, and those before there was a prefix.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Of a deletion that does not say what becomes of pods (pkg/registry/batch/job/storage).
const ORPHANS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                       remove them or set propagationPolicy=Orphan to suppress this warning";

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: columns(),
        field_selectors: vec![made("status.successful", |job| {
            tree::int(job, "status.succeeded").unwrap_or(0).to_string()
        })],
        hooks: Hooks {
            prepare,
            default: |_, job| default(job),
            validate: validate::validate,
            warnings: validate::warnings,
            ..HOOKS
        },
        writes: Writes { orphans: true, orphan_warning: ORPHANS, ..WRITES },
        ..Kind::namespaced("batch/v1", "Job", "jobs").in_all().unselected("field label \"%\" not supported for Job")
    }
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        NAME,
        computed("Status", "What became of it, in one word.", |job, _| json!(word(job))),
        computed("Completions", "How many pods have succeeded, of how many.", |job, _| json!(completions(job))),
        computed("Duration", "How long it took, or has taken.", |job, now| {
            let (start, end) = (tree::text(job, "status.startTime"), tree::text(job, "status.completionTime"));
            json!(match (start, end) {
                ("", _) => String::new(),
                (start, "") => age::since(start, now),
                (start, end) => age::since(start, end),
            })
        }),
        AGE,
    ];
    columns.extend(workload::containers());
    columns.push(workload::SELECTOR);
    columns
}

fn word(job: &Value) -> &'static str {
    let is = |kind| validate::is_true(&job["status"], kind);
    match () {
        _ if is("Complete") => "Complete",
        _ if is("Failed") => "Failed",
        _ if tree::has(job, "metadata.deletionTimestamp") => "Terminating",
        _ if is("Suspended") => "Suspended",
        _ if is("FailureTarget") => "FailureTarget",
        _ if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        _ => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = tree::int(job, "status.succeeded").unwrap_or(0);
    match (tree::int(job, "spec.completions"), tree::int(job, "spec.parallelism").unwrap_or(0)) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn prepare(_: &Kind, job: &mut Value, old: Option<&Value>, context: &Context) {
    drop_disabled(&mut job["spec"], old.map(|old| &old["spec"]));
    if old.is_none() && !tree::flag(job, "spec.manualSelector") {
        select_own(job);
        default_labels(job);
    }
    if context.subresource == "status" {
        default_labels(job);
    }
    workload::count_born(job, old, json!({}));
}

/// Upstream has it as alpha, switched off (WorkloadWithJob).
pub fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    workload::drop_disabled(spec, old);
    let was_there = old.is_some_and(|old| tree::has(old, "scheduling"));
    if let Some(spec) = spec.as_object_mut().filter(|_| !was_there) {
        spec.remove("scheduling");
    }
}

/// A Job selects by its own uid, so that no two select the same pods.
fn select_own(job: &mut Value) {
    let [uid, name] = ["uid", "name"].map(|field| json!(tree::text(&job["metadata"], field)));
    let Some(spec) = tree::child(job, "spec") else { return };
    let template = tree::child(spec, "template").and_then(|template| tree::child(template, "metadata"));
    if let Some(labels) = template.and_then(|metadata| tree::child(metadata, "labels")) {
        for (keys, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
            for key in keys {
                tree::set_default(labels, key, value.clone());
            }
        }
    }
    let selector = tree::child(spec, "selector").and_then(|selector| tree::child(selector, "matchLabels"));
    if let Some(labels) = selector {
        tree::set_default(labels, UID_LABELS[0], uid);
    }
}

fn default(job: &mut Value) {
    let Some(spec) = workload::default_spec(job) else { return };
    if !tree::has(spec, "completions") && !tree::has(spec, "parallelism") {
        tree::set_default(spec, "completions", 1);
    }
    tree::set_default(spec, "parallelism", 1);
    let retries = if tree::has(spec, "backoffLimitPerIndex") { i64::from(i32::MAX) } else { 6 };
    tree::set_default(spec, "backoffLimit", retries);
    tree::set_default(spec, "completionMode", "NonIndexed");
    tree::set_default(spec, "suspend", false);
    let replaced = if tree::has(spec, "podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    tree::set_default(spec, "podReplacementPolicy", replaced);
    tree::set_default(spec, "manualSelector", false);
    default_patterns(spec);
    default_labels(job);
}

/// The template's, where it has none itself. Upstream defaults what it reads, so that they come after all is judged:
/// of a new Job those too by which it selects, of a written status those of the template that stays.
fn default_labels(job: &mut Value) {
    let labels = tree::at(job, "spec.template.metadata.labels").clone();
    if let Some(metadata) = tree::child(job, "metadata").filter(|_| labels.is_object())
        && metadata["labels"].as_object().is_none_or(Map::is_empty)
    {
        metadata["labels"] = labels;
    }
}

/// The conditions of pods that a failure policy looks for are true ones. In a CronJob's template too.
pub fn default_patterns(spec: &mut Value) {
    let Some(policy) = spec.get_mut("podFailurePolicy") else { return };
    for rule in tree::each(policy, "rules") {
        tree::each(rule, "onPodConditions").for_each(|pattern| tree::set_default_text(pattern, "status", "True"));
    }
}

#[cfg(test)]
mod tests;
