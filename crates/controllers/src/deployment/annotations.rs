//! What is written beside the numbers: revisions, and sizes at the last scaling. Pure.
//!
//! pkg/controller/deployment/util: clients read these (`kubectl rollout history`), and proportional scaling does.

use api::tree;
use serde_json::{Map, Value, json};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MOST: &str = "deployment.kubernetes.io/max-replicas";
/// Never copied to a ReplicaSet.
const OWN: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
];
/// Characters that the list of revisions may take.
const HISTORY_MAX: usize = 2000;

pub fn get<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or("")
}

pub fn set(object: &mut Value, key: &str, value: &str) {
    let annotations = &mut object["metadata"]["annotations"];
    if annotations.is_null() {
        *annotations = Map::new().into();
    }
    annotations[key] = value.into();
}

/// Which revision it is; 0: none. None where it cannot be read.
pub fn revision(object: &Value) -> Option<i64> {
    match get(object, REVISION) {
        "" => Some(0),
        text => text.parse().ok(),
    }
}

/// How large its Deployment was to be, and to be at most, when this was scaled last.
pub fn sizes(object: &Value) -> (Option<i64>, Option<i64>) {
    let number = |key| get(object, key).parse::<i32>().ok().filter(|number| *number >= 0).map(i64::from);
    (number(DESIRED), number(MOST))
}

pub fn set_sizes(object: &mut Value, desired: i64, most: i64) {
    for (key, number) in [(DESIRED, desired), (MOST, most)] {
        if get(object, key) != number.to_string() {
            set(object, key, &number.to_string());
        }
    }
}

/// What the Deployment says of itself is said of its newest ReplicaSet, too, and that it is this revision at least; if
/// it was another one before, that goes into its history.
pub fn renew(object: &mut Value, deployment: &Value, revision: i64) {
    let own: Vec<(String, Value)> = tree::entries(deployment, "metadata.annotations")
        .filter(|(key, _)| !OWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in own {
        set(object, &key, value.as_str().unwrap_or(""));
    }
    let old = get(object, REVISION).to_owned();
    let Ok(number) = (if old.is_empty() { Ok(0) } else { old.parse::<i64>() }) else { return };
    if number >= revision {
        return;
    }
    set(object, REVISION, &revision.to_string());
    if old.is_empty() {
        return;
    }
    let history = get(object, HISTORY).to_owned();
    let mut revisions: Vec<&str> = history.split(',').filter(|revision| !revision.is_empty()).collect();
    revisions.push(&old);
    let length = |revisions: &[&str]| revisions.iter().map(|revision| revision.len() + 1).sum::<usize>() - 1;
    while length(&revisions) > HISTORY_MAX && revisions.len() > 1 {
        revisions.remove(0);
    }
    let text = json!(revisions.join(","));
    set(object, HISTORY, text.as_str().unwrap_or(""));
}
