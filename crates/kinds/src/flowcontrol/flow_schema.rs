//! FlowSchema: which requests are of which priority level.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::{DORMANT, bootstrap, conditions};
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            text("PriorityLevel", "The level of its requests.", "spec.priorityLevelConfiguration.name"),
            computed("MatchingPrecedence", "The lowest of those that match a request counts.", |schema, _| {
                json!(tree::int(schema, "spec.matchingPrecedence").unwrap_or(0))
            }),
            computed("DistinguisherMethod", "What makes requests one flow.", |schema, _| {
                json!(tree::at(schema, "spec.distinguisherMethod.type").as_str().unwrap_or("<none>"))
            }),
            AGE,
            computed("MissingPL", "Whether its level is missing.", |schema, _| json!(dangling(schema))),
        ],
        hooks: Hooks { default, prepare: |_, schema, old, _| count_generation(schema, old), validate, ..HOOKS },
        ..Kind::cluster("flowcontrol.apiserver.k8s.io/v1", "FlowSchema", "flowschemas").judged_as_new().dormant(DORMANT)
    }
}

fn dangling(schema: &Value) -> &str {
    let found = tree::list(schema, "status.conditions").iter().find(|condition| condition["type"] == "Dangling");
    found.map_or("?", |condition| tree::text(condition, "status"))
}

fn default(_: &Kind, schema: &mut Value) {
    if let Some(spec) = schema.get_mut("spec").filter(|spec| tree::int(spec, "matchingPrecedence").unwrap_or(0) == 0) {
        spec["matchingPrecedence"] = json!(1000);
    }
}

fn validate(kind: &Kind, schema: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = At::root(schema);
    if context.subresource.is_empty() {
        errors = metadata(kind, schema, old);
        let spec = at.get("spec");
        let name = at.get("metadata").get("name").text();
        judge(name, &spec, &mut errors);
        if bootstrap::mandatory("flowschemas", name).is_some_and(|fixed| fixed != *spec.value) {
            errors.push(spec.invalid(&format!("spec of '{name}' must equal the fixed value")));
        }
    }
    conditions(&at.get("status").get("conditions"), &mut errors);
    errors
}

fn judge(name: &str, spec: &At, errors: &mut Errors) {
    let precedence = spec.get("matchingPrecedence");
    let why = match precedence.number() {
        ..=0 => "must be a positive value".to_owned(),
        1 if name != "exempt" => "only the schema named 'exempt' may have matchingPrecedence 1".to_owned(),
        1..=PRECEDENCE_MAX => String::new(),
        _ => format!("must not be greater than {PRECEDENCE_MAX}"),
    };
    if !why.is_empty() {
        errors.push(precedence.invalid_as(precedence.number(), &why));
    }
    let method = spec.get("distinguisherMethod");
    if method.has() && !matches!(method.get("type").text(), "ByNamespace" | "ByUser") {
        let mut error = method.get("type").not_supported(&["ByNamespace", "ByUser"]);
        error.value = json!({"Type": method.get("type").text()}).to_string();
        errors.push(error);
    }
    let level = spec.get("priorityLevelConfiguration").get("name");
    match level.text() {
        "" => errors.push(level.required("must reference a priority level")),
        text => invalid_each(&level, names::dns_subdomain(text), errors),
    }
    for rule in spec.get("rules").items() {
        let (subjects, resources, others) =
            (rule.get("subjects"), rule.get("resourceRules"), rule.get("nonResourceRules"));
        if subjects.is_empty() {
            errors.push(subjects.required("subjects must contain at least one value"));
        }
        subjects.items().for_each(|at| subject(&at, errors));
        if resources.is_empty() && others.is_empty() {
            errors.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
        }
        resources.items().for_each(|at| resource_rule(&at, errors));
        others.items().for_each(|at| other_rule(&at, errors));
    }
}

fn subject(at: &At, errors: &mut Errors) {
    const PARTS: [(&str, &str); 3] = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = at.get("kind");
    let Some((_, own)) = PARTS.iter().find(|(name, _)| *name == kind.text()) else {
        return errors.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
    };
    let part = at.get(own);
    match part.has() {
        true => named(&part, kind.text() == "ServiceAccount", errors),
        false => errors.push(part.required(&format!("{own} is required when subject kind is '{}'", kind.text()))),
    }
    for (name, field) in PARTS.iter().filter(|(name, field)| *name != kind.text() && at.has_field(field)) {
        errors.push(at.get(field).forbidden(&format!("{field} is forbidden when subject kind is not '{name}'")));
    }
}

fn named(part: &At, is_account: bool, errors: &mut Errors) {
    let (name, namespace) = (part.get("name"), part.get("namespace"));
    match name.text() {
        "" => errors.push(name.required("")),
        text if is_account && text != "*" => invalid_each(&name, names::dns_subdomain(text), errors),
        _ => {}
    }
    match namespace.text() {
        _ if !is_account => {}
        "" => errors.push(namespace.required("must specify namespace for service account")),
        text => invalid_each(&namespace, names::dns_label(text), errors),
    }
}

fn verbs(at: &At, errors: &mut Errors) {
    if is_lonely(at, "verbs must contain at least one value", "verbs", errors) {
        return;
    }
    if at.items().any(|verb| !VERBS.contains(&verb.text())) {
        errors.push(at.not_supported(VERBS));
    }
}

/// Whether a list is empty or has a `*`, which stands alone.
fn is_lonely(at: &At, empty: &str, words: &str, errors: &mut Errors) -> bool {
    let is_wild = at.items().any(|item| item.text() == "*");
    if at.is_empty() {
        errors.push(at.required(empty));
    } else if is_wild && at.len() > 1 {
        errors.push(at.invalid(&format!("if '*' is present, must not specify other {words}")));
    }
    at.is_empty() || is_wild
}

fn resource_rule(rule: &At, errors: &mut Errors) {
    verbs(&rule.get("verbs"), errors);
    let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
    is_lonely(&groups, "resource rules must supply at least one api group", "api groups", errors);
    is_lonely(&resources, "resource rules must supply at least one resource", "resources", errors);
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && rule.get("clusterScope").flag() {
        return;
    }
    let empty = "resource rules that are not cluster scoped must supply at least one namespace";
    if is_lonely(&namespaces, empty, "namespaces", errors) {
        return;
    }
    for namespace in namespaces.items() {
        for why in names::dns_label(namespace.text()) {
            let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            errors.push(namespace.invalid(&why));
        }
    }
}

fn other_rule(rule: &At, errors: &mut Errors) {
    verbs(&rule.get("verbs"), errors);
    let urls = rule.get("nonResourceURLs");
    if is_lonely(&urls, "nonResourceURLs must contain at least one value", "non-resource URLs", errors) {
        return;
    }
    for url in urls.items() {
        if let Some(why) = wrong_url(url.text()) {
            errors.push(url.invalid(why));
        }
    }
}

fn wrong_url(url: &str) -> Option<&'static str> {
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ => {
            let wild = url.matches('*').count();
            (wild > 1 || (wild == 1 && !url.ends_with("/*"))).then_some("wildcard can only do suffix matching")
        }
    }
}

#[cfg(test)]
mod tests;
