//! What a Job needs now: which pods are ended or made, and whether it is decided how it ends. Pure.
//!
//! pkg/controller/job/job_controller.go syncJob, manageJob. In the order in which upstream judges: what was decided
//! before stays; then failures, then successes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::later;
use jiff::Timestamp;

use super::backoff::{self, Record};
use super::indexes::Indexes;
use super::model::{Condition, Job, JobStatus};
use super::pod::{JobPod, by_removal};
use super::policy::{self, Verdict};

/// At most so many pods are made or ended at a time.
const BURST: usize = 500;
/// A Job that waits for a back-off waits at least so long (SyncJobBatchPeriod).
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be done with pods; numbers are places in the list of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Step {
    #[default]
    Nothing,
    /// The Job ends: they are counted when they are gone.
    End(Vec<usize>),
    /// They are too many, and never counted.
    Remove(Vec<usize>),
    Create(Vec<New>),
}

/// A pod to make: of an index, in the place of one that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    pub index: Option<i64>,
    pub replaced: Option<usize>,
}

/// What became of a step.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub ended: Vec<usize>,
    pub created: i64,
}

pub struct Plan<'a> {
    pub job: &'a Job,
    pub pods: &'a [JobPod],
    pub now: Timestamp,
    pub status: JobStatus,
    pub step: Step,
    /// FailureTarget, SuccessCriteriaMet, or Failed where the first was told before.
    pub finished: Option<Condition>,
    pub record: Record,
    pub requeue: Option<Duration>,
    /// As a reason and a message.
    pub told: Vec<(&'static str, &'static str)>,
    pub terminating: i64,
    pub before: Indexes,
    pub succeeded_indexes: Indexes,
    pub failed_indexes: Option<Indexes>,
    /// By index: the failed pod that stays until its replacement carries its count on.
    pub delayed: BTreeMap<i64, usize>,
    active: Vec<usize>,
    succeeded: i64,
}

pub fn plan<'a>(job: &'a Job, pods: &'a [JobPod], record: Record, now: Timestamp) -> Plan<'a> {
    let mut status = job.status.clone();
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default().clone();
    let valid = |pod: &&JobPod| pod.is_held && (!job.is_indexed() || pod.index_of(job).is_some());
    let has = |list: &[String], pod: &JobPod| list.iter().any(|uid| uid == pod.uid());
    let new = || pods.iter().filter(valid);
    let succeeded: Vec<&JobPod> = new().filter(|pod| pod.has_succeeded() && !has(&uncounted.succeeded, pod)).collect();
    let failed: Vec<&JobPod> = new().filter(|pod| pod.has_failed(job) && !has(&uncounted.failed, pod)).collect();
    let counted_failures = failed.iter().filter(|pod| job.judge(pod) != Verdict::Ignore).count();
    let failures = status.failed + counted_failures as i64 + uncounted.failed.len() as i64;
    if status.start_time.is_none() && !job.is_suspended() {
        status.start_time = Some(api::seconds(now));
    }
    let mut plan = Plan {
        record: record.after(&succeeded, &failed),
        succeeded: status.succeeded + (succeeded.len() + uncounted.succeeded.len()) as i64,
        active: (0..pods.len()).filter(|at| pods[*at].is_active()).collect(),
        terminating: pods.iter().filter(|pod| pod.is_terminating()).count() as i64,
        job,
        pods,
        now,
        status,
        step: Step::Nothing,
        finished: None,
        requeue: None,
        told: Vec::new(),
        before: Indexes::default(),
        succeeded_indexes: Indexes::default(),
        failed_indexes: None,
        delayed: BTreeMap::new(),
    };
    plan.finished = plan.end(failures);
    if plan.finished.is_some() {
        plan.step = Step::End(plan.active.clone());
    } else if !job.is_deleting {
        plan.step = plan.manage();
    }
    plan
}

impl Plan<'_> {
    /// How the Job ends, if it is decided.
    fn end(&mut self, failures: i64) -> Option<Condition> {
        let (job, now) = (self.job, self.now);
        let failure = |reason: &str, message: &str| Some(Condition::new("FailureTarget", reason, message, now));
        let mut finished = self.status.is("SuccessCriteriaMet").cloned();
        if finished.is_none() {
            finished = match self.status.is("FailureTarget") {
                Some(target) => Some(Condition::new("Failed", &target.reason, &target.message, now)),
                None => {
                    let verdicts = self.pods.iter().filter(|pod| pod.has_failed(job)).map(|pod| job.judge(pod));
                    let mut messages = verdicts.filter_map(|verdict| match verdict {
                        Verdict::FailJob(message) => Some(message),
                        _ => None,
                    });
                    messages.next().and_then(|message| failure("PodFailurePolicy", &message))
                }
            };
        }
        if finished.is_none() {
            let limit = job.spec.backoff_limit.unwrap_or(6);
            if failures > limit || self.is_restarted_too_often(limit) {
                finished = failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
            } else if let Some(rest) = self.until_deadline() {
                match rest {
                    Duration::ZERO => {
                        finished = failure("DeadlineExceeded", "Job was active longer than specified deadline");
                    }
                    rest => self.again_after(rest),
                }
            }
        }
        if job.is_indexed() {
            finished = self.end_of_indexes(finished);
        }
        finished
    }

    fn end_of_indexes(&mut self, mut finished: Option<Condition>) -> Option<Condition> {
        let (job, now, completions) = (self.job, self.now, self.job.completions());
        let held = || self.pods.iter().filter(|pod| pod.is_held);
        let done: BTreeSet<i64> =
            held().filter(|pod| pod.has_succeeded()).filter_map(|pod| pod.index_of(job)).collect();
        self.before = Indexes::parse(&self.status.completed_indexes, completions);
        self.succeeded_indexes = self.before.with(&done);
        self.succeeded = self.succeeded_indexes.total();
        if let Some(limit) = job.limit_per_index() {
            let lost: BTreeSet<i64> =
                held().filter(|pod| self.is_last(pod, limit)).filter_map(|pod| pod.index_of(job)).collect();
            let told = self.status.failed_indexes.as_deref().unwrap_or("");
            let failed = Indexes::parse(told, completions).with(&lost);
            let failure = |reason: &str, message: &str| Some(Condition::new("FailureTarget", reason, message, now));
            if finished.is_none() {
                if job.spec.max_failed_indexes.is_some_and(|most| failed.total() > most) {
                    let message = "Job has exceeded the specified maximal number of failed indexes";
                    finished = failure("MaxFailedIndexesExceeded", message);
                } else if failed.total() > 0 && failed.total() + self.succeeded >= completions {
                    finished = failure("FailedIndexes", "Job has failed indexes");
                }
            }
            self.delayed = self.delayed(&failed);
            self.failed_indexes = Some(failed);
        }
        if finished.is_none() {
            let met = policy::success(job.spec.success_policy.as_ref(), completions, &self.succeeded_indexes);
            finished = met.map(|message| Condition::new("SuccessCriteriaMet", "SuccessPolicy", &message, now));
        }
        finished
    }

    /// With this pod its index has failed.
    fn is_last(&self, pod: &JobPod, limit: i64) -> bool {
        pod.has_failed(self.job)
            && match self.job.judge(pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                Verdict::Count | Verdict::FailJob(_) => pod.failures >= limit,
            }
    }

    /// Failed pods of indexes that are neither decided nor running.
    fn delayed(&self, failed: &Indexes) -> BTreeMap<i64, usize> {
        let active: BTreeSet<i64> = self.active.iter().filter_map(|at| self.pods[*at].index).collect();
        let mut delayed: BTreeMap<i64, usize> = BTreeMap::new();
        for (at, pod) in self.pods.iter().enumerate().filter(|(_, pod)| pod.is_held && pod.has_failed(self.job)) {
            let Some(index) = pod.index_of(self.job) else { continue };
            if self.succeeded_indexes.has(index) || failed.has(index) || active.contains(&index) {
                continue;
            }
            let rank = |pod: &JobPod| (pod.failures + pod.ignored_failures, pod.finished_at());
            let (one, other) = (rank(pod), delayed.get(&index).map(|at| rank(&self.pods[*at])));
            if other.is_none_or(|other| other.0 <= one.0 && other.1 <= one.1) {
                delayed.insert(index, at);
            }
        }
        delayed
    }

    /// Containers that restart in place count as failures, too.
    fn is_restarted_too_often(&self, limit: i64) -> bool {
        if self.job.spec.template["spec"]["restartPolicy"] != "OnFailure" {
            return false;
        }
        let restarts: i64 = self.pods.iter().map(JobPod::restarts).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    /// Zero when it is over.
    fn until_deadline(&self) -> Option<Duration> {
        let seconds = self.job.spec.active_deadline_seconds.filter(|_| !self.job.is_suspended())?;
        let start: Timestamp = self.status.start_time.as_deref()?.parse().ok()?;
        Some(Duration::try_from(later(start, seconds).duration_since(self.now)).unwrap_or_default())
    }

    fn again_after(&mut self, pause: Duration) {
        self.requeue = self.requeue.into_iter().chain([pause]).min();
    }

    fn manage(&mut self) -> Step {
        let (job, active) = (self.job, self.active.len() as i64);
        if job.is_suspended() {
            return if active == 0 { Step::Nothing } else { Step::Remove(self.active.clone()) };
        }
        let parallelism = job.spec.parallelism.unwrap_or(1);
        let wanted = match job.spec.completions {
            None if self.succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
        };
        let mut surplus = self.surplus(usize::try_from(active - wanted).unwrap_or(0));
        if !surplus.is_empty() {
            surplus.truncate(BURST);
            return Step::Remove(surplus);
        }
        let ending = if job.replaces_only_failed() { self.terminating } else { 0 };
        let missing = (wanted - ending - active).min(BURST as i64);
        if missing <= 0 {
            return Step::Nothing;
        }
        let rest = if job.limit_per_index().is_some() { Duration::ZERO } else { self.record.rest(self.now) };
        if !rest.is_zero() {
            self.again_after(rest.max(PAUSE));
            return Step::Nothing;
        }
        if !job.is_indexed() {
            return Step::Create(vec![New::default(); missing as usize]);
        }
        let mut new = self.new_indexes(missing);
        if new.is_empty() {
            return Step::Nothing;
        }
        new.truncate(BURST);
        Step::Create(new)
    }

    /// Pods that are at least so many too many; of each index one, of none nobody.
    fn surplus(&self, least: usize) -> Vec<usize> {
        let (mut surplus, mut left) = (Vec::new(), Vec::new());
        if self.job.is_indexed() {
            let mut by_index: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
            for at in &self.active {
                match self.pods[*at].index_of(self.job) {
                    Some(index) => by_index.entry(index).or_default().push(*at),
                    None => surplus.push(*at),
                }
            }
            for mut same in by_index.into_values() {
                by_removal(self.pods, &mut same);
                left.extend(same.pop());
                surplus.extend(same);
            }
        } else {
            left = self.active.clone();
        }
        if surplus.len() < least {
            by_removal(self.pods, &mut left);
            surplus.extend(left.into_iter().take(least - surplus.len()));
        }
        surplus
    }

    /// The first indexes that nobody works on; where each has its own back-off, those whose time has come.
    fn new_indexes(&mut self, count: i64) -> Vec<New> {
        let job = self.job;
        let indexes = |good: fn(&JobPod) -> bool| -> BTreeSet<i64> {
            self.pods.iter().filter(|pod| good(pod)).filter_map(|pod| pod.index).collect()
        };
        let mut taken = self.succeeded_indexes.with(&indexes(JobPod::is_active));
        if job.replaces_only_failed() {
            taken = taken.with(&indexes(JobPod::is_terminating));
        }
        if let Some(failed) = &self.failed_indexes {
            taken = taken.merged(failed);
        }
        let missing = taken.missing(count, job.completions());
        let (mut new, mut soonest) = (Vec::new(), None);
        for index in missing {
            let replaced = self.delayed.get(&index).copied();
            let rest = replaced.map(|at| &self.pods[at]).map_or(Duration::ZERO, |pod| {
                backoff::rest(pod.failures + pod.ignored_failures + 1, pod.finished_at(), self.now)
            });
            match rest {
                Duration::ZERO => new.push(New { index: Some(index), replaced }),
                rest => soonest = soonest.into_iter().chain([rest]).min(),
            }
        }
        // Upstream looks again only where nothing could be made; what is made wakes it within moments.
        if let Some(rest) = soonest {
            self.again_after(rest.max(PAUSE));
        }
        new
    }

    /// What the step came to: the numbers of pods, whether all is completed, and whether it is suspended.
    pub fn conclude(&mut self, outcome: &Outcome) {
        let (job, now) = (self.job, self.now);
        let ended = outcome.ended.len() as i64;
        let is_end = matches!(self.step, Step::End(_));
        let ready = self.active.iter().filter(|at| self.pods[**at].is_ready() && !outcome.ended.contains(at)).count();
        let active = self.active.len() as i64 - ended + outcome.created;
        self.terminating += ended;
        if is_end {
            if active > 0 {
                // Not yet: some could not be ended.
                self.finished = None;
            }
        } else {
            let is_enough = match job.spec.completions {
                None => self.succeeded > 0,
                Some(completions) => self.succeeded >= completions,
            };
            if is_enough && active == 0 {
                let message = "Reached expected number of succeeded pods";
                self.finished = Some(Condition::new("SuccessCriteriaMet", "CompletionsReached", message, now));
            } else if !job.is_deleting {
                self.suspend();
            }
        }
        self.status.active = active;
        self.status.ready = Some(ready as i64);
        self.status.terminating = Some(self.terminating);
    }

    fn suspend(&mut self) {
        let (is_suspended, now) = (self.job.is_suspended(), self.now);
        let (reason, message) = match is_suspended {
            true => ("JobSuspended", "Job suspended"),
            false => ("JobResumed", "Job resumed"),
        };
        let status = if is_suspended { "True" } else { "False" }.to_owned();
        if self.status.set(Condition { status, ..Condition::new("Suspended", reason, message, now) }) {
            self.told.push((if is_suspended { "Suspended" } else { "Resumed" }, message));
            // The deadline counts from when it goes on.
            self.status.start_time = (!is_suspended).then(|| api::seconds(now));
        }
    }
}
