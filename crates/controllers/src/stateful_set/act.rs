//! What was decided is done, stage by stage, each told by an event of the set.
//!
//! pkg/controller/statefulset/stateful_pod_control.go, and slowStartBatch of stateful_set_control.go. Returns when the
//! caches show it, so that the next look decides on it.

use api::resource::{PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use api::{Object, Reason, Status, tree};
use client::Recorder;
use client::recorder::Type;
use futures::future::join_all;
use serde_json::Value;

use super::rollout::{Act, Stage, Step};
use crate::{Parts, workload};

/// At most so many at a time (MaxBatchSize).
const BURST: usize = 500;

/// An error is the first refusal; what was to come after it is not done.
pub async fn act(parts: &Parts, recorder: &Recorder, set: &Object, stages: &[Stage]) -> Result<(), Status> {
    let actor = Actor { parts, recorder, set };
    let (cache, meta) = (parts.cache(&STATEFUL_SETS), set.meta());
    // A set that goes meanwhile gets nothing more.
    let goes_on = || {
        let now = cache.get(&meta.namespace, &meta.name);
        now.is_some_and(|now| now.meta().uid == meta.uid && now.meta().is_deleting() == meta.is_deleting())
    };
    for stage in stages {
        let (mut rest, mut batch) = (&stage.steps[..], 1);
        while !rest.is_empty() && goes_on() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            for done in join_all(now.iter().map(|step| actor.step(step))).await {
                done?;
            }
            rest = later;
            batch = if stage.is_burst { (batch * 2).min(BURST) } else { 1 };
        }
    }
    Ok(())
}

struct Actor<'a> {
    parts: &'a Parts,
    recorder: &'a Recorder,
    set: &'a Object,
}

impl Actor<'_> {
    async fn step(&self, step: &Step) -> Result<(), Status> {
        if let Err(status) = self.make_claims(step).await {
            match &step.act {
                Act::Create(_) => self.tell("Create", &step.pod, Some(&status)),
                Act::Update(_) => self.tell("Update", &step.pod, Some(&status)),
                Act::Claims | Act::Delete(_) => {}
            }
            return Err(status);
        }
        if let Err(status) = self.amend_claims(step).await {
            self.tell("Update", &step.pod, Some(&status));
            return Err(status);
        }
        let namespace = &self.set.meta().namespace;
        let cache = self.parts.cache(&PODS);
        let client = &self.parts.client;
        match &step.act {
            Act::Claims => Ok(()),
            Act::Create(pod) => match client.create(&PODS, namespace, pod).await {
                Ok(made) => {
                    self.tell("Create", &step.pod, None);
                    cache.reached(made.revision()).await;
                    Ok(())
                }
                // Somebody else's has its name: it waits for that to be gone, and nobody is told again and again.
                Err(status) if status.reason == Reason::AlreadyExists => Err(status),
                Err(status) => {
                    self.tell("Create", &step.pod, Some(&status));
                    Err(status)
                }
            },
            Act::Update(pod) => {
                let written = match pod {
                    Some(pod) => client.update(&PODS, namespace, &step.pod, pod).await.map(|pod| pod.revision()),
                    None => Ok(0),
                };
                self.tell("Update", &step.pod, written.as_ref().err());
                cache.reached(written?).await;
                Ok(())
            }
            Act::Delete(pod) => self.delete(pod).await,
        }
    }

    async fn delete(&self, pod: &Object) -> Result<(), Status> {
        match workload::delete(self.parts, &PODS, pod).await {
            Ok(true) => self.tell("Delete", &pod.meta().name, None),
            Ok(false) => {}
            Err(status) => {
                self.tell("Delete", &pod.meta().name, Some(&status));
                return Err(status);
            }
        }
        Ok(())
    }

    /// All are tried; an error is the first refusal.
    async fn make_claims(&self, step: &Step) -> Result<(), Status> {
        let set = self.set.meta();
        let (mut refused, mut reached) = (None, 0);
        for claim in &step.claims {
            let name = tree::text(claim, "metadata.name");
            match self.parts.client.create(&PERSISTENT_VOLUME_CLAIMS, &set.namespace, claim).await {
                Ok(made) => {
                    reached = reached.max(made.revision());
                    let told = format!("Create Claim {name} Pod {} in StatefulSet {} success", step.pod, set.name);
                    self.recorder.event(self.set, "", Type::Normal, "SuccessfulCreate", told);
                }
                Err(status) => {
                    if status.reason != Reason::AlreadyExists {
                        let (pod, set) = (&step.pod, &set.name);
                        let told =
                            format!("Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {status}");
                        self.recorder.event(self.set, "", Type::Warning, "FailedCreate", told);
                    }
                    let message = format!("failed to create PVC {name}: {status}");
                    refused = refused.or(Some(Status { message, ..status }));
                }
            }
        }
        self.parts.cache(&PERSISTENT_VOLUME_CLAIMS).reached(reached).await;
        let ending = step.ending.first().map(|name| Status::unknown(format!("pvc {name} is being deleted")));
        refused.or(ending).map_or(Ok(()), Err)
    }

    async fn amend_claims(&self, step: &Step) -> Result<(), Status> {
        let mut reached = 0;
        for (claim, amended) in &step.amended {
            let meta = claim.meta();
            if amended.is_foreign {
                let told = format!(
                    "PersistentVolumeClaim {} has a conflicting OwnerReference that acts as a manging controller, the \
                     retention policy is ignored for this claim",
                    meta.name
                );
                self.recorder.event(self.set, "", Type::Warning, "ConflictingController", told);
            }
            let mut value: Value = claim.value();
            value["metadata"]["ownerReferences"] = amended.references.clone();
            let written =
                self.parts.client.update(&PERSISTENT_VOLUME_CLAIMS, &meta.namespace, &meta.name, &value).await;
            let written = written.map_err(|status| {
                let message = format!("could not update claim {} for delete policy ownerRefs: {status}", meta.name);
                Status { message, ..status }
            })?;
            reached = reached.max(written.revision());
        }
        self.parts.cache(&PERSISTENT_VOLUME_CLAIMS).reached(reached).await;
        Ok(())
    }

    /// `Create Pod web-0 in StatefulSet web successful`
    fn tell(&self, verb: &str, pod: &str, failed: Option<&Status>) {
        let set = &self.set.meta().name;
        let (class, reason, how) = match failed {
            None => (Type::Normal, "Successful", "successful".to_owned()),
            Some(status) => (Type::Warning, "Failed", format!("failed error: {status}")),
        };
        let told = format!("{verb} Pod {pod} in StatefulSet {set} {how}");
        self.recorder.event(self.set, "", class, &format!("{reason}{verb}"), told);
    }
}
