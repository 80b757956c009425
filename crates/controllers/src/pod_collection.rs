//! Pods that nobody will ever report on again: their node is gone, or too many have ended.
//!
//! pkg/controller/podgc: a pod of a vanished node is marked Failed and deleted with grace 0 after 40
//! seconds; above 12,500 ended pods the oldest go.

use std::sync::Arc;
use std::time::Duration;

use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::{DeleteOptions, Key, PatchKind};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};

use crate::node_lifecycle::on_node;
use crate::{Parts, core};

/// A node may be deleted and registered again.
const QUARANTINE: Duration = Duration::from_secs(40);
const ENDED_MAX: usize = 12_500;

pub async fn run(parts: Arc<Parts>) {
    let (nodes, pods) = (parts.core("nodes"), parts.core("pods"));
    parts.synced(&[nodes, pods]).await;
    let own = pods.subscribe().keys();
    let vanished = {
        let parts = parts.clone();
        nodes.subscribe().keys().flat_map(move |key| {
            let gone = parts.core("nodes").get("", &key.name).is_none();
            let pods = if gone { on_node(&parts, &key.name) } else { Vec::new() };
            stream::iter(pods.iter().map(Key::of).collect::<Vec<_>>())
        })
    };
    let missing = Missing::default();
    let work = |key: Key| {
        let (parts, missing) = (parts.clone(), missing.clone());
        async move { collect(&parts, &missing, &key).await }
    };
    reconcile::run(select(own, vanished), 8, work).await;
}

/// Since when each missing node was noticed to be missing.
type Missing = Arc<std::sync::Mutex<std::collections::HashMap<String, tokio::time::Instant>>>;

async fn collect(parts: &Parts, missing: &Missing, key: &Key) -> Result<Requeue, Status> {
    let Some(pod) = parts.core("pods").get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let value = pod.value();
    let node = value["spec"]["nodeName"].as_str().unwrap_or("");
    if !node.is_empty() && parts.core("nodes").get("", node).is_none() {
        let rest = {
            let mut missing = missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let now = tokio::time::Instant::now();
            let since = *missing.entry(node.into()).or_insert(now);
            QUARANTINE.saturating_sub(now - since)
        };
        if !rest.is_zero() {
            return Ok(Requeue::After(rest));
        }
        // The cache may be behind: the server decides.
        return match parts.client.get(core("nodes"), "", node).await {
            Err(status) if status.reason == Reason::NotFound => {
                force(parts, &pod, "PodGC: node no longer exists").await
            }
            Err(status) => Err(status),
            Ok(_) => Ok(Requeue::Done),
        };
    }
    missing.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(node);
    if is_ended(&value) && parts.core("pods").len() > ENDED_MAX {
        return trim(parts).await;
    }
    Ok(Requeue::Done)
}

/// Marks a pod as ended by us and removes it.
async fn force(parts: &Parts, pod: &Object, why: &str) -> Result<Requeue, Status> {
    let (meta, kind) = (pod.meta(), core("pods"));
    let value = pod.value();
    if !is_ended(&value) {
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": why,
            "lastTransitionTime": parts.now()});
        let patch = json!({"metadata": {"uid": meta.uid}, "status": {"phase": "Failed", "conditions": [condition]}});
        let marked =
            parts.client.patch(kind, &meta.namespace, &meta.name, "status", PatchKind::Strategic, &patch).await;
        if let Err(status) = marked {
            return if status.reason == Reason::NotFound { Ok(Requeue::Done) } else { Err(status) };
        }
    }
    let options =
        DeleteOptions { grace_period_seconds: Some(0), uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    match parts.client.delete(kind, &meta.namespace, &meta.name, &options).await {
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// Deletes the ended pods above the limit: evicted ones first, then the oldest.
async fn trim(parts: &Parts) -> Result<Requeue, Status> {
    let ended =
        parts.core("pods").list().into_iter().map(|pod| (pod.value(), pod)).filter(|(value, _)| is_ended(value));
    let mut ended: Vec<(bool, String, Object)> = ended
        .map(|(value, pod)| {
            let created = pod.meta().creation_timestamp.clone().unwrap_or_default();
            (value["status"]["reason"] != "Evicted", created, pod)
        })
        .collect();
    let surplus = ended.len().saturating_sub(ENDED_MAX);
    ended.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    for (_, _, pod) in ended.into_iter().take(surplus) {
        force(parts, &pod, "PodGC: too many pods have ended").await?;
    }
    Ok(Requeue::Done)
}

fn is_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}
