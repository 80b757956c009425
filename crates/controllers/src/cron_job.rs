//! CronJobs: a Job for each time of a schedule.
//!
//! pkg/controller/cronjob. A Job's name is made of the time that it is for, so that none is made twice, whoever
//! makes it; what runs stands in the status. Finished Jobs beyond the limits go.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::{CRON_JOBS, JOBS};
use api::{Object, Reason, Status, tree};
use client::cache::index::CONTROLLER;
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Change, DeleteOptions, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use jiff::Timestamp;
use serde_json::Value;

use self::decide::{Look, Made, Next};
use crate::Parts;
use crate::job::model::Job;
use crate::namespace::takes_nothing_new;
use crate::workload::{concerned, ends, write_status};

/// When the next Job is due.
mod decide;

/// By uid: the time before which nothing starts, where the schedule was changed.
type Held = Arc<Mutex<HashMap<String, Timestamp>>>;

pub async fn run(parts: Arc<Parts>) {
    let (crons, jobs) = (parts.cache(&CRON_JOBS), parts.cache(&JOBS));
    parts.synced(&[&crons, &jobs]).await;
    let recorder = parts.recorder("cronjob-controller");
    let held = Held::default();
    let own = {
        let (held, clock) = (held.clone(), parts.config.clock.clone());
        crons.subscribe().map(move |change| {
            hold(&mut held.lock().unwrap_or_else(PoisonError::into_inner), &change, clock());
            change.key
        })
    };
    let of_jobs = jobs.subscribe().flat_map(|change| stream::iter(concerned(&change, &CRON_JOBS, |_| Vec::new())));
    let work = |key: Key| {
        let (parts, recorder, held) = (parts.clone(), recorder.clone(), held.clone());
        async move { attend(&parts, &recorder, &held, &key).await }
    };
    reconcile::run(select(own, of_jobs), 5, work).await;
}

/// Whose schedule is another now starts at the next time of the new one, not for what that would have missed
/// (updateCronJob). Pure.
fn hold(held: &mut HashMap<String, Timestamp>, change: &Change, now: Timestamp) {
    let Some(old) = &change.old else { return };
    let new = change.new.as_ref().filter(|new| new.meta().uid == old.meta().uid);
    let Some(new) = new.map(Object::value) else {
        held.remove(&old.meta().uid);
        return;
    };
    let old = old.value();
    let says = |cron: &Value| ["spec.schedule", "spec.timeZone"].map(|path| tree::text(cron, path).to_owned());
    if says(&old) == says(&new) {
        return;
    }
    let pause = decide::schedule(&new).ok().and_then(|schedule| decide::pause(&new, now, &schedule));
    if let Some(pause) = pause {
        let uid = tree::text(&new, "metadata.uid").to_owned();
        held.insert(uid, now.saturating_add(pause).unwrap_or(Timestamp::MAX));
    }
}

async fn attend(parts: &Parts, recorder: &Recorder, held: &Held, key: &Key) -> Result<Requeue, Status> {
    let Some(owner) = parts.cache(&CRON_JOBS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let cron = owner.value();
    let made = |object: Object| Job::of(&object).map(|job| Made { object, job });
    let jobs: Vec<Made> = parts.cache(&JOBS).by(&CONTROLLER, &owner.meta().uid).into_iter().filter_map(made).collect();
    let mut gone = HashSet::new();
    for old in decide::surplus(&cron, &jobs) {
        if end(parts, recorder, &owner, &old.object).await {
            gone.insert(old.object.meta().uid.clone());
        }
    }
    let now = (parts.config.clock)();
    let not_before = held.lock().unwrap_or_else(PoisonError::into_inner).get(&owner.meta().uid).copied();
    let missing = missing(parts, &cron, &jobs).await?;
    let look = Look { cron: &cron, owner: &owner, jobs: &jobs, gone: &gone, missing: &missing, now, not_before };
    let mut decision = decide::decide(&look);
    for (class, reason, message) in std::mem::take(&mut decision.told) {
        recorder.event(&owner, "", class, reason, message);
    }
    let mut status = decision.status;
    let next = match decision.next {
        Next::Nothing => Ok(Requeue::Done),
        Next::Wait(pause) => Ok(Requeue::After(pause)),
        Next::Start { at, job, replaces, then } => {
            let started = match replaces {
                true => replace(parts, recorder, &owner, &mut status).await,
                false => Ok(()),
            };
            let started = match started {
                Ok(()) => start(parts, recorder, &owner, &mut status, &job, at).await,
                refused => refused,
            };
            started.map(|()| then.map_or(Requeue::Done, Requeue::After))
        }
    };
    let was = if cron["status"].is_object() { cron["status"].clone() } else { serde_json::json!({}) };
    if status != was {
        let mut cron = cron;
        cron["status"] = status;
        write_status(parts, &CRON_JOBS, &cron).await?;
    }
    next
}

/// Uids of Jobs that stand as active and are nowhere, as the server itself says.
async fn missing(parts: &Parts, cron: &Value, jobs: &[Made]) -> Result<HashSet<String>, Status> {
    let namespace = tree::text(cron, "metadata.namespace");
    let mut missing = HashSet::new();
    for active in tree::list(cron, "status.active") {
        let uid = tree::text(active, "uid");
        if jobs.iter().any(|made| made.object.meta().uid == uid) {
            continue;
        }
        match parts.client.get(&JOBS, namespace, tree::text(active, "name")).await {
            Ok(job) if job.meta().uid == uid => {}
            // A namesake.
            Ok(_) => {
                missing.insert(uid.to_owned());
            }
            Err(status) if status.reason == Reason::NotFound => {
                missing.insert(uid.to_owned());
            }
            Err(status) => return Err(status),
        }
    }
    Ok(missing)
}

/// Ends what runs, of its own: whoever may write its status names no Job of another's.
async fn replace(parts: &Parts, recorder: &Recorder, owner: &Object, status: &mut Value) -> Result<(), Status> {
    for active in tree::list(status, "active").to_vec() {
        let (namespace, name) = (&owner.meta().namespace, tree::text(&active, "name"));
        let is_own = |job: &Object| {
            let by = job.meta().controller().map(|by| by.uid.as_str());
            job.meta().uid == tree::text(&active, "uid") && by == Some(owner.meta().uid.as_str())
        };
        let job = match parts.client.get(&JOBS, namespace, name).await {
            Ok(job) if is_own(&job) => job,
            Ok(_) => {
                decide::forget(status, tree::text(&active, "uid"));
                continue;
            }
            Err(status) => {
                recorder.event(owner, "", Type::Warning, "FailedGet", format!("Get job: {status}"));
                return Err(status);
            }
        };
        if !end(parts, recorder, owner, &job).await {
            return Err(Status::unknown(format!("could not replace job {namespace}/{name}")));
        }
        decide::forget(status, &job.meta().uid);
    }
    Ok(())
}

/// Ends a Job and its pods; whether it could.
async fn end(parts: &Parts, recorder: &Recorder, owner: &Object, job: &Object) -> bool {
    let meta = job.meta();
    let uid = Some(meta.uid.clone());
    let options = DeleteOptions { uid, propagation_policy: "Background".into(), ..DeleteOptions::default() };
    match parts.client.delete(&JOBS, &meta.namespace, &meta.name, &options).await {
        Ok(_) => {}
        Err(status) => {
            recorder.event(owner, "", Type::Warning, "FailedDelete", format!("Deleted job: {status}"));
            return false;
        }
    }
    parts.cache(&JOBS).until(|cache| ends(cache, job)).await;
    recorder.event(owner, "", Type::Normal, "SuccessfulDelete", format!("Deleted job {}", meta.name));
    true
}

/// Makes the Job of that time; one of its name that is ours stands for it.
async fn start(
    parts: &Parts,
    recorder: &Recorder,
    owner: &Object,
    status: &mut Value,
    job: &Value,
    at: Timestamp,
) -> Result<(), Status> {
    let namespace = &owner.meta().namespace;
    let made = match parts.client.create(&JOBS, namespace, job).await {
        Ok(made) => {
            let told = format!("Created job {}", made.meta().name);
            recorder.event(owner, "", Type::Normal, "SuccessfulCreate", told);
            made
        }
        Err(refused) if refused.reason == Reason::AlreadyExists => {
            let made = parts.client.get(&JOBS, namespace, tree::text(job, "metadata.name")).await?;
            let is_ours = made.meta().controller().is_some_and(|by| by.uid == owner.meta().uid);
            let is_known = tree::list(status, "active").iter().any(|active| active["uid"] == *made.meta().uid);
            if !is_ours || is_known {
                return Ok(());
            }
            made
        }
        Err(refused) => {
            let is_ending = takes_nothing_new(&refused);
            if !is_ending {
                recorder.event(owner, "", Type::Warning, "FailedCreate", format!("Error creating job: {refused}"));
            }
            return Err(refused);
        }
    };
    parts.cache(&JOBS).reached(made.revision()).await;
    decide::started(status, &made, at);
    Ok(())
}

#[cfg(test)]
mod tests;
