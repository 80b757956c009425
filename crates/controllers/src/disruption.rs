//! How many pods of an application may be evicted now: the status of every disruption budget.
//!
//! pkg/controller/disruption: of the pods that a budget selects so many are healthy and so many must be; those that
//! were let go are not counted, unless two minutes later they are still there. Where the number that there should be
//! cannot be told, nothing may go. A pod that was to go and stayed is told that it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::disruption::{allow, set_condition};
use api::pod::is_ready;
use api::resource::{POD_DISRUPTION_BUDGETS, PODS};
use api::selector::Labels;
use api::{Object, OwnerReference, Reason, Resource, Status, later, tree};
use client::cache::Change;
use client::cache::index::NAMESPACE;
use client::reconcile::{self, Requeue};
use client::{Cache, Key, PatchKind};
use futures::StreamExt;
use futures::stream::{self, select};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Parts;
use crate::workload::share;

/// In which a pod that was let go must have been deleted, and one that was to be disrupted be ending.
const PATIENCE: i64 = 120;

pub async fn run(parts: Arc<Parts>) {
    let (budgets, pods) = (parts.cache(&POD_DISRUPTION_BUDGETS), parts.cache(&PODS));
    parts.synced(&[&budgets, &pods]).await;
    let owners = scaled(&parts);
    parts.synced(&owners.iter().map(|(_, cache)| cache.as_ref()).collect::<Vec<_>>()).await;
    let own = budgets.subscribe().keys();
    let of_pods = {
        let budgets = budgets.clone();
        pods.subscribe().flat_map(move |change| {
            let mut all = budgets.by(&NAMESPACE, &change.key.namespace);
            all.retain(|budget| concerns(budget, &change));
            stream::iter(all.iter().map(Key::of).collect::<Vec<_>>())
        })
    };
    let count = |key: Key| {
        let parts = parts.clone();
        async move { count(&parts, &key).await }
    };
    let release = |key: Key| {
        let parts = parts.clone();
        async move { release(&parts, &key).await }
    };
    futures::join!(reconcile::run(select(own, of_pods), 4, count), reconcile::run(pods.subscribe().keys(), 4, release));
}

/// Whether a budget counts a pod, as it was or as it is; one whose selector cannot be read says so itself. Pure.
fn concerns(budget: &Object, change: &Change) -> bool {
    let Ok(selector) = Labels::from_label_selector(tree::at(&budget.value(), "spec.selector")) else { return false };
    [&change.old, &change.new].into_iter().flatten().any(|pod| selector.matches(&pod.meta().labels))
}

/// Every kind that says how many pods there shall be.
fn scaled(parts: &Parts) -> Vec<(Resource, Arc<Cache>)> {
    let scales = |resource: &&Resource| resource.subresources.iter().any(|sub| sub == "scale");
    parts.resources.iter().filter(scales).map(|resource| (resource.clone(), parts.cache(resource))).collect()
}

async fn count(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(budget) = parts.cache(&POD_DISRUPTION_BUDGETS).get(&key.namespace, &key.name) else {
        return Ok(Requeue::Done);
    };
    let mut next = budget.value();
    let pods = match Labels::from_label_selector(&next["spec"]["selector"]) {
        Ok(selector) => {
            let all = parts.cache(&PODS).by(&NAMESPACE, &key.namespace).into_iter();
            Ok(all.filter(|pod| selector.matches(&pod.meta().labels)).collect::<Vec<_>>())
        }
        Err(status) => Err(status.message),
    };
    let owners = scaled(parts);
    let judged = pods
        .and_then(|pods| judge(&next, &pods, |owner| scale(&owners, &key.namespace, owner), (parts.config.clock)()));
    let now = parts.now();
    let recheck = match judged {
        Ok(Judged { status, recheck }) => {
            let mut status = status;
            status["conditions"] = next["status"]["conditions"].clone();
            allow(&mut status, &now);
            next["status"] = status;
            recheck
        }
        Err(why) => {
            tracing::warn!(%key, why, "nothing may be evicted");
            next["status"]["disruptionsAllowed"] = json!(0);
            set_condition(&mut next["status"], "False", "SyncFailed", &why, &now);
            None
        }
    };
    let requeue = recheck.map_or(Requeue::Done, Requeue::After);
    if next["status"] == budget.value()["status"] {
        return Ok(requeue);
    }
    match parts.client.update_sub(&POD_DISRUPTION_BUDGETS, &key.namespace, &key.name, "status", &next).await {
        Ok(_) => Ok(requeue),
        Err(status) if status.reason == Reason::NotFound => Ok(Requeue::Done),
        Err(status) => Err(status),
    }
}

struct Judged {
    /// But for the conditions.
    status: Value,
    /// When somebody who was let go has had the time to go.
    recheck: Option<Duration>,
}

/// The status of a budget over the pods that it selects, or why it cannot be told. `scale` finds how many pods a
/// controller shall have, and which one they count for. Pure.
fn judge(
    budget: &Value,
    pods: &[Object],
    scale: impl Fn(&OwnerReference) -> Option<(String, i64)>,
    now: Timestamp,
) -> Result<Judged, String> {
    let spec = &budget["spec"];
    let expected = || expected(pods, &scale);
    let (expected, desired) = match (&spec["maxUnavailable"], &spec["minAvailable"]) {
        (Value::Null, Value::Null) => (0, 0),
        (Value::Null, Value::Number(least)) => (pods.len() as i64, least.as_i64().unwrap_or(0)),
        (Value::Null, least) => {
            let expected = expected()?;
            (expected, share(least, expected, true)?)
        }
        (most, _) => {
            let expected = expected()?;
            (expected, (expected - share(most, expected, true)?).max(0))
        }
    };
    let mut disrupted = Map::new();
    let (mut healthy, mut recheck) = (0, None::<Duration>);
    for pod in pods.iter().filter(|pod| !pod.meta().is_deleting()) {
        let let_go = budget["status"]["disruptedPods"].get(&pod.meta().name);
        let at = let_go.and_then(Value::as_str).and_then(|time| time.parse::<Timestamp>().ok());
        let rest = at.and_then(|at| Duration::try_from(later(at, PATIENCE).duration_since(now)).ok());
        match (let_go, rest.filter(|rest| !rest.is_zero())) {
            (Some(time), Some(rest)) => {
                disrupted.insert(pod.meta().name.clone(), time.clone());
                recheck = Some(recheck.map_or(rest, |least| least.min(rest)));
            }
            _ => healthy += i64::from(is_ready(&pod.value())),
        }
    }
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let mut status = json!({"currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed,
        "expectedPods": expected, "observedGeneration": budget["metadata"]["generation"]});
    if !disrupted.is_empty() {
        status["disruptedPods"] = disrupted.into();
    }
    Ok(Judged { status, recheck })
}

/// How many pods their controllers shall have together. Those without one are not counted.
fn expected(pods: &[Object], scale: &impl Fn(&OwnerReference) -> Option<(String, i64)>) -> Result<i64, String> {
    let mut seen = BTreeSet::new();
    let mut scales = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.meta().owner_references.iter().find(|owner| owner.controller) else { continue };
        if !seen.insert(&owner.uid) {
            continue;
        }
        let Some((uid, replicas)) = scale(owner) else {
            return Err(format!("found no controllers for pod {:?}", pod.meta().name));
        };
        scales.insert(uid, replicas);
    }
    Ok(scales.values().sum())
}

/// How many pods a controller shall have; of a Deployment's ReplicaSet its Deployment says it.
fn scale(owners: &[(Resource, Arc<Cache>)], namespace: &str, owner: &OwnerReference) -> Option<(String, i64)> {
    let replicas = |object: &Object| tree::int(&object.value(), "spec.replicas").unwrap_or(0);
    let object = found(owners, namespace, owner)?;
    // One step and no further: objects may own themselves, or each other.
    let above = object.meta().owner_references.iter().find(|above| above.controller);
    let above = above.filter(|above| (owner.kind.as_str(), above.kind.as_str()) == ("ReplicaSet", "Deployment"));
    match above.and_then(|above| Some((above, found(owners, namespace, above)?))) {
        Some((above, deployment)) => Some((above.uid.clone(), replicas(&deployment))),
        None => Some((owner.uid.clone(), replicas(&object))),
    }
}

fn found(owners: &[(Resource, Arc<Cache>)], namespace: &str, owner: &OwnerReference) -> Option<Object> {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let (_, cache) = owners.iter().find(|(of, _)| of.kind == owner.kind && of.group == group)?;
    cache.get(namespace, &owner.name).filter(|object| object.meta().uid == owner.uid)
}

/// A pod that was to go, and two minutes later is not going.
async fn release(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(pod) = parts.cache(&PODS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    // Told from the bytes alone, as nearly always.
    if pod.meta().is_deleting() || memchr::memmem::find(pod.bytes(), b"\"DisruptionTarget\"").is_none() {
        return Ok(Requeue::Done);
    }
    let Some(rest) = stale_in(&pod.value(), (parts.config.clock)()) else { return Ok(Requeue::Done) };
    if !rest.is_zero() {
        return Ok(Requeue::After(rest));
    }
    let condition = json!({"type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
        "lastTransitionTime": parts.now()});
    let patch = json!({"metadata": {"uid": pod.meta().uid}, "status": {"conditions": [condition]}});
    match parts.client.patch(&PODS, &key.namespace, &key.name, "status", PatchKind::Strategic, &patch).await {
        Err(status) if status.reason != Reason::NotFound => Err(status),
        _ => Ok(Requeue::Done),
    }
}

/// When the mark of a pod that is not ending is stale. A node that ends a pod takes the time it takes. Pure.
fn stale_in(pod: &Value, now: Timestamp) -> Option<Duration> {
    if matches!(tree::text(pod, "status.phase"), "Succeeded" | "Failed") {
        return None;
    }
    let condition = tree::list(pod, "status.conditions").iter().find(|c| c["type"] == "DisruptionTarget")?;
    if condition["status"] != "True" || condition["reason"] == "TerminationByKubelet" {
        return None;
    }
    let since = tree::text(condition, "lastTransitionTime").parse::<Timestamp>().unwrap_or(now);
    Some(Duration::try_from(later(since, PATIENCE).duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
