//! ValidatingAdmissionPolicyBinding: where a policy holds, and what becomes of who offends it.

use std::collections::BTreeSet;

use super::bindings;
use crate::row::*;
use crate::validate::at::{At, Errors};

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

pub(crate) fn row() -> Kind {
    let row = bindings::row("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings");
    let validate: fn(&Kind, &_, Option<&_>, &Context) -> _ = |kind, binding, old, _| {
        let mut errors = bindings::validate(kind, binding, old);
        actions(&At::root(binding).get("spec").get("validationActions"), &mut errors);
        errors
    };
    Kind { hooks: Hooks { validate, ..row.hooks }, ..row }
        .dormant("no policy is evaluated yet: requests that it denies are let through")
}

fn actions(at: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for action in at.items() {
        if !ACTIONS.contains(&action.text()) {
            errors.push(action.not_supported(ACTIONS));
        }
        if !seen.insert(action.text()) {
            errors.push(action.duplicate());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errors.push(at.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)",
        ));
    }
    if seen.is_empty() {
        errors.push(at.required(""));
    }
}
