//! Which requests a policy or a webhook is asked about: rules, selectors, conditions.
//!
//! pkg/apis/admissionregistration/validation, but for the compilation of expressions.

use std::collections::BTreeSet;

use api::{names, tree};
use serde_json::{Value, json};

use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

pub const FAILURE_POLICIES: &[&str] = &["Fail", "Ignore"];
pub const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
pub const REINVOCATIONS: &[&str] = &["IfNeeded", "Never"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// Of what is deleted nothing can be changed.
const MUTATING: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// SetDefaults_MatchResources, and of the rules.
pub fn default(resources: &mut Value) {
    if !resources.is_object() {
        return;
    }
    tree::set_default(resources, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        tree::set_default(resources, selector, json!({}));
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        tree::each(resources, rules).for_each(default_scope);
    }
}

pub fn default_scope(rule: &mut Value) {
    tree::set_default(rule, "scope", "*");
}

/// One of the words, if it is there at all.
pub fn optional(at: &At, words: &[&str], errors: &mut Errors) {
    if at.has() && !words.contains(&at.text()) {
        errors.push(at.not_supported(words));
    }
}

pub fn one_of(at: &At, words: &[&str], errors: &mut Errors) {
    match at.text() {
        "" => errors.push(at.required("")),
        text if words.contains(&text) => {}
        _ => errors.push(at.not_supported(words)),
    }
}

/// A `MatchResources`.
pub fn resources(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    match at.has_field("matchPolicy") {
        true => optional(&at.get("matchPolicy"), MATCH_POLICIES, errors),
        false => errors.push(at.get("matchPolicy").required("")),
    }
    for selector in ["namespaceSelector", "objectSelector"].map(|field| at.get(field)) {
        match selector.has() {
            true => meta::label_selector(&selector, errors),
            false => errors.push(selector.required("")),
        }
    }
    for rule in ["resourceRules", "excludeResourceRules"].iter().flat_map(|field| at.get(field).items()) {
        let mut seen = BTreeSet::new();
        for name in rule.get("resourceNames").items() {
            invalid_each(&name, names::path_segment(name.text()), errors);
            if !seen.insert(name.text()) {
                errors.push(name.duplicate());
            }
        }
        self::rule(&rule, errors);
    }
}

/// Rules of which a policy that changes objects can do nothing; upstream shows where all of them stand.
pub fn mutating(at: &At, errors: &mut Errors) {
    let operations = at.get("resourceRules").get("operations");
    for operation in at.get("resourceRules").items().flat_map(|rule| rule.get("operations").items()) {
        if !MUTATING.contains(&operation.text()) {
            errors.push(operations.with(operation.value).not_supported(MUTATING));
        }
    }
}

/// A `RuleWithOperations`.
pub fn rule(at: &At, errors: &mut Errors) {
    let operations = at.get("operations");
    listed(&operations, "operations", errors);
    for operation in operations.items().filter(|operation| !OPERATIONS.contains(&operation.text())) {
        errors.push(operation.not_supported(OPERATIONS));
    }
    listed(&at.get("apiGroups"), "API groups", errors);
    let versions = at.get("apiVersions");
    listed(&versions, "API versions", errors);
    for version in versions.items().filter(|version| version.text().is_empty()) {
        errors.push(version.required(""));
    }
    paths(&at.get("resources"), errors);
    optional(&at.get("scope"), SCOPES, errors);
}

/// Something, and nothing beside `*`.
fn listed(at: &At, what: &str, errors: &mut Errors) {
    if at.is_empty() {
        errors.push(at.required(""));
    }
    if at.len() > 1 && at.items().any(|item| item.text() == "*") {
        errors.push(at.invalid(&format!("if '*' is present, must not specify other {what}")));
    }
}

/// `pods`, `pods/status`, `pods/*`, `*/scale`, `*`, `*/*`
fn paths(at: &At, errors: &mut Errors) {
    if at.is_empty() {
        errors.push(at.required(""));
    }
    let (mut of_resource, mut of_subresource) = (BTreeSet::new(), BTreeSet::new());
    let (mut is_all, mut is_every_resource, mut last_is_plain) = (false, false, false);
    for item in at.items() {
        let text = item.text();
        if text.is_empty() {
            errors.push(item.required(""));
            continue;
        }
        is_all |= text == "*/*";
        is_every_resource |= text == "*";
        let Some((resource, subresource)) = text.split_once('/') else {
            // Upstream remembers the last of them only.
            last_is_plain = text != "*";
            continue;
        };
        if of_resource.contains(resource) {
            errors.push(item.invalid(&format!("if '{resource}/*' is present, must not specify {text}")));
        }
        if of_subresource.contains(subresource) {
            errors.push(item.invalid(&format!("if '*/{subresource}' is present, must not specify {text}")));
        }
        if subresource == "*" {
            of_resource.insert(resource);
        }
        if resource == "*" {
            of_subresource.insert(subresource);
        }
    }
    if at.len() > 1 && is_all {
        errors.push(at.invalid("if '*/*' is present, must not specify other resources"));
    }
    if is_every_resource && last_is_plain {
        errors.push(at.invalid("if '*' is present, must not specify other resources without subresources"));
    }
}

/// Expressions that all must hold.
pub fn conditions(at: &At, errors: &mut Errors) {
    if at.len() > CONDITIONS_MAX {
        errors.push(at.too_many(CONDITIONS_MAX));
    }
    let mut seen = BTreeSet::new();
    for condition in at.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        }
        match name.text() {
            "" => errors.push(name.required("")),
            text => invalid_each(&name, names::qualified(text), errors),
        }
        if !name.text().is_empty() && !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
}

#[cfg(test)]
mod tests;
