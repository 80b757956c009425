//! A pod as its Job counts it: how it ended, when, and of which index it is. Pure.

use std::cmp::Reverse;

use api::{Object, later};
use jiff::Timestamp;

use super::model::Job;
use crate::workload::pod::{Condition, ContainerStatus, Seen, is_active, is_terminating};

/// Holds a pod until it is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

#[derive(Clone, Debug)]
pub struct JobPod {
    pub object: Object,
    pub seen: Seen,
    /// Of which it is, where that is a number that may be one.
    pub index: Option<i64>,
    /// How many of its index failed before it, and how many of those do not count.
    pub failures: i64,
    pub ignored_failures: i64,
    pub is_held: bool,
    pub is_deleting: bool,
}

impl JobPod {
    pub fn of(object: Object) -> JobPod {
        let meta = object.meta();
        let annotations = object.annotations();
        let number = |key: &str| {
            let number = annotations.get(key).and_then(|text| text.parse::<i64>().ok());
            number.filter(|number| (0..=i64::from(i32::MAX)).contains(number))
        };
        JobPod {
            seen: Seen::of(&object),
            index: number(INDEX),
            failures: number(FAILURES).unwrap_or(0),
            ignored_failures: number(IGNORED_FAILURES).unwrap_or(0),
            is_held: meta.finalizers.iter().any(|finalizer| finalizer == FINALIZER),
            is_deleting: meta.is_deleting(),
            object: object.clone(),
        }
    }

    pub fn uid(&self) -> &str {
        &self.object.meta().uid
    }

    fn phase(&self) -> &str {
        &self.seen.status.phase
    }

    pub fn has_succeeded(&self) -> bool {
        self.phase() == "Succeeded"
    }

    pub fn is_active(&self) -> bool {
        is_active(&self.object, &self.seen)
    }

    pub fn is_terminating(&self) -> bool {
        is_terminating(&self.object, &self.seen)
    }

    pub fn is_ready(&self) -> bool {
        self.seen.is_ready()
    }

    /// A pod that was asked to end has failed, unless its Job waits until it has ended.
    pub fn has_failed(&self, job: &Job) -> bool {
        match self.phase() {
            "Failed" => true,
            "Succeeded" => false,
            _ => self.is_deleting && !job.replaces_only_failed(),
        }
    }

    /// Its index, if the Job has that one.
    pub fn index_of(&self, job: &Job) -> Option<i64> {
        self.index.filter(|index| *index < job.completions())
    }

    /// How often containers were restarted, while it is not over.
    pub fn restarts(&self) -> i64 {
        if !matches!(self.phase(), "Running" | "Pending") {
            return 0;
        }
        let status = &self.seen.status;
        status.init_container_statuses.iter().chain(&status.container_statuses).map(|of| of.restart_count).sum()
    }

    /// pkg/controller/job/backoff_utils.go getFinishedTime: its last container's end; since when it is not ready;
    /// when its deletion was asked; its birth.
    pub fn finished_at(&self) -> Timestamp {
        let meta = self.object.meta();
        let parse = |text: Option<&str>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let not_ready = self.condition("Ready").filter(|condition| condition.status == "False");
        let grace = meta.deletion_grace_period_seconds.unwrap_or(0);
        self.containers_finished_at()
            .or_else(|| parse(not_ready?.last_transition_time.as_deref()))
            .or_else(|| parse(meta.deletion_timestamp.as_deref()).map(|at| later(at, -grace)))
            .or_else(|| parse(meta.creation_timestamp.as_deref()))
            .unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// None while one of them, or a sidecar, has not ended; as upstream, sidecars alone are then the last word.
    fn containers_finished_at(&self) -> Option<Timestamp> {
        let status = &self.seen.status;
        let sidecar = |of: &&ContainerStatus| self.seen.is_sidecar(&of.name);
        let latest = |before: Option<Timestamp>, all: &[&ContainerStatus]| {
            all.iter().try_fold(before, |latest, of| {
                let ended = of.state.terminated.as_ref()?.finished_at.as_deref()?.parse::<Timestamp>().ok()?;
                Some(latest.max(Some(ended)))
            })?
        };
        let own: Vec<&ContainerStatus> = status.container_statuses.iter().collect();
        let sidecars: Vec<&ContainerStatus> = status.init_container_statuses.iter().filter(sidecar).collect();
        latest(latest(None, &own), &sidecars)
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.seen.status.conditions.iter().find(|condition| condition.r#type == kind)
    }
}

/// Whom to end first (pkg/controller.ActivePods): who is nowhere yet, does not run, is not ready, has been ready for
/// a shorter time, was restarted more often, is younger.
pub fn by_removal(pods: &[JobPod], which: &mut [usize]) {
    let parse = |text: Option<&String>| text.and_then(|text| text.parse::<Timestamp>().ok());
    which.sort_by_cached_key(|at| {
        let pod = &pods[*at];
        let status = &pod.seen.status;
        let phase = match status.phase.as_str() {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let most = status.container_statuses.iter().map(|of| of.restart_count).max().unwrap_or(0);
        // No moment comes first, then the latest.
        let latest_first = |at: Option<Timestamp>| (at.is_some(), Reverse(at));
        (
            !pod.seen.spec.node_name.is_empty(),
            phase,
            pod.is_ready(),
            latest_first(pod.seen.ready_since()),
            Reverse(most),
            latest_first(parse(pod.object.meta().creation_timestamp.as_ref())),
        )
    });
}
