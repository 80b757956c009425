//! The laws of workloads, checked on every revision.
//!
//! Never more pods than a workload allows, never fewer available than a rollout promises, no Job that counts a pod twice,
//! no schedule that runs twice. As far as a controller can know: a pod may be too much for each that was made and of
//! which nobody was told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// What is known of workloads after the revisions so far.
#[derive(Default)]
pub struct Workloads {
    /// Pods of which nobody knows whether they were made.
    doubtful: u64,
    /// Per ReplicaSet's UID, the most pods that it was ever to have.
    most: HashMap<String, i64>,
    /// Deployments that have had as many available pods as they shall, of this many.
    reached: HashMap<String, i64>,
    /// Per Job's UID, its pods that ended, and how.
    ended: HashMap<String, Ended>,
    /// Per CronJob's UID and time, the Jobs of it.
    runs: BTreeMap<(String, String), BTreeSet<String>>,
    violations: Vec<String>,
}

/// UIDs of pods.
#[derive(Default)]
struct Ended {
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// Key to object.
type Objects = BTreeMap<String, Value>;

impl Workloads {
    /// How many pods were made so far, or not, without anybody being told.
    pub fn doubt(&mut self, pods: u64) {
        self.doubtful = pods;
    }

    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// One change; `objects` as they are after it.
    pub fn check(&mut self, key: &str, before: Option<&Value>, now: &Value, deleted: bool, objects: &Objects) {
        match key.split('/').next() {
            Some("replicasets.apps") => {
                let most = self.most.entry(uid(now).into()).or_default();
                *most = (*most).max(number(now, "/spec/replicas"));
                self.surge(key, now, objects);
            }
            Some("deployments.apps") => {
                let replicas = number(now, "/spec/replicas");
                self.reached.retain(|of, reached| of != uid(now) || *reached == replicas);
            }
            Some("pods") => self.pod(key, before, now, deleted, objects),
            Some("jobs.batch") if before.is_none() => self.run(key, now, objects),
            Some("jobs.batch") => self.tally(key, before.unwrap_or(now), now),
            _ => {}
        }
    }

    fn pod(&mut self, key: &str, before: Option<&Value>, now: &Value, deleted: bool, objects: &Objects) {
        let Some(owner) = owner(now) else { return };
        let is_new = before.is_none();
        let allowed = i64::try_from(self.doubtful).unwrap_or(i64::MAX);
        let of = |uid: &str| pods(objects).filter(|pod| owned_by(pod, uid)).collect::<Vec<_>>();
        match text(owner, "/kind") {
            "ReplicaSet" => {
                let most = self.most.get(uid(owner)).copied().unwrap_or_default();
                let active = of(uid(owner)).into_iter().filter(|pod| is_active(pod)).count() as i64;
                self.law(!is_new || active <= most + allowed, || {
                    format!("{key}: pod {active} of a ReplicaSet of {most} ({allowed} in doubt)")
                });
                self.available(key, owner, objects);
            }
            "DaemonSet" if is_new => {
                let set = objects.values().find(|object| uid(object) == uid(owner));
                let surge = set.and_then(|set| set.pointer("/spec/updateStrategy/rollingUpdate/maxSurge"));
                let most = 1 + i64::from(surge.is_some_and(|surge| *surge != 0));
                let place = target(now);
                let here =
                    of(uid(owner)).into_iter().filter(|pod| is_active(pod) && target(pod) == place).count() as i64;
                self.law(here <= most + allowed, || format!("{key}: pod {here} of a DaemonSet on {place}"));
            }
            "Job" => {
                let ended = self.ended.entry(uid(owner).into()).or_default();
                match text(now, "/status/phase") {
                    "Succeeded" => drop(ended.succeeded.insert(uid(now).into())),
                    "Failed" => drop(ended.failed.insert(uid(now).into())),
                    // Asked to end, it has failed for its Job.
                    _ if deleted || is_ending(now) => drop(ended.failed.insert(uid(now).into())),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Together a Deployment's sets shall never have more than maxSurge allows. (How soon they end what is too much is
    /// theirs.)
    fn surge(&mut self, key: &str, set: &Value, objects: &Objects) {
        let Some(deployment) = deployment_of(set, objects) else { return };
        let replicas = number(deployment, "/spec/replicas");
        let surge = rolling(deployment, "maxSurge", replicas, true);
        let all: i64 = sets(objects, uid(deployment)).map(|set| number(set, "/spec/replicas")).sum();
        self.law(all <= replicas + surge, || format!("{key}: {all} pods of a Deployment of {replicas} and {surge}"));
    }

    /// Never fewer are available than maxUnavailable promises, once all were.
    fn available(&mut self, key: &str, set: &Value, objects: &Objects) {
        let set = objects.values().find(|object| uid(object) == uid(set));
        let Some(deployment) = set.and_then(|set| deployment_of(set, objects)) else { return };
        if text(deployment, "/spec/strategy/type") != "RollingUpdate" {
            return;
        }
        let own: BTreeSet<&str> = sets(objects, uid(deployment)).map(uid).collect();
        let pods: Vec<&Value> = pods(objects).filter(|pod| owner(pod).is_some_and(|o| own.contains(uid(o)))).collect();
        let replicas = number(deployment, "/spec/replicas");
        let (surge, unavailable) =
            (rolling(deployment, "maxSurge", replicas, true), rolling(deployment, "maxUnavailable", replicas, false));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        let available = pods.iter().filter(|pod| is_active(pod) && is_ready(pod)).count() as i64;
        if available >= replicas {
            self.reached.insert(uid(deployment).into(), replicas);
        }
        let promised = self.reached.contains_key(uid(deployment));
        self.law(!promised || available >= replicas - unavailable, || {
            let line = |pod: &&Value| {
                let (ending, ready) = (if is_ending(pod) { " ending" } else { "" }, is_ready(pod));
                format!("{}{ending} {} {ready}", text(pod, "/metadata/name"), text(pod, "/status/phase"))
            };
            let pods: Vec<String> = pods.iter().map(line).collect();
            format!("{key}: {available} are available of a Deployment of {replicas} less {unavailable}: {pods:?}")
        });
    }

    /// A time of a schedule runs once, and beside no other where the CronJob forbids it.
    fn run(&mut self, key: &str, job: &Value, objects: &Objects) {
        let Some(cron) = owner(job).filter(|owner| text(owner, "/kind") == "CronJob") else { return };
        let at = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].as_str();
        let runs = self.runs.entry((uid(cron).into(), at.unwrap_or_default().into())).or_default();
        runs.insert(uid(job).into());
        let count = runs.len();
        self.law(count == 1, || format!("{key}: run {count} of the time {at:?}"));
        let forbids = objects.values().any(|o| uid(o) == uid(cron) && text(o, "/spec/concurrencyPolicy") == "Forbid");
        let jobs = objects.iter().filter(|(key, _)| key.starts_with("jobs.batch/")).map(|(_, job)| job);
        let under_way = jobs.filter(|other| owned_by(other, uid(cron)) && !is_finished(other)).count();
        self.law(!forbids || under_way == 1, || format!("{key}: {under_way} run at once of a CronJob that forbids it"));
    }

    /// A Job counts no pod twice, and takes nothing back.
    fn tally(&mut self, key: &str, before: &Value, now: &Value) {
        let nothing = Ended::default();
        let ended = self.ended.get(uid(now)).unwrap_or(&nothing);
        let (succeeded, failed) = (ended.succeeded.len() as i64, ended.failed.len() as i64);
        for (what, most) in [("succeeded", succeeded), ("failed", failed)] {
            let counted = counted(now, what);
            self.law(counted <= most, || format!("{key}: counts {counted} pods {what}, and only {most} did"));
            let earlier = number(before, &format!("/status/{what}"));
            let later = number(now, &format!("/status/{what}"));
            self.law(later >= earlier, || format!("{key}: {what} went from {earlier} to {later}"));
        }
    }

    /// In the end: each complete Job counts every pod of it that succeeded, and holds none of them any more.
    pub fn add_up(&mut self, objects: &Objects) {
        for (key, job) in objects.iter().filter(|(key, job)| key.starts_with("jobs.batch/") && is_finished(job)) {
            let succeeded = self.ended.get(uid(job)).map_or(0, |ended| ended.succeeded.len()) as i64;
            let counted = counted(job, "succeeded");
            self.law(counted == succeeded, || format!("{key}: counts {counted} pods that succeeded, of {succeeded}"));
        }
        for (key, pod) in objects.iter().filter(|(key, _)| key.starts_with("pods/")) {
            let finalizers = pod.pointer("/metadata/finalizers").and_then(Value::as_array);
            let is_held = finalizers.into_iter().flatten().any(|f| f == "batch.kubernetes.io/job-tracking");
            let job = owner(pod).and_then(|owner| objects.values().find(|object| uid(object) == uid(owner)));
            let orphaned = is_held && job.is_none_or(is_finished);
            self.law(!orphaned, || format!("{key}: is held for a Job that will never count it"));
        }
    }

    fn law(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }
}

fn sets<'a>(objects: &'a Objects, deployment: &str) -> impl Iterator<Item = &'a Value> {
    let sets = objects.iter().filter(|(key, _)| key.starts_with("replicasets.apps/")).map(|(_, set)| set);
    sets.filter(move |set| owned_by(set, deployment))
}

fn deployment_of<'a>(set: &Value, objects: &'a Objects) -> Option<&'a Value> {
    let owner = owner(set).filter(|owner| text(owner, "/kind") == "Deployment")?;
    objects.values().find(|object| uid(object) == uid(owner))
}

/// Of its rolling update, as a number of pods.
fn rolling(deployment: &Value, field: &str, replicas: i64, up: bool) -> i64 {
    let value = deployment.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
    value.map_or(0, |value| share(value, replicas, up))
}

fn counted(job: &Value, what: &str) -> i64 {
    let uncounted = job.pointer(&format!("/status/uncountedTerminatedPods/{what}")).and_then(Value::as_array);
    number(job, &format!("/status/{what}")) + uncounted.map_or(0, Vec::len) as i64
}

fn pods(objects: &Objects) -> impl Iterator<Item = &Value> {
    objects.range("pods/".to_string().."pods0".to_string()).map(|(_, pod)| pod)
}

/// Who manages it.
fn owner(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().find(|owner| owner["controller"] == true)
}

fn owned_by(object: &Value, uid: &str) -> bool {
    owner(object).is_some_and(|owner| self::uid(owner) == uid)
}

/// Of an object, or of a reference to one.
fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").or(object.get("uid")).and_then(Value::as_str).unwrap_or_default()
}

fn is_ending(pod: &Value) -> bool {
    pod.pointer("/metadata/deletionTimestamp").is_some()
}

fn is_active(pod: &Value) -> bool {
    !is_ending(pod) && !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

fn is_finished(job: &Value) -> bool {
    let conditions = job.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|c| matches!(c["type"].as_str(), Some("Complete" | "Failed")) && c["status"] == "True")
}

/// The node for which a DaemonSet made a pod.
fn target(pod: &Value) -> &str {
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let field = format!("{terms}/0/matchFields/0/values/0");
    pod.pointer(&field).and_then(Value::as_str).unwrap_or_else(|| text(pod, "/spec/nodeName"))
}

fn share(value: &Value, whole: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    match percent {
        Some(percent) => (percent * whole + if up { 99 } else { 0 }) / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
