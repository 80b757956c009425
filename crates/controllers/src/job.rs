//! Jobs: pods run until so many have succeeded, or too many failed.
//!
//! pkg/controller/job. Each look decides (`decide`), does it (`act`) and writes down what was counted (`track`). The
//! finalizer of a pod goes only after its end stands in the Job's status; that of a pod whose Job is finished, gone
//! or another's goes by itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::{JOBS, PODS};
use api::selector::Labels;
use api::{Object, Status};
use client::cache::index::{CONTROLLER, NAMESPACE};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Cache, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};

use self::backoff::Record;
use self::model::{Condition, Job, JobStatus};
use self::pod::JobPod;
use crate::Parts;
use crate::workload::claim::{self, Owner};
use crate::workload::{concerned, readable, write_status};

/// What was decided is done.
mod act;
/// How long to wait after failures.
mod backoff;
/// What a Job needs now.
mod decide;
/// Sets of completion indexes.
mod indexes;
/// What a Job says, decoded.
pub mod model;
/// A pod as its Job counts it.
mod pod;
/// What failures mean, and which successes are enough.
mod policy;
/// No pod counts twice, and none not at all.
mod track;

/// Of each Job that is not finished, by its uid.
type Records = Arc<Mutex<HashMap<String, Record>>>;

pub async fn run(parts: Arc<Parts>) {
    let (jobs, pods) = (parts.cache(&JOBS), parts.cache(&PODS));
    parts.synced(&[&jobs, &pods]).await;
    let recorder = parts.recorder("job-controller");
    let records = Records::default();
    let own = {
        let records = records.clone();
        jobs.subscribe().map(move |change| {
            let was = change.old.as_ref().map(|job| &job.meta().uid);
            if let Some(uid) = was.filter(|uid| change.new.as_ref().is_none_or(|new| new.meta().uid != **uid)) {
                records.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
            }
            change.key
        })
    };
    let of_pods = {
        let jobs = jobs.clone();
        pods.subscribe().flat_map(move |change| stream::iter(concerned(&change, &JOBS, |pod| would_adopt(pod, &jobs))))
    };
    let work = {
        let parts = parts.clone();
        move |key: Key| {
            let (parts, recorder, records) = (parts.clone(), recorder.clone(), records.clone());
            async move { attend(&parts, &recorder, &records, &key).await }
        }
    };
    let stray = {
        let parts = parts.clone();
        pods.subscribe().filter_map(move |change| {
            let is_it = change.new.as_ref().is_some_and(|pod| is_stray(&parts, pod));
            std::future::ready(is_it.then_some(change.key))
        })
    };
    let left = {
        let (parts, pods) = (parts.clone(), pods.clone());
        jobs.subscribe().flat_map(move |change| {
            let uids = [change.old, change.new].into_iter().flatten().map(|job| job.meta().uid.clone());
            let mut held: Vec<Object> = uids.flat_map(|uid| pods.by(&CONTROLLER, &uid)).collect();
            held.retain(|pod| is_stray(&parts, pod));
            stream::iter(held.iter().map(Key::of).collect::<Vec<_>>())
        })
    };
    let free = move |key: Key| {
        let parts = parts.clone();
        async move {
            match parts.cache(&PODS).get(&key.namespace, &key.name) {
                Some(pod) if is_stray(&parts, &pod) => act::let_go(&parts, &pod, true).await.map(|_| Requeue::Done),
                _ => Ok(Requeue::Done),
            }
        }
    };
    futures::join!(reconcile::run(select(own, of_pods), 8, work), reconcile::run(select(stray, left), 8, free));
}

/// A pod that is held for a Job that will never count it.
fn is_stray(parts: &Parts, pod: &Object) -> bool {
    if !act::is_held(pod) {
        return false;
    }
    let Some(owner) = pod.meta().controller() else { return true };
    if owner.kind != JOBS.kind || owner.api_version != JOBS.api_version() {
        return false;
    }
    match parts.cache(&JOBS).get(&pod.meta().namespace, &owner.name).filter(|job| job.meta().uid == owner.uid) {
        None => true,
        Some(job) => Job::of(&job).is_some_and(|job| job.status.finished().is_some() && !job.is_external()),
    }
}

/// The Jobs that select a pod: with a selector of its own, one may select all.
fn would_adopt(pod: &Object, jobs: &Cache) -> Vec<Object> {
    let mut all = jobs.by(&NAMESPACE, &pod.meta().namespace);
    all.retain(|job| {
        let selector = Labels::from_label_selector(&job.value()["spec"]["selector"]);
        selector.is_ok_and(|selector| selector.matches(&pod.meta().labels))
    });
    all
}

async fn attend(parts: &Parts, recorder: &Recorder, records: &Records, key: &Key) -> Result<Requeue, Status> {
    let Some(object) = parts.cache(&JOBS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let Some(job) = Job::of(&object) else {
        tracing::warn!(%key, "it cannot be read");
        return Ok(Requeue::Done);
    };
    if job.is_external() {
        return Ok(Requeue::Done);
    }
    let uid = &object.meta().uid;
    if job.status.finished().is_some() {
        records.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        return Ok(Requeue::Done);
    }
    if !matches!(job.spec.completion_mode.as_deref(), None | Some("NonIndexed" | "Indexed")) {
        let message = "Skipped Job sync because completion mode is unknown";
        recorder.event(&object, "", Type::Warning, "UnknownCompletionMode", message);
        return Ok(Requeue::Done);
    }
    let Some(selector) = readable(key, Labels::from_label_selector(&job.spec.selector)) else {
        return Ok(Requeue::Done);
    };
    let cache = parts.cache(&PODS);
    let owner = Owner { resource: &JOBS, object: &object, selector: &selector };
    let all = claim::candidates(&cache, &object);
    let claimed = claim::claim_held(parts, &owner, &cache, all, pod::FINALIZER).await?;
    let pods: Vec<JobPod> = claimed.into_iter().map(JobPod::of).collect();
    let now = (parts.config.clock)();
    let record = records.lock().unwrap_or_else(PoisonError::into_inner).get(uid).copied().unwrap_or_default();
    let mut plan = decide::plan(&job, &pods, record, now);
    let (outcome, managed) = act::act(parts, recorder, &object, &plan).await;
    plan.conclude(&outcome);
    for (reason, message) in &plan.told {
        recorder.event(&object, "", Type::Normal, reason, *message);
    }
    if let Counted::Gone = count(parts, recorder, records, &object, &plan).await? {
        return Ok(Requeue::Done);
    }
    managed.map(|()| plan.requeue.map_or(Requeue::Done, Requeue::After))
}

enum Counted {
    All,
    /// The Job is gone.
    Gone,
}

/// Writes down what ended, lets it go, and makes numbers of it.
async fn count(
    parts: &Parts,
    recorder: &Recorder,
    records: &Records,
    object: &Object,
    plan: &decide::Plan<'_>,
) -> Result<Counted, Status> {
    let track::Tracked { mut status, release, last } = track::track(plan);
    let mut object = object.clone();
    if status != plan.job.status {
        let Some(written) = write(parts, &object, &status).await? else { return Ok(Counted::Gone) };
        object = written;
        let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(object.meta().uid.clone(), plan.record);
    }
    let before = status.clone();
    let (left, released) = act::release(parts, plan.pods, &release).await;
    let is_released = |at: &usize| release.contains(at) && !left.contains(at);
    let held = |uid: &str| {
        let mut all = plan.pods.iter().enumerate().filter(|(_, pod)| pod.is_held);
        all.any(|(at, pod)| pod.uid() == uid && !is_released(&at))
    };
    track::clean(&mut status, held);
    let is_finished = match (&last, &released) {
        (Some(last), Ok(())) => track::finish(&mut status, last, (parts.config.clock)()),
        _ => false,
    };
    if status != before {
        if write(parts, &object, &status).await?.is_none() {
            return Ok(Counted::Gone);
        }
        if let Some(last) = last.filter(|_| is_finished) {
            tell(recorder, &object, plan.job, &status, &last);
        }
    }
    released.map(|()| Counted::All)
}

/// None where it is gone.
async fn write(parts: &Parts, object: &Object, status: &JobStatus) -> Result<Option<Object>, Status> {
    let mut value = object.value();
    value["status"] = serde_json::to_value(status).map_err(|error| Status::unknown(error.to_string()))?;
    write_status(parts, &JOBS, &value).await
}

fn tell(recorder: &Recorder, object: &Object, job: &Job, status: &JobStatus, last: &Condition) {
    if last.r#type != "Complete" {
        recorder.event(object, "", Type::Warning, &last.reason, last.message.as_str());
        return;
    }
    if job.spec.completions.is_some_and(|completions| status.succeeded > completions) {
        let message = "Too many succeeded pods running after completion count reached";
        recorder.event(object, "", Type::Warning, "TooManySucceededPods", message);
    }
    recorder.event(object, "", Type::Normal, "Completed", "Job completed");
}

#[cfg(test)]
mod tests;
