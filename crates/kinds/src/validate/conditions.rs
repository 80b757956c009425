//! Conditions, as the status of many kinds holds them.
//!
//! Matches apimachinery pkg/apis/meta/v1/validation, ValidateConditions.

use std::collections::BTreeSet;

use api::names;

use super::at::{At, Errors, invalid_each};

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

/// A list of conditions, one of a type.
pub fn conditions(at: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for condition in at.items() {
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
        "True" | "False" | "Unknown" => {}
        "" => errors.push(status.required("")),
        _ => errors.push(status.not_supported(&["False", "True", "Unknown"])),
    }
    if at.get("observedGeneration").number() < 0 {
        errors.push(at.get("observedGeneration").invalid("must be greater than or equal to zero"));
    }
    if !at.has_field("lastTransitionTime") {
        errors.push(at.get("lastTransitionTime").required(""));
    }
    match reason.text() {
        "" => errors.push(reason.required("")),
        text => {
            invalid_each(&reason, names::condition_reason(text), errors);
            if text.len() > REASON_MAX {
                errors.push(reason.too_long(REASON_MAX));
            }
        }
    }
    if at.get("message").text().len() > MESSAGE_MAX {
        errors.push(at.get("message").too_long(MESSAGE_MAX));
    }
}
