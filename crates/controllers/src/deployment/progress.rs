//! How far a Deployment has come: its status and its conditions. Pure.
//!
//! pkg/controller/deployment/{progress,sync}.go. A condition that says the same keeps its moments; one whose status
//! stays keeps that of its transition.

use std::time::Duration;

use api::{later, tree};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::numbers::Numbers;
use super::set::Set;

pub const PROGRESSING: &str = "Progressing";
pub const FAILED_CREATE: &str = "ReplicaSetCreateError";
const FAILURE: &str = "ReplicaFailure";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const COMPLETE: &str = "NewReplicaSetAvailable";
/// As good as none.
const NO_DEADLINE: i64 = i32::MAX as i64;

/// The status but for what a rollout says of its progress.
pub fn counts(deployment: &Value, numbers: &Numbers, sets: &[Set], new: Option<usize>, now: Timestamp) -> Value {
    let sum = |of: fn(&Set) -> i64| sets.iter().map(of).sum::<i64>();
    let available = sum(Set::available);
    let mut status = json!({});
    let fields = [
        ("observedGeneration", tree::int(deployment, "metadata.generation").unwrap_or(0)),
        ("replicas", sum(Set::actual)),
        ("updatedReplicas", new.map_or(0, |new| sets[new].actual())),
        ("readyReplicas", sum(Set::ready)),
        ("availableReplicas", available),
        ("unavailableReplicas", (sum(Set::replicas) - available).max(0)),
    ];
    for (field, count) in fields.into_iter().filter(|(_, count)| *count != 0) {
        status[field] = count.into();
    }
    for field in ["collisionCount", "conditions"] {
        let kept = &deployment["status"][field];
        if !kept.is_null() {
            status[field] = kept.clone();
        }
    }
    if let Some(terminating) = sets.iter().map(Set::terminating).sum::<Option<i64>>() {
        status["terminatingReplicas"] = terminating.into();
    }
    let (is, reason, message) = match available >= numbers.desired - numbers.unavailable {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    set(&mut status, "Available", is, reason, message, now);
    status
}

/// What a rollout says of its progress, put into the status; when it is to be asked again whether it stands still.
pub fn judge(
    deployment: &Value,
    numbers: &Numbers,
    sets: &[Set],
    new: Option<usize>,
    status: &mut Value,
    now: Timestamp,
) -> Option<Duration> {
    let deadline = deadline(deployment);
    let current = condition(&deployment["status"], PROGRESSING).cloned();
    let of = |status: &Value, field: &str| status[field].as_i64().unwrap_or(0);
    let is_over = of(status, "replicas") == of(status, "updatedReplicas")
        && current.as_ref().is_some_and(|current| current["reason"] == COMPLETE);
    let name = match new {
        Some(new) => format!("ReplicaSet {:?}", sets[new].name()),
        None => format!("Deployment {:?}", tree::text(deployment, "metadata.name")),
    };
    match deadline {
        None => remove(status, PROGRESSING),
        Some(_) if is_over => {}
        Some(_) if is_complete(deployment, numbers, status) => {
            set(status, PROGRESSING, "True", COMPLETE, &format!("{name} has successfully progressed."), now);
        }
        Some(_) if has_progressed(&deployment["status"], status) => {
            let said = condition(status, PROGRESSING).cloned();
            remove(status, PROGRESSING);
            set(status, PROGRESSING, "True", "ReplicaSetUpdated", &format!("{name} is progressing."), now);
            if let Some(said) = said.filter(|said| said["status"] == "True")
                && let Some(last) = status["conditions"].as_array_mut().and_then(|all| all.last_mut())
            {
                last["lastTransitionTime"] = said["lastTransitionTime"].clone();
            }
        }
        Some(seconds) if is_late(status, seconds, now) => {
            set(status, PROGRESSING, "False", TIMED_OUT, &format!("{name} has timed out progressing."), now);
        }
        Some(_) => {}
    }
    let failure = new.and_then(|new| failure(&sets[new])).or_else(|| sets.iter().find_map(failure));
    match failure {
        Some(told) => {
            let text = |field: &str| told[field].as_str().unwrap_or("").to_owned();
            set(status, FAILURE, &text("status"), &text("reason"), &text("message"), now);
        }
        None => remove(status, FAILURE),
    }
    let said = condition(status, PROGRESSING)?;
    if said["reason"] == TIMED_OUT || said["reason"] == COMPLETE || is_complete(deployment, numbers, status) {
        return None;
    }
    let since: Timestamp = tree::text(said, "lastUpdateTime").parse().ok()?;
    let rest = later(since, deadline?).duration_since(now);
    Some(Duration::try_from(rest).unwrap_or(Duration::ZERO) + Duration::from_secs(1))
}

/// What a paused one says, and one that goes on (`sync.checkPausedConditions`).
pub fn pause(deployment: &mut Value, now: Timestamp) {
    if deadline(deployment).is_none() {
        return;
    }
    let reason = condition(&deployment["status"], PROGRESSING).map_or("", |said| tree::text(said, "reason"));
    let (paused, was) = (tree::flag(deployment, "spec.paused"), reason == "DeploymentPaused");
    if reason == TIMED_OUT || paused == was {
        return;
    }
    let (reason, message) = match paused {
        true => ("DeploymentPaused", "Deployment is paused"),
        false => ("DeploymentResumed", "Deployment is resumed"),
    };
    set(&mut deployment["status"], PROGRESSING, "Unknown", reason, message, now);
}

/// A new ReplicaSet is there, or was there already.
pub fn found(deployment: &mut Value, name: &str, is_made: bool, now: Timestamp) {
    if deadline(deployment).is_none() || !is_made && condition(&deployment["status"], PROGRESSING).is_some() {
        return;
    }
    let (reason, message) = match is_made {
        true => ("NewReplicaSetCreated", format!("Created new replica set {name:?}")),
        false => ("FoundNewReplicaSet", format!("Found new replica set {name:?}")),
    };
    set(&mut deployment["status"], PROGRESSING, "True", reason, &message, now);
}

/// A new ReplicaSet was refused.
pub fn failed(deployment: &mut Value, why: &str, now: Timestamp) {
    if deadline(deployment).is_some() {
        set(&mut deployment["status"], PROGRESSING, "False", FAILED_CREATE, why, now);
    }
}

/// All that shall be there is there, and nothing else.
pub fn is_complete(deployment: &Value, numbers: &Numbers, status: &Value) -> bool {
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|field| count(field) == numbers.desired)
        && count("observedGeneration") >= tree::int(deployment, "metadata.generation").unwrap_or(0)
}

fn has_progressed(old: &Value, new: &Value) -> bool {
    let count = |status: &Value, field: &str| status[field].as_i64().unwrap_or(0);
    let olds = |status: &Value| count(status, "replicas") - count(status, "updatedReplicas");
    let more = |field: &str| count(new, field) > count(old, field);
    more("updatedReplicas") || olds(new) < olds(old) || more("readyReplicas") || more("availableReplicas")
}

fn is_late(status: &Value, seconds: i64, now: Timestamp) -> bool {
    let Some(said) = condition(status, PROGRESSING) else { return false };
    match tree::text(said, "reason") {
        COMPLETE => false,
        TIMED_OUT => true,
        _ => {
            let since = tree::text(said, "lastUpdateTime").parse::<Timestamp>();
            since.is_ok_and(|since| later(since, seconds) < now)
        }
    }
}

fn deadline(deployment: &Value) -> Option<i64> {
    tree::int(deployment, "spec.progressDeadlineSeconds").filter(|seconds| *seconds != NO_DEADLINE)
}

fn failure(set: &Set) -> Option<&Value> {
    condition(&set.value["status"], FAILURE)
}

fn condition<'a>(status: &'a Value, class: &str) -> Option<&'a Value> {
    tree::list(status, "conditions").iter().find(|condition| condition["type"] == class)
}

fn remove(status: &mut Value, class: &str) {
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != class);
        if conditions.is_empty()
            && let Some(status) = status.as_object_mut()
        {
            status.remove("conditions");
        }
    }
}

fn set(status: &mut Value, class: &str, is: &str, reason: &str, message: &str, now: Timestamp) {
    let now = api::seconds(now);
    let mut since = now.clone();
    if let Some(said) = condition(status, class) {
        if said["status"] == is && said["reason"] == reason {
            return;
        }
        if said["status"] == is {
            since = tree::text(said, "lastTransitionTime").to_owned();
        }
    }
    remove(status, class);
    let new = json!({"type": class, "status": is, "lastUpdateTime": now, "lastTransitionTime": since,
        "reason": reason, "message": message});
    match status["conditions"].as_array_mut() {
        Some(conditions) => conditions.push(new),
        None => status["conditions"] = json!([new]),
    }
}
