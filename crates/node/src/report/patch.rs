//! What differs from the server's copy of a status, as a strategic merge patch with the pod's UID.
//!
//! Conditions merge by type, so that foreign ones written meanwhile survive; other lists are replaced.
//! None where nothing changed: then nothing is written.

use crate::view as core;
use serde_json::{Map, Value, json};

use crate::report::conditions::OWN;

/// The patch that turns `old` into `new`; `uid` guards against a namesake.
pub fn patch(uid: &str, old: Option<&core::PodStatus>, new: &core::PodStatus) -> Option<Value> {
    let old = old.map_or(Value::Null, tree);
    let new = tree(new);
    let empty = Map::new();
    let before = old.as_object().unwrap_or(&empty);
    let after = new.as_object().unwrap_or(&empty);
    let mut status = Map::new();
    for (key, value) in after {
        if before.get(key) == Some(value) {
            continue;
        }
        match key.as_str() {
            "conditions" => conditions(before.get(key), value, &mut status),
            "podIPs" | "hostIPs" => {
                let mut list = vec![json!({"$patch": "replace"})];
                list.extend(value.as_array().into_iter().flatten().cloned());
                // A first list needs no directive.
                let list = if before.contains_key(key) { list } else { list.split_off(1) };
                status.insert(key.clone(), Value::Array(list));
            }
            _ => {
                status.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        status.insert(key.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

fn conditions(before: Option<&Value>, after: &Value, status: &mut Map<String, Value>) {
    let empty = Vec::new();
    let before = before.and_then(Value::as_array).unwrap_or(&empty);
    let after = after.as_array().unwrap_or(&empty);
    let same_type = |a: &Value, b: &Value| a["type"] == b["type"];
    let mut list: Vec<Value> =
        after.iter().filter(|c| !before.iter().any(|b| b == *c)).map(|c| nulled(before, c)).collect();
    let own = |c: &&Value| c["type"].as_str().is_some_and(|t| OWN.contains(&t));
    for gone in before.iter().filter(own).filter(|b| !after.iter().any(|a| same_type(a, b))) {
        list.push(json!({"$patch": "delete", "type": gone["type"]}));
    }
    if list.is_empty() {
        return;
    }
    let order: Vec<Value> = after.iter().map(|c| json!({"type": c["type"]})).collect();
    status.insert("$setElementOrder/conditions".into(), Value::Array(order));
    status.insert("conditions".into(), Value::Array(list));
}

/// A merged condition keeps what is not mentioned: what went away is said.
fn nulled(before: &[Value], condition: &Value) -> Value {
    let mut condition = condition.clone();
    let Some(old) = before.iter().find(|b| b["type"] == condition["type"]) else { return condition };
    for key in old.as_object().into_iter().flat_map(|o| o.keys()) {
        if condition.get(key).is_none() {
            condition[key] = Value::Null;
        }
    }
    condition
}

/// The status as the API writes it: whole seconds, `lastProbeTime: null` in conditions.
fn tree(status: &core::PodStatus) -> Value {
    let mut tree = serde_json::to_value(status).expect("a status is plain data");
    for c in tree["conditions"].as_array_mut().into_iter().flatten() {
        if c.get("lastProbeTime").is_none() {
            c["lastProbeTime"] = Value::Null;
        }
    }
    if tree["conditions"].is_null() {
        tree.as_object_mut().map(|t| t.remove("conditions"));
    }
    tree
}

#[cfg(test)]
mod tests;
