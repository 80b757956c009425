//! When the next Job is due, and what is known of those before. Pure.
//!
//! pkg/controller/cronjob/{cronjob_controllerv2,utils}.go.

use std::collections::HashSet;
use std::time::Duration;

use api::cron::{self, Schedule};
use api::{Object, later, tree};
use client::recorder::Type;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::job::model::Job;
use crate::workload::controller_of;

/// When a Job should have been made, by the clock of its zone.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Clocks differ: a little later rather than too early (nextScheduleDelta).
const DELTA: SignedDuration = SignedDuration::from_millis(100);
/// More missed times than these are told.
const MISSED_MAX: i64 = 100;

/// A Job of the CronJob.
pub struct Made {
    pub object: Object,
    pub job: Job,
}

/// An event: its reason and message.
pub type Told = (Type, &'static str, String);

#[derive(Debug, PartialEq)]
pub enum Next {
    Nothing,
    Wait(Duration),
    /// A Job for that time; those that run are ended before. Then to wait.
    Start {
        at: Timestamp,
        job: Box<Value>,
        replaces: bool,
        then: Option<Duration>,
    },
}

pub struct Decision {
    pub status: Value,
    pub told: Vec<Told>,
    pub next: Next,
}

/// What shows the caches, and what happened since.
pub struct Look<'a> {
    pub cron: &'a Value,
    pub owner: &'a Object,
    pub jobs: &'a [Made],
    /// Uids of those that went a moment ago, of which nothing is told.
    pub gone: &'a HashSet<String>,
    /// Uids of those that stand as active and are nowhere.
    pub missing: &'a HashSet<String>,
    pub now: Timestamp,
    /// Nothing starts before: the schedule is another since then.
    pub not_before: Option<Timestamp>,
}

/// Finished Jobs beyond what is kept, the oldest first.
pub fn surplus<'a>(cron: &Value, jobs: &'a [Made]) -> Vec<&'a Made> {
    let beyond = |kind: &str, limit: &str| {
        let Some(limit) = tree::int(cron, limit).and_then(|limit| usize::try_from(limit).ok()) else {
            return Vec::new();
        };
        let is_it = |made: &&Made| {
            let has_ended = made.job.status.finished().is_some_and(|finished| finished.r#type == kind);
            has_ended && !made.object.meta().is_deleting()
        };
        let mut all: Vec<&Made> = jobs.iter().filter(is_it).collect();
        all.sort_by_key(|made| {
            let start = made.job.status.start_time.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
            (start.is_none(), start, made.object.meta().name.clone())
        });
        all.truncate(all.len().saturating_sub(limit));
        all
    };
    let mut surplus = beyond("Complete", "spec.successfulJobsHistoryLimit");
    surplus.extend(beyond("Failed", "spec.failedJobsHistoryLimit"));
    surplus
}

pub fn decide(look: &Look<'_>) -> Decision {
    let mut decision = Decision { status: look.cron["status"].clone(), told: Vec::new(), next: Next::Nothing };
    if !decision.status.is_object() {
        decision.status = json!({});
    }
    decision.heed(look);
    if !look.owner.meta().is_deleting() {
        decision.next = decision.next(look);
    }
    decision
}

/// Takes a Job off the list of those that run.
pub fn forget(status: &mut Value, uid: &str) {
    let Some(active) = status.get_mut("active").and_then(Value::as_array_mut) else { return };
    active.retain(|job| job["uid"] != uid);
    if active.is_empty()
        && let Some(status) = status.as_object_mut()
    {
        status.remove("active");
    }
}

impl Decision {
    fn tell(&mut self, class: Type, reason: &'static str, message: String) {
        self.told.push((class, reason, message));
    }

    /// What became of the Jobs.
    fn heed(&mut self, look: &Look<'_>) {
        for uid in look.gone {
            forget(&mut self.status, uid);
        }
        for made in look.jobs {
            let meta = made.object.meta();
            let is_active = tree::list(&self.status, "active").iter().any(|job| job["uid"] == *meta.uid);
            let Some(finished) = made.job.status.finished() else {
                if !is_active {
                    let message = format!("Saw a job that the controller did not create or forgot: {}", meta.name);
                    self.tell(Type::Warning, "UnexpectedJob", message);
                }
                continue;
            };
            if is_active {
                forget(&mut self.status, &meta.uid);
                let message = format!("Saw completed job: {}, condition: {}", meta.name, finished.r#type);
                self.tell(Type::Normal, "SawCompletedJob", message);
            }
            let time = |text: &str| text.parse::<Timestamp>().ok();
            if finished.r#type == "Complete"
                && let Some(ended) = &made.job.status.completion_time
                && time(ended) > time(tree::text(&self.status, "lastSuccessfulTime"))
            {
                self.status["lastSuccessfulTime"] = ended.clone().into();
            }
        }
        for job in tree::list(&look.cron["status"], "active") {
            let uid = tree::text(job, "uid");
            if look.missing.contains(uid) {
                self.tell(Type::Normal, "MissingJob", format!("Active job went missing: {}", tree::text(job, "name")));
                forget(&mut self.status, uid);
            }
        }
    }

    fn next(&mut self, look: &Look<'_>) -> Next {
        let (cron, now) = (look.cron, look.now);
        if let Some(name) = unknown_zone(cron) {
            let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
            self.tell(Type::Warning, "UnknownTimeZone", message);
            return Next::Nothing;
        }
        if tree::flag(cron, "spec.suspend") {
            return Next::Nothing;
        }
        let written = tree::text(cron, "spec.schedule");
        if written.contains("TZ") {
            let message = format!(
                "CRON_TZ or TZ used in schedule {written:?} is not officially supported, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            );
            self.tell(Type::Warning, "UnsupportedSchedule", message);
        }
        let schedule = match schedule(cron) {
            Ok(schedule) => schedule,
            Err(why) => {
                let message = format!("unparseable schedule: {written:?} : {why}");
                self.tell(Type::Warning, "UnparseableSchedule", message);
                return Next::Nothing;
            }
        };
        let recent = match recent(cron, now, &schedule, true) {
            Ok(recent) => recent,
            Err(why) => {
                self.tell(Type::Warning, "InvalidSchedule", format!("invalid schedule: {written} : {why}"));
                return Next::Nothing;
            }
        };
        let then = pause(cron, now, &schedule);
        let wait = then.map_or(Next::Nothing, Next::Wait);
        let Some(at) = recent.last.filter(|at| *at <= now) else { return wait };
        if let Some(rest) = look.not_before.and_then(|at| Duration::try_from(at.duration_since(now)).ok())
            && !rest.is_zero()
        {
            return Next::Wait(rest);
        }
        if recent.missed > MISSED_MAX {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(Type::Warning, "TooManyMissedTimes", message.into());
        }
        if tree::int(cron, "spec.startingDeadlineSeconds").is_some_and(|seconds| later(at, seconds) < now) {
            let time = at.strftime("%a, %d %b %Y %H:%M:%S +0000");
            self.tell(Type::Warning, "MissSchedule", format!("Missed scheduled time to start a job: {time}"));
            return wait;
        }
        let active = tree::list(&self.status, "active");
        let name = name(look.owner, at);
        let is_done = active.iter().any(|job| job["name"] == *name)
            || tree::text(cron, "status.lastScheduleTime").parse::<Timestamp>().is_ok_and(|last| last == at);
        if is_done {
            return wait;
        }
        let policy = tree::text(cron, "spec.concurrencyPolicy");
        if policy == "Forbid" && !active.is_empty() {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.tell(Type::Normal, "JobAlreadyActive", message.into());
            return wait;
        }
        let job = Box::new(job(look.owner, cron, at));
        Next::Start { at, job, replaces: policy == "Replace", then }
    }
}

/// Of the CronJob and the minute: what is made twice for one time is refused.
fn name(owner: &Object, at: Timestamp) -> String {
    format!("{}-{}", owner.meta().name, at.as_second() / 60)
}

fn job(owner: &Object, cron: &Value, at: Timestamp) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut meta = json!({"name": name(owner, at), "ownerReferences": [controller_of(owner)]});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            meta[field] = template["metadata"][field].clone();
        }
    }
    let zone = cron::zone(tree::text(cron, "spec.timeZone")).unwrap_or(TimeZone::UTC);
    let local = at.to_zoned(zone);
    let form = if local.offset().is_zero() { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    meta["annotations"][SCHEDULED_AT] = local.strftime(form).to_string().into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"]})
}

fn unknown_zone(cron: &Value) -> Option<&str> {
    let name = tree::text(cron, "spec.timeZone");
    (!matches!(name, "" | "Local") && !cron::is_zone(name)).then_some(name)
}

/// In its zone, unless the schedule names one itself.
pub fn schedule(cron: &Value) -> Result<Schedule, String> {
    let (written, zone) = (tree::text(cron, "spec.schedule"), tree::text(cron, "spec.timeZone"));
    match zone {
        zone if !zone.is_empty() && !written.contains("TZ") && unknown_zone(cron).is_none() => {
            Schedule::parse(&format!("TZ={zone} {written}"))
        }
        _ => Schedule::parse(written),
    }
}

/// Since the last Job, or since it began.
struct Recent {
    since: Timestamp,
    /// The last time that has come.
    last: Option<Timestamp>,
    /// About how many have come.
    missed: i64,
}

/// mostRecentScheduleTime.
fn recent(cron: &Value, now: Timestamp, schedule: &Schedule, with_deadline: bool) -> Result<Recent, String> {
    let time = |path: &str| tree::text(cron, path).parse::<Timestamp>().ok();
    let mut since = time("status.lastScheduleTime").or(time("metadata.creationTimestamp")).unwrap_or(now);
    if with_deadline && let Some(seconds) = tree::int(cron, "spec.startingDeadlineSeconds") {
        since = since.max(later(now, -seconds));
    }
    let never = || "time difference between two schedules is less than 1 second".to_owned();
    let first = schedule.next(since).ok_or_else(never)?;
    if now < first {
        return Ok(Recent { since, last: None, missed: 0 });
    }
    let second = schedule.next(first).ok_or_else(never)?;
    if now < second {
        return Ok(Recent { since, last: Some(first), missed: 0 });
    }
    let between = second.duration_since(first).as_secs();
    if between < 1 {
        return Err(never());
    }
    let missed = now.duration_since(first).as_secs() / between + 1;
    // One more back, since schedules need not be regular.
    let mut next = schedule.next(later(first, (missed - 2).saturating_mul(between)));
    let mut last = None;
    while let Some(at) = next.filter(|at| *at <= now) {
        last = Some(at);
        next = schedule.next(at);
    }
    Ok(Recent { since, last, missed })
}

/// Until the next time (nextScheduleTimeDuration).
pub fn pause(cron: &Value, now: Timestamp, schedule: &Schedule) -> Option<Duration> {
    let from = match recent(cron, now, schedule, false) {
        Ok(Recent { last: Some(last), .. }) => last,
        Ok(Recent { since, missed: 0, .. }) => since,
        _ => now,
    };
    let next = schedule.next(from)?.checked_add(DELTA).ok()?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
}

/// The Job runs, for that time.
pub fn started(status: &mut Value, job: &Object, at: Timestamp) {
    let meta = job.meta();
    let mut active = tree::list(status, "active").to_vec();
    active.push(json!({"apiVersion": "batch/v1", "kind": "Job", "namespace": meta.namespace, "name": meta.name,
        "uid": meta.uid, "resourceVersion": meta.resource_version}));
    status["active"] = active.into();
    status["lastScheduleTime"] = api::seconds(at).into();
}
