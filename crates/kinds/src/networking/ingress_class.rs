//! IngressClass: which controller an Ingress is for. Ours is `gousse.dev/ingress`, others come along.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

/// By which an Ingress named its class before there was a field.
pub const ANNOTATION: &str = "kubernetes.io/ingress.class";
const CONTROLLER_MAX: usize = 250;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            Column { cell: Cell::Of(|class, _| json!(name(class))), ..NAME },
            text("Controller", "Who serves the class.", "spec.controller"),
            computed("Parameters", "What its controller is to look at.", |class, _| json!(parameters(class))),
            AGE,
        ],
        hooks: Hooks { prepare: |_, class, old, _| count_generation(class, old), default, validate, ..HOOKS },
        ..Kind::cluster("networking.k8s.io/v1", "IngressClass", "ingressclasses").judged_as_new()
    }
}

/// Whether an Ingress that names no class gets this one.
pub fn is_default(class: &Value) -> bool {
    class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"] == "true"
}

fn name(class: &Value) -> String {
    let name = tree::text(class, "metadata.name");
    if is_default(class) { format!("{name} (default)") } else { name.to_owned() }
}

fn parameters(class: &Value) -> String {
    let Some(parameters) = tree::at(class, "spec.parameters").as_object() else { return "<none>".into() };
    let of = |field: &str| parameters.get(field).and_then(Value::as_str);
    let group = of("apiGroup").map(|group| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", of("kind").unwrap_or_default(), of("name").unwrap_or_default())
}

fn default(_: &Kind, class: &mut Value) {
    let parameters = class.get_mut("spec").and_then(|spec| spec.get_mut("parameters"));
    if let Some(parameters) = parameters.filter(|parameters| parameters.is_object()) {
        tree::set_default(parameters, "scope", "Cluster");
    }
}

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, class, old);
    let spec = At::root(class).get("spec");
    let controller = spec.get("controller");
    if let Some(old) = old {
        meta::immutable(&controller, &At::root(old).get("spec").get("controller"), &mut errors);
    }
    if controller.text().len() > CONTROLLER_MAX {
        errors.push(controller.too_long(CONTROLLER_MAX));
    }
    domain_prefixed(&controller, &mut errors);
    let parameters = spec.get("parameters");
    if parameters.has() {
        reference(&parameters, &mut errors);
        scope(&parameters, &mut errors);
    }
    errors
}

/// `acme.io/foo`
pub(crate) fn domain_prefixed(at: &At, errors: &mut Errors) {
    let (domain, path) = match at.text().split_once('/') {
        _ if at.text().is_empty() => return errors.push(at.required("")),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => (domain, path),
        _ => return errors.push(at.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")")),
    };
    errors.extend(names::dns_subdomain(domain).iter().map(|m| at.invalid_as(domain, m)));
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
        let why = names::form("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(at.invalid_as(path, &why));
    }
}

/// An object by group, kind and name.
pub(crate) fn reference(at: &At, errors: &mut Errors) {
    if at.has_field("apiGroup") {
        let group = at.get("apiGroup");
        invalid_each(&group, names::dns_subdomain(group.text()), errors);
    }
    for field in ["kind", "name"].map(|field| at.get(field)) {
        match field.text() {
            "" => errors.push(field.required("")),
            text => invalid_each(&field, names::path_segment(text), errors),
        }
    }
}

fn scope(parameters: &At, errors: &mut Errors) {
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    let is_named = parameters.has_field("namespace");
    match (scope.text(), is_named) {
        ("Cluster", true) => errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'")),
        ("Namespace", false) => errors.push(namespace.required("`parameters.scope` is set to 'Namespace'")),
        ("Namespace", true) => invalid_each(&namespace, names::dns_label(namespace.text()), errors),
        ("Cluster", false) => {}
        _ => errors.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}

#[cfg(test)]
mod tests;
