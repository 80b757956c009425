//! PodDisruptionBudget: how many pods of an application may be evicted now.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::meta;
use crate::workload::{at_most_all, int_or_percent};

/// By which policy/v1beta1 said that an empty selector selects all, or nothing; it is for nobody else.
const EMPTY_MATCH: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";
const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Min Available", "How many pods must be there.", |budget, _| {
                json!(number(tree::at(budget, "spec.minAvailable")))
            }),
            computed("Max Unavailable", "How many pods may be missing.", |budget, _| {
                json!(number(tree::at(budget, "spec.maxUnavailable")))
            }),
            count("Allowed Disruptions", "How many pods may be evicted now.", "status.disruptionsAllowed"),
            AGE,
        ],
        hooks: Hooks { prepare, validate, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::namespaced("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets").short("pdb")
    }
}

fn number(value: &Value) -> String {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn prepare(_: &Kind, budget: &mut Value, old: Option<&Value>, _: &Context) {
    count_generation(budget, old);
    if old.is_none() {
        budget["status"] =
            json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    }
    let before = old.map(|old| tree::at(old, "spec.selector"));
    let Some(selector) = budget.get_mut("spec").and_then(|spec| spec.get_mut("selector")) else { return };
    let none = json!({"matchExpressions": [{"key": EMPTY_MATCH, "operator": "Exists"}]});
    if before != Some(selector)
        && *selector != none
        && let Some(expressions) = selector.get_mut("matchExpressions").and_then(Value::as_array_mut)
    {
        expressions.retain(|expression| expression["key"] != EMPTY_MATCH);
    }
}

fn validate(kind: &Kind, budget: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(budget, old, kind.namespaced, names::path_segment, &mut errors);
    let at = At::root(budget);
    if context.subresource == "status" {
        status(&at.get("status"), &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.has() && most.has() {
        let (selector, policy) = (spec.get("selector").value, spec.get("unhealthyPodEvictionPolicy").value);
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{selector},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{policy}}}",
            least.value, most.value
        );
        errors.push(spec.invalid_shown(shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for amount in [least, most].iter().filter(|amount| amount.has()) {
        int_or_percent(amount, &mut errors);
        at_most_all(amount, &mut errors);
    }
    meta::label_selector(&spec.get("selector"), &mut errors);
    let policy = spec.get("unhealthyPodEvictionPolicy");
    if policy.has() && !matches!(policy.text(), "AlwaysAllow" | "IfHealthyBudget") {
        errors.push(policy.not_supported(&["AlwaysAllow", "IfHealthyBudget"]));
    }
    errors
}

fn status(status: &At, errors: &mut Errors) {
    let mut seen = Vec::new();
    for condition in status.get("conditions").items() {
        let kind = condition.get("type").text();
        if seen.contains(&kind) {
            errors.push(FieldError::duplicate(&condition.path(), &json!(kind)));
        }
        seen.push(kind);
        self::condition(&condition, errors);
    }
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        non_negative(&status.get(field), errors);
    }
}

/// A `meta/v1` Condition (apimachinery meta/v1/validation ValidateCondition).
fn condition(at: &At, errors: &mut Errors) {
    let (kind, status, reason) = (at.get("type"), at.get("status"), at.get("reason"));
    match kind.text() {
        "" => errors.push(kind.required("is required")),
        text => errors.extend(names::qualified(text).iter().map(|m| kind.invalid(m))),
    }
    match status.text() {
        "True" | "False" | "Unknown" => {}
        "" => errors.push(status.required("")),
        _ => errors.push(status.not_supported(&["False", "True", "Unknown"])),
    }
    let observed = at.get("observedGeneration");
    if observed.number() < 0 {
        errors.push(observed.invalid("must be greater than or equal to zero"));
    }
    if !at.has_field("lastTransitionTime") {
        errors.push(at.get("lastTransitionTime").required(""));
    }
    if reason.text().is_empty() {
        errors.push(reason.required(""));
    } else {
        if !is_reason(reason.text()) {
            let form = "a condition reason must start with alphabetic character, optionally followed by a string of \
                        alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
            let examples = ["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"];
            errors.push(reason.invalid(&names::form(form, "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", &examples)));
        }
        if reason.text().len() > REASON_MAX {
            errors.push(reason.too_long(REASON_MAX));
        }
    }
    let message = at.get("message");
    if message.text().len() > MESSAGE_MAX {
        errors.push(message.too_long(MESSAGE_MAX));
    }
}

fn is_reason(text: &str) -> bool {
    let ends = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(ends)
        && bytes.iter().all(|c| ends(c) || b",:".contains(c))
}

#[cfg(test)]
mod tests;
