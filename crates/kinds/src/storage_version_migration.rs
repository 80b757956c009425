//! StorageVersionMigration: objects of a resource shall be stored in its newest version.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::At;
use crate::validate::conditions::conditions;
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            Column { format: "".into(), ..NAME },
            computed("Resource", "What is stored anew.", |migration, _| json!(resource(migration))),
            computed("Status", "How far it is.", |migration, _| json!(state(migration))),
        ],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("storagemigration.k8s.io/v1", "StorageVersionMigration", "storageversionmigrations")
            .kept_as("v1beta1")
            .dormant("nobody stores objects anew yet")
    }
}

fn resource(migration: &Value) -> String {
    let of = |field| tree::text(tree::at(migration, "spec.resource"), field);
    [of("resource"), of("group")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// The last of the conditions that hold.
fn state(migration: &Value) -> &str {
    let holds = |kind: &&str| matches!(*kind, "Running" | "Failed" | "Succeeded") && is_true(migration, kind);
    let kinds = tree::list(migration, "status.conditions").iter().map(|condition| tree::text(condition, "type"));
    kinds.rev().find(holds).unwrap_or("Unknown")
}

fn is_true(migration: &Value, kind: &str) -> bool {
    let found = tree::list(migration, "status.conditions").iter().find(|condition| condition["type"] == kind);
    found.is_some_and(|condition| condition["status"] == "True")
}

fn validate(kind: &Kind, migration: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, migration, old);
    let at = At::root(migration);
    if let Some(old) = old.filter(|_| context.subresource == "status") {
        errors.extend(status(migration, old, &at.get("status")));
        return errors;
    }
    let of = at.get("spec").get("resource");
    let (resource, group) = (of.get("resource"), of.get("group"));
    let complaints = [(&resource, names::dns_1035_label as meta::NameRule), (&group, names::dns_subdomain)];
    if resource.text().is_empty() {
        errors.push(resource.required("resource is required to be set"));
    }
    for (at, rule) in complaints.into_iter().filter(|(at, _)| !at.text().is_empty()) {
        let complaints = rule(at.text());
        if !complaints.is_empty() {
            errors.push(at.invalid(&complaints.join(",")));
        }
    }
    if let Some(old) = old.filter(|old| tree::at(old, "spec") != at.get("spec").value) {
        let mut error = At::root(old).get("spec").invalid("field is immutable");
        let text = |at: &At| Value::from(at.text()).to_string();
        error.value = format!("{{\"Resource\":{{\"group\":{},\"resource\":{}}}}}", text(&group), text(&resource));
        errors.push(error);
    }
    errors
}

fn status(migration: &Value, old: &Value, at: &At) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (revision, all) = (at.get("resourceVersion"), at.get("conditions"));
    let text = revision.text();
    if !text.is_empty() && (text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit())) {
        errors.push(revision.invalid(&format!("resource version is not well formed: {text}")));
    }
    conditions(&all, &mut errors);
    let was = tree::text(old, "status.resourceVersion");
    if !was.is_empty() && was != text {
        errors.push(revision.invalid("field is immutable"));
    }
    let shown = if all.has() { all.value.clone() } else { Value::Null };
    let mut refuse = |why: &str| errors.push(all.invalid_as(shown.clone(), why));
    if is_true(migration, "Succeeded") && is_true(migration, "Failed") {
        refuse("Both success and failed conditions cannot be true at the same time");
    }
    for (kind, word) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is_true(old, kind) && !is_true(migration, kind) {
            refuse(&format!("{word} condition cannot be set to false once it is true"));
        }
    }
    errors
}

#[cfg(test)]
mod tests;
