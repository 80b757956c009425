//! Bindings: where a policy holds, and with which parameters.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::{STATIC_SUFFIX, reserved, rules};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

const ACTIONS: &[&str] = &["Allow", "Deny"];

pub fn row(kind: &str, plural: &str) -> Kind {
    Kind {
        columns: vec![
            NAME,
            text("PolicyName", "The policy that holds.", "spec.policyName"),
            computed("ParamRef", "The parameters that it holds with.", |binding, _| json!(parameters(binding))),
            AGE,
        ],
        hooks: Hooks {
            default: |_, binding| binding.pointer_mut("/spec/matchResources").into_iter().for_each(rules::default),
            prepare: |_, binding, old, _| count_generation(binding, old),
            warnings: static_suffix,
            ..HOOKS
        },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("admissionregistration.k8s.io/v1", kind, plural).in_category("api-extensions")
    }
}

/// What a change of an object that a file could have made is told.
pub fn static_suffix(_: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    let is_static = old.is_some() && tree::text(object, "metadata.name").ends_with(STATIC_SUFFIX);
    is_static.then(|| format!("metadata.name: {}", reserved())).into_iter().collect()
}

fn parameters(binding: &Value) -> String {
    let reference = tree::at(binding, "spec.paramRef");
    match (tree::text(reference, "name"), tree::text(reference, "namespace")) {
        ("", _) if tree::has(reference, "selector") => selector(&reference["selector"]),
        ("", _) => "<unset>".into(),
        (name, "") => format!("*/{name}"),
        (name, namespace) => format!("{namespace}/{name}"),
    }
}

/// A selector as Go prints it.
fn selector(selector: &Value) -> String {
    let labels: String = tree::entries(selector, "matchLabels")
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expression = |expression: &Value| {
        let values: Vec<&str> = tree::list(expression, "values").iter().filter_map(Value::as_str).collect();
        let (key, operator) = (tree::text(expression, "key"), tree::text(expression, "operator"));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions: String = tree::list(selector, "matchExpressions").iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

/// Everything but the actions of one that judges.
pub fn validate(kind: &Kind, binding: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = metadata(kind, binding, old);
    meta::by_library(&mut errors);
    let spec = At::root(binding).get("spec");
    let policy = spec.get("policyName");
    match policy.text() {
        "" => errors.push(policy.required("")),
        name => invalid_each(&policy, names::dns_subdomain(name), &mut errors),
    }
    reference(&spec.get("paramRef"), &mut errors);
    rules::resources(&spec.get("matchResources"), &mut errors);
    not_static(&At::root(binding), old, &mut errors);
    errors
}

/// A new object does not bear the name of one that comes from a file.
pub fn not_static(object: &At, old: Option<&Value>, errors: &mut Errors) {
    let name = object.get("metadata").get("name");
    if old.is_none() && name.text().ends_with(STATIC_SUFFIX) {
        errors.push(name.invalid(&reserved()));
    }
}

fn reference(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector, action) = (at.get("name"), at.get("selector"), at.get("parameterNotFoundAction"));
    let is_named = !name.text().is_empty();
    if is_named {
        invalid_each(&name, names::path_segment(name.text()), errors);
        if selector.has() {
            errors.push(name.forbidden(EXCLUSIVE));
        }
    }
    if selector.has() {
        meta::label_selector(&selector, errors);
        if is_named {
            errors.push(selector.forbidden(EXCLUSIVE));
        }
    } else if !is_named {
        errors.push(at.required("one of name or selector must be specified"));
    }
    match action.text() {
        "" => errors.push(action.required("")),
        text if ACTIONS.contains(&text) => {}
        _ => errors.push(action.not_supported(&["Deny", "Allow"])),
    }
}

#[cfg(test)]
mod tests;
