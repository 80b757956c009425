//! Pods that do not tolerate their node any longer are deleted, when their time is up.
//!
//! pkg/controller/tainteviction: every NoExecute taint must be tolerated; the shortest tolerationSeconds counts from
//! when the taint was seen first, or the pod came to the node if that was later. Of what was there before this process,
//! what `timeAdded` and the pod's conditions say has passed; from then on a clock that jumps changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::resource::{NODES, PODS};
use api::taint::{Taint, Toleration};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::{ObjectReference, Type};
use client::{DeleteOptions, Key, PatchKind, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Parts;
use crate::node_lifecycle::on_node;

/// What waits here.
struct Evictor {
    parts: Arc<Parts>,
    recorder: Recorder,
    /// Nodes that drive pods away, and since when by each taint.
    tainted: Mutex<BTreeMap<String, HashMap<Sign, Instant>>>,
    /// Pods whose time runs.
    pending: Mutex<BTreeMap<Key, Waiting>>,
}

/// A pod whose time runs.
#[derive(Clone)]
struct Waiting {
    uid: String,
    node: String,
    /// Since when it is there.
    since: Instant,
}

/// Nobody looks further ahead: what is tolerated for longer than any clock goes is looked at again.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A taint's key, value and time.
type Sign = (String, String, String);

pub async fn run(parts: Arc<Parts>) {
    let (nodes, pods) = (parts.cache(&NODES), parts.cache(&PODS));
    parts.synced(&[&nodes, &pods]).await;
    let recorder = parts.recorder("taint-eviction-controller");
    let evictor = Arc::new(Evictor { parts, recorder, tainted: Mutex::default(), pending: Mutex::default() });
    let own = pods.subscribe().keys();
    let of_nodes = {
        let evictor = evictor.clone();
        nodes.subscribe().keys().flat_map(move |key| stream::iter(evictor.concerned(&key.name)))
    };
    let work = |key: Key| {
        let evictor = evictor.clone();
        async move { evictor.judge(&key).await }
    };
    reconcile::run(select(own, of_nodes), 8, work).await;
}

impl Evictor {
    fn tainted(&self) -> MutexGuard<'_, BTreeMap<String, HashMap<Sign, Instant>>> {
        self.tainted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<Key, Waiting>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pods that a node's taints concern: all of it, or those whose time ran and does no longer.
    fn concerned(&self, name: &str) -> Vec<Key> {
        let node = self.parts.cache(&NODES).get("", name).filter(may_drive);
        let taints = node.map(|node| no_execute(&node.value())).unwrap_or_default();
        if taints.is_empty() {
            self.tainted().remove(name);
            let pending = self.pending();
            return pending.iter().filter(|(_, waiting)| waiting.node == name).map(|(key, _)| key.clone()).collect();
        }
        let (now, wall) = (Instant::now(), (self.parts.config.clock)());
        let mut tainted = self.tainted();
        let before = tainted.remove(name).unwrap_or_default();
        let since = |taint: &Value| {
            let sign = sign(taint);
            // Before the machine came up there is nothing.
            let began = || now.checked_sub(age(taint, wall)).unwrap_or(now);
            let at = before.get(&sign).copied().unwrap_or_else(began);
            (sign, at)
        };
        tainted.insert(name.into(), taints.iter().map(since).collect());
        drop(tainted);
        on_node(&self.parts, name).iter().map(Key::of).collect()
    }

    async fn judge(&self, key: &Key) -> Result<Requeue, Status> {
        if self.tainted().is_empty() && !self.pending().contains_key(key) {
            return Ok(Requeue::Done);
        }
        let Some(pod) = self.parts.cache(&PODS).get(&key.namespace, &key.name) else {
            self.cancel(key);
            return Ok(Requeue::Done);
        };
        if pod.meta().is_deleting() {
            return Ok(Requeue::Done);
        }
        let value = pod.value();
        let name = value["spec"]["nodeName"].as_str().unwrap_or_default();
        let node = self.parts.cache(&NODES).get("", name);
        let taints = node.map(|node| no_execute(&node.value())).unwrap_or_default();
        let now = Instant::now();
        let uid = &pod.meta().uid;
        let known = self.pending().get(key).filter(|known| known.uid == *uid && known.node == name).map(|k| k.since);
        let came = || now.checked_sub(placed_for(&value, (self.parts.config.clock)())).unwrap_or(now);
        let there = known.unwrap_or_else(came);
        let taints: Vec<(Value, Duration)> = {
            let tainted = self.tainted();
            let since = |taint: &Value| tainted.get(name)?.get(&sign(taint)).copied();
            taints
                .into_iter()
                .map(|taint| (now - since(&taint).unwrap_or(now).max(there), taint))
                .map(|(age, t)| (t, age))
                .collect()
        };
        match stays(&value, &taints) {
            Stays::Forever => {
                self.cancel(key);
                Ok(Requeue::Done)
            }
            Stays::For(rest) => {
                self.pending().insert(key.clone(), Waiting { uid: uid.clone(), node: name.into(), since: there });
                Ok(Requeue::After(rest))
            }
            Stays::NoLonger => {
                self.pending().remove(key);
                self.evict(&pod).await
            }
        }
    }

    /// The pod stays, or is gone already.
    fn cancel(&self, key: &Key) {
        if self.pending().remove(key).is_some() {
            let (namespace, name) = (key.namespace.to_string(), key.name.to_string());
            let text = format!("Cancelling deletion of Pod {namespace}/{name}");
            let pod =
                ObjectReference { api_version: "v1".into(), kind: "Pod".into(), namespace, name, ..Default::default() };
            self.recorder.event(pod, "", Type::Normal, "TaintManagerEviction", text);
        }
    }

    async fn evict(&self, pod: &Object) -> Result<Requeue, Status> {
        let (parts, meta) = (&self.parts, pod.meta());
        let (namespace, name) = (&meta.namespace, &meta.name);
        let text = format!("Marking for deletion Pod {namespace}/{name}");
        self.recorder.event(pod, "", Type::Normal, "TaintManagerEviction", text);
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
            Err(status) if status.reason != Reason::NotFound => Err(status),
            _ => Ok(Requeue::Done),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Forever,
    For(Duration),
    NoLonger,
}

/// How much longer a pod stays under NoExecute taints that have been there for so long. Of several tolerations for one
/// taint the first counts (GetMatchingTolerations). Pure.
fn stays(pod: &Value, taints: &[(Value, Duration)]) -> Stays {
    let tolerations = || pod["spec"]["tolerations"].as_array().into_iter().flatten();
    let mut shortest: Option<(i64, Duration)> = None;
    for (taint, age) in taints {
        let taint = Taint::of(taint);
        let Some(toleration) = tolerations().find(|one| Toleration::of(one).tolerates(&taint)) else {
            return Stays::NoLonger;
        };
        if let Some(seconds) = toleration["tolerationSeconds"].as_i64()
            && shortest.is_none_or(|(least, _)| seconds < least)
        {
            shortest = Some((seconds, *age));
        }
    }
    let Some((seconds, age)) = shortest else { return Stays::Forever };
    match Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).saturating_sub(age) {
        Duration::ZERO => Stays::NoLonger,
        rest => Stays::For(rest.min(LONGEST)),
    }
}

fn no_execute(node: &Value) -> Vec<Value> {
    let taints = node["spec"]["taints"].as_array().into_iter().flatten();
    taints.filter(|t| t["effect"] == "NoExecute").cloned().collect()
}

/// Told from the bytes alone, as nearly always.
fn may_drive(node: &Object) -> bool {
    memchr::memmem::find(node.bytes(), b"\"effect\":\"NoExecute\"").is_some()
}

fn sign(taint: &Value) -> Sign {
    let text = |field: &str| taint[field].as_str().unwrap_or_default().to_string();
    (text("key"), text("value"), text("timeAdded"))
}

/// How long a taint has been there, by its own word.
fn age(taint: &Value, now: jiff::Timestamp) -> Duration {
    passed(&taint["timeAdded"], now)
}

/// How long a pod has been on its node.
fn placed_for(pod: &Value, now: jiff::Timestamp) -> Duration {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut placed = conditions.filter(|c| c["type"] == "PodScheduled" && c["status"] == "True");
    let placed = placed.next().map(|c| &c["lastTransitionTime"]).filter(|at| at.is_string());
    passed(placed.unwrap_or(&pod["metadata"]["creationTimestamp"]), now)
}

/// Nothing since what is no time, or is still to come.
fn passed(at: &Value, now: jiff::Timestamp) -> Duration {
    let at: Option<jiff::Timestamp> = at.as_str().and_then(|text| text.parse().ok());
    at.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_toleration_counts_from_when_the_taint_came() {
        let minute = Duration::from_secs(60);
        let taint = (json!({"key": "k", "effect": "NoExecute"}), minute);
        let pod = |tolerations: Value| json!({"spec": {"tolerations": tolerations}});
        let exists = |seconds: Value| json!({"key": "k", "operator": "Exists", "tolerationSeconds": seconds});
        for (tolerations, want) in [
            (json!([]), Stays::NoLonger),
            (json!([{"operator": "Exists"}]), Stays::Forever),
            (json!([exists(json!(300))]), Stays::For(Duration::from_secs(240))),
            // Of two for one taint the first counts.
            (json!([exists(json!(300)), exists(json!(70))]), Stays::For(Duration::from_secs(240))),
            (json!([exists(json!(30))]), Stays::NoLonger),
            (json!([exists(json!(-5))]), Stays::NoLonger),
            (json!([exists(json!(i64::MAX))]), Stays::For(LONGEST)),
            (json!([{"key": "k", "operator": "Equal", "value": "x"}]), Stays::NoLonger),
        ] {
            assert_eq!(stays(&pod(tolerations.clone()), std::slice::from_ref(&taint)), want, "{tolerations}");
        }
        let other = (json!({"key": "other", "effect": "NoExecute"}), Duration::ZERO);
        let both = pod(json!([exists(json!(300)), {"operator": "Exists", "tolerationSeconds": 70}]));
        assert_eq!(stays(&both, &[taint.clone(), other.clone()]), Stays::For(Duration::from_secs(70)));
        assert_eq!(stays(&pod(json!([exists(json!(300))])), &[taint, other]), Stays::NoLonger);
        assert_eq!(stays(&pod(json!([])), &[]), Stays::Forever);
    }

    #[test]
    fn a_taint_is_as_old_as_it_says_and_never_younger_than_nothing() {
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let age = |time: Value| super::age(&json!({"timeAdded": time}), now);
        assert_eq!(age(json!("2026-01-01T00:00:00Z")), Duration::from_secs(60));
        assert_eq!(age(json!("2026-01-01T00:02:00Z")), Duration::ZERO);
        assert_eq!(age(json!(null)), Duration::ZERO);
        let conditions =
            json!([{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:50Z"}]);
        let pod = |conditions: Value| json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:20Z"}, "status": {"conditions": conditions}});
        assert_eq!(placed_for(&pod(conditions), now), Duration::from_secs(10));
        assert_eq!(placed_for(&pod(json!([])), now), Duration::from_secs(40));
    }
}
