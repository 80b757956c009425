//! What of its pods a Job takes for a failure, when it has succeeded, and when a pod is replaced.

use std::collections::BTreeSet;

use api::names;
use serde_json::json;

use super::{container_names, quoted, status};
use crate::validate::at::{At, Errors, invalid_each, non_negative};

const RULES_MAX: usize = 20;
const PATTERNS_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const INDEXES_MAX: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];

pub fn failure(spec: &At, errors: &mut Errors) {
    let policy = spec.get("podFailurePolicy");
    if !policy.has() {
        return;
    }
    let rules = policy.get("rules");
    if rules.len() > RULES_MAX {
        errors.push(rules.too_many(RULES_MAX));
    }
    let containers = container_names(spec);
    for rule in rules.items() {
        let action = rule.get("action");
        match action.text() {
            "" => errors.push(action.required(&quoted(&ACTIONS))),
            "FailIndex" if !spec.get("backoffLimitPerIndex").has() => {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
            text if !ACTIONS.contains(&text) => errors.push(action.not_supported(&ACTIONS)),
            _ => {}
        }
        let (codes, conditions) = (rule.get("onExitCodes"), rule.get("onPodConditions"));
        if codes.has() {
            exit_codes(&codes, &containers, errors);
        }
        pod_conditions(&conditions, errors);
        let wrong = match (codes.has(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(rule.invalid_shown(String::new(), wrong));
    }
}

fn pod_conditions(at: &At, errors: &mut Errors) {
    if at.len() > PATTERNS_MAX {
        errors.push(at.too_many(PATTERNS_MAX));
    }
    for pattern in at.items() {
        let (kind, status) = (pattern.get("type"), pattern.get("status"));
        invalid_each(&kind, names::qualified(kind.text()), errors);
        one_of(&status, &STATUSES, errors);
    }
}

fn one_of(at: &At, known: &[&str], errors: &mut Errors) {
    match at.text() {
        "" => errors.push(at.required(&quoted(known))),
        text if !known.contains(&text) => errors.push(at.not_supported(known)),
        _ => {}
    }
}

fn exit_codes(at: &At, containers: &BTreeSet<&str>, errors: &mut Errors) {
    let (operator, container, values) = (at.get("operator"), at.get("containerName"), at.get("values"));
    one_of(&operator, &OPERATORS, errors);
    if container.has() && !containers.contains(container.text()) {
        errors.push(container.invalid("must be one of the container or initContainer names in the pod template"));
    }
    if values.is_empty() {
        errors.push(values.invalid_as(values.value.clone(), "at least one value is required"));
    } else if values.len() > EXIT_CODES_MAX {
        errors.push(values.too_many(EXIT_CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    let mut last = i64::MIN;
    let mut ordered = true;
    for value in values.items() {
        if operator.text() == "In" && value.number() == 0 {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(value.number()) {
            errors.push(value.duplicate());
        }
        ordered &= last <= value.number();
        last = value.number();
    }
    if !ordered {
        errors.push(values.invalid("must be ordered"));
    }
}

pub fn success(spec: &At, is_indexed: bool, errors: &mut Errors) {
    let policy = spec.get("successPolicy");
    let rules = policy.get("rules");
    if !policy.has() {
        return;
    }
    if !is_indexed {
        let rule = |rule: At| {
            let field = |name: &'static str| rule.get(name).value.clone();
            format!(
                "{{\"SucceededIndexes\":{},\"SucceededCount\":{}}}",
                field("succeededIndexes"),
                field("succeededCount")
            )
        };
        let shown = match rules.has() {
            true => format!("[{}]", rules.items().map(rule).collect::<Vec<_>>().join(",")),
            false => "null".into(),
        };
        errors.push(policy.invalid_shown(format!("{{\"Rules\":{shown}}}"), "requires indexed completion mode"));
        return;
    }
    if rules.is_empty() {
        errors.push(rules.required("at least one rules must be specified when the successPolicy is specified"));
    }
    if rules.len() > RULES_MAX {
        errors.push(rules.too_many(RULES_MAX));
    }
    // Without them nothing is counted; that they are missing is told elsewhere.
    let completions = spec.get("completions").number();
    for rule in rules.items() {
        let (indexes, count) = (rule.get("succeededIndexes"), rule.get("succeededCount"));
        if !indexes.has() && !count.has() {
            errors.push(rule.required("at least one of succeededCount or succeededIndexes must be specified"));
        }
        let mut total = 0;
        if indexes.has() {
            if indexes.text().len() > INDEXES_MAX {
                errors.push(indexes.too_long(INDEXES_MAX));
            }
            match status::indexes(indexes.text(), completions) {
                Ok(found) => total = found.iter().map(|(first, last)| last - first + 1).sum(),
                Err(why) => errors.push(indexes.invalid(&format!("error parsing succeededIndexes: {why}"))),
            }
        }
        if !count.has() {
            continue;
        }
        non_negative(&count, errors);
        let number = count.number();
        if number > completions {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.push(count.invalid_as(json!(number), &why));
        }
        if indexes.has() && number > total {
            errors.push(count.invalid(&format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            )));
        }
    }
}

pub fn replacement(spec: &At, errors: &mut Errors) {
    let at = spec.get("podReplacementPolicy");
    let known: &[&str] =
        if spec.get("podFailurePolicy").has() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if at.has() && !known.contains(&at.text()) {
        errors.push(at.not_supported(known));
    }
}
