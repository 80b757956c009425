//! Conditions and the status of an autoscaler. Pure.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Sets a condition; its time is that of its last turn (setConditionInList).
pub fn set(autoscaler: &mut Value, kind: &str, is_true: bool, reason: &str, message: &str, now: Timestamp) {
    let status = if is_true { "True" } else { "False" };
    let all = &mut autoscaler["status"]["conditions"];
    if !all.is_array() {
        *all = json!([]);
    }
    let Some(all) = all.as_array_mut() else { return };
    let at = all.iter().position(|condition| condition["type"] == kind).unwrap_or_else(|| {
        all.push(json!({"type": kind}));
        all.len() - 1
    });
    let condition = &mut all[at];
    if condition["status"] != status {
        condition["lastTransitionTime"] = json!(api::seconds(now));
    }
    condition["status"] = json!(status);
    condition["reason"] = json!(reason);
    condition["message"] = json!(message);
}

/// Whether it has a condition that is true.
pub fn is(autoscaler: &Value, kind: &str) -> bool {
    let mut all = api::tree::list(autoscaler, "status.conditions").iter();
    all.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// The numbers of a status; conditions stay (setStatus). `metrics` is null where none were looked at.
pub fn count(autoscaler: &mut Value, current: i64, desired: i64, metrics: Value, scaled_at: Option<Timestamp>) {
    let generation = autoscaler["metadata"]["generation"].clone();
    let status = &mut autoscaler["status"];
    let mut next = Map::new();
    if current != 0 {
        next.insert("currentReplicas".into(), json!(current));
    }
    next.insert("desiredReplicas".into(), json!(desired));
    next.insert("currentMetrics".into(), metrics);
    let kept = [("lastScaleTime", scaled_at.map(|at| json!(api::seconds(at)))), ("conditions", None)];
    for (field, new) in kept {
        let value = new.unwrap_or_else(|| status[field].take());
        if !value.is_null() {
            next.insert(field.into(), value);
        }
    }
    if !generation.is_null() {
        next.insert("observedGeneration".into(), generation);
    }
    *status = next.into();
}
