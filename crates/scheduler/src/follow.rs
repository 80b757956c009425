//! The loop: changes in, bindings out. What is decided is decided in `place` and `preempt`.
//!
//! A change is applied, whatever else is there already is applied too, then the ready pods are placed
//! in priority order; a placed pod counts at once and its binding runs beside the loop. So one pod
//! costs one step from the watch's event to the POST.

use std::collections::HashSet;
use std::sync::Arc;

use api::resource::{NAMESPACES, NODES, PODS};
use api::{Clock, Entropy, Object, Reason, Status};
use client::{Cache, Change, Changes, Client, Recorder, Scope};
use futures::FutureExt;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::act::Actor;
use crate::cluster::{Cluster, Node};
use crate::filters::Wake;
use crate::place::{NodeName, Reasons, enough, place};
use crate::pod::{Pod, strings};
use crate::preempt::preempt;
use crate::queue::Queue;

/// How a scheduler is set up.
#[derive(Clone)]
pub struct Config {
    pub clock: Clock,
    pub entropy: Entropy,
    /// Which pods are its business: `spec.schedulerName`.
    pub name: String,
}

/// Changes taken in one go, and pods placed in one go, before the loop looks up again.
const BATCH: usize = 256;

/// Places pods until the caches end, which they do only when the process does. Dropping it stops all.
pub async fn run(client: Client, config: Config) {
    let caches = [&PODS, &NODES, &NAMESPACES].map(|kind| Cache::start(client.clone(), kind, Scope::default()));
    for cache in &caches {
        cache.synced().await;
    }
    let [mut pods, mut nodes, mut namespaces] = caches.each_ref().map(|cache| cache.subscribe());
    let recorder = Recorder::new(client.clone(), &config.name, "", config.clock.clone(), config.entropy.clone());
    let mut scheduler = Scheduler {
        actor: Actor { client, recorder, name: config.name.as_str().into() },
        clock: config.clock,
        cluster: Cluster::default(),
        queue: Queue::default(),
        assumed: HashSet::new(),
        acts: JoinSet::new(),
    };
    // What is there is taken in whole before the first pod is placed.
    scheduler.take_in(&mut nodes, &mut namespaces, &mut pods, usize::MAX);
    loop {
        scheduler.place_ready();
        let ring = scheduler.queue.next_ring();
        let rings = async {
            match ring {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(done) = scheduler.acts.join_next() => {
                if let Ok(Done::Bound { pod, node, result }) = done {
                    scheduler.bound(pod, node, result);
                }
            }
            Some(change) = nodes.next() => scheduler.node_changed(change),
            Some(change) = namespaces.next() => scheduler.namespace_changed(change),
            change = pods.next() => match change {
                Some(change) => scheduler.pod_changed(change),
                None => return,
            },
            () = rings => {}
        }
        scheduler.take_in(&mut nodes, &mut namespaces, &mut pods, BATCH);
    }
}

struct Scheduler {
    actor: Actor,
    clock: Clock,
    cluster: Cluster,
    queue: Queue,
    /// Placed here, not yet seen on the watch.
    assumed: HashSet<Arc<str>>,
    acts: JoinSet<Done>,
}

enum Done {
    Bound {
        pod: Arc<Pod>,
        node: NodeName,
        result: Result<(), Status>,
    },
    /// A condition or an eviction; a failure was logged.
    Said,
}

/// All that is looked at of a placed pod's new status.
#[derive(Deserialize)]
struct Phase {
    #[serde(default)]
    status: PhaseOnly,
}

#[derive(Default, Deserialize)]
struct PhaseOnly {
    #[serde(default)]
    phase: String,
}

impl Scheduler {
    /// Everything that is there already, nodes before pods, without waiting.
    fn take_in(&mut self, nodes: &mut Changes, namespaces: &mut Changes, pods: &mut Changes, most: usize) {
        let mut left = most;
        let mut next = |changes: &mut Changes| {
            left = left.checked_sub(1)?;
            changes.next().now_or_never().flatten()
        };
        while let Some(change) = next(nodes) {
            self.node_changed(change);
        }
        while let Some(change) = next(namespaces) {
            self.namespace_changed(change);
        }
        while let Some(change) = next(pods) {
            self.pod_changed(change);
        }
    }

    fn place_ready(&mut self) {
        for _ in 0..BATCH {
            let Some(pod) = self.queue.pop(Instant::now()) else { return };
            match place(&pod, &self.cluster) {
                Ok(node) => self.assume(pod, node),
                Err(reasons) => self.refuse(pod, reasons),
            }
            let count = self.cluster.nodes.len().max(1);
            let step = if enough(count) == count { 1 } else { enough(count) };
            self.cluster.cursor = (self.cluster.cursor + step) % count;
        }
    }

    /// The pod counts at its node from now on; the binding tells the server.
    fn assume(&mut self, pod: Arc<Pod>, node: NodeName) {
        self.assumed.insert(pod.uid.clone());
        self.cluster.forget_nomination(&pod.uid);
        self.cluster.add_pod(Arc::new(Pod { node: node.clone(), ..(*pod).clone() }));
        let actor = self.actor.clone();
        self.acts.spawn(async move {
            let result = actor.bind(&pod, &node).await;
            Done::Bound { pod, node, result }
        });
    }

    fn bound(&mut self, pod: Arc<Pod>, node: NodeName, result: Result<(), Status>) {
        let Err(status) = result else {
            self.actor.say_bound(&pod, &node);
            self.queue.remove(&pod.uid);
            return;
        };
        if !self.assumed.remove(&pod.uid) {
            // The watch has shown the truth meanwhile.
            return;
        }
        self.cluster.remove_pod(&pod.uid);
        let now = Instant::now();
        self.queue.wake(Wake::PodGone, now);
        if status.reason == Reason::NotFound {
            self.queue.remove(&pod.uid);
            return;
        }
        tracing::warn!("binding {}/{} to {node}: {status}", pod.namespace, pod.name);
        self.queue.failed(&pod.uid, now);
        let message = format!("binding rejected: running Bind plugin \"DefaultBinder\": {status}");
        self.actor.say_failed(&pod, &message);
        self.write_condition(pod, "SchedulerError", message, None);
    }

    fn refuse(&mut self, pod: Arc<Pod>, reasons: Reasons) {
        let mut message = reasons.to_string();
        let mut nominated = None;
        if reasons.nodes > 0 {
            match preempt(&pod, &self.cluster, &reasons) {
                Ok(preemption) => {
                    let (node, victims) = (preemption.node, preemption.victims);
                    message.push_str(&format!(
                        " preemption: found a potential placement for pod on node {node}, preempting {} victims",
                        victims.len()
                    ));
                    self.cluster.nominate(&Arc::new(Pod { nominated: node.clone(), ..(*pod).clone() }));
                    for victim in victims {
                        let (actor, pod, node, now) = (self.actor.clone(), pod.clone(), node.clone(), self.now());
                        self.acts.spawn(async move {
                            if let Err(status) = actor.push_out(&victim, &pod, &node, now).await {
                                tracing::warn!("pushing out {}/{}: {status}", victim.namespace, victim.name);
                            }
                            Done::Said
                        });
                    }
                    nominated = Some(node.to_string());
                }
                Err(why) => {
                    message.push_str(" preemption: ");
                    message.push_str(&why);
                    // What cannot be helped keeps no promise; what waits for its victims does.
                    if !why.starts_with("not eligible") {
                        self.cluster.forget_nomination(&pod.uid);
                        nominated = Some(String::new());
                    }
                }
            }
        }
        self.queue.refused(&pod.uid, reasons.refused_by, Instant::now());
        self.actor.say_failed(&pod, &message);
        self.write_condition(pod, "Unschedulable", message, nominated);
    }

    fn write_condition(&mut self, pod: Arc<Pod>, reason: &'static str, message: String, nominated: Option<String>) {
        let (actor, now) = (self.actor.clone(), self.now());
        self.acts.spawn(async move {
            if let Err(status) = actor.condition(&pod, reason, &message, nominated.as_deref(), now).await
                && status.reason != Reason::NotFound
            {
                tracing::warn!("writing why {}/{} has no node: {status}", pod.namespace, pod.name);
            }
            Done::Said
        });
    }

    fn pod_changed(&mut self, change: Change) {
        let uid = |object: &Object| object.meta().uid.clone();
        if let Some(old) = &change.old
            && change.new.as_ref().is_none_or(|new| uid(new) != uid(old))
        {
            self.forget(&uid(old));
        }
        let Some(object) = change.new else { return };
        if self.knows(&object) {
            return;
        }
        let pod = Arc::new(Pod::read(&object));
        if pod.ended {
            self.forget(&pod.uid);
        } else if !pod.node.is_empty() {
            self.placed(pod);
        } else {
            self.pending(pod);
        }
    }

    /// A placed pod whose status alone changed, and not to its end: most of all changes.
    fn knows(&self, object: &Object) -> bool {
        let meta = object.meta();
        let Some(pod) = self.cluster.placed(&meta.uid).filter(|p| !self.assumed.contains(&p.uid)) else {
            return false;
        };
        let same = pod.generation == meta.generation && meta.labels == pod.labels && pod.deleting == meta.is_deleting();
        same && object.view::<Phase>().is_ok_and(|p| !matches!(p.status.phase.as_str(), "Succeeded" | "Failed"))
    }

    fn placed(&mut self, pod: Arc<Pod>) {
        self.assumed.remove(&pod.uid);
        self.queue.remove(&pod.uid);
        self.cluster.forget_nomination(&pod.uid);
        let before = self.cluster.placed(&pod.uid).map(|p| (p.labels.clone(), p.requests.clone()));
        let news = before.as_ref().is_none_or(|(labels, _)| *labels != pod.labels);
        let shrank = before.is_some_and(|(_, requests)| requests != pod.requests);
        self.cluster.add_pod(pod);
        if news {
            self.queue.wake(Wake::PodPlaced, Instant::now());
        }
        if shrank {
            self.queue.wake(Wake::PodGone, Instant::now());
        }
    }

    fn pending(&mut self, pod: Arc<Pod>) {
        if *pod.scheduler != *self.actor.name || pod.gated || pod.deleting {
            if !self.assumed.contains(&pod.uid) {
                self.queue.remove(&pod.uid);
                self.cluster.forget_nomination(&pod.uid);
            }
            return;
        }
        if !self.assumed.contains(&pod.uid) && !pod.nominated.is_empty() {
            self.cluster.nominate(&pod);
        }
        self.queue.put(pod);
    }

    fn forget(&mut self, uid: &str) {
        self.assumed.remove(uid);
        self.queue.remove(uid);
        self.cluster.forget_nomination(uid);
        if self.cluster.remove_pod(uid).is_some() {
            self.queue.wake(Wake::PodGone, Instant::now());
        }
    }

    fn node_changed(&mut self, change: Change) {
        let now = Instant::now();
        let Some(object) = change.new else {
            self.cluster.remove_node(&change.key.name);
            // Domains may be gone, which moves the least of a spread.
            self.queue.wake(Wake::NodeLabels, now);
            return;
        };
        let node = Node::read(&object);
        let mut wakes = Vec::new();
        match self.cluster.node(&node.name) {
            None => wakes.push(Wake::NodeAdded),
            Some(known) => {
                if known.labels != node.labels {
                    wakes.push(Wake::NodeLabels);
                }
                if known.taints != node.taints || known.unschedulable != node.unschedulable {
                    wakes.push(Wake::NodeTaints);
                }
                if known.allocatable != node.allocatable || known.pods_max != node.pods_max {
                    wakes.push(Wake::NodeAllocatable);
                }
            }
        }
        self.cluster.set_node(node);
        for wake in wakes {
            self.queue.wake(wake, now);
        }
    }

    fn namespace_changed(&mut self, change: Change) {
        let name = change.key.name.to_string();
        let Some(object) = change.new else {
            self.cluster.namespaces.remove(&name);
            return;
        };
        let labels = strings(&object.value(), "metadata.labels");
        if self.cluster.namespaces.get(&name) != Some(&labels) {
            self.cluster.namespaces.insert(name, labels);
            self.queue.wake(Wake::NamespaceLabels, Instant::now());
        }
    }

    /// RFC 3339, whole seconds.
    fn now(&self) -> String {
        let now = (self.clock)();
        jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
    }
}

#[cfg(test)]
mod tests;
