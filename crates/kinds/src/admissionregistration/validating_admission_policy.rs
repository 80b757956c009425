//! ValidatingAdmissionPolicy: expressions that must hold of what is written.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::policies::{self, POLICY, expression};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::conditions::conditions;
use crate::validate::meta;

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_MAX: usize = 5 * 1024;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: policies::columns(computed("Validations", "How many expressions judge.", |policy, _| {
            json!(tree::list(policy, "spec.validations").len())
        })),
        hooks: Hooks { prepare, validate, ..POLICY },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
            .in_category("api-extensions")
            .dormant(
                "no policy is evaluated yet: requests that it denies are let through; its expressions are not compiled",
            )
    }
}

/// A new one has an empty status, which upstream shows.
fn prepare(_: &Kind, policy: &mut Value, old: Option<&Value>, _: &Context) {
    if old.is_none() {
        policy["status"] = json!({});
    }
    count_generation(policy, old);
}

fn validate(kind: &Kind, policy: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let at = At::root(policy);
    if context.subresource == "status" {
        let mut errors = metadata(kind, policy, old);
        meta::by_library(&mut errors);
        for warning in at.get("status").get("typeChecking").get("expressionWarnings").items() {
            for field in ["warning", "fieldRef"].map(|field| warning.get(field)) {
                if field.text().trim().is_empty() {
                    errors.push(field.required(""));
                }
            }
        }
        conditions(&at.get("status").get("conditions"), &mut errors);
        return errors;
    }
    let mut errors = policies::validate(kind, policy, old);
    let (validations, annotations) = (at.get("spec").get("validations"), at.get("spec").get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.extend([validations.required(why), annotations.required(why)]);
        return errors;
    }
    validations.items().for_each(|validation| judge(&validation, &mut errors));
    if annotations.len() > ANNOTATIONS_MAX {
        errors.push(annotations.invalid(&format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations")));
    }
    let mut seen = BTreeSet::new();
    for annotation in annotations.items() {
        let key = annotation.get("key");
        annotate(&annotation, tree::text(policy, "metadata.name"), &mut errors);
        if !seen.insert(key.text()) {
            errors.push(key.duplicate());
        }
    }
    errors
}

fn judge(validation: &At, errors: &mut Errors) {
    expression(&validation.get("expression"), "expression is not specified", errors);
    let (message, made, reason) =
        (validation.get("message"), validation.get("messageExpression"), validation.get("reason"));
    for text in [&made, &message] {
        if !text.text().is_empty() && text.text().trim().is_empty() {
            errors.push(text.invalid("must be non-empty if specified"));
        }
    }
    if message.text().trim().contains(['\n', '\r']) {
        errors.push(message.invalid("must not contain line breaks"));
    }
    if reason.has() && !REASONS.contains(&reason.text()) {
        errors.push(reason.not_supported(REASONS));
    }
}

fn annotate(annotation: &At, policy: &str, errors: &mut Errors) {
    let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
    match policy {
        "" => errors.push(key.invalid("requires metadata.name be non-empty")),
        _ => {
            let name = Value::from(format!("{policy}/{}", key.text()));
            let shown = key.with(&name);
            invalid_each(&shown, names::qualified(shown.text()), errors);
        }
    }
    expression(&value, "valueExpression is not specified", errors);
    if value.text().trim().len() > ANNOTATION_MAX {
        errors.push(value.required(&format!("must not exceed {ANNOTATION_MAX} bytes in length")));
    }
}

#[cfg(test)]
mod tests;
