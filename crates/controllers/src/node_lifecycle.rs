//! Nodes that fail: what is heard of them and what no longer is, told by conditions and taints.
//!
//! pkg/controller/nodelifecycle: conditions become taints; a node whose lease and status are silent
//! for 50 seconds turns Unknown, and its pods unready. Silence is measured from when this process
//! last saw a change, so that neither a wrong clock nor a restart of ours declares anybody dead. Pods
//! are driven away by the taint NoExecute, which comes at the rate of the node's zone (`zones`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::resource::{LEASES, NODES, PODS};
use api::{Object, Reason, Status};
use client::PatchKind;
use client::reconcile::{self, Feed, Requeue};
use client::recorder::Type;
use futures::StreamExt;
use futures::stream::select;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Parts;

/// What a node's conditions say.
mod conditions;
/// How fast failing nodes may drive their pods away.
mod zones;

use conditions::{Drives, condition, drives, status_of, taints, unknown};
pub use zones::NodeMonitor;
use zones::{Shift, Sight, Turn, Zones};

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// What this process knows of nodes beside their objects.
struct Watched {
    heard: Mutex<BTreeMap<String, Heard>>,
    zones: Mutex<Zones>,
    /// Nodes to be looked at again, though nothing came of them.
    again: Feed<String>,
}

/// The last sign of life of a node.
struct Heard {
    sign: String,
    at: Instant,
    node: Object,
}

pub async fn run(parts: Arc<Parts>) {
    let (nodes, leases) = (parts.cache(&NODES), parts.cache(&LEASES));
    parts.synced(&[&nodes, &leases, &parts.cache(&PODS)]).await;
    let (again, looks) = reconcile::feed();
    let zones = Mutex::new(Zones::new(parts.config.node_monitor.clone()));
    let watched = Arc::new(Watched { heard: Mutex::default(), zones, again });
    // All together: of the first alone one would say that all are down.
    watched.count_all(&nodes.list());
    let own = nodes.subscribe().keys().map(|key| key.name.to_string());
    let renewed = leases.subscribe().keys().filter(|key| std::future::ready(&*key.namespace == LEASE_NAMESPACE));
    let renewed = renewed.map(|key| key.name.to_string());
    let work = |name: String| {
        let (parts, watched) = (parts.clone(), watched.clone());
        async move { look(&parts, &watched, &name).await }
    };
    reconcile::run(select(select(own, renewed), looks), 8, work).await;
}

async fn look(parts: &Parts, watched: &Watched, name: &str) -> Result<Requeue, Status> {
    let Some(node) = parts.cache(&NODES).get("", name) else {
        watched.forget(parts, name);
        return Ok(Requeue::Done);
    };
    let value = node.value();
    let silence = watched.hear(parts, &node, &value);
    let was = status_of(&value, "Ready");
    let monitor = &parts.config.node_monitor;
    let grace = if was.is_none() { monitor.startup_grace_period } else { monitor.grace_period };
    let version = &node.meta().resource_version;
    if silence >= grace
        && let Some(conditions) = unknown(&value, &parts.now())
    {
        if is_behind(parts, name).await? {
            return Ok(Requeue::After(Duration::ZERO));
        }
        let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
        match parts.client.patch(&NODES, "", name, "status", PatchKind::Strategic, &patch).await {
            Ok(_) if was == Some("True") => {
                let text = format!("Node {name} status is now: NodeNotReady");
                parts.recorder.event(&node, "", Type::Normal, "NodeNotReady", text);
            }
            Ok(_) => {}
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
        // The change comes back as an event, and with it the taints.
        return Ok(Requeue::Done);
    }
    let (evicting, turn) = watched.judge(name, &value);
    if let Some(taints) = taints(&value, evicting, &parts.now()) {
        let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}});
        match parts.client.patch(&NODES, "", name, "", PatchKind::Merge, &patch).await {
            // Else the next look would take its turn again.
            Ok(written) => parts.cache(&NODES).reached(written.revision()).await,
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    // One that speaks tells of its pods itself.
    if was == Some("Unknown") {
        unready(parts, name).await?;
    }
    let expiry = grace.checked_sub(silence).filter(|rest| !rest.is_zero());
    Ok([turn, expiry].into_iter().flatten().min().map_or(Requeue::Done, Requeue::After))
}

/// Whether the lease was renewed and our cache has not heard of it yet: nobody is declared silent on hearsay
/// (NodeControllerLeaseCircuitBreaker). Returns when it has.
async fn is_behind(parts: &Parts, name: &str) -> Result<bool, Status> {
    let leases = parts.cache(&LEASES);
    match parts.client.get(&LEASES, LEASE_NAMESPACE, name).await {
        Ok(live) => {
            let known = leases.get(LEASE_NAMESPACE, name).map(|lease| lease.revision());
            leases.reached(live.revision()).await;
            Ok(known != Some(live.revision()))
        }
        Err(status) if status.reason == Reason::NotFound => Ok(false),
        Err(status) => Err(status),
    }
}

impl Watched {
    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zones(&self) -> MutexGuard<'_, Zones> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_all(&self, nodes: &[Object]) {
        let mut zones = self.zones();
        for node in nodes {
            zones.count(&node.meta().name, Some(Sight::of(&node.value())), Instant::now());
        }
        zones.judge(Instant::now());
    }

    /// How long nothing new was heard of a node.
    fn hear(&self, parts: &Parts, node: &Object, value: &Value) -> Duration {
        let name = &node.meta().name;
        let lease = parts.cache(&LEASES).get(LEASE_NAMESPACE, name).map(|lease| lease.value());
        let renewed = lease.as_ref().and_then(|l| l["spec"]["renewTime"].as_str()).unwrap_or("");
        let ready = condition(value, "Ready").and_then(|c| c["lastHeartbeatTime"].as_str()).unwrap_or("");
        let (sign, now) = (format!("{renewed} {ready}"), Instant::now());
        let mut heard = self.heard();
        if !heard.contains_key(name) {
            let text = format!("Node {name} event: Registered Node {name} in Controller");
            parts.recorder.event(node, "", Type::Normal, "RegisteredNode", text);
        }
        let last = heard.get(name).filter(|last| last.sign == sign).map_or(now, |last| last.at);
        heard.insert(name.clone(), Heard { sign, at: last, node: node.clone() });
        now - last
    }

    fn forget(&self, parts: &Parts, name: &str) {
        if let Some(last) = self.heard().remove(name) {
            let text = format!("Node {name} event: Removing Node {name} from Controller");
            parts.recorder.event(&last.node, "", Type::Normal, "RemovingNode", text);
        }
        self.zones().leave(name).into_iter().for_each(|next| self.again.add(next));
        self.count(name, None);
    }

    /// Whether the node may drive its pods away, and when to ask again.
    fn judge(&self, name: &str, node: &Value) -> (bool, Option<Duration>) {
        self.count(name, Some(Sight::of(node)));
        let mut zones = self.zones();
        let wish = drives(node);
        if zones.are_all_down() || wish != Drives::Should {
            zones.leave(name).into_iter().for_each(|next| self.again.add(next));
            return (wish == Drives::Does && !zones.are_all_down(), None);
        }
        match zones.ask(name, Instant::now()) {
            Turn::Now => (true, None),
            Turn::After(rest) => (false, Some(rest)),
            Turn::Held => (false, None),
        }
    }

    fn count(&self, name: &str, sight: Option<Sight>) {
        let now = Instant::now();
        let mut zones = self.zones();
        zones.count(name, sight, now);
        let shift = zones.judge(now);
        let waiting = zones.waiting();
        drop(zones);
        match shift {
            Shift::None => return,
            Shift::Some => return waiting.into_iter().for_each(|name| self.again.add(name)),
            Shift::AllDown => tracing::warn!("no node is ready: evictions stop until one is"),
            Shift::UpAgain => tracing::warn!("a node is ready again: evictions go on"),
        }
        let mut heard = self.heard();
        for (name, last) in heard.iter_mut() {
            // It may have been we who did not hear.
            if shift == Shift::UpAgain {
                last.at = now;
            }
            self.again.add(name.clone());
        }
    }
}

pub fn is_ready(node: &Value) -> bool {
    status_of(node, "Ready") == Some("True")
}

/// Pods of a node that is silent are not ready (MarkPodsNotReady).
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
            Ok(_) => parts.recorder.event(&pod, "", Type::Warning, "NodeNotReady", "Node is not ready"),
            Err(status) if status.reason == Reason::NotFound => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

/// The pods that run on a node.
pub fn on_node(parts: &Parts, node: &str) -> Vec<Object> {
    parts.cache(&PODS).by(&client::cache::index::NODE, node)
}
