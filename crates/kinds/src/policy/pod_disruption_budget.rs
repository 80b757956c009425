//! PodDisruptionBudget: how many pods of an application may be evicted now.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::conditions::conditions;
use crate::validate::{meta, selector};
use crate::workload::{at_most_all, int_or_percent};

/// By which policy/v1beta1 said that an empty selector selects all, or nothing; it is for nobody else.
const EMPTY_MATCH: &str = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match";

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
    meta::object(kind, budget, old, names::path_segment, &mut errors);
    meta::by_library(&mut errors);
    let at = At::root(budget);
    if context.subresource == "status" {
        status(&at.get("status"), &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    let (least, most) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if least.has() && most.has() {
        let (selector, policy) =
            (selector::shown(spec.get("selector").value), spec.get("unhealthyPodEvictionPolicy").value);
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
    conditions(&status.get("conditions"), errors);
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        non_negative(&status.get(field), errors);
    }
}

#[cfg(test)]
mod tests;
