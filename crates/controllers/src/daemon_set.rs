//! DaemonSets: a pod on each node that fits.
//!
//! pkg/controller/daemon. One look finds the newest template's name, decides purely (`plan`) which nodes lack a pod and
//! which pods go, does it, then lets old pods give way to new ones, and tells the status. The scheduler places the pods.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::resource::{CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS};
use api::selector::Labels;
use api::{Object, Status};
use client::cache::index::{CONTROLLER, NODE};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Cache, Change, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::Value;
use tokio::time::Instant;

use crate::Parts;
use crate::workload::claim::{self, Owner};
use crate::workload::{concerned, pods, readable, selecting, write_status};

/// Which nodes fit.
mod eligible;
/// How long a node waits after a failed pod.
mod failed;
/// The templates until now.
mod history;
/// What is to be done now.
mod plan;
/// One pod.
mod pod;
#[cfg(test)]
mod tests;

use eligible::{Eligible, Node};
use failed::Failed;
use plan::{Look, Plan};

/// At most so many are made or ended at a time.
const BURST: usize = 250;

pub async fn run(parts: Arc<Parts>) {
    let (sets, nodes, pods) = (parts.cache(&DAEMON_SETS), parts.cache(&NODES), parts.cache(&PODS));
    let revisions = parts.cache(&CONTROLLER_REVISIONS);
    parts.synced(&[&sets, &nodes, &pods, &revisions]).await;
    let recorder = parts.recorder("daemonset-controller");
    let own = sets.subscribe().keys();
    let of = |cache: &Cache| {
        let sets = sets.clone();
        cache
            .subscribe()
            .flat_map(move |change| stream::iter(concerned(&change, &DAEMON_SETS, |object| selecting(&sets, object))))
    };
    let of_nodes = {
        let (sets, pods) = (sets.clone(), pods.clone());
        nodes.subscribe().flat_map(move |change| stream::iter(on_change(&change, &sets, &pods)))
    };
    let failed = Arc::new(Mutex::new(Failed::default()));
    let work = |key: Key| {
        let (parts, recorder, failed) = (parts.clone(), recorder.clone(), failed.clone());
        async move { attend(&parts, &recorder, &failed, &key).await }
    };
    reconcile::run(select(select(own, of_nodes), select(of(&pods), of(&revisions))), 8, work).await;
}

/// The sets that a node's change matters to: it fits now and did not before, or the other way round; most changes of
/// nodes are signs of life, and matter to none.
fn on_change(change: &Change, sets: &Cache, pods: &Cache) -> Vec<Key> {
    let node = |node: &Option<Object>| node.as_ref().map(Node::of);
    let (old, new) = (node(&change.old), node(&change.new));
    if old == new {
        return Vec::new();
    }
    let has_moved = old.is_none() || new.is_none();
    let there = if has_moved { pods.by(&NODE, &change.key.name) } else { Vec::new() };
    let matters = |set: &Object| {
        let eligible = Eligible::of(&set.value());
        let verdict = |node: &Option<Node>| node.as_ref().map(|node| eligible.judge(node)).unwrap_or_default();
        let has_pods = || there.iter().any(|pod| pod.meta().controller().is_some_and(|own| own.uid == set.meta().uid));
        verdict(&old) != verdict(&new) || has_pods()
    };
    sets.list().iter().filter(|set| matters(set)).map(Key::of).collect()
}

async fn attend(parts: &Parts, recorder: &Recorder, failed: &Mutex<Failed>, key: &Key) -> Result<Requeue, Status> {
    let Some(set) = parts.cache(&DAEMON_SETS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let mut value = set.value();
    let Some(selector) = readable(key, Labels::from_label_selector(&value["spec"]["selector"])) else {
        return Ok(Requeue::Done);
    };
    if selector.is_empty() {
        let told = "This daemon set is selecting all pods. A non-empty selector is required.";
        recorder.event(&set, "", Type::Warning, "SelectingAll", told);
        return Ok(Requeue::Done);
    }
    // Its history may be gone already: nothing can be told of it.
    if set.meta().is_deleting() {
        return Ok(Requeue::Done);
    }
    let owner = Owner { resource: &DAEMON_SETS, object: &set, selector: &selector };
    let cache = parts.cache(&PODS);
    let own = claim::claim(parts, &owner, &cache, claim::candidates(&cache, &set)).await?;
    let (hash, old) = history::construct(parts, &owner, &value, &own).await?;
    let nodes: Vec<Node> = parts.cache(&NODES).list().iter().map(Node::of).collect();
    let round = Round { parts, recorder, owner: &owner, set: &value, hash: &hash, nodes: &nodes };
    let (managed, wait) = match round.manage(failed).await {
        Ok(wait) => (round.finish(&old).await, wait),
        Err(status) => (Err(status), None),
    };
    let (status, recheck) = round.look(plan::status);
    if status != value["status"] {
        value["status"] = status;
        write_status(parts, &DAEMON_SETS, &value).await?;
    }
    let recheck = [wait, recheck].into_iter().flatten().min();
    managed.map(|()| recheck.map_or(Requeue::Done, Requeue::After))
}

/// One look at a set, in steps: each sees what those before it did.
struct Round<'a> {
    parts: &'a Parts,
    recorder: &'a Recorder,
    owner: &'a Owner<'a>,
    set: &'a Value,
    hash: &'a str,
    nodes: &'a [Node],
}

impl Round<'_> {
    /// Its pods, as the cache shows them.
    fn pods(&self) -> Vec<Object> {
        let mut pods = self.parts.cache(&PODS).by(&CONTROLLER, &self.owner.object.meta().uid);
        pods.retain(|pod| claim::judge(self.owner, pod) == claim::Verdict::Own);
        pods
    }

    fn look<T>(&self, decide: impl FnOnce(&Look<'_>) -> T) -> T {
        let on = pod::by_node(self.pods());
        let eligible = Eligible::of(self.set);
        let now = (self.parts.config.clock)();
        decide(&Look { set: self.set, eligible: &eligible, nodes: self.nodes, on: &on, hash: self.hash, now })
    }

    /// Every node has its pod; returns when a failed one may go.
    async fn manage(&self, failed: &Mutex<Failed>) -> Result<Option<Duration>, Status> {
        let plan = self.look(|look| {
            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
            plan::manage(look, &mut failed, Instant::now())
        });
        self.act(&plan).await?;
        Ok(plan.recheck)
    }

    /// Old pods give way, then old revisions.
    async fn finish(&self, old: &[Object]) -> Result<(), Status> {
        if self.set["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
            self.act(&self.look(plan::roll).map_err(Status::unknown)?).await?;
        }
        history::truncate(self.parts, self.set, old, &self.pods()).await
    }

    /// Does it; returns when the cache shows it.
    async fn act(&self, plan: &Plan) -> Result<(), Status> {
        let (owner, cache) = (self.owner.object, self.parts.cache(&PODS));
        for (class, reason, text) in &plan.told {
            self.recorder.event(owner, "", *class, reason, text.clone());
        }
        let make = plan.make.iter().take(BURST);
        let make: Vec<Value> = make.map(|node| pod::for_node(owner, self.set, self.hash, node)).collect();
        let make: Vec<&Value> = make.iter().collect();
        let (_, made) = pods::create_each(self.parts, self.recorder, &cache, owner, &make).await;
        let end = &plan.end[..plan.end.len().min(BURST)];
        let ended = pods::delete(self.parts, self.recorder, owner, end).await;
        made.and(ended)
    }
}
