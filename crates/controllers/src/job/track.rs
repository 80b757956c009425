//! No pod counts twice, and none not at all. Pure.
//!
//! pkg/controller/job/job_controller.go trackJobStatusAndRemoveFinalizers. A pod that ended is written into
//! `uncountedTerminatedPods` before its finalizer goes, and becomes a number when it is known to be gone; of an
//! Indexed Job a success is its index.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

use super::decide::Plan;
use super::model::{Condition, JobStatus};
use super::pod::JobPod;
use super::policy::Verdict;

/// So many are written down at a time (the list's size).
const UNCOUNTED_MAX: usize = 500;

/// What is written before finalizers go.
pub struct Tracked {
    pub status: JobStatus,
    /// The pods that may go then, as places in the list.
    pub release: Vec<usize>,
    /// Complete or Failed: told once everything is counted; None while there is more than could be written down.
    pub last: Option<Condition>,
}

pub fn track(plan: &Plan<'_>) -> Tracked {
    let (job, mut status) = (plan.job, plan.status.clone());
    let held: HashSet<&str> = plan.pods.iter().filter(|pod| pod.is_held).map(JobPod::uid).collect();
    clean(&mut status, |uid| held.contains(uid));
    let known = plan.job.status.uncounted_terminated_pods.clone().unwrap_or_default();
    let mut uncounted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut order: Vec<usize> = (0..plan.pods.len()).collect();
    if job.is_indexed() {
        order.sort_by_key(|at| plan.pods[*at].index);
    }
    let has_failed = plan.finished.as_ref().is_some_and(|finished| finished.r#type != "SuccessCriteriaMet");
    let (mut release, mut indexes, mut is_capped) = (Vec::new(), BTreeSet::new(), false);
    for at in order.into_iter().filter(|at| plan.pods[*at].is_held) {
        let pod = &plan.pods[at];
        if !may_go(plan, at) {
            continue;
        }
        release.push(at);
        let has = |list: &[String]| list.iter().any(|uid| uid == pod.uid());
        if pod.has_succeeded() && !has(&known.failed) {
            if !job.is_indexed() {
                if !has(&known.succeeded) {
                    uncounted.succeeded.push(pod.uid().into());
                }
            } else if let Some(index) = pod.index_of(job).filter(|index| !plan.before.has(*index)) {
                indexes.insert(index);
            }
        } else if (pod.has_failed(job) || has_failed)
            && !has(&known.failed)
            && (!job.is_indexed() || pod.index_of(job).is_some())
            && job.judge(pod) != Verdict::Ignore
        {
            uncounted.failed.push(pod.uid().into());
        }
        if indexes.len() + uncounted.succeeded.len() + uncounted.failed.len() >= UNCOUNTED_MAX {
            is_capped = true;
            break;
        }
    }
    status.uncounted_terminated_pods = Some(uncounted);
    if job.is_indexed() {
        // Those beyond the cap too, as upstream: they are in no other number, and their pods still stand for them.
        let succeeded = plan.succeeded_indexes.with(&indexes);
        status.succeeded = succeeded.total();
        status.completed_indexes = succeeded.to_string();
        status.failed_indexes = plan.failed_indexes.as_ref().map(ToString::to_string);
    }
    let last = plan.finished.clone().map(|finished| match finished.r#type.as_str() {
        "FailureTarget" => {
            let last = Condition::new("Failed", &finished.reason, &finished.message, plan.now);
            status.conditions.push(finished);
            last
        }
        "SuccessCriteriaMet" => {
            let last = Condition::new("Complete", &finished.reason, &finished.message, plan.now);
            if status.is("SuccessCriteriaMet").is_none() {
                status.conditions.push(finished);
            }
            last
        }
        _ => finished,
    });
    Tracked { status, release, last: last.filter(|_| !is_capped) }
}

/// Its finalizer has done its work.
fn may_go(plan: &Plan<'_>, at: usize) -> bool {
    let pod = &plan.pods[at];
    if plan.job.is_deleting || plan.finished.is_some() || pod.has_succeeded() {
        return true;
    }
    let is_delayed = || pod.index.is_some_and(|index| plan.delayed.get(&index) == Some(&at));
    pod.has_failed(plan.job) && !is_delayed()
}

/// What has no finalizer any more becomes a number.
pub fn clean(status: &mut JobStatus, is_held: impl Fn(&str) -> bool) {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return };
    let counted = |list: &mut Vec<String>| {
        let before = list.len();
        list.retain(|uid| is_held(uid));
        (before - list.len()) as i64
    };
    status.succeeded += counted(&mut uncounted.succeeded);
    status.failed += counted(&mut uncounted.failed);
}

/// The Job is finished, once all is counted and no pod is ending. Whether it is.
pub fn finish(status: &mut JobStatus, last: &Condition, now: Timestamp) -> bool {
    let uncounted = status.uncounted_terminated_pods.as_ref();
    let is_counted = uncounted.is_none_or(|all| all.succeeded.is_empty() && all.failed.is_empty());
    if !is_counted || status.terminating.unwrap_or(0) > 0 {
        return false;
    }
    if last.r#type == "Complete" {
        status.completion_time = last.last_transition_time.clone();
    }
    let at = Some(api::seconds(now));
    status.set(Condition { last_probe_time: at.clone(), last_transition_time: at, ..last.clone() });
    true
}
