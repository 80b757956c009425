//! RoleBinding and ClusterRoleBinding: who has a role. Which one it is never changes.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::{GROUP, metadata};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};

pub(crate) fn row() -> Kind {
    with_subjects(Kind::namespaced("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"))
}

pub(crate) fn cluster_row() -> Kind {
    with_subjects(Kind::cluster("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"))
}

fn with_subjects(kind: Kind) -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Role", "What it gives.", |binding, _| {
                let role = &binding["roleRef"];
                json!(format!("{}/{}", tree::text(role, "kind"), tree::text(role, "name")))
            }),
            AGE,
            wide(computed("Users", "The users who have it.", |binding, _| json!(subjects(binding, "User")))),
            wide(computed("Groups", "The groups who have it.", |binding, _| json!(subjects(binding, "Group")))),
            wide(computed("ServiceAccounts", "The accounts who have it.", |binding, _| {
                json!(subjects(binding, "ServiceAccount"))
            })),
        ],
        hooks: Hooks { default, validate, ..HOOKS },
        writes: Writes { put_creates: true, resets: &[], ..WRITES },
        ..kind
    }
}

fn subjects(binding: &Value, kind: &str) -> String {
    let of_kind = tree::list(binding, "subjects").iter().filter(|subject| subject["kind"] == kind);
    let names = of_kind.map(|subject| match kind {
        "ServiceAccount" => format!("{}/{}", tree::text(subject, "namespace"), tree::text(subject, "name")),
        _ => tree::text(subject, "name").to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn default(_: &Kind, binding: &mut Value) {
    if let Some(role) = binding.get_mut("roleRef").filter(|role| role.is_object()) {
        tree::set_default_text(role, "apiGroup", GROUP);
    }
    for subject in binding.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if matches!(tree::text(subject, "kind"), "User" | "Group") {
            tree::set_default_text(subject, "apiGroup", GROUP);
        }
    }
}

/// What upstream judges by declaration comes after the rest (validate_generated): names that are missing.
fn validate(kind: &Kind, binding: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, binding, old);
    let at = At::root(binding);
    let role = at.get("roleRef");
    let [group, of, name] = ["apiGroup", "kind", "name"].map(|field| role.get(field));
    if group.text() != GROUP {
        errors.push(group.not_supported(&[GROUP]));
    }
    let roles: &[&str] = if kind.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !roles.contains(&of.text()) {
        errors.push(of.not_supported(roles));
    }
    match name.text() {
        // Of a changed binding it is not judged by declaration: that it changed ends that.
        "" if old.is_some() => errors.push(name.required("")),
        "" => {}
        text => invalid_each(&name, names::path_segment(text), &mut errors),
    }
    at.get("subjects").items().for_each(|subject| judge_subject(&subject, kind.namespaced, &mut errors));
    if old.is_some_and(|old| old["roleRef"] != *role.value) {
        // As Go's structure without tags is printed.
        let shown = json!({"APIGroup": group.text(), "Kind": of.text(), "Name": name.text()});
        errors.push(role.invalid_as(shown, "field is immutable"));
    }
    let of_role = old.is_none().then_some(name);
    let called = at.get("subjects").items().map(|subject| subject.get("name")).chain(of_role);
    errors.extend(called.filter(|name| name.text().is_empty()).map(|name| name.required("")));
    errors
}

fn judge_subject(subject: &At, namespaced: bool, errors: &mut Errors) {
    let [kind, group, name, namespace] = ["kind", "apiGroup", "name", "namespace"].map(|field| subject.get(field));
    match kind.text() {
        "ServiceAccount" => {
            if !name.text().is_empty() {
                invalid_each(&name, names::dns_subdomain(name.text()), errors);
            }
            if !group.text().is_empty() {
                errors.push(group.not_supported(&[""]));
            }
            if !namespaced && namespace.text().is_empty() {
                errors.push(namespace.required(""));
            }
        }
        "User" | "Group" if group.text() != GROUP => errors.push(group.not_supported(&[GROUP])),
        "User" | "Group" => {}
        _ => errors.push(kind.not_supported(&["ServiceAccount", "User", "Group"])),
    }
}

#[cfg(test)]
mod tests;
