//! Pods are made of a template, and ended, each told by an event of their controller.
//!
//! pkg/controller.RealPodControl. Many are made in batches that double, so that what refuses one does not refuse
//! hundreds.

use api::resource::PODS;
use api::{Object, Status};
use client::recorder::Type;
use client::{Cache, Recorder};
use futures::future::join_all;
use serde_json::{Value, json};

use super::controller_of;
use crate::Parts;
use crate::namespace::takes_nothing_new;

/// A name that is made up gets five letters more, and pods' names are names of hosts.
const PREFIX_MAX: usize = 253;

/// A pod of a template, for its controller. Pure.
pub fn of_template(owner: &Object, template: &Value) -> Value {
    let name = &owner.meta().name;
    let prefix = if name.len() < PREFIX_MAX { format!("{name}-") } else { name.clone() };
    let mut meta = json!({"generateName": prefix, "ownerReferences": [controller_of(owner)]});
    for field in ["labels", "annotations", "finalizers"] {
        let value = &template["metadata"][field];
        if !value.is_null() {
            meta[field] = value.clone();
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
}

/// Makes so many pods of one kind.
pub async fn create(
    parts: &Parts,
    recorder: &Recorder,
    cache: &Cache,
    owner: &Object,
    pod: &Value,
    count: usize,
) -> Result<(), Status> {
    create_each(parts, recorder, cache, owner, &vec![pod; count]).await.1
}

/// Makes these pods; how many were made, and the first refusal. Returns when the cache shows those that were made.
pub async fn create_each(
    parts: &Parts,
    recorder: &Recorder,
    cache: &Cache,
    owner: &Object,
    pods: &[&Value],
) -> (usize, Result<(), Status>) {
    let (mut rest, mut batch, mut reached) = (pods, 1, 0);
    let (mut created, mut refused, mut is_over, mut is_doubtful) = (0, Ok(()), false, false);
    while !rest.is_empty() && refused.is_ok() && !is_over {
        let now;
        (now, rest) = rest.split_at(batch.min(rest.len()));
        let made = join_all(now.iter().map(|pod| parts.client.create(&PODS, &owner.meta().namespace, pod))).await;
        for answer in made {
            match answer {
                Ok(pod) => {
                    created += 1;
                    reached = reached.max(pod.revision());
                    let told = format!("Created pod: {}", pod.meta().name);
                    recorder.event(owner, "", Type::Normal, "SuccessfulCreate", told);
                }
                // Nothing more comes of it, and nobody can be told.
                Err(status) if takes_nothing_new(&status) => is_over = true,
                Err(status) => {
                    is_doubtful |= super::is_doubtful(&status);
                    recorder.event(owner, "", Type::Warning, "FailedCreate", format!("Error creating: {status}"));
                    refused = refused.and(Err(status));
                }
            }
        }
        batch *= 2;
    }
    cache.reached(reached).await;
    if is_doubtful {
        super::settle(parts, &PODS, owner, cache).await;
    }
    (created, refused)
}

/// Ends these pods; an error is the first refusal. Returns when the cache shows that they end.
pub async fn delete(parts: &Parts, recorder: &Recorder, owner: &Object, pods: &[Object]) -> Result<(), Status> {
    let answers = join_all(pods.iter().map(|pod| super::delete(parts, &PODS, pod))).await;
    let mut refused = Ok(());
    for (pod, answer) in pods.iter().zip(answers) {
        match answer {
            Ok(true) => {
                let told = format!("Deleted pod: {}", pod.meta().name);
                recorder.event(owner, "", Type::Normal, "SuccessfulDelete", told);
            }
            Ok(false) => {}
            Err(status) => {
                recorder.event(owner, "", Type::Warning, "FailedDelete", format!("Error deleting: {status}"));
                refused = refused.and(Err(Status { message: format!("unable to delete pods: {status}"), ..status }));
            }
        }
    }
    refused
}
