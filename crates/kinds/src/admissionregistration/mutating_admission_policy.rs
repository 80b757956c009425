//! MutatingAdmissionPolicy: expressions that change what is written.

use api::{FieldError, tree};
use serde_json::{Value, json};

use super::policies::{self, POLICY, expression};
use super::rules::{self, REINVOCATIONS, one_of};
use crate::row::*;
use crate::validate::at::{At, Errors};

const PATCHES: &[&str] = &["ApplyConfiguration", "JSONPatch"];

pub(crate) fn row() -> Kind {
    Kind {
        columns: policies::columns(computed("Mutations", "How many expressions change objects.", |policy, _| {
            json!(tree::list(policy, "spec.mutations").len())
        })),
        hooks: Hooks { validate, ..POLICY },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
            .in_category("api-extensions")
            .dormant(
                "no policy is evaluated yet: what it would change is stored as it comes; its expressions are not compiled",
            )
    }
}

fn validate(kind: &Kind, policy: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = policies::validate(kind, policy, old);
    let spec = At::root(policy).get("spec");
    rules::mutating(&spec.get("matchConstraints"), &mut errors);
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        errors.push(mutations.required("mutations must contain at least one item"));
    }
    mutations.items().for_each(|mutation| judge(&mutation, &mut errors));
    one_of(&spec.get("reinvocationPolicy"), REINVOCATIONS, &mut errors);
    errors
}

fn judge(mutation: &At, errors: &mut Errors) {
    let kind = mutation.get("patchType");
    one_of(&kind, PATCHES, errors);
    let (own, other) = match kind.text() {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => return,
    };
    let (own, not) = (mutation.get(own), mutation.get(other));
    match own.has() {
        true => expression(&own.get("expression"), "", errors),
        false => errors.push(own.required(&format!("must be specified when patchType is {}", kind.text()))),
    }
    if not.has() {
        let why = format!("must not be specified when patchType is {}", kind.text());
        errors.push(not.invalid_as(format!("{{{other}}}"), &why));
    }
}

#[cfg(test)]
mod tests;
