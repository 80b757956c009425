//! Taints and conditions of nodes: what is heard of them, and what no longer is.
//!
//! pkg/controller/nodelifecycle: conditions become taints; a node whose lease and status are silent
//! for 50 seconds turns Unknown, and its pods unready. Silence is measured from when this process
//! last saw a change, so that neither a wrong clock nor a restart of ours declares anybody dead. Where
//! no node is ready at all, it is we who are cut off: nobody is driven away then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::{LEASES, NODES, PODS};
use api::{Object, Reason, Status};
use client::PatchKind;
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Parts;

/// --node-monitor-grace-period since 1.32.
const GRACE: Duration = Duration::from_secs(50);
const LEASE_NAMESPACE: &str = "kube-node-lease";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// A node that says nothing about the health of the others.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
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

/// When each node was last heard of, and by what.
type Heard = Arc<Mutex<HashMap<String, (String, Instant)>>>;

pub async fn run(parts: Arc<Parts>) {
    let (nodes, leases) = (parts.cache(&NODES), parts.cache(&LEASES));
    parts.synced(&[&nodes, &leases, &parts.cache(&PODS)]).await;
    let own = {
        let nodes = nodes.clone();
        let mut were_down = all_down(&nodes.list());
        nodes.subscribe().keys().flat_map(move |key| {
            let all = nodes.list();
            let are_down = all_down(&all);
            if are_down == were_down {
                return stream::iter(vec![key.name.to_string()]);
            }
            were_down = are_down;
            match are_down {
                true => tracing::warn!("no node is ready: evictions stop until one is"),
                false => tracing::warn!("a node is ready again: evictions go on"),
            }
            stream::iter(
                all.iter().map(|node| node.meta().name.clone()).chain([key.name.to_string()]).collect::<Vec<_>>(),
            )
        })
    };
    let renewed = leases.subscribe().keys().filter(|key| std::future::ready(&*key.namespace == LEASE_NAMESPACE));
    let renewed = renewed.map(|key| key.name.to_string());
    let heard = Heard::default();
    let work = |name: String| {
        let (parts, heard) = (parts.clone(), heard.clone());
        async move { look(&parts, &heard, &name).await }
    };
    reconcile::run(select(own, renewed), 8, work).await;
}

async fn look(parts: &Parts, heard: &Heard, name: &str) -> Result<Requeue, Status> {
    let Some(node) = parts.cache(&NODES).get("", name) else {
        heard.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        return Ok(Requeue::Done);
    };
    let value = node.value();
    let silence = silence(parts, heard, name, &value);
    if silence >= GRACE
        && let Some(conditions) = unknown(&value, &parts.now())
    {
        let patch = json!({"status": {"conditions": conditions}});
        parts.client.patch(&NODES, "", name, "status", PatchKind::Strategic, &patch).await?;
        // The change comes back as an event, and with it the taints.
        return Ok(Requeue::Done);
    }
    let evicting = !all_down(&parts.cache(&NODES).list());
    if let Some(taints) = taints(&value, evicting, &parts.now()) {
        let version = &node.meta().resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        match parts.client.patch(&NODES, "", name, "", PatchKind::Merge, &patch).await {
            Ok(_) => {}
            // Somebody was quicker: the event of that write comes.
            Err(status) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => {}
            Err(status) => return Err(status),
        }
    }
    if status_of(&value, "Ready").is_some_and(|ready| ready != "True") {
        unready(parts, name).await?;
    }
    Ok(if silence < GRACE { Requeue::After(GRACE - silence) } else { Requeue::Done })
}

/// Whether there are nodes and none of them is ready (handleDisruption, "master disruption mode").
fn all_down(nodes: &[Object]) -> bool {
    let mut counted = nodes.iter().filter(|node| !node.meta().labels.contains_key(EXCLUDED)).peekable();
    counted.peek().is_some() && !counted.any(|node| is_ready(&node.value()))
}

pub fn is_ready(node: &Value) -> bool {
    status_of(node, "Ready") == Some("True")
}

/// How long nothing new was heard of a node.
fn silence(parts: &Parts, heard: &Heard, name: &str, node: &Value) -> Duration {
    let lease = parts.cache(&LEASES).get(LEASE_NAMESPACE, name).map(|lease| lease.value());
    let renewed = lease.as_ref().and_then(|l| l["spec"]["renewTime"].as_str()).unwrap_or("");
    let ready = condition(node, "Ready").and_then(|c| c["lastHeartbeatTime"].as_str()).unwrap_or("");
    let sign = format!("{renewed} {ready}");
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if !heard.contains_key(name)
        && let Some(object) = parts.cache(&NODES).get("", name)
    {
        let text = format!("Node {name} event: Registered Node {name} in Controller");
        parts.recorder.event(&object, "", Type::Normal, "RegisteredNode", text);
    }
    let entry = heard.entry(name.to_string()).or_insert_with(|| (sign.clone(), now));
    if entry.0 != sign {
        *entry = (sign, now);
    }
    now - entry.1
}

/// The conditions of a node that is silent; None if they stand so already.
fn unknown(node: &Value, now: &str) -> Option<Value> {
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
fn taints(node: &Value, evicting: bool, now: &str) -> Option<Value> {
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
            || (effect == "NoExecute" && (key == NOT_READY || key == UNREACHABLE))
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

/// Pods of a node that is not ready are not ready either (MarkPodsNotReady).
async fn unready(parts: &Parts, node: &str) -> Result<(), Status> {
    for pod in on_node(parts, node) {
        let value = pod.value();
        let Some(ready) = value["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == "Ready")
        else {
            continue;
        };
        if ready["status"] != "True" {
            continue;
        }
        let mut condition = ready.clone();
        condition["status"] = json!("False");
        condition["lastTransitionTime"] = json!(parts.now());
        let meta = pod.meta();
        let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
        let patched = parts.client.patch(&PODS, &meta.namespace, &meta.name, "status", PatchKind::Strategic, &patch);
        match patched.await {
            Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => return Err(status),
            _ => parts.recorder.event(&pod, "", Type::Warning, "NodeNotReady", "Node is not ready"),
        }
    }
    Ok(())
}

/// The pods that run on a node.
pub fn on_node(parts: &Parts, node: &str) -> Vec<Object> {
    parts.cache(&PODS).by(&client::cache::index::NODE, node)
}

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind)
}

fn status_of<'a>(node: &'a Value, kind: &str) -> Option<&'a str> {
    condition(node, kind).and_then(|c| c["status"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: Option<&str>, taints: Value) -> Value {
        let conditions = ready.map_or(json!([]), |status| json!([{"type": "Ready", "status": status}]));
        json!({"metadata": {}, "spec": {"taints": taints}, "status": {"conditions": conditions}})
    }

    #[test]
    fn taints_follow_the_conditions_and_leave_others_alone() {
        let own = json!({"key": "mine", "effect": "NoSchedule"});
        let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
        let taints = |node: &Value, now: &str| super::taints(node, true, now);
        assert_eq!(taints(&node(None, json!([not_ready.clone()])), "t"), None);
        assert_eq!(taints(&node(Some("True"), json!([own.clone(), not_ready.clone()])), "t"), Some(json!([own])));
        let execute = |key| json!({"key": key, "effect": "NoExecute", "timeAdded": "t"});
        assert_eq!(
            taints(&node(Some("False"), json!([not_ready.clone()])), "t"),
            Some(json!([not_ready, execute(NOT_READY)]))
        );
        let silent = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, execute(UNREACHABLE)]);
        assert_eq!(taints(&node(Some("Unknown"), json!([])), "t"), Some(silent.clone()));
        assert_eq!(taints(&node(Some("Unknown"), silent.clone()), "t"), None);
        let held = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}]);
        assert_eq!(super::taints(&node(Some("Unknown"), silent), false, "t"), Some(held));
    }

    #[test]
    fn nodes_are_all_down_when_none_of_those_that_count_is_ready() {
        let node = |name: &str, ready: Option<&str>, labels: Value| {
            let mut value = node(ready, json!([]));
            value["apiVersion"] = json!("v1");
            value["kind"] = json!("Node");
            value["metadata"] = json!({"name": name, "labels": labels});
            Object::from_value(&value).unwrap()
        };
        let (up, down) = (node("a", Some("True"), json!({})), node("b", Some("Unknown"), json!({})));
        assert!(!all_down(&[]));
        assert!(!all_down(&[up, down.clone()]));
        assert!(all_down(&[down.clone(), node("c", None, json!({}))]));
        assert!(all_down(&[down, node("d", Some("True"), json!({EXCLUDED: ""}))]));
    }

    #[test]
    fn a_silent_node_turns_unknown_once() {
        let first = unknown(&node(Some("True"), json!([])), "t").unwrap();
        assert_eq!(
            (&first[0]["reason"], &first[1]["reason"]),
            (&json!("NodeStatusUnknown"), &json!("NodeStatusNeverUpdated"))
        );
        let silent = json!({"status": {"conditions": first}});
        assert_eq!(unknown(&silent, "t"), None);
    }
}
