//! Conditions of the common type (apimachinery pkg/apis/meta/v1/validation ValidateConditions).

use std::collections::BTreeSet;

use api::names;

use super::at::{At, Errors, invalid_each};

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

pub fn conditions(list: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for condition in list.items() {
        let kind = condition.get("type");
        if !seen.insert(kind.text()) {
            errors.push(condition.with(kind.value).duplicate());
        }
        self::condition(&condition, errors);
    }
}

fn condition(at: &At, errors: &mut Errors) {
    let (kind, status, reason) = (at.get("type"), at.get("status"), at.get("reason"));
    match kind.text() {
        "" => errors.push(kind.required("is required")),
        text => invalid_each(&kind, names::qualified(text), errors),
    }
    match status.text() {
        "" => errors.push(status.required("")),
        "True" | "False" | "Unknown" => {}
        _ => errors.push(status.not_supported(&["False", "True", "Unknown"])),
    }
    let generation = at.get("observedGeneration");
    if generation.number() < 0 {
        errors.push(generation.invalid("must be greater than or equal to zero"));
    }
    if at.get("lastTransitionTime").text().is_empty() {
        errors.push(at.get("lastTransitionTime").required(""));
    }
    match reason.text() {
        "" => errors.push(reason.required("")),
        text => {
            if !is_reason(text) {
                errors.push(reason.invalid(&names::form(NO_REASON, REASON, EXAMPLES)));
            }
            if text.len() > REASON_MAX {
                errors.push(reason.too_long(REASON_MAX));
            }
        }
    }
    if at.get("message").text().len() > MESSAGE_MAX {
        errors.push(at.get("message").too_long(MESSAGE_MAX));
    }
}

const REASON: &str = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?";
const NO_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of \
                         alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
const EXAMPLES: &[&str] = &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];

fn is_reason(text: &str) -> bool {
    let last = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(last)
        && text.chars().all(|c| last(c) || c == ',' || c == ':')
}
