//! Jobs that are finished go when their time is over.
//!
//! pkg/controller/ttlafterfinished: with what belongs to them, and asked for once more before, since who prolongs
//! the time wants it kept.

use std::sync::Arc;
use std::time::Duration;

use api::resource::JOBS;
use api::{Object, Reason, Status, later};
use client::reconcile::{self, Requeue};
use client::{DeleteOptions, Key};
use jiff::Timestamp;

use crate::Parts;
use crate::job::model::Job;

pub async fn run(parts: Arc<Parts>) {
    let jobs = parts.cache(&JOBS);
    parts.synced(&[&jobs]).await;
    let work = |key: Key| {
        let parts = parts.clone();
        async move { attend(&parts, &key).await }
    };
    reconcile::run(jobs.subscribe().keys(), 4, work).await;
}

async fn attend(parts: &Parts, key: &Key) -> Result<Requeue, Status> {
    let Some(job) = parts.cache(&JOBS).get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    match rest(&job, (parts.config.clock)()) {
        None => return Ok(Requeue::Done),
        Some(rest) if !rest.is_zero() => return Ok(Requeue::After(rest)),
        Some(_) => {}
    }
    let fresh = match parts.client.get(&JOBS, &key.namespace, &key.name).await {
        Ok(fresh) => fresh,
        Err(status) if status.reason == Reason::NotFound => return Ok(Requeue::Done),
        Err(status) => return Err(status),
    };
    match rest(&fresh, (parts.config.clock)()) {
        None => return Ok(Requeue::Done),
        Some(rest) if !rest.is_zero() => return Ok(Requeue::After(rest)),
        Some(_) => {}
    }
    let uid = Some(fresh.meta().uid.clone());
    let options = DeleteOptions { uid, propagation_policy: "Foreground".into(), ..DeleteOptions::default() };
    match parts.client.delete(&JOBS, &key.namespace, &key.name, &options).await {
        Ok(_) => Ok(Requeue::Done),
        Err(status) if status.reason == Reason::NotFound => Ok(Requeue::Done),
        Err(status) => Err(status),
    }
}

/// How long a finished Job still stays; None where nothing says that it goes. Pure.
fn rest(object: &Object, now: Timestamp) -> Option<Duration> {
    if object.meta().is_deleting() {
        return None;
    }
    let job = Job::of(object)?;
    let seconds = job.spec.ttl_seconds_after_finished?;
    let finished: Timestamp = job.status.finished()?.last_transition_time.as_deref()?.parse().ok()?;
    Some(Duration::try_from(later(finished, seconds).duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_finished_and_limited_goes() {
        let rest = |seconds: serde_json::Value, kind: &str, status: &str, deleting: bool| {
            let at = deleting.then_some("2026-01-01T00:00:00Z");
            let conditions = json!([{"type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            let job = json!({"metadata": {"name": "j", "deletionTimestamp": at},
                "spec": {"ttlSecondsAfterFinished": seconds}, "status": {"conditions": conditions}});
            let now = "2026-01-01T00:00:30Z".parse().unwrap();
            super::rest(&Object::from_value(&job).unwrap(), now).map(|rest| rest.as_secs())
        };
        assert_eq!(rest(json!(100), "Complete", "True", false), Some(70));
        assert_eq!(rest(json!(100), "Failed", "True", false), Some(70));
        assert_eq!(rest(json!(0), "Failed", "True", false), Some(0));
        assert_eq!(rest(json!(30), "Complete", "True", false), Some(0));
        assert_eq!(rest(json!(null), "Complete", "True", false), None);
        assert_eq!(rest(json!(0), "Complete", "False", false), None);
        assert_eq!(rest(json!(0), "FailureTarget", "True", false), None);
        assert_eq!(rest(json!(0), "Complete", "True", true), None);
    }
}
