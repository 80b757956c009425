//! Webhooks: programs elsewhere that are asked about requests. Both kinds differ in little.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::rules::{self, FAILURE_POLICIES, MATCH_POLICIES, REINVOCATIONS, optional};
use super::{STATIC_SUFFIX, reserved};
use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::{meta, webhook};

const NO_SIDE_EFFECTS: &[&str] = &["None", "NoneOnDryRun"];
/// Versions of the question that upstream knows.
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
/// Of these no webhook is asked (pkg/kubeapiserver/admission/exclusion).
const EXCLUDED: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

pub fn row(kind: &str, plural: &str) -> Kind {
    Kind {
        columns: vec![
            NAME,
            Column {
                kind: "integer".into(),
                ..computed("Webhooks", "How many webhooks it names.", |configuration, _| {
                    json!(tree::list(configuration, "webhooks").len())
                })
            },
            AGE,
        ],
        hooks: Hooks { default, prepare, validate, warnings, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("admissionregistration.k8s.io/v1", kind, plural)
            .in_category("api-extensions")
            .dormant("no webhook is called yet: requests that it would refuse or change pass as they are")
    }
}

/// Only those that change objects can be asked again.
fn is_mutating(kind: &Kind) -> bool {
    kind.kind == "MutatingWebhookConfiguration"
}

fn default(kind: &Kind, configuration: &mut Value) {
    for hook in tree::each(configuration, "webhooks").filter(|hook| hook.is_object()) {
        tree::set_default(hook, "failurePolicy", "Fail");
        tree::set_default(hook, "matchPolicy", "Equivalent");
        for selector in ["namespaceSelector", "objectSelector"] {
            tree::set_default(hook, selector, json!({}));
        }
        tree::set_default(hook, "timeoutSeconds", 10);
        if is_mutating(kind) {
            tree::set_default(hook, "reinvocationPolicy", "Never");
        }
        tree::each(hook, "rules").for_each(rules::default_scope);
        if let Some(service) = hook.pointer_mut("/clientConfig/service").filter(|service| service.is_object()) {
            tree::set_default(service, "port", 443);
        }
    }
}

fn prepare(_: &Kind, configuration: &mut Value, old: Option<&Value>, _: &Context) {
    let generation = old.map_or(1, |old| {
        tree::int(old, "metadata.generation").unwrap_or(0) + i64::from(old["webhooks"] != configuration["webhooks"])
    });
    if let Some(metadata) = tree::child(configuration, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

fn warnings(_: &Kind, configuration: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_some() && tree::text(configuration, "metadata.name").ends_with(STATIC_SUFFIX) {
        warnings.push(format!("metadata.name: {}", reserved()));
    }
    for rule in At::root(configuration).get("webhooks").items().flat_map(|hook| hook.get("rules").items()) {
        warnings.extend(excluded(&rule).iter().map(|(group, resource)| {
            let path = rule.path();
            format!("{path}: {resource}.{group} is excluded from admission webhooks; this rule will have no effect")
        }));
    }
    warnings
}

/// What of a rule without `*` has no effect.
fn excluded(rule: &At) -> Vec<(&'static str, &'static str)> {
    let words = |field| rule.get(field).items().map(|item| item.text()).collect::<Vec<&str>>();
    let (groups, resources) = (words("apiGroups"), words("resources"));
    if groups.contains(&"*") || resources.contains(&"*") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |resource| (*group, *resource))) {
        let known = EXCLUDED.iter().find(|pair| **pair == (group, resource));
        found.extend(known.filter(|pair| !found.contains(*pair)));
    }
    found
}

fn validate(kind: &Kind, configuration: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, configuration, old);
    meta::by_library(&mut errors);
    let at = At::root(configuration);
    let mut seen = BTreeSet::new();
    for hook in at.get("webhooks").items() {
        judge(&hook, is_mutating(kind), &mut errors);
        reviews(&hook.get("admissionReviewVersions"), &mut errors);
        let name = hook.get("name");
        if !name.text().is_empty() && !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
    let name = at.get("metadata").get("name");
    if old.is_none() && name.text().ends_with(STATIC_SUFFIX) {
        errors.push(name.invalid(&reserved()));
    }
    errors
}

fn judge(hook: &At, is_mutating: bool, errors: &mut Errors) {
    fully_qualified(&hook.get("name"), errors);
    hook.get("rules").items().for_each(|rule| rules::rule(&rule, errors));
    optional(&hook.get("failurePolicy"), FAILURE_POLICIES, errors);
    optional(&hook.get("matchPolicy"), MATCH_POLICIES, errors);
    let effects = hook.get("sideEffects");
    match effects.has() {
        true => optional(&effects, NO_SIDE_EFFECTS, errors),
        false => errors.push(effects.required(&format!("must specify one of {}", NO_SIDE_EFFECTS.join(", ")))),
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.has() && !(1..=30).contains(&timeout.number()) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        meta::label_selector(&hook.get(selector), errors);
    }
    if is_mutating {
        optional(&hook.get("reinvocationPolicy"), REINVOCATIONS, errors);
    }
    let client = hook.get("clientConfig");
    match (client.has_field("url"), client.has_field("service")) {
        (true, false) => webhook::url(&client.get("url"), errors),
        (false, true) => webhook::service(&client.get("service"), errors),
        _ => errors.push(client.required("exactly one of url or service is required")),
    }
    rules::conditions(&hook.get("matchConditions"), errors);
}

/// A domain of three parts at least (IsFullyQualifiedName).
fn fully_qualified(name: &At, errors: &mut Errors) {
    if name.text().is_empty() {
        return errors.push(name.required(""));
    }
    let complaints = names::dns_subdomain(name.text());
    if !complaints.is_empty() {
        errors.push(name.invalid(&complaints.join(",")));
    } else if name.text().split('.').count() < 3 {
        errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
    }
}

fn reviews(at: &At, errors: &mut Errors) {
    if at.is_empty() {
        return errors.push(at.required(&format!("must specify one of {}", REVIEWS.join(", "))));
    }
    let mut seen = BTreeSet::new();
    for version in at.items() {
        match seen.insert(version.text()) {
            true => errors.extend(names::dns_1035_label(version.text()).iter().map(|m| version.invalid(m))),
            false => errors.push(version.invalid("duplicate version")),
        }
    }
    if !REVIEWS.iter().any(|known| seen.contains(known)) {
        errors.push(at.invalid(&format!("must include at least one of {}", REVIEWS.join(", "))));
    }
}

#[cfg(test)]
mod tests;
