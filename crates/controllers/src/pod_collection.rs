//! Pods that nobody will ever report on again: their node is gone, or too many have ended.
//!
//! pkg/controller/podgc: a pod of a vanished node is marked Failed and deleted with grace 0 after 40
//! seconds, one that is being deleted on an unready node that an administrator declared out of service
//! at once; above 12,500 ended pods the oldest go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::{NODES, PODS};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::{DeleteOptions, Key, PatchKind};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Parts;
use crate::node_lifecycle::{is_ready, on_node};

/// A node may be deleted and registered again.
const QUARANTINE: Duration = Duration::from_secs(40);
const ENDED_MAX: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub async fn run(parts: Arc<Parts>) {
    let (nodes, pods) = (parts.cache(&NODES), parts.cache(&PODS));
    parts.synced(&[&nodes, &pods]).await;
    let own = pods.subscribe().keys();
    let missing = Missing::default();
    let abandoned = {
        let (parts, missing) = (parts.clone(), missing.clone());
        nodes.subscribe().keys().flat_map(move |key| {
            let node = parts.cache(&NODES).get("", &key.name);
            if node.is_some() {
                missing.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (node, _)| **node != *key.name);
            }
            let pods = match node.is_none_or(|node| is_out_of_service(&node.value())) {
                true => on_node(&parts, &key.name),
                false => Vec::new(),
            };
            stream::iter(pods.iter().map(Key::of).collect::<Vec<_>>())
        })
    };
    let work = |key: Key| {
        let (parts, missing) = (parts.clone(), missing.clone());
        async move { collect(&parts, &missing, &key).await }
    };
    reconcile::run(select(own, abandoned), 8, work).await;
}

/// Pods whose node is missing: which, and since when that was noticed.
type Missing = Arc<Mutex<HashMap<Key, (String, Instant)>>>;

async fn collect(parts: &Parts, missing: &Missing, key: &Key) -> Result<Requeue, Status> {
    let missing = || missing.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pod) = parts.cache(&PODS).get(&key.namespace, &key.name) else {
        missing().remove(key);
        return Ok(Requeue::Done);
    };
    let value = pod.value();
    let name = value["spec"]["nodeName"].as_str().unwrap_or("");
    let node = parts.cache(&NODES).get("", name);
    if !name.is_empty() && node.is_none() {
        let now = Instant::now();
        let since = missing().entry(key.clone()).or_insert_with(|| (name.into(), now)).1;
        let rest = QUARANTINE.saturating_sub(now - since);
        if !rest.is_zero() {
            return Ok(Requeue::After(rest));
        }
        // The cache may be behind: the server decides.
        return match parts.client.get(&NODES, "", name).await {
            Err(status) if status.reason == Reason::NotFound => {
                force(parts, &pod, Some("PodGC: node no longer exists")).await
            }
            Err(status) => Err(status),
            Ok(_) => Ok(Requeue::Done),
        };
    }
    missing().remove(key);
    if pod.meta().is_deleting() && node.is_some_and(|node| is_out_of_service(&node.value())) {
        return force(parts, &pod, None).await;
    }
    if is_ended(&value) && parts.cache(&PODS).len() > ENDED_MAX {
        return trim(parts).await;
    }
    Ok(Requeue::Done)
}

/// Marks a pod as ended, by us where it is not its owner who wants it gone, and removes it.
async fn force(parts: &Parts, pod: &Object, why: Option<&str>) -> Result<Requeue, Status> {
    let (meta, kind) = (pod.meta(), &PODS);
    let value = pod.value();
    if !is_ended(&value) {
        let mut patch = json!({"metadata": {"uid": meta.uid}, "status": {"phase": "Failed"}});
        if let Some(why) = why {
            patch["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
                "reason": "DeletionByPodGC", "message": why, "lastTransitionTime": parts.now()}]);
        }
        let marked =
            parts.client.patch(kind, &meta.namespace, &meta.name, "status", PatchKind::Strategic, &patch).await;
        if let Err(status) = marked {
            return if status.reason == Reason::NotFound { Ok(Requeue::Done) } else { Err(status) };
        }
    }
    let options =
        DeleteOptions { grace_period_seconds: Some(0), uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    match parts.client.delete(kind, &meta.namespace, &meta.name, &options).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// Deletes the ended pods above the limit: evicted ones first, then the oldest.
async fn trim(parts: &Parts) -> Result<Requeue, Status> {
    let ended =
        parts.cache(&PODS).list().into_iter().map(|pod| (pod.value(), pod)).filter(|(value, _)| is_ended(value));
    let mut ended: Vec<(bool, String, Object)> = ended
        .map(|(value, pod)| {
            let created = pod.meta().creation_timestamp.clone().unwrap_or_default();
            (value["status"]["reason"] != "Evicted", created, pod)
        })
        .collect();
    let surplus = ended.len().saturating_sub(ENDED_MAX);
    ended.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    for (_, _, pod) in ended.into_iter().take(surplus) {
        force(parts, &pod, None).await?;
    }
    Ok(Requeue::Done)
}

/// An administrator's word that a node is off (gcTerminating).
fn is_out_of_service(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    !is_ready(node) && taints.into_iter().any(|taint| taint["key"] == OUT_OF_SERVICE)
}

fn is_ended(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}
