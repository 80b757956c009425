//! The loop: changes in, bindings out. What is decided is decided in `place` and `preempt`.
//!
//! A change is applied, whatever else is there already is applied too, then the ready pods are placed
//! in priority order; a placed pod counts at once and its binding runs beside the loop. So one pod
//! costs one step from the watch's event to the POST.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api::resource::{NAMESPACES, NODES, PODS};
use api::{Clock, Entropy, Reason, Status};
use client::{Cache, Changes, Client, Recorder, Scope};
use futures::{FutureExt, StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::act::Actor;
use crate::beside::{BESIDE, Take};
use crate::cluster::Cluster;
use crate::configuration::Configuration;
use crate::hints::{Event, Scene, wakes};
use crate::place::{Choice, NodeName, Reasons, place};
use crate::pod::Pod;
use crate::preempt::preempt;
use crate::profile::Profile;
use crate::queue::Queue;

/// What a change makes of what is known.
mod changes;

/// How a scheduler is set up.
#[derive(Clone)]
pub struct Config {
    pub clock: Clock,
    pub entropy: Entropy,
    pub configuration: Configuration,
}

/// Changes taken in one go, and pods placed in one go, before the loop looks up again.
const BATCH: usize = 256;

/// Places pods until the caches end, which they do only when the process does. Dropping it stops all.
pub async fn run(client: Client, config: Config) {
    let start = |kind| Cache::start(client.clone(), kind, Scope::default());
    let caches = [&PODS, &NODES, &NAMESPACES].map(|kind| start(kind));
    let beside: Vec<(Arc<Cache>, Take)> = BESIDE.iter().map(|(kind, take)| (start(kind), *take)).collect();
    for cache in caches.iter().chain(beside.iter().map(|(cache, _)| cache)) {
        cache.synced().await;
    }
    let [mut pods, mut nodes, mut namespaces] = caches.each_ref().map(|cache| cache.subscribe());
    let beside_changes = beside.iter().map(|(cache, take)| cache.subscribe().map(|change| (*take, change)));
    let mut beside_changes = stream::select_all(beside_changes);
    let party = |profile: Profile| {
        let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
        let recorder = Recorder::new(client.clone(), &profile.name, "", clock, entropy);
        let actor = Actor { client: client.clone(), recorder, name: profile.name.as_str().into() };
        (profile.name.clone(), Party { actor, profile: Arc::new(profile) })
    };
    let mut scheduler = Scheduler {
        parties: config.configuration.profiles.into_iter().map(party).collect(),
        clock: config.clock,
        cluster: Cluster::default(),
        queue: Queue::new(config.configuration.backoff),
        assumed: HashSet::new(),
        preempting: HashMap::new(),
        acts: JoinSet::new(),
    };
    // What is there is taken in whole before the first pod is placed.
    while let Some((take, change)) = beside_changes.next().now_or_never().flatten() {
        take(&mut scheduler.cluster, change);
    }
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
            Some(done) = scheduler.acts.join_next() => match done {
                Ok(done) => scheduler.done(done),
                // Nobody knows which one broke off: none is waited for.
                Err(_) => scheduler.preempting.clear(),
            },
            Some(change) = nodes.next() => scheduler.node_changed(change),
            Some(change) = namespaces.next() => scheduler.namespace_changed(change),
            Some((take, change)) = beside_changes.next() => take(&mut scheduler.cluster, change),
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
    /// By scheduler name.
    parties: BTreeMap<String, Party>,
    clock: Clock,
    cluster: Cluster,
    queue: Queue,
    /// Placed here, not yet seen on the watch.
    assumed: HashSet<Arc<str>>,
    /// Pods for which others are being asked to go.
    preempting: HashMap<Arc<str>, Preempting>,
    acts: JoinSet<Done>,
}

/// Who acts for the pods of one scheduler name, and how it is decided for them.
#[derive(Clone)]
struct Party {
    actor: Actor,
    profile: Arc<Profile>,
}

/// Until all of them were asked, the pod is not tried again (preemption/executor.go, IsPodRunningPreemption).
struct Preempting {
    /// Not answered yet.
    left: usize,
    /// It would have been tried, or has to be: somebody could not be asked.
    is_due: bool,
}

enum Done {
    Bound {
        pod: Arc<Pod>,
        node: NodeName,
        result: Result<(), Status>,
    },
    /// A victim was asked to go for the pod of this UID, or could not be.
    PushedOut {
        preemptor: Arc<str>,
        victim: Arc<Pod>,
        is_kept: bool,
    },
    /// A condition; a failure was logged.
    Said,
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
            let Some(party) = self.party(&pod) else {
                self.queue.remove(&pod.uid);
                continue;
            };
            if let Some(preempting) = self.preempting.get_mut(&pod.uid) {
                preempting.is_due = true;
                self.queue.postpone(&pod.uid, Instant::now());
                continue;
            }
            let count = self.cluster.nodes.len().max(1);
            let looked_at = match place(&pod, &self.cluster, &party.profile) {
                Ok(Choice { node, looked_at }) => {
                    self.assume(pod, node, party.actor);
                    looked_at
                }
                Err(reasons) => {
                    self.refuse(pod, reasons, &party);
                    count
                }
            };
            // Of a search that saw all nodes the next one begins one further, so that equals take turns.
            let step = if looked_at == count { 1 } else { looked_at };
            self.cluster.cursor = (self.cluster.cursor + step) % count;
        }
    }

    fn party(&self, pod: &Pod) -> Option<Party> {
        self.parties.get(&pod.scheduler).cloned()
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Bound { pod, node, result } => self.bound(pod, node, result),
            Done::PushedOut { preemptor, victim, is_kept } => self.pushed_out(&preemptor, victim, is_kept),
            Done::Said => {}
        }
    }

    /// Wakes the pods that the change may let in.
    fn wake(&mut self, event: Event<'_>) {
        let (cluster, parties) = (&self.cluster, &self.parties);
        let is_due = |pod: &Pod, refused_by: &_| {
            let Some(party) = parties.get(&pod.scheduler) else { return false };
            wakes(pod, refused_by, &event, &Scene { cluster, profile: &party.profile })
        };
        self.queue.wake(Instant::now(), |filter| event.is_heard_by(filter), is_due);
    }

    /// The pod counts at its node from now on; the binding tells the server.
    fn assume(&mut self, pod: Arc<Pod>, node: NodeName, actor: Actor) {
        self.assumed.insert(pod.uid.clone());
        let promised = self.cluster.forget_nomination(&pod.uid);
        let placed = Arc::new(Pod { node: node.clone(), ..(*pod).clone() });
        self.cluster.add_pod(placed.clone());
        self.promise_ended(promised, &node);
        self.wake(Event::PodPlaced(&placed));
        self.acts.spawn(async move {
            let result = actor.bind(&pod, &node).await;
            Done::Bound { pod, node, result }
        });
    }

    fn bound(&mut self, pod: Arc<Pod>, node: NodeName, result: Result<(), Status>) {
        let Some(Party { actor, .. }) = self.party(&pod) else { return };
        let Err(status) = result else {
            actor.say_bound(&pod, &node);
            self.queue.remove(&pod.uid);
            return;
        };
        if !self.assumed.remove(&pod.uid) {
            // The watch has shown the truth meanwhile.
            return;
        }
        if let Some(gone) = self.cluster.remove_pod(&pod.uid) {
            self.wake(Event::PodGone(&gone));
        }
        if status.reason == Reason::NotFound {
            self.queue.remove(&pod.uid);
            return;
        }
        tracing::warn!("binding {}/{} to {node}: {status}", pod.namespace, pod.name);
        self.queue.failed(&pod.uid, Instant::now());
        let message = format!("binding rejected: running Bind plugin \"DefaultBinder\": {status}");
        actor.say_failed(&pod, &message);
        self.write_condition(pod, actor, "SchedulerError", message, None);
    }

    fn refuse(&mut self, pod: Arc<Pod>, reasons: Reasons, party: &Party) {
        let mut message = reasons.to_string();
        let mut nominated = None;
        if reasons.nodes > 0 && party.profile.preempts {
            // A promise counts before the server tells of it.
            let promised = self.cluster.promised(&pod.uid).filter(|node| **node != pod.nominated);
            let promised = promised.map(|node| Arc::new(Pod { nominated: node.clone(), ..(*pod).clone() }));
            match preempt(promised.as_ref().unwrap_or(&pod), &self.cluster, &party.profile, &reasons) {
                Ok(preemption) => {
                    let (node, mut victims) = (preemption.node, preemption.victims);
                    message.push_str(&format!(
                        " preemption: found a potential placement for pod on node {node}, preempting {} victims",
                        victims.len()
                    ));
                    let before = self.cluster.nominate(&Arc::new(Pod { nominated: node.clone(), ..(*pod).clone() }));
                    self.promise_ended(before, &node);
                    for other in preemption.displaced {
                        self.displace(other);
                    }
                    // Whose end was asked for already need not be asked.
                    victims.retain(|victim| !victim.deleting);
                    for victim in victims {
                        self.push_out(victim, &pod, &node, &party.actor);
                    }
                    nominated = Some(node.to_string());
                }
                Err(why) => {
                    message.push_str(" preemption: ");
                    message.push_str(&why);
                    // What cannot be helped keeps no promise; what waits for its victims does.
                    if !why.starts_with("not eligible") {
                        self.forget_promise(&pod.uid, "");
                        nominated = Some(String::new());
                    }
                }
            }
        }
        self.queue.refused(&pod.uid, reasons.refused_by, Instant::now());
        party.actor.say_failed(&pod, &message);
        self.write_condition(pod, party.actor.clone(), "Unschedulable", message, nominated);
    }

    /// The victim counts as on its way out from now on; its own grace is the server's to tell.
    fn push_out(&mut self, victim: Arc<Pod>, pod: &Arc<Pod>, node: &NodeName, actor: &Actor) {
        self.preempting.entry(pod.uid.clone()).or_insert(Preempting { left: 0, is_due: false }).left += 1;
        self.cluster.add_pod(Arc::new(Pod { deleting: true, pushed_out: true, ..(*victim).clone() }));
        let (actor, pod, node, now) = (actor.clone(), pod.clone(), node.clone(), self.now());
        self.acts.spawn(async move {
            let answer = actor.push_out(&victim, &pod, &node, now).await;
            let refused = answer.err().filter(|status| status.reason != Reason::NotFound);
            if let Some(status) = &refused {
                tracing::warn!("pushing out {}/{}: {status}", victim.namespace, victim.name);
            }
            Done::PushedOut { preemptor: pod.uid.clone(), victim, is_kept: refused.is_some() }
        });
    }

    fn pushed_out(&mut self, preemptor: &Arc<str>, victim: Arc<Pod>, is_kept: bool) {
        if is_kept && self.cluster.placed(&victim.uid).is_some_and(|known| known.deleting) {
            self.cluster.add_pod(victim);
        }
        let Some(preempting) = self.preempting.get_mut(preemptor) else { return };
        preempting.left -= 1;
        // What was promised may not come: it is decided again.
        preempting.is_due |= is_kept;
        if preempting.left == 0 {
            let is_due = preempting.is_due;
            self.preempting.remove(preemptor);
            if is_due {
                self.queue.retry(preemptor, Instant::now());
            }
        }
    }

    /// A more important pod takes the place that this one was promised: it looks for another at once.
    fn displace(&mut self, pod: Arc<Pod>) {
        self.forget_promise(&pod.uid, "");
        self.queue.retry(&pod.uid, Instant::now());
        let Some(Party { actor, .. }) = self.party(&pod) else { return };
        self.acts.spawn(async move {
            if let Err(status) = actor.forget_promise(&pod).await
                && status.reason != Reason::NotFound
            {
                tracing::warn!("taking the promise of {}/{} back: {status}", pod.namespace, pod.name);
            }
            Done::Said
        });
    }

    fn write_condition(
        &mut self,
        pod: Arc<Pod>,
        actor: Actor,
        reason: &'static str,
        message: String,
        nominated: Option<String>,
    ) {
        let now = self.now();
        self.acts.spawn(async move {
            if let Err(status) = actor.condition(&pod, reason, &message, nominated.as_deref(), now).await
                && status.reason != Reason::NotFound
            {
                tracing::warn!("writing why {}/{} has no node: {status}", pod.namespace, pod.name);
            }
            Done::Said
        });
    }

    /// RFC 3339, whole seconds.
    fn now(&self) -> String {
        let now = (self.clock)();
        jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
    }
}

#[cfg(test)]
mod tests;
