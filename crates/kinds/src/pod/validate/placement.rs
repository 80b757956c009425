//! Where a pod may run: affinity, tolerations, topology spread.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;
use api::names;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub fn affinity(at: &At, errors: &mut Errors) {
    let node = at.get("nodeAffinity");
    if node.has_field(REQUIRED) {
        node_selector(&node.get(REQUIRED), errors);
    }
    for term in node.get(PREFERRED).items() {
        weight(&term, errors);
        node_term(&term.get("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in at.get(kind).get(REQUIRED).items() {
            pod_term(&term, errors);
        }
        for term in at.get(kind).get(PREFERRED).items() {
            weight(&term, errors);
            pod_term(&term.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(at: &At, errors: &mut Errors) {
    let weight = at.get("weight");
    if !(1..=100).contains(&weight.number()) {
        errors.push(weight.invalid_as(weight.number(), "must be in the range 1-100"));
    }
}

/// A `NodeSelector`: at least one term.
pub fn node_selector(at: &At, errors: &mut Errors) {
    let terms = at.get("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(terms.required("must have at least one node selector term"));
    }
    for term in terms.items() {
        node_term(&term, true, errors);
    }
}

fn node_term(term: &At, check_values: bool, errors: &mut Errors) {
    for requirement in term.get("matchExpressions").items() {
        let values = requirement.get("values");
        match requirement.get("operator").text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                errors.push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => errors.push(requirement.get("operator").invalid("not a valid selector operator")),
        }
        let key = requirement.get("key");
        invalid_each(&key, names::qualified(key.text()), errors);
        for value in values.items().filter(|_| check_values) {
            invalid_each(&value, names::label_value(value.text()), errors);
        }
    }
    for requirement in term.get("matchFields").items() {
        let (values, key) = (requirement.get("values"), requirement.get("key"));
        match requirement.get("operator").text() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.push(values.required(detail));
                }
            }
            _ => errors.push(requirement.get("operator").invalid("not a valid selector operator")),
        }
        if key.text() == "metadata.name" {
            for value in values.items() {
                invalid_each(&value, names::dns_subdomain(value.text()), errors);
            }
        } else {
            errors.push(key.invalid("not a valid field selector key"));
        }
    }
}

fn pod_term(term: &At, errors: &mut Errors) {
    for field in ["labelSelector", "namespaceSelector"] {
        meta::label_selector(&term.get(field), errors);
    }
    for name in term.get("namespaces").items() {
        let complaints = names::dns_label(name.text());
        errors.extend(complaints.iter().map(|m| term.get("namespace").invalid_as(name.text(), m)));
    }
    label_keys(term, errors);
    let key = term.get("topologyKey");
    if key.text().is_empty() {
        errors.push(key.required("can not be empty"));
    }
    invalid_each(&key, names::qualified(key.text()), errors);
}

/// `matchLabelKeys` and `mismatchLabelKeys` need a selector and may not repeat its keys.
fn label_keys(term: &At, errors: &mut Errors) {
    let selector = term.get("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = term.get(field);
        if !keys.is_empty() && !selector.has() {
            errors.push(keys.forbidden("must not be specified when labelSelector is not set"));
            continue;
        }
        for key in keys.items() {
            invalid_each(&key, names::qualified(key.text()), errors);
        }
    }
    // The merged requirement of a key stands once; a second one came from the author.
    let mut selected: BTreeSet<&str> = selector.get("matchLabels").entries().map(|(k, _)| k.as_str()).collect();
    let matched = term.get("matchLabelKeys");
    for expression in selector.get("matchExpressions").items() {
        let key = expression.get("key").text();
        if let Some(at) = matched.items().enumerate().find(|(_, k)| k.text() == key).map(|(i, _)| term.index(i))
            && selected.contains(key)
        {
            errors.push(at.invalid_as(key, "exists in both matchLabelKeys and labelSelector"));
        }
        selected.insert(key);
    }
    for key in matched.items() {
        if term.get("mismatchLabelKeys").items().any(|k| k.text() == key.text()) {
            errors.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}

pub fn tolerations(at: &At, errors: &mut Errors) {
    for toleration in at.items() {
        let (key, operator, value) = (toleration.get("key"), toleration.get("operator"), toleration.get("value"));
        if !key.text().is_empty() {
            invalid_each(&key, names::qualified(key.text()), errors);
        } else if operator.text() != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(operator.invalid(detail));
        }
        let effect = toleration.get("effect");
        if toleration.has_field("tolerationSeconds") && effect.text() != "NoExecute" {
            errors.push(effect.invalid("effect must be 'NoExecute' when `tolerationSeconds` is set"));
        }
        match operator.text() {
            "" | "Equal" => {
                let complaints = names::label_value(value.text());
                if !complaints.is_empty() {
                    errors.push(operator.invalid_as(value.text(), &complaints.join(";")));
                }
            }
            "Exists" if !value.text().is_empty() => {
                errors.push(operator.invalid_as(value.text(), "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !matches!(effect.text(), "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            errors.push(effect.not_supported(&["NoSchedule", "PreferNoSchedule", "NoExecute"]));
        }
    }
}

pub fn spread<'a>(at: &At<'a>, errors: &mut Errors) {
    let fields = |c: &At<'a>| (c.get("topologyKey").text(), c.get("whenUnsatisfiable").text());
    // Of several the last is no duplicate.
    let last: BTreeMap<(&str, &str), usize> = at.items().enumerate().map(|(index, c)| (fields(&c), index)).collect();
    for (index, constraint) in at.items().enumerate() {
        positive(&constraint.get("maxSkew"), errors);
        let (key, action) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        if key.text().is_empty() {
            errors.push(key.required("can not be empty"));
        }
        if !matches!(action.text(), "DoNotSchedule" | "ScheduleAnyway") {
            errors.push(action.not_supported(&["DoNotSchedule", "ScheduleAnyway"]));
        }
        if last.get(&fields(&constraint)) != Some(&index) {
            let shown = constraint.get("{topologyKey, whenUnsatisfiable}").path();
            let value = json!(format!("{{{}, {}}}", key.text(), action.text()));
            errors.push(api::FieldError::duplicate(&shown, &value));
        }
        let domains = constraint.get("minDomains");
        if domains.has() {
            positive(&domains, errors);
            if action.text() != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.text());
                errors.push(domains.invalid(&detail));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.get(field);
            if policy.has() && !matches!(policy.text(), "Honor" | "Ignore") {
                errors.push(policy.not_supported(&["Honor", "Ignore"]));
            }
        }
        label_keys(&constraint, errors);
        meta::label_selector(&constraint.get("labelSelector"), errors);
    }
}

fn positive(at: &At, errors: &mut Errors) {
    if at.number() <= 0 {
        errors.push(at.invalid_as(at.number(), "must be greater than zero"));
    }
}
