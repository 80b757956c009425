//! Jobs: how many, how often again, what counts as failed; and what of it may change.
//!
//! Matches pkg/apis/batch/validation; the options of pkg/registry/batch/job/strategy.go decide what a write is
//! measured by.

use std::collections::BTreeSet;

use api::selector::Labels;
use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::{NAME_LABELS, UID_LABELS};
use crate::networking::ingress_class::domain_prefixed;
use crate::pod::validate::{template, warnings::template as template_warnings};
use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::{meta, selector as shown};
use crate::workload;

pub mod policies;
pub mod status;

const PARALLELISM_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// From here on a Job that retries each index must be narrower.
const COMPLETIONS_SOFT_MAX: i64 = 100_000;
const NARROW: i64 = 10_000;
const MANAGED_BY_MAX: usize = 63;

pub use status::is_true;

pub fn validate(kind: &Kind, job: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = match old.is_none() && labelled_by_us(job) {
        true => {
            let mut unlabelled = job.clone();
            tree::child(&mut unlabelled, "metadata").and_then(Value::as_object_mut).map(|meta| meta.remove("labels"));
            metadata(kind, &unlabelled, old)
        }
        false => metadata(kind, job, old),
    };
    let at = At::root(job);
    match (old, context.subresource.as_str()) {
        (Some(old), "status") => status::change(&at, &At::root(old), &mut errors),
        (None, _) => {
            own_selector(&at, &mut errors);
            whole(&at.get("spec"), context, &mut errors);
            index_fits_name(&at, &mut errors);
        }
        (Some(old), _) => {
            whole(&at.get("spec"), context, &mut errors);
            change(&at.get("spec"), old, &mut errors);
            index_fits_name(&at, &mut errors);
        }
    }
    errors
}

/// Whether its labels are its template's, of which one was made just now.
fn labelled_by_us(job: &Value) -> bool {
    let (own, template) = (tree::at(job, "metadata.labels"), tree::at(job, "spec.template.metadata.labels"));
    own == template && own.get(UID_LABELS[0]).is_some() && !tree::flag(job, "spec.manualSelector")
}

pub fn warnings(_: &Kind, job: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out: Vec<String> = old.is_none().then(|| workload::name_warning(job)).flatten().into_iter().collect();
    let generation = |job: &Value| tree::int(job, "metadata.generation");
    if old.is_none_or(|old| generation(old) != generation(job)) {
        out.extend(spec_warnings(&At::root(job).get("spec")));
    }
    out
}

/// Also of the Jobs that a CronJob makes.
pub fn spec_warnings(spec: &At) -> Vec<String> {
    let mut out = Vec::new();
    if is_indexed(spec)
        && spec.get("completions").number() > COMPLETIONS_SOFT_MAX
        && spec.get("parallelism").number() > NARROW
    {
        out.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            spec.path()
        ));
    }
    out.extend(template_warnings(&spec.get("template")));
    out
}

fn is_indexed(spec: &At) -> bool {
    spec.get("completionMode").text() == "Indexed"
}

/// A selector that was made from the Job's uid is as it was made.
fn own_selector(job: &At, errors: &mut Errors) {
    let (spec, metadata) = (job.get("spec"), job.get("metadata"));
    let (selector, uid) = (spec.get("selector"), metadata.get("uid"));
    if spec.get("manualSelector").flag() || !selector.has() {
        return;
    }
    if uid.text().is_empty() {
        errors.push(uid.required(""));
    }
    let labels = spec.get("template").get("metadata").get("labels");
    let wanted = [
        (UID_LABELS[1], uid.text()),
        (NAME_LABELS[1], metadata.get("name").text()),
        (UID_LABELS[0], uid.text()),
        (NAME_LABELS[0], metadata.get("name").text()),
    ];
    for (key, want) in wanted {
        let label = labels.key(key);
        if !label.has() {
            errors.push(label.required(&format!("must be '{want}'")));
        } else if label.text() != want {
            errors.push(label.invalid_as(labels.value.clone(), &format!("must be '{want}'")));
        }
    }
    let made = wanted.map(|(key, want)| (key.to_string(), want.to_string()));
    if Labels::from_label_selector(selector.value).is_ok_and(|s| !s.matches(&std::collections::BTreeMap::from(made))) {
        errors.push(shown::wrong(&selector, "`selector` not auto-generated"));
    }
}

fn whole(spec: &At, context: &Context, errors: &mut Errors) {
    template_of(spec, context, errors);
    let selector = spec.get("selector");
    match selector.has() {
        true => meta::label_selector(&selector, errors),
        false => errors.push(selector.required("")),
    }
    if let Ok(read) = Labels::from_label_selector(selector.value) {
        workload::matches(&spec.get("template"), &read, errors);
    }
}

/// Everything but the selector: what a CronJob's template is judged by, too.
pub fn template_of(spec: &At, context: &Context, errors: &mut Errors) {
    const COUNTS: [&str; 7] = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    COUNTS.iter().for_each(|field| non_negative(&spec.get(field), errors));
    let (per_index, failed) = (spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes"));
    if failed.has() && !per_index.has() {
        errors.push(per_index.required("when maxFailedIndexes is specified"));
    }
    let manager = spec.get("managedBy");
    if manager.has() {
        domain_prefixed(&manager, errors);
        if manager.text().len() > MANAGED_BY_MAX {
            errors.push(manager.too_long(MANAGED_BY_MAX));
        }
    }
    let mode = spec.get("completionMode");
    if mode.has() && !matches!(mode.text(), "NonIndexed" | "Indexed") {
        errors.push(mode.not_supported(&["NonIndexed", "Indexed"]));
    }
    if is_indexed(spec) {
        indexed(spec, errors);
    } else if !mode.has() || mode.text() == "NonIndexed" {
        for field in [&per_index, &failed].into_iter().filter(|field| field.has()) {
            errors.push(field.invalid("requires indexed completion mode"));
        }
    }
    policies::failure(spec, errors);
    policies::success(spec, is_indexed(spec), errors);
    policies::replacement(spec, errors);
    let pods = spec.get("template");
    template(&pods, context, errors);
    let restart = pods.get("spec").get("restartPolicy");
    match restart.text() {
        "" | "Always" => errors.push(restart.required("valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if spec.get("podFailurePolicy").has() => {
            errors.push(restart.invalid("only \"Never\" is supported when podFailurePolicy is specified"));
        }
        "OnFailure" | "Never" => {}
        _ => errors.push(restart.not_supported(&["OnFailure", "Never"])),
    }
}

fn indexed(spec: &At, errors: &mut Errors) {
    let (completions, parallelism) = (spec.get("completions"), spec.get("parallelism"));
    let (failed, retries) = (spec.get("maxFailedIndexes"), spec.get("backoffLimitPerIndex").has());
    if !completions.has() {
        errors.push(completions.required("when completion mode is Indexed"));
    }
    if parallelism.number() > PARALLELISM_MAX {
        let why = format!("must be less than or equal to {PARALLELISM_MAX} when completion mode is Indexed");
        errors.push(parallelism.invalid(&why));
    }
    if completions.has() && failed.has() && failed.number() > completions.number() {
        errors.push(failed.invalid("must be less than or equal to completions"));
    }
    if failed.number() > FAILED_INDEXES_MAX {
        errors.push(failed.invalid(&format!("must be less than or equal to {FAILED_INDEXES_MAX}")));
    }
    if completions.number() <= COMPLETIONS_SOFT_MAX || !retries {
        return;
    }
    if !failed.has() {
        errors.push(failed.required(&format!("must be specified when completions is above {COMPLETIONS_SOFT_MAX}")));
    }
    for field in [parallelism, failed].iter().filter(|field| field.number() > NARROW) {
        errors.push(field.invalid(&format!(
            "must be less than or equal to {NARROW} when completions are above {COMPLETIONS_SOFT_MAX} and used with \
             backoff limit per index"
        )));
    }
}

/// The last index is a part of its pod's host name.
fn index_fits_name(job: &At, errors: &mut Errors) {
    let (spec, name) = (job.get("spec"), job.get("metadata").get("name"));
    let completions = spec.get("completions").number();
    if is_indexed(&spec) && completions > 0 {
        let host = format!("{}-{}", name.text(), completions - 1);
        if !names::dns_label(&host).is_empty() {
            errors.push(name.invalid(&format!("will not able to create pod with invalid DNS label: {host}")));
        }
    }
}

fn change(spec: &At, old: &Value, errors: &mut Errors) {
    let was = At::root(old).get("spec");
    let (completions, before) = (spec.get("completions"), was.get("completions"));
    if !is_indexed(spec) {
        meta::immutable(&completions, &before, errors);
    } else if completions.has()
        && completions.value != before.value
        && completions.number() != spec.get("parallelism").number()
    {
        errors.push(completions.invalid("can only be modified in tandem with spec.parallelism"));
    }
    shown::immutable(&spec.get("selector"), &was.get("selector"), errors);
    template_change(spec, old, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        let at = spec.get(field);
        if at.value != was.get(field).value {
            errors.push(at.invalid_as(at.value.clone(), "field is immutable"));
        }
    }
}

/// Where its pods run, what they are called and what they get may change while it is suspended and has none.
fn template_change(spec: &At, old: &Value, errors: &mut Errors) {
    let suspended = tree::flag(old, "spec.suspend");
    let has_none = !tree::has(old, "status.startTime") || is_true(&old["status"], "Suspended");
    let may_change = suspended && has_none && tree::int(old, "status.active").unwrap_or(0) == 0;
    let template = spec.get("template");
    let mut allowed = old["spec"]["template"].clone();
    if !may_change {
        return immutable(&template, &allowed, errors);
    }
    let new = template.value;
    let Some(pod) = tree::child(&mut allowed, "spec") else { return };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        tree::keep(pod, &new["spec"], field);
    }
    keep_node_affinity(pod, &new["spec"]);
    for list in ["containers", "initContainers"] {
        let sent = tree::list(&new["spec"], list);
        if sent.len() != tree::list(pod, list).len() {
            continue;
        }
        for (container, sent) in tree::each(pod, list).zip(sent).filter(|(was, now)| was["name"] == now["name"]) {
            tree::keep(container, sent, "resources");
        }
    }
    immutable(&template.get("spec"), pod, errors);
}

fn immutable(at: &At, allowed: &Value, errors: &mut Errors) {
    if at.value != allowed {
        errors.push(at.invalid_as(at.value.clone(), "field is immutable"));
    }
}

fn keep_node_affinity(pod: &mut Value, new: &Value) {
    let mut affinity = pod["affinity"].as_object().cloned().unwrap_or_default();
    match new["affinity"].get("nodeAffinity") {
        Some(value) => affinity.insert("nodeAffinity".into(), value.clone()),
        None => affinity.remove("nodeAffinity"),
    };
    let Some(fields) = pod.as_object_mut() else { return };
    match affinity.is_empty() && !tree::has(new, "affinity") {
        true => fields.remove("affinity"),
        false => fields.insert("affinity".into(), affinity.into()),
    };
}

/// The names of the template's containers that end: those of a failure policy are among them.
fn container_names<'a>(spec: &At<'a>) -> BTreeSet<&'a str> {
    let pod = spec.get("template").get("spec");
    let lists = ["containers", "initContainers"].map(|list| pod.get(list));
    lists.iter().flat_map(|list| list.items().collect::<Vec<_>>()).map(|c| c.get("name").text()).collect()
}

/// `["a" "b"]`: how Go prints a list of strings.
fn quoted(list: &[&str]) -> String {
    format!("valid values: [{}]", list.iter().map(|text| json!(text).to_string()).collect::<Vec<_>>().join(" "))
}
