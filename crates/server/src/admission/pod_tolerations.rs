//! PodTolerationRestriction: the pods of a namespace tolerate what it gives them and lists.
//!
//! Two annotations of the namespace say it.
//! plugin/pkg/admission/podtolerationrestriction, without its configuration file, and pkg/util/tolerations.

use api::Status;
use serde_json::{Value, json};

use super::{Ask, Findings, Operation, Plugin, each};

pub const PLUGIN: Plugin = Plugin {
    name: "PodTolerationRestriction",
    operations: &[Operation::Create, Operation::Update],
    mutate,
    validate,
    by_default: false,
};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const LISTED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if !ask.is("pods") || !ask.subresource.is_empty() {
        return Ok(());
    }
    let mut more = match ask.operation {
        Operation::Create => said(ask, DEFAULTS, findings)?,
        _ => Vec::new(),
    };
    if api::pod::Demands::of(object).qos_class() != "BestEffort" {
        more.push(json!({"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}));
    }
    if !more.is_empty() {
        let all: Vec<Value> = each(&object["spec"]["tolerations"]).cloned().chain(more).collect();
        object["spec"]["tolerations"] = Value::Array(merged(&all));
    }
    validate(ask, object, findings)
}

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    let tolerations = &object["spec"]["tolerations"];
    if !ask.is("pods") || !ask.subresource.is_empty() || each(tolerations).next().is_none() {
        return Ok(());
    }
    let listed = said(ask, LISTED, findings)?;
    let is_listed = |one: &Value| listed.iter().any(|wider| covers(wider, one));
    match listed.is_empty() || each(tolerations).all(is_listed) {
        true => Ok(()),
        // As upstream, which makes no Status of it.
        false => Err(Status::internal(
            "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
        )),
    }
}

/// What the namespace says.
fn said(ask: &Ask<'_>, annotation: &str, findings: &mut Findings) -> Result<Vec<Value>, Status> {
    let entry = ask.snapshot().namespace(ask.namespace);
    let entry = entry.ok_or_else(|| Status::not_found("", "namespaces", ask.namespace))?;
    let wrong = |why: serde_json::Error| Status::internal(why.to_string());
    let namespace: Value = serde_json::from_slice(&entry.bytes).map_err(wrong)?;
    findings.claim(&entry);
    match namespace["metadata"]["annotations"][annotation].as_str() {
        None | Some("") => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(wrong),
    }
}

/// Without those that another one covers; of two alike the first stays (MergeTolerations).
fn merged(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let covered = merged.iter().any(|wider| covers(wider, one))
            || all[index + 1..].iter().any(|wider| !is_equal(wider, one) && covers(wider, one));
        if !covered {
            merged.push(one.clone());
        }
    }
    merged
}

/// Whether one tolerates whatever the other does (isSuperset).
fn covers(wider: &Value, one: &Value) -> bool {
    if is_equal(wider, one) {
        return true;
    }
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    let differs = |field: &str| text(wider, field) != text(one, field);
    let any_key = text(wider, "key").is_empty() && text(wider, "operator") == "Exists";
    if (differs("key") && !any_key) || (differs("effect") && !text(wider, "effect").is_empty()) {
        return false;
    }
    if text(wider, "effect") == "NoExecute"
        && let Some(most) = wider["tolerationSeconds"].as_i64()
        && one["tolerationSeconds"].as_i64().is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match text(wider, "operator").as_str() {
        "Equal" | "" => text(one, "operator") == "Equal" && !differs("value"),
        operator => operator == "Exists",
    }
}

fn is_equal(one: &Value, other: &Value) -> bool {
    let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
    one["tolerationSeconds"].as_i64() == other["tolerationSeconds"].as_i64()
        && ["key", "operator", "value", "effect"].iter().all(|field| text(one, field) == text(other, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_one_covers_is_left_out() {
        let of = |key: &str, operator: &str, value: &str, effect: &str| json!({"key": key, "operator": operator, "value": value, "effect": effect});
        let (equal, other, exists) =
            (of("k", "Equal", "v", "E"), of("k", "Equal", "w", "E"), of("k", "Exists", "", "E"));
        let (any_effect, all) = (of("k", "Exists", "", ""), of("", "Exists", "", ""));
        for (given, left) in [
            (vec![&equal, &other], vec![&equal, &other]),
            (vec![&equal, &equal], vec![&equal]),
            (vec![&equal, &exists], vec![&exists]),
            (vec![&exists, &other], vec![&exists]),
            (vec![&exists, &any_effect, &equal], vec![&any_effect]),
            (vec![&equal, &other, &all], vec![&all]),
        ] {
            let given: Vec<Value> = given.into_iter().cloned().collect();
            assert_eq!(merged(&given).iter().collect::<Vec<_>>(), left, "{given:?}");
        }
        let timed = |seconds: i64| {
            let mut one = of("k", "Exists", "", "NoExecute");
            one["tolerationSeconds"] = json!(seconds);
            one
        };
        assert!(covers(&timed(5), &timed(5)) && covers(&timed(5), &timed(3)) && !covers(&timed(5), &timed(7)));
        assert!(!covers(&timed(5), &of("k", "Exists", "", "NoExecute")));
    }
}
