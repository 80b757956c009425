//! PriorityLevelConfiguration: how many requests are served at once, and how the others wait.

use api::{FieldError, tree};
use serde_json::{Value, json};

use super::{DORMANT, bootstrap, conditions};
use crate::row::*;
use crate::validate::at::{At, Errors};

const QUEUES_MAX: i64 = 10_000_000;
/// Of the hash that deals queues to a flow (apiserver util/shufflesharding).
const HASH_BITS: i64 = 60;
/// How an older version kept a zero.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            text("Type", "Whether its requests are limited.", "spec.type"),
            computed("NominalConcurrencyShares", "Its share of what the server does at once.", |level, _| {
                shown(level, "nominalConcurrencyShares")
            }),
            computed("Queues", "How many queues wait.", |level, _| shown(level, "limitResponse.queuing.queues")),
            computed("HandSize", "How many of them one flow may use.", |level, _| {
                shown(level, "limitResponse.queuing.handSize")
            }),
            computed("QueueLengthLimit", "How many requests wait in a queue.", |level, _| {
                shown(level, "limitResponse.queuing.queueLengthLimit")
            }),
            AGE,
        ],
        hooks: Hooks { default, prepare: |_, level, old, _| count_generation(level, old), validate, ..HOOKS },
        ..Kind::cluster("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration", "prioritylevelconfigurations")
            .judged_as_new()
            .dormant(DORMANT)
    }
}

fn shown(level: &Value, field: &str) -> Value {
    match tree::at(tree::at(level, "spec.limited"), field) {
        Value::Null => json!("<none>"),
        value => value.clone(),
    }
}

fn default(_: &Kind, level: &mut Value) {
    let Some(spec) = level.get_mut("spec") else { return };
    for (part, shares) in [("exempt", 0), ("limited", 30)] {
        if let Some(part) = spec.get_mut(part).filter(|part| part.is_object()) {
            tree::set_default(part, "nominalConcurrencyShares", shares);
            tree::set_default(part, "lendablePercent", 0);
        }
    }
    let response = spec.get_mut("limited").and_then(|limited| limited.get_mut("limitResponse"));
    let queuing = response.and_then(|response| response.get_mut("queuing")).filter(|queuing| queuing.is_object());
    if let Some(queuing) = queuing {
        for (field, value) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
            if tree::int(queuing, field).unwrap_or(0) == 0 {
                queuing[field] = json!(value);
            }
        }
    }
}

fn validate(kind: &Kind, level: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = At::root(level);
    let mut of_type = Vec::new();
    if context.subresource.is_empty() {
        errors = metadata(kind, level, old);
        let annotations = at.get("metadata").get("annotations");
        if annotations.value.get(ZERO_SHARES).is_some() {
            errors.push(annotations.forbidden(&format!("annotation '{ZERO_SHARES}' is forbidden")));
        }
        let (spec, name) = (at.get("spec"), at.get("metadata").get("name").text());
        judge(name, &spec, &mut errors);
        if let Some(why) = deviates(name, spec.value) {
            errors.push(spec.invalid(&why));
        }
        parts(&spec, &mut of_type);
    }
    conditions(&at.get("status").get("conditions"), &mut errors);
    errors.extend(of_type);
    errors
}

/// Of the exempt level the shares are people's.
fn deviates(name: &str, spec: &Value) -> Option<String> {
    let mut fixed = bootstrap::mandatory("prioritylevelconfigurations", name)?;
    let but = if name == "exempt" { " except the 'spec.exempt' field" } else { "" };
    if name == "exempt" {
        tree::keep(&mut fixed, spec, "exempt");
    }
    (fixed != *spec).then(|| format!("spec of '{name}'{but} must equal the fixed value"))
}

fn judge(name: &str, spec: &At, errors: &mut Errors) {
    let kind = spec.get("type");
    if (name == "exempt") != (kind.text() == "Exempt") {
        errors.push(kind.invalid("must be 'Exempt' if and only if `name` is 'exempt'"));
    }
    let own = match kind.text() {
        "Exempt" => spec.get("exempt"),
        "Limited" => spec.get("limited"),
        "" => return,
        _ => return errors.push(kind.not_supported(&["Exempt", "Limited"])),
    };
    if !own.has() {
        return;
    }
    let shares = own.get("nominalConcurrencyShares");
    if shares.number() < 0 {
        errors.push(shares.invalid("must be a non-negative integer"));
    }
    if kind.text() == "Limited" {
        response(&own.get("limitResponse"), errors);
    }
    let (lent, borrowed) = (own.get("lendablePercent"), own.get("borrowingLimitPercent"));
    if lent.int().is_some_and(|percent| !(0..=100).contains(&percent)) {
        errors.push(lent.invalid("must be between 0 and 100, inclusive"));
    }
    if borrowed.number() < 0 {
        errors.push(borrowed.invalid("if specified, must be a non-negative integer"));
    }
}

fn response(at: &At, errors: &mut Errors) {
    let (kind, queuing) = (at.get("type"), at.get("queuing"));
    match kind.text() {
        "Queue" if queuing.has() => judge_queues(&queuing, errors),
        "Queue" | "Reject" | "" => {}
        _ => errors.push(kind.not_supported(&["Queue", "Reject"])),
    }
}

fn judge_queues(at: &At, errors: &mut Errors) {
    let (length, queues, hand) = (at.get("queueLengthLimit"), at.get("queues"), at.get("handSize"));
    for field in [&length, &queues].into_iter().filter(|field| field.number() <= 0) {
        errors.push(field.invalid("must be positive"));
    }
    if queues.number() > QUEUES_MAX {
        errors.push(queues.invalid(&format!("must not be greater than {QUEUES_MAX}")));
    }
    let (deck, size) = (queues.number(), hand.number());
    let bits = ((deck as f64).log2() * size as f64).ceil();
    if size <= 0 {
        errors.push(hand.invalid("must be positive"));
    } else if size > deck {
        errors.push(hand.invalid(&format!("should not be greater than queues ({deck})")));
    } else if bits > HASH_BITS as f64 {
        let why = format!(
            "required entropy bits of deckSize {deck} and handSize {size} should not be greater than {HASH_BITS}"
        );
        errors.push(hand.invalid(&why));
    }
}

/// What goes with which type: declared at upstream's types, and told last.
fn parts(spec: &At, errors: &mut Errors) {
    let kind = spec.get("type");
    let (exempt, limited) = (spec.get("exempt"), spec.get("limited"));
    if exempt.has() && kind.text() != "Exempt" {
        errors.push(exempt.forbidden(""));
    }
    one_of(&kind, "Limited", &limited, errors);
    if kind.text().is_empty() {
        errors.push(kind.required(""));
    }
    if limited.has() {
        let response = limited.get("limitResponse");
        one_of(&response.get("type"), "Queue", &response.get("queuing"), errors);
        if response.get("type").text().is_empty() {
            errors.push(response.get("type").required(""));
        }
    }
}

/// A part that is there if and only if the type is its own.
fn one_of(kind: &At, own: &str, part: &At, errors: &mut Errors) {
    match (kind.text() == own, part.has()) {
        (true, false) => errors.push(part.required("")),
        (false, true) => errors.push(part.forbidden("")),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
