//! As many pods as there shall be: ReplicaSets and ReplicationControllers.
//!
//! pkg/controller/replicaset: pods that match and that nobody manages are adopted, those that no longer match let go;
//! what is missing is made, what is too much ended in the order of `workload::rank`. A pod whose deletion was asked
//! counts as gone. Status tells what was found before that.

use std::sync::Arc;
use std::time::Duration;

use api::resource::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use api::selector::Labels;
use api::{Object, Resource, Status, tree};
use client::cache::index::{CONTROLLER, NAMESPACE};
use client::reconcile::{self, Requeue};
use client::{Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::Parts;
use crate::workload::claim::{self, Owner};
use crate::workload::pod::{self, Seen};
use crate::workload::{concerned, pods, rank, readable, write_status};

/// At most so many are made or ended at a time.
const BURST: usize = 500;

/// One of the two kinds.
struct Sort {
    resource: fn() -> &'static Resource,
    /// Whose events they are.
    component: &'static str,
    selector: fn(&Value) -> Result<Labels, Status>,
    tells_terminating: bool,
}

static SETS: Sort = Sort {
    resource: || &REPLICA_SETS,
    component: "replicaset-controller",
    selector: |set| Labels::from_label_selector(&set["spec"]["selector"]),
    tells_terminating: true,
};

static CONTROLLERS: Sort = Sort {
    resource: || &REPLICATION_CONTROLLERS,
    component: "replication-controller",
    selector: |set| Labels::from_label_selector(&json!({"matchLabels": set["spec"]["selector"]})),
    tells_terminating: false,
};

impl Sort {
    /// Those that select a pod.
    fn selecting(&self, pod: &Object, mut sets: Vec<Object>) -> Vec<Object> {
        sets.retain(|set| (self.selector)(&set.value()).is_ok_and(|selector| selector.matches(&pod.meta().labels)));
        sets
    }
}

pub async fn sets(parts: Arc<Parts>) {
    run(parts, &SETS).await;
}

pub async fn controllers(parts: Arc<Parts>) {
    run(parts, &CONTROLLERS).await;
}

async fn run(parts: Arc<Parts>, sort: &'static Sort) {
    let (sets, pods) = (parts.cache((sort.resource)()), parts.cache(&PODS));
    parts.synced(&[&sets, &pods]).await;
    let recorder = parts.recorder(sort.component);
    let own = sets.subscribe().keys();
    let of_pods = {
        let sets = sets.clone();
        pods.subscribe().flat_map(move |change| {
            stream::iter(concerned(&change, (sort.resource)(), |pod| {
                sort.selecting(pod, sets.by(&NAMESPACE, &pod.meta().namespace))
            }))
        })
    };
    let work = |key: Key| {
        let (parts, recorder) = (parts.clone(), recorder.clone());
        async move { attend(&parts, &recorder, sort, &key).await }
    };
    reconcile::run(select(own, of_pods), 8, work).await;
}

async fn attend(parts: &Parts, recorder: &Recorder, sort: &Sort, key: &Key) -> Result<Requeue, Status> {
    let resource = (sort.resource)();
    let Some(set) = parts.cache(resource).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let mut value = set.value();
    let Some(selector) = readable(key, (sort.selector)(&value)) else {
        return Ok(Requeue::Done);
    };
    let cache = parts.cache(&PODS);
    let owner = Owner { resource, object: &set, selector: &selector };
    let seen = |pod: Object| {
        let seen = Seen::of(&pod);
        (pod, seen)
    };
    let all: Vec<(Object, Seen)> = claim::candidates(&cache, &set).into_iter().map(seen).collect();
    let is_own = |pod: &Object| claim::judge(&owner, pod) == claim::Verdict::Own;
    let terminating = all.iter().filter(|(pod, seen)| pod::is_terminating(pod, seen) && is_own(pod)).count();
    let active = all.into_iter().filter(|(pod, seen)| pod::is_active(pod, seen)).map(|(pod, _)| pod).collect();
    let claimed = claim::claim(parts, &owner, &cache, active).await?;
    let active: Vec<(Object, Seen)> = claimed.into_iter().map(seen).collect();
    let managed = match set.meta().is_deleting() {
        true => Ok(()),
        false => manage(parts, recorder, &set, &value, &active).await,
    };
    let found = Found {
        active: &active,
        terminating: sort.tells_terminating.then_some(terminating),
        failure: managed.as_ref().err().map(ToString::to_string),
    };
    let (status, recheck) = status(&value, &found, (parts.config.clock)());
    if status != value["status"] {
        value["status"] = status;
        write_status(parts, resource, &value).await?;
    }
    managed.map(|()| recheck.map_or(Requeue::Done, Requeue::After))
}

/// Makes what is missing, or ends what is too much.
async fn manage(
    parts: &Parts,
    recorder: &Recorder,
    set: &Object,
    value: &Value,
    active: &[(Object, Seen)],
) -> Result<(), Status> {
    let cache = parts.cache(&PODS);
    let wanted = replicas(value);
    if active.len() < wanted {
        let pod = pods::of_template(set, &value["spec"]["template"]);
        return pods::create(parts, recorder, &cache, set, &pod, (wanted - active.len()).min(BURST)).await;
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return Ok(());
    }
    let related = related(parts, set);
    let mut order = rank::order(active.to_vec(), &related, (parts.config.clock)());
    order.truncate(surplus);
    pods::delete(parts, recorder, set, &order).await
}

/// The pods of all that the same controller manages: of a Deployment's other ReplicaSets too.
fn related(parts: &Parts, set: &Object) -> Vec<(Object, Seen)> {
    let siblings = match set.meta().controller() {
        Some(owner) => {
            let mut siblings = parts.cache(&REPLICA_SETS).by(&CONTROLLER, &owner.uid);
            siblings.retain(|sibling| sibling.meta().namespace == set.meta().namespace);
            siblings
        }
        None => vec![set.clone()],
    };
    let cache = parts.cache(&PODS);
    let pods = siblings.iter().flat_map(|sibling| cache.by(&CONTROLLER, &sibling.meta().uid));
    pods.map(|pod| (pod.clone(), Seen::of(&pod))).collect()
}

fn replicas(value: &Value) -> usize {
    tree::int(value, "spec.replicas").and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// What a look found.
struct Found<'a> {
    active: &'a [(Object, Seen)],
    terminating: Option<usize>,
    /// Why not all could be made or ended.
    failure: Option<String>,
}

/// The status, and when a pod that is ready will count as available. Pure.
fn status(set: &Value, found: &Found<'_>, now: Timestamp) -> (Value, Option<Duration>) {
    let template = tree::entries(set, "spec.template.metadata.labels");
    let template: Vec<(&String, &str)> = template.map(|(key, value)| (key, value.as_str().unwrap_or(""))).collect();
    let min_ready = tree::int(set, "spec.minReadySeconds").unwrap_or(0);
    let (mut labelled, mut ready, mut available) = (0, 0, 0);
    let mut recheck: Option<Duration> = None;
    for (pod, seen) in found.active {
        let labels = &pod.meta().labels;
        labelled += i64::from(template.iter().all(|(key, value)| labels.get(key).is_some_and(|own| own == *value)));
        ready += i64::from(seen.is_ready());
        let (is_available, rest) = seen.available(min_ready, now);
        available += i64::from(is_available);
        recheck = [recheck, rest].into_iter().flatten().min();
    }
    let mut status = json!({"replicas": found.active.len()});
    let generation = tree::int(set, "metadata.generation").unwrap_or(0);
    let counts = [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("observedGeneration", generation),
    ];
    for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = count.into();
    }
    if let Some(terminating) = found.terminating {
        status["terminatingReplicas"] = terminating.into();
    }
    let conditions = conditions(set, found, now);
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    (status, recheck)
}

/// A failure is told once, with the reason that it had first; the others' conditions stay.
fn conditions(set: &Value, found: &Found<'_>, now: Timestamp) -> Vec<Value> {
    const FAILURE: &str = "ReplicaFailure";
    let mut conditions = tree::list(set, "status.conditions").to_vec();
    let is_told = conditions.iter().any(|condition| condition["type"] == FAILURE);
    match &found.failure {
        None => conditions.retain(|condition| condition["type"] != FAILURE),
        Some(_) if is_told => {}
        Some(why) => {
            let reason = match found.active.len().cmp(&replicas(set)) {
                std::cmp::Ordering::Less => "FailedCreate",
                std::cmp::Ordering::Greater => "FailedDelete",
                std::cmp::Ordering::Equal => "",
            };
            let mut condition = json!({"type": FAILURE, "status": "True",
                "lastTransitionTime": api::seconds(now)});
            for (field, text) in [("reason", reason), ("message", why)].into_iter().filter(|(_, text)| !text.is_empty())
            {
                condition[field] = text.into();
            }
            conditions.push(condition);
        }
    }
    conditions
}

#[cfg(test)]
mod tests;
