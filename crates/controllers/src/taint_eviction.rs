//! Pods that do not tolerate their node any longer are deleted, when their time is up.
//!
//! pkg/controller/tainteviction: every NoExecute taint must be tolerated; the shortest tolerationSeconds
//! counts from when the taint was added.

use std::sync::Arc;
use std::time::Duration;

use api::resource::{NODES, PODS};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{DeleteOptions, Key, PatchKind};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};

use crate::Parts;
use crate::node_lifecycle::on_node;

pub async fn run(parts: Arc<Parts>) {
    let (nodes, pods) = (parts.cache(&NODES), parts.cache(&PODS));
    parts.synced(&[&nodes, &pods]).await;
    let own = pods.subscribe().keys();
    let of_nodes = {
        let parts = parts.clone();
        nodes.subscribe().keys().flat_map(move |key| {
            let tainted =
                parts.cache(&NODES).get("", &key.name).is_some_and(|node| !no_execute(&node.value()).is_empty());
            let pods = if tainted { on_node(&parts, &key.name) } else { Vec::new() };
            stream::iter(pods.iter().map(Key::of).collect::<Vec<_>>())
        })
    };
    let work = |key: Key| {
        let parts = parts.clone();
        async move { judge(&parts, &key).await }
    };
    reconcile::run(select(own, of_nodes), 8, work).await;
}

async fn judge(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(pod) = parts.cache(&PODS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    if pod.meta().is_deleting() || parts.cache(&NODES).list().iter().all(no_execute_absent) {
        return Ok(Requeue::Done);
    }
    let value = pod.value();
    let Some(node) = value["spec"]["nodeName"].as_str().and_then(|name| parts.cache(&NODES).get("", name)) else {
        return Ok(Requeue::Done);
    };
    let now = (parts.config.clock)();
    match stays(&value, &no_execute(&node.value()), now) {
        Stays::Forever => Ok(Requeue::Done),
        Stays::For(rest) => Ok(Requeue::After(rest)),
        Stays::NoLonger => evict(parts, &pod).await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Forever,
    For(Duration),
    NoLonger,
}

/// How much longer a pod stays on a node with these taints. Pure.
fn stays(pod: &Value, taints: &[Value], now: jiff::Timestamp) -> Stays {
    let tolerations: Vec<&Value> = pod["spec"]["tolerations"].as_array().into_iter().flatten().collect();
    let mut shortest: Option<(i64, jiff::Timestamp)> = None;
    for taint in taints {
        let matching: Vec<&&Value> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return Stays::NoLonger;
        }
        let since = taint["timeAdded"].as_str().and_then(|t| t.parse().ok()).unwrap_or(now);
        for seconds in matching.iter().filter_map(|t| t["tolerationSeconds"].as_i64()) {
            if shortest.is_none_or(|(least, _)| seconds < least) {
                shortest = Some((seconds, since));
            }
        }
    }
    match shortest {
        None => Stays::Forever,
        Some((seconds, since)) => {
            let end = api::later(since, seconds.max(0));
            match Duration::try_from(end.duration_since(now)) {
                Ok(rest) if !rest.is_zero() => Stays::For(rest),
                _ => Stays::NoLonger,
            }
        }
    }
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or("").to_string();
    let (effect, key) = (text(toleration, "effect"), text(toleration, "key"));
    let same_effect = effect.is_empty() || effect == "NoExecute";
    let same_key = key.is_empty() || key == text(taint, "key");
    let same_value = text(toleration, "operator") == "Exists" || text(toleration, "value") == text(taint, "value");
    same_effect && same_key && same_value
}

async fn evict(parts: &Parts, pod: &Object) -> Result<Requeue, Status> {
    let meta = pod.meta();
    let (namespace, name) = (&meta.namespace, &meta.name);
    let text = format!("Marking for deletion Pod {namespace}/{name}");
    parts.recorder.event(pod, "", Type::Normal, "TaintManagerEviction", text);
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": parts.now()});
    let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
    let kind = &*PODS;
    let marked = parts.client.patch(kind, namespace, name, "status", PatchKind::Strategic, &patch).await;
    let options = DeleteOptions { uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    let deleted = match marked {
        Ok(_) => parts.client.delete(kind, namespace, name, &options).await,
        Err(status) => Err(status),
    };
    match deleted {
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => Err(status),
        _ => Ok(Requeue::Done),
    }
}

fn no_execute(node: &Value) -> Vec<Value> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.filter(|t| t["effect"] == "NoExecute").cloned().collect()
}

/// Told from the bytes alone, as nearly always.
fn no_execute_absent(node: &Object) -> bool {
    memchr::memmem::find(node.bytes(), b"\"effect\":\"NoExecute\"").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_toleration_counts_from_when_the_taint_came() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let taint = json!({"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
        let pod = |tolerations: Value| json!({"spec": {"tolerations": tolerations}});
        let exists = |seconds: Value| json!({"key": "k", "operator": "Exists", "tolerationSeconds": seconds});
        for (tolerations, want) in [
            (json!([]), Stays::NoLonger),
            (json!([{"operator": "Exists"}]), Stays::Forever),
            (json!([exists(json!(300))]), Stays::For(Duration::from_secs(240))),
            (json!([exists(json!(300)), exists(json!(70))]), Stays::For(Duration::from_secs(10))),
            (json!([exists(json!(30))]), Stays::NoLonger),
            (json!([exists(json!(-5))]), Stays::NoLonger),
            (json!([{"key": "k", "operator": "Equal", "value": "x"}]), Stays::NoLonger),
        ] {
            assert_eq!(stays(&pod(tolerations.clone()), std::slice::from_ref(&taint), now), want, "{tolerations}");
        }
        assert_eq!(stays(&pod(json!([])), &[], now), Stays::Forever);
    }
}
