//! What a node's conditions say: taints of its own, and what turns Unknown with silence.
//!
//! pkg/controller/nodelifecycle (nodeConditionToTaintKeyStatusMap, processTaintBaseEviction). Pure. Others' taints stay.

use serde_json::{Value, json};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions that turn Unknown with silence.
const REPORTED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Condition, its bad status, the taint.
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Whether a node drives its pods away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drives {
    /// It is ready, or said nothing yet.
    No,
    /// It should: when its turn comes.
    Should,
    /// It does, under one of the two keys; another key takes its place at once.
    Does,
}

pub fn drives(node: &Value) -> Drives {
    let taints = || node["spec"]["taints"].as_array().into_iter().flatten();
    match status_of(node, "Ready") {
        Some("False" | "Unknown") if taints().any(|t| is_driving(&t["key"], &t["effect"])) => Drives::Does,
        Some("False" | "Unknown") => Drives::Should,
        _ => Drives::No,
    }
}

fn is_driving(key: &Value, effect: &Value) -> bool {
    effect == "NoExecute" && (key == NOT_READY || key == UNREACHABLE)
}

/// The conditions of a node that is silent; None if they stand so already.
pub fn unknown(node: &Value, now: &str) -> Option<Value> {
    let mut changed = Vec::new();
    for kind in REPORTED {
        let condition = condition(node, kind);
        if condition.is_some_and(|c| c["status"] == "Unknown") {
            continue;
        }
        let (reason, message) = match condition {
            Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
            None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
        };
        let heartbeat =
            condition.map_or(node["metadata"]["creationTimestamp"].clone(), |c| c["lastHeartbeatTime"].clone());
        changed.push(json!({"type": kind, "status": "Unknown", "reason": reason, "message": message,
            "lastHeartbeatTime": heartbeat, "lastTransitionTime": now}));
    }
    (!changed.is_empty()).then(|| changed.into())
}

/// The taints that a node should have; None if it has them. Others' taints stay. Without `evicting` none
/// of ours drives pods away.
pub fn taints(node: &Value, evicting: bool, now: &str) -> Option<Value> {
    let old = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, bad, taint) in TAINTS {
        // A node that has said nothing yet is not ready.
        let status = status_of(node, kind).or((*kind == "Ready").then_some("False"));
        if status != Some(bad) {
            continue;
        }
        wanted.push((taint, "NoSchedule"));
        // Only what was ready once, or fell silent, drives pods away.
        if *kind == "Ready" && evicting && status_of(node, kind).is_some() {
            wanted.push((taint, "NoExecute"));
        }
    }
    if node["spec"]["unschedulable"] == true {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |taint: &Value| {
        let key = taint["key"].as_str().unwrap_or("");
        let effect = taint["effect"].as_str().unwrap_or("");
        (effect == "NoSchedule" && (key == UNSCHEDULABLE || TAINTS.iter().any(|(_, _, t)| *t == key)))
            || is_driving(&taint["key"], &taint["effect"])
    };
    let same = |taint: &Value, (key, effect): &(&str, &str)| taint["key"] == *key && taint["effect"] == *effect;
    let mut new: Vec<Value> = old.iter().filter(|t| !ours(t) || wanted.iter().any(|w| same(t, w))).cloned().collect();
    for taint in &wanted {
        if !new.iter().any(|t| same(t, taint)) {
            let mut fresh = json!({"key": taint.0, "effect": taint.1});
            if taint.1 == "NoExecute" || taint.0 == UNSCHEDULABLE {
                fresh["timeAdded"] = json!(now);
            }
            new.push(fresh);
        }
    }
    (new != old).then(|| new.into())
}

pub fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind)
}

pub fn status_of<'a>(node: &'a Value, kind: &str) -> Option<&'a str> {
    condition(node, kind).and_then(|c| c["status"].as_str())
}

#[cfg(test)]
mod tests;
