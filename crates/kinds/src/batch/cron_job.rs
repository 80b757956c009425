//! CronJob: a Job made again and again, by the clock.

use api::{FieldError, age, tree};
use serde_json::{Value, json};

use super::job;
use super::job::validate::{spec_warnings, template_of};
use crate::pod::defaults;
use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::selector;
use crate::workload::{self, joined};

/// Schedules as robfig/cron reads them.
pub use api::cron as schedule;

/// A Job's name is the CronJob's and eleven letters for the time.
const NAME_MAX: usize = 52;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: columns(),
        hooks: Hooks { prepare, default, validate, warnings, ..HOOKS },
        ..Kind::namespaced("batch/v1", "CronJob", "cronjobs").short("cj").in_all()
    }
}

const TEMPLATE: &str = "spec.jobTemplate.spec.template";

fn columns() -> Vec<Column> {
    vec![
        NAME,
        text("Schedule", "When.", "spec.schedule"),
        computed("Timezone", "Where it is that time.", |cron, _| {
            json!(tree::at(cron, "spec.timeZone").as_str().unwrap_or("<none>"))
        }),
        Column {
            kind: "boolean".into(),
            ..computed("Suspend", "Whether it makes none for now.", |cron, _| {
                let suspend = tree::at(cron, "spec.suspend").as_bool();
                json!(suspend.map_or("<unset>", |suspend| if suspend { "True" } else { "False" }))
            })
        },
        Column {
            kind: "integer".into(),
            ..computed("Active", "How many of its Jobs run.", |cron, _| json!(tree::list(cron, "status.active").len()))
        },
        computed("Last Schedule", "The time since the last Job was made.", |cron, now| {
            json!(match tree::text(cron, "status.lastScheduleTime") {
                "" => "<none>".into(),
                time => age::since(time, now),
            })
        }),
        AGE,
        wide(computed("Containers", "The names of the containers.", |cron, _| {
            json!(joined(tree::at(cron, TEMPLATE), "name"))
        })),
        wide(computed("Images", "Their images.", |cron, _| json!(joined(tree::at(cron, TEMPLATE), "image")))),
        wide(computed("Selector", "The labels of its pods.", |cron, _| {
            json!(selector_text(tree::at(cron, "spec.jobTemplate.spec.selector")))
        })),
    ]
}

fn prepare(_: &Kind, cron: &mut Value, old: Option<&Value>, _: &Context) {
    let was = old.map(|old| tree::at(old, "spec.jobTemplate.spec"));
    let template = cron.get_mut("spec").and_then(|spec| spec.get_mut("jobTemplate"));
    if let Some(spec) = template.and_then(|template| template.get_mut("spec")) {
        job::drop_disabled(spec, was);
    }
    workload::count_born(cron, old, json!({}));
}

/// Of the Jobs that it makes only the template is completed; they are themselves when they are made.
fn default(_: &Kind, cron: &mut Value) {
    let Some(spec) = tree::child(cron, "spec") else { return };
    tree::set_default_text(spec, "concurrencyPolicy", "Allow");
    tree::set_default(spec, "suspend", false);
    tree::set_default(spec, "successfulJobsHistoryLimit", 3);
    tree::set_default(spec, "failedJobsHistoryLimit", 1);
    let Some(job) = tree::child(spec, "jobTemplate").and_then(|template| tree::child(template, "spec")) else { return };
    if let Some(template) = tree::child(job, "template") {
        defaults::template(template);
    }
    job::default_patterns(job);
}

fn validate(kind: &Kind, cron: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    if context.subresource == "status" {
        return Vec::new();
    }
    // What upstream's declared rules find stands last.
    let (mut errors, mut declared) = (metadata(kind, cron, old), Errors::new());
    let at = At::root(cron);
    let spec = at.get("spec");
    schedule_of(&spec, old, &mut errors);
    non_negative(&spec.get("startingDeadlineSeconds"), &mut errors);
    let zone = spec.get("timeZone");
    if old.is_none_or(|old| tree::at(old, "spec.timeZone") != zone.value) {
        time_zone(&zone, &mut errors);
    }
    let policy = spec.get("concurrencyPolicy");
    match policy.text() {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errors.push(policy.required("")),
        _ => errors.push(policy.not_supported(&["Allow", "Forbid", "Replace"])),
    }
    let job = spec.get("jobTemplate").get("spec");
    template_of(&job, context, &mut errors);
    let (made, manual) = (job.get("selector"), job.get("manualSelector"));
    if made.has() {
        errors.push(selector::wrong(&made, "`selector` will be auto-generated"));
    }
    if manual.flag() {
        errors.push(manual.not_supported(&["nil", "false"]));
    }
    non_negative(&spec.get("successfulJobsHistoryLimit"), &mut errors);
    non_negative(&spec.get("failedJobsHistoryLimit"), &mut errors);
    let name = at.get("metadata").get("name");
    if spec.get("schedule").text().is_empty() {
        declared.push(spec.get("schedule").required(""));
    }
    if old.is_none() && name.text().len() > NAME_MAX {
        errors.push(name.invalid("must be no more than 52 characters"));
    }
    errors.extend(declared);
    errors
}

fn schedule_of(spec: &At, old: Option<&Value>, errors: &mut Errors) {
    let at = spec.get("schedule");
    let text = at.text();
    if text.is_empty() {
        return;
    }
    if let Err(why) = schedule::check(text) {
        errors.push(at.invalid(&why));
    }
    // As it was written before there was a field, and let in.
    let may_name_zone = old.is_some_and(|old| tree::text(old, "spec.schedule").contains("TZ"));
    match text.contains("TZ") {
        true if !may_name_zone => {
            errors.push(at.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
        }
        true if spec.get("timeZone").has() => {
            errors.push(at.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
        }
        _ => {}
    }
}

fn time_zone(at: &At, errors: &mut Errors) {
    let name = at.text();
    if !at.has() {
        return;
    }
    if name.is_empty() {
        errors.push(at.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let is_good = |part: &str| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b".-_+".contains(&b);
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(letters)
    };
    let unknown = format!("unknown time zone {name}");
    if !name.split('/').all(is_good) {
        errors.push(at.invalid(&unknown));
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(at.invalid(why));
    }
    if name != "Local" && !schedule::is_zone(name) {
        errors.push(at.invalid(&unknown));
    }
}

fn warnings(_: &Kind, cron: &Value, old: Option<&Value>) -> Vec<String> {
    let spec = At::root(cron).get("spec").get("jobTemplate").get("spec");
    let generation = |cron: &Value| tree::int(cron, "metadata.generation");
    let Some(old) = old else {
        return workload::name_warning(cron).into_iter().chain(spec_warnings(&spec)).collect();
    };
    let mut out = if generation(old) == generation(cron) { Vec::new() } else { spec_warnings(&spec) };
    // The doubled word is upstream's.
    if old["status"] == cron["status"] && tree::text(cron, "spec.schedule").contains("TZ") {
        out.push(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .into(),
        );
    }
    out
}

#[cfg(test)]
mod tests;
