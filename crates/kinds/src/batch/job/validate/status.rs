//! The status of a Job: what a controller may say of it, and then no longer unsay.
//!
//! A rule holds for what the write changes: the rest need not be better than it was let in
//! (getStatusValidationOptions).

use std::collections::BTreeSet;

use api::{FieldError, tree};
use serde_json::Value;

use super::is_indexed;
use crate::validate::at::{At, Errors, non_negative};

/// Whether a condition of a status holds.
pub fn is_true(status: &Value, kind: &str) -> bool {
    is(status, kind, "True")
}

fn is(status: &Value, kind: &str, value: &str) -> bool {
    tree::list(status, "conditions").iter().any(|condition| condition["type"] == kind && condition["status"] == value)
}

fn is_finished(status: &Value) -> bool {
    is_true(status, "Complete") || is_true(status, "Failed")
}

/// A write of the status.
struct Write<'a> {
    spec: At<'a>,
    status: At<'a>,
    was: At<'a>,
}

pub fn change(job: &At, old: &At, errors: &mut Errors) {
    let write = Write { spec: job.get("spec"), status: job.get("status"), was: old.get("status") };
    write.counts(errors);
    write.conditions_and_times(errors);
    write.of_finished(errors);
    write.index_lists(errors);
    write.pods_and_criteria(errors);
    write.unsaid(errors);
}

impl<'a> Write<'a> {
    fn at(&self, field: &'static str) -> At<'a> {
        self.status.get(field)
    }

    fn changed(&self, field: &'static str) -> bool {
        self.at(field).value != self.was.get(field).value
    }

    fn is(&self, kind: &str) -> bool {
        is_true(self.status.value, kind)
    }

    fn turned(&self, kind: &str) -> bool {
        self.is(kind) != is_true(self.was.value, kind)
    }

    /// Upstream shows no value with it.
    fn conditions(&self, why: &str) -> FieldError {
        self.at("conditions").invalid_shown(String::new(), why)
    }

    fn counts(&self, errors: &mut Errors) {
        ["active", "succeeded", "failed", "ready", "terminating"]
            .iter()
            .for_each(|f| non_negative(&self.at(f), errors));
        let mut seen = BTreeSet::new();
        let lists = ["succeeded", "failed"].map(|list| self.at("uncountedTerminatedPods").get(list));
        for uid in lists.iter().flat_map(|list| list.items().collect::<Vec<_>>()) {
            if uid.text().is_empty() {
                errors.push(uid.invalid("must not be empty"));
            } else if !seen.insert(uid.text()) {
                errors.push(uid.duplicate());
            }
        }
    }

    fn conditions_and_times(&self, errors: &mut Errors) {
        let (complete, failed) = (self.is("Complete"), self.is("Failed"));
        let (completed, start, end) = (self.turned("Complete"), self.at("startTime"), self.at("completionTime"));
        if (completed || self.turned("Failed")) && complete && failed {
            errors.push(self.conditions("cannot set Complete=True and Failed=true conditions"));
        }
        if (completed || self.turned("FailureTarget")) && complete && self.is("FailureTarget") {
            errors.push(self.conditions("cannot set Complete=True and FailureTarget=true conditions"));
        }
        if completed || self.changed("completionTime") {
            match (end.has(), complete) {
                (true, false) => {
                    errors.push(end.invalid("cannot set completionTime when there is no Complete=True condition"));
                }
                (false, true) => errors.push(end.required("completionTime is required for Complete jobs")),
                _ => {}
            }
        }
        // Whole seconds in UTC: their order is the texts'.
        let moved = self.changed("startTime") || self.changed("completionTime");
        if moved && start.has() && end.has() && end.text() < start.text() {
            errors.push(end.invalid("must be equal to or after `startTime`"));
        }
        if (self.turned("Failed") || self.changed("failedIndexes")) && failed && !self.is("FailureTarget") {
            errors.push(self.conditions("cannot set Failed=True condition without the FailureTarget=true condition"));
        }
        if (completed || self.turned("SuccessCriteriaMet")) && complete && !self.is("SuccessCriteriaMet") {
            let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
            errors.push(self.conditions(why));
        }
    }

    fn of_finished(&self, errors: &mut Errors) {
        if !is_finished(self.status.value) {
            return;
        }
        let ended = !is_finished(self.was.value);
        let (active, start, uncounted) = (self.at("active"), self.at("startTime"), self.at("uncountedTerminatedPods"));
        if (ended || self.changed("active")) && active.number() > 0 {
            errors.push(active.invalid("active>0 is invalid for finished job"));
        }
        let had_nothing_to_do = self.spec.get("suspend").flag() && self.spec.get("completions").int() == Some(0);
        if (ended || self.changed("startTime")) && !had_nothing_to_do && !start.has() {
            errors.push(start.required("startTime is required for finished job"));
        }
        let is_empty = uncounted.get("succeeded").is_empty() && uncounted.get("failed").is_empty();
        if (ended || self.changed("uncountedTerminatedPods")) && !is_empty {
            let list = |field| uncounted.get(field).value;
            let shown = format!("{{\"Succeeded\":{},\"Failed\":{}}}", list("succeeded"), list("failed"));
            errors.push(uncounted.invalid_shown(shown, "must be empty for finished job"));
        }
    }

    fn index_lists(&self, errors: &mut Errors) {
        let (completed, failed) = (self.at("completedIndexes"), self.at("failedIndexes"));
        let (newly_completed, newly_failed) = (self.changed("completedIndexes"), self.changed("failedIndexes"));
        let completions = self.spec.get("completions").int();
        let retries = self.spec.get("backoffLimitPerIndex").has();
        if let Some(completions) = completions {
            if newly_completed && let Err(why) = indexes(completed.text(), completions) {
                errors.push(completed.invalid(&format!("error parsing completedIndexes: {why}")));
            }
            if newly_failed
                && retries
                && let Err(why) = indexes(failed.text(), completions)
            {
                errors.push(failed.invalid(&format!("error parsing failedIndexes: {why}")));
            }
        }
        if newly_completed && !completed.text().is_empty() && !is_indexed(&self.spec) {
            let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.push(completed.invalid(why));
        }
        if newly_failed && failed.has() && !retries {
            errors.push(failed.invalid("cannot set non-null failedIndexes when backoffLimitPerIndex is null"));
        }
        if (newly_completed || newly_failed)
            && let Some(index) = completions.and_then(|count| overlap(completed.text(), failed.text(), count))
        {
            errors.push(failed.invalid(&format!("failedIndexes and completedIndexes overlap at index: {index}")));
        }
    }

    fn pods_and_criteria(&self, errors: &mut Errors) {
        let (ready, terminating) = (self.at("ready"), self.at("terminating"));
        let (finished, was_finished) = (is_finished(self.status.value), is_finished(self.was.value));
        if (finished != was_finished || self.changed("terminating")) && finished && terminating.number() > 0 {
            errors.push(terminating.invalid("terminating>0 is invalid for finished job"));
        }
        if (self.changed("ready") || self.changed("active"))
            && ready.has()
            && ready.number() > self.at("active").number()
        {
            errors.push(ready.invalid("cannot set more ready pods than active"));
        }
        let met = self.is("SuccessCriteriaMet");
        if met && self.is("Failed") {
            errors.push(self.conditions("cannot set SuccessCriteriaMet=True and Failed=true conditions"));
        }
        if met && self.is("FailureTarget") {
            errors.push(self.conditions("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"));
        }
        if self.spec.get("successPolicy").has() && !met && self.is("Complete") {
            let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            errors.push(self.conditions(why));
        }
    }

    /// What was said once stays said.
    fn unsaid(&self, errors: &mut Errors) {
        for kind in ["Failed", "Complete", "FailureTarget"] {
            if self.turned(kind) && !self.is(kind) {
                errors.push(self.conditions(&format!("cannot disable the terminal {kind}=True condition")));
            }
        }
        // An indexed Job that is made narrower forgets what has succeeded.
        let elastic =
            is_indexed(&self.spec) && self.spec.get("completions").value == self.spec.get("parallelism").value;
        for (field, may_fall) in [("failed", false), ("succeeded", elastic)] {
            let at = self.at(field);
            if !may_fall && at.number() < self.was.get(field).number() {
                errors.push(at.invalid_as(at.number(), &format!("cannot decrease the {field} counter")));
            }
        }
        let (start, end) = (self.at("startTime"), self.at("completionTime"));
        if end.has() && self.was.get("completionTime").has() && self.changed("completionTime") {
            errors.push(end.invalid("field is immutable"));
        }
        let resumes = is_true(self.was.value, "Suspended") && is(self.status.value, "Suspended", "False");
        let suspended = self.spec.get("suspend").flag();
        if self.changed("startTime") && !resumes && self.was.get("startTime").has() && !suspended {
            errors.push(start.invalid_as(start.value.clone(), "field is immutable for unsuspended job once set"));
        }
        let (was_met, met) = (is_true(self.was.value, "SuccessCriteriaMet"), self.is("SuccessCriteriaMet"));
        if was_met && !met {
            errors.push(self.conditions("cannot disable the SuccessCriteriaMet=True condition"));
        }
        if is_true(self.was.value, "Complete") && !was_met && met {
            let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.push(self.conditions(why));
        }
    }
}

/// `1,3-5,7` as ranges below a number of completions, or what is wrong with it.
pub fn indexes(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let range = interval(part, completions)?;
        if let Some((_, last)) = ranges.last().filter(|(_, last)| *last >= range.0) {
            return Err(format!("non-increasing order, previous: {last}, current: {}", range.0));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.len() > 2 {
        return Err(format!(
            "the fragment {text:?} violates the requirement that an index interval can have at most two parts separated \
             by '-'"
        ));
    }
    let number = |part: &str| match part.parse::<i64>() {
        Err(_) => Err(format!("cannot convert string to integer for index: {part:?}")),
        Ok(index) if index >= completions => Err(format!("too large index: {part:?}")),
        Ok(index) => Ok(index),
    };
    let first = number(parts[0])?;
    let Some(last) = parts.get(1) else { return Ok((first, first)) };
    match number(last)? {
        last if first >= last => Err(format!("non-increasing order, previous: {first}, current: {last}")),
        last => Ok((first, last)),
    }
}

/// The first index that is in both; what cannot be read is told elsewhere.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| text.split(',').filter_map(|part| interval(part, completions).ok()).collect::<Vec<_>>();
    let (completed, failed) = (read(completed), read(failed));
    let (mut a, mut b) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((c0, c1)), Some((f0, f1))) = (a.peek(), b.peek()) {
        if c0 <= f1 && f0 <= c1 {
            return Some(*c0.max(f0));
        }
        let _ = if c0 <= f0 { a.next() } else { b.next() };
    }
    None
}
