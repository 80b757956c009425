//! What a Job decided is done: pods are made and ended, finalizers taken away.

use api::resource::PODS;
use api::{Object, Reason, Status};
use client::{Cache, PatchKind, Recorder};
use futures::future::join_all;
use serde_json::{Value, json};

use super::decide::{New, Outcome, Plan, Step};
use super::model::Job;
use super::pod::{FAILURES, FINALIZER, IGNORED_FAILURES, INDEX, JobPod};
use super::policy::Verdict;
use crate::Parts;
use crate::workload::{ends, pods, shown};

/// The variable that tells a container of which index it is.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What a made-up name may have before its five letters (apiserver/pkg/storage/names).
const PREFIX_MAX: usize = 58;

/// Does the step; what was done counts even where something was refused.
pub async fn act(parts: &Parts, recorder: &Recorder, owner: &Object, plan: &Plan<'_>) -> (Outcome, Result<(), Status>) {
    let cache = parts.cache(&PODS);
    match &plan.step {
        Step::Nothing => (Outcome::default(), Ok(())),
        Step::End(which) => end(parts, recorder, owner, plan.pods, which).await,
        Step::Remove(which) => {
            let held: Vec<usize> = which.iter().copied().filter(|at| plan.pods[*at].is_held).collect();
            let (left, released) = release(parts, plan.pods, &held).await;
            let which: Vec<usize> = which.iter().copied().filter(|at| !left.contains(at)).collect();
            let (outcome, ended) = end(parts, recorder, owner, plan.pods, &which).await;
            (outcome, released.and(ended))
        }
        Step::Create(new) => {
            let replaced = |new: &New| new.replaced.map(|at| &plan.pods[at]);
            let pods: Vec<Value> = new.iter().map(|new| made(owner, plan.job, new.index, replaced(new))).collect();
            let pods: Vec<&Value> = pods.iter().collect();
            let (created, result) = pods::create_each(parts, recorder, &cache, owner, &pods).await;
            (Outcome { created: created as i64, ..Outcome::default() }, result)
        }
    }
}

async fn end(
    parts: &Parts,
    recorder: &Recorder,
    owner: &Object,
    pods: &[JobPod],
    which: &[usize],
) -> (Outcome, Result<(), Status>) {
    let cache = parts.cache(&PODS);
    let objects: Vec<Object> = which.iter().map(|at| pods[*at].object.clone()).collect();
    let result = pods::delete(parts, recorder, owner, &objects).await;
    let is_ended = |at: &usize| ends(&cache, &pods[*at].object);
    (Outcome { ended: which.iter().copied().filter(is_ended).collect(), created: 0 }, result)
}

/// Takes the finalizer of these pods; returns when the cache shows it, with those that still have theirs.
pub async fn release(parts: &Parts, pods: &[JobPod], which: &[usize]) -> (Vec<usize>, Result<(), Status>) {
    let cache = parts.cache(&PODS);
    let answers = join_all(which.iter().map(|at| let_go(parts, &pods[*at].object, false))).await;
    let (mut left, mut refused) = (Vec::new(), Ok(()));
    for (at, answer) in which.iter().zip(answers) {
        let meta = pods[*at].object.meta();
        let is_gone = |cache: &Cache| {
            let now = cache.get(&meta.namespace, &meta.name);
            now.is_none_or(|now| now.meta().uid != meta.uid || !is_held(&now))
        };
        let released = match answer {
            Ok(true) => {
                cache.until(is_gone).await;
                Ok(())
            }
            Ok(false) => shown(&cache, Status::not_found("", "pods", &meta.name), is_gone).await,
            Err(status) => Err(status),
        };
        if let Err(status) = released {
            left.push(*at);
            refused = refused.and(Err(status));
        }
    }
    (left, refused)
}

pub fn is_held(pod: &Object) -> bool {
    pod.meta().finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// One that is gone, or a namesake's, is let go: false. `unchanged`: only as it was seen.
pub async fn let_go(parts: &Parts, pod: &Object, unchanged: bool) -> Result<bool, Status> {
    let meta = pod.meta();
    let mut patch = json!({"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    if unchanged {
        patch["metadata"]["resourceVersion"] = meta.resource_version.clone().into();
    }
    match parts.client.patch(&PODS, &meta.namespace, &meta.name, "", PatchKind::Strategic, &patch).await {
        Ok(_) => Ok(true),
        Err(status) if status.reason == Reason::NotFound => Ok(false),
        Err(status) => match parts.cache(&PODS).get(&meta.namespace, &meta.name) {
            Some(now) if now.meta().uid == meta.uid => Err(status),
            _ => Ok(false),
        },
    }
}

/// A pod of the template: of an index, in the place of another. Pure.
pub fn made(owner: &Object, job: &Job, index: Option<i64>, replaced: Option<&JobPod>) -> Value {
    let mut pod = pods::of_template(owner, &job.spec.template);
    let meta = &mut pod["metadata"];
    let mut finalizers = meta["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    meta["finalizers"] = finalizers.into();
    let Some(index) = index else { return pod };
    let name = &job.name;
    meta["annotations"][INDEX] = index.to_string().into();
    meta["labels"][INDEX] = index.to_string().into();
    let suffix = format!("-{index}-");
    let mut prefix = format!("{name}{suffix}");
    if prefix.len() > PREFIX_MAX {
        prefix = format!("{}{suffix}", &prefix[..PREFIX_MAX - suffix.len()]);
    }
    meta["generateName"] = prefix.into();
    if job.limit_per_index().is_some() {
        let (failures, ignored) = failures(job, replaced);
        meta["annotations"][FAILURES] = failures.to_string().into();
        if ignored > 0 {
            meta["annotations"][IGNORED_FAILURES] = ignored.to_string().into();
        }
    }
    pod["spec"]["hostname"] = format!("{name}-{index}").into();
    for list in ["initContainers", "containers"] {
        for container in api::tree::each(&mut pod["spec"], list) {
            let mut variables = container["env"].as_array().cloned().unwrap_or_default();
            if !variables.iter().any(|variable| variable["name"] == VARIABLE) {
                let path = format!("metadata.labels['{INDEX}']");
                variables.push(json!({"name": VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
                container["env"] = variables.into();
            }
        }
    }
    pod
}

/// How many of the index failed before, with the one that is replaced: those that count, and those that do not.
fn failures(job: &Job, replaced: Option<&JobPod>) -> (i64, i64) {
    let Some(pod) = replaced else { return (0, 0) };
    match job.judge(pod) {
        Verdict::Ignore => (pod.failures, pod.ignored_failures + 1),
        _ => (pod.failures + 1, pod.ignored_failures),
    }
}
