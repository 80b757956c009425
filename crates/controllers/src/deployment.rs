//! Deployments: a ReplicaSet for each template, scaled so that the newest takes over.
//!
//! pkg/controller/deployment. One look decides purely (`rollout`) what is to be made, scaled and deleted, and the status
//! that tells of it; here it is done, in that order, each step with the version that it was decided on. Law: whatever
//! is cut off in between, the next look goes on from what is there.

use std::sync::Arc;

use api::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use api::selector::Labels;
use api::{Object, Reason, Status, tree};
use client::cache::index::CONTROLLER;
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Change, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};

use crate::Parts;
use crate::namespace::takes_nothing_new;
use crate::workload::claim::{self, Owner};
use crate::workload::pod::Seen;
use crate::workload::{concerned, delete, readable, selecting, write_status};

/// What is written beside the numbers: revisions, history, sizes.
mod annotations;
/// How many there shall be.
mod numbers;
/// How far a Deployment has come.
mod progress;
/// What is to be done now.
mod rollout;
/// One ReplicaSet as its Deployment sees it.
mod set;
#[cfg(test)]
mod tests;

use rollout::{Decision, Write};
use set::Set;

pub async fn run(parts: Arc<Parts>) {
    let (deployments, sets, pods) = (parts.cache(&DEPLOYMENTS), parts.cache(&REPLICA_SETS), parts.cache(&PODS));
    parts.synced(&[&deployments, &sets, &pods]).await;
    let recorder = parts.recorder("deployment-controller");
    let own = deployments.subscribe().keys();
    let of_sets = {
        let deployments = deployments.clone();
        sets.subscribe()
            .flat_map(move |change| stream::iter(concerned(&change, &DEPLOYMENTS, |set| selecting(&deployments, set))))
    };
    // One that is recreated waits for the last of its old pods.
    let of_pods = {
        let sets = sets.clone();
        pods.subscribe().filter_map(move |change| {
            let owner = match &change {
                Change { old: Some(pod), new: None, .. } => pod.meta().controller().cloned(),
                _ => None,
            };
            let set = owner.and_then(|owner| sets.get(&change.key.namespace, &owner.name));
            let above = set.and_then(|set| set.meta().controller().cloned());
            let above = above.filter(|above| above.kind == DEPLOYMENTS.kind);
            std::future::ready(above.map(|above| Key::new(&change.key.namespace, &above.name)))
        })
    };
    let work = |key: Key| {
        let (parts, recorder) = (parts.clone(), recorder.clone());
        async move { attend(&parts, &recorder, &key).await }
    };
    reconcile::run(select(own, select(of_sets, of_pods)), 8, work).await;
}

async fn attend(parts: &Parts, recorder: &Recorder, key: &Key) -> Result<Requeue, Status> {
    let Some(deployment) = parts.cache(&DEPLOYMENTS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let value = deployment.value();
    let Some(selector) = readable(key, Labels::from_label_selector(&value["spec"]["selector"])) else {
        return Ok(Requeue::Done);
    };
    if selector.is_empty() {
        let told = "This deployment is selecting all pods. A non-empty selector is required.";
        recorder.event(&deployment, "", Type::Warning, "SelectingAll", told);
        return Ok(Requeue::Done);
    }
    let cache = parts.cache(&REPLICA_SETS);
    let owner = Owner { resource: &DEPLOYMENTS, object: &deployment, selector: &selector };
    let own = claim::claim(parts, &owner, &cache, claim::candidates(&cache, &deployment)).await?;
    let sets: Vec<Set> = own.into_iter().map(Set::of).collect();
    let pods = parts.cache(&PODS);
    let has_pods = |set: &Set| pods.by(&CONTROLLER, &set.object.meta().uid).iter().any(|pod| !Seen::of(pod).is_over());
    let now = (parts.config.clock)();
    let decision = rollout::decide(&deployment, sets, &has_pods, now).map_err(Status::unknown)?;
    let mut next = decision.deployment.clone();
    let done = act(parts, recorder, &deployment, &decision, &mut next).await;
    let stays = next["status"] == value["status"] && next["metadata"] == value["metadata"];
    if !stays {
        write_status(parts, &DEPLOYMENTS, &next).await?;
    }
    done.map(|()| decision.recheck.map_or(Requeue::Done, Requeue::After))
}

/// Does what was decided; returns when the cache shows it. What a refusal changes of the status is put into `next`.
async fn act(
    parts: &Parts,
    recorder: &Recorder,
    deployment: &Object,
    decision: &Decision,
    next: &mut Value,
) -> Result<(), Status> {
    let cache = parts.cache(&REPLICA_SETS);
    let namespace = &deployment.meta().namespace;
    let mut reached = 0;
    for write in &decision.writes {
        match write {
            Write::Create(set) => match parts.client.create(&REPLICA_SETS, namespace, set).await {
                Ok(made) => {
                    reached = reached.max(made.revision());
                    let count = tree::int(set, "spec.replicas").unwrap_or(0);
                    if count > 0 {
                        let told = format!("Scaled up replica set {} from 0 to {count}", made.meta().name);
                        recorder.event(deployment, "", Type::Normal, "ScalingReplicaSet", told);
                    }
                }
                Err(status) => {
                    *next = deployment.value();
                    return Err(refused(parts, recorder, deployment, set, status, next));
                }
            },
            Write::Update { set, told } => {
                let name = tree::text(set, "metadata.name");
                let written = match parts.client.update(&REPLICA_SETS, namespace, name, set).await {
                    Ok(written) => written,
                    Err(status) => {
                        *next = deployment.value();
                        return Err(status);
                    }
                };
                reached = reached.max(written.revision());
                if let Some(told) = told {
                    recorder.event(deployment, "", Type::Normal, "ScalingReplicaSet", told.clone());
                }
            }
            Write::Delete(set) => {
                delete(parts, &REPLICA_SETS, set).await?;
            }
        }
    }
    cache.reached(reached).await;
    Ok(())
}

/// A new ReplicaSet was not taken: somebody else has its name (then the next one is tried), or it was refused.
fn refused(
    parts: &Parts,
    recorder: &Recorder,
    deployment: &Object,
    set: &Value,
    status: Status,
    next: &mut Value,
) -> Status {
    if status.reason == Reason::AlreadyExists {
        let collisions = tree::int(next, "status.collisionCount").unwrap_or(0);
        next["status"]["collisionCount"] = json!(collisions + 1);
    } else if !takes_nothing_new(&status) {
        let told = format!("Failed to create new replica set {:?}: {status}", tree::text(set, "metadata.name"));
        progress::failed(next, &told, (parts.config.clock)());
        recorder.event(deployment, "", Type::Warning, progress::FAILED_CREATE, told);
    }
    status
}
