//! Policies: expressions that judge or change objects.

use api::{FieldError, names, tree};
use serde_json::Value;

use super::bindings::{not_static, static_suffix};
use super::rules::{self, FAILURE_POLICIES, optional};
use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;

/// Words that CEL keeps for itself.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A column of how many there are of a list, and one of the parameters' kind.
pub fn columns(count: Column) -> Vec<Column> {
    let parameters = computed("ParamKind", "The kind of its parameters.", |policy, _| {
        let kind = tree::at(policy, "spec.paramKind");
        let shown = format!("{}/{}", tree::text(kind, "apiVersion"), tree::text(kind, "kind"));
        if kind.is_null() { "<unset>".into() } else { shown.into() }
    });
    vec![NAME, Column { kind: "integer".into(), ..count }, parameters, AGE]
}

pub const POLICY: Hooks = Hooks {
    default: |_, policy| {
        let Some(spec) = policy.get_mut("spec").filter(|spec| spec.is_object()) else { return };
        tree::set_default(spec, "failurePolicy", "Fail");
        if let Some(resources) = spec.get_mut("matchConstraints") {
            rules::default(resources);
        }
    },
    prepare: |_, policy, old, _| count_generation(policy, old),
    warnings: static_suffix,
    ..HOOKS
};

/// What both kinds have in common, before what they do.
pub fn validate(kind: &Kind, policy: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = metadata(kind, policy, old);
    meta::by_library(&mut errors);
    let spec = At::root(policy).get("spec");
    optional(&spec.get("failurePolicy"), FAILURE_POLICIES, &mut errors);
    parameters(&spec.get("paramKind"), &mut errors);
    let resources = spec.get("matchConstraints");
    match resources.has() {
        false => errors.push(resources.required("")),
        true => {
            rules::resources(&resources, &mut errors);
            if resources.get("resourceRules").is_empty() {
                errors.push(resources.get("resourceRules").required(""));
            }
        }
    }
    rules::conditions(&spec.get("matchConditions"), &mut errors);
    spec.get("variables").items().for_each(|one| variable(&one, &mut errors));
    not_static(&At::root(policy), old, &mut errors);
    errors
}

fn parameters(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let (version, kind) = (at.get("apiVersion"), at.get("kind"));
    match version.text().split('/').collect::<Vec<_>>()[..] {
        [""] => errors.push(version.required("")),
        [number] => version_number(&version, "", number, errors),
        ["", ""] => errors.push(version.invalid("version must be specified")),
        [group, number] => version_number(&version, group, number, errors),
        _ => {
            let why = format!("unexpected GroupVersion string: {}", version.text());
            errors.push(version.invalid(&why));
        }
    }
    match kind.text() {
        "" => errors.push(kind.required("")),
        text => {
            let complaints = names::dns_1035_label(&text.to_lowercase());
            if !complaints.is_empty() {
                let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
                errors.push(kind.invalid(&why));
            }
        }
    }
}

fn version_number(at: &At, group: &str, number: &str, errors: &mut Errors) {
    if !group.is_empty() && !names::dns_subdomain(group).is_empty() {
        errors.push(at.invalid_as(group, &names::dns_subdomain(group).join(",")));
    }
    let complaints = names::dns_1035_label(number);
    match number {
        "" => errors.push(at.invalid("version must be specified")),
        _ if complaints.is_empty() => {}
        _ => errors.push(at.invalid_as(number, &complaints.join(","))),
    }
}

fn variable(at: &At, errors: &mut Errors) {
    let name = at.get("name");
    if name.text().trim().is_empty() {
        errors.push(name.required("name is not specified"));
    } else if !names::is_c_identifier(name.text()) || RESERVED.contains(&name.text()) {
        errors.push(name.invalid("must be a valid CEL identifier"));
    }
    expression(&at.get("expression"), "expression is not specified", errors);
}

/// Some text. Whether it compiles is not judged yet.
pub fn expression(at: &At, absent: &str, errors: &mut Errors) {
    if at.text().trim().is_empty() {
        errors.push(at.required(absent));
    }
}
