//! The cases: what is asked of a workload, step by step, and what becomes of its pods.

use std::time::Duration;

use serde_json::{Value, json};

use super::kubelet::Fate;

/// Deployments, sets, DaemonSets.
mod apps;
/// Jobs and CronJobs.
mod batch;
/// Services and Endpoints.
mod services;

/// One step.
pub enum Act {
    /// A kind's plural, and the object.
    Create(&'static str, Value),
    /// A merge patch of the object of that name.
    Patch(&'static str, &'static str, Value),
    /// With that propagation; empty: the server's choice.
    Delete(&'static str, &'static str, &'static str),
    /// That becomes of so many pods.
    Pods(Fate, usize),
    /// Deleted pods end, others start, until there is nothing left to do.
    Play,
    /// Nothing more is done before this text stands in an object.
    Until(&'static str),
}

impl Act {
    pub fn shown(&self) -> String {
        match self {
            Act::Create(plural, object) => format!("create {plural} {}", object["metadata"]["name"]),
            Act::Patch(plural, name, patch) => format!("patch {plural} {name} {patch}"),
            Act::Delete(plural, name, propagation) => format!("delete {plural} {name} {propagation}"),
            Act::Pods(fate, count) => format!("{count} pods: {fate:?}"),
            Act::Play => "pods start and end".to_owned(),
            Act::Until(text) => format!("until {text:?}"),
        }
    }
}

pub struct Case {
    /// As the other cases have it: `deployments.apps/v1`.
    pub kind: &'static str,
    pub name: String,
    pub acts: Vec<Act>,
    /// A side that has not changed for so long has done all that it wanted.
    pub quiet: Duration,
}

impl Case {
    pub fn namespace(&self) -> String {
        let kind = self.kind.split('.').next().unwrap_or_default();
        format!("{kind}-{}", self.name.replace(' ', "-")).to_lowercase().replace('/', "-")
    }
}

const DEPLOYMENTS: &str = "deployments.apps/v1";
const REPLICA_SETS: &str = "replicasets.apps/v1";
const CONTROLLERS: &str = "replicationcontrollers/v1";
const STATEFUL_SETS: &str = "statefulsets.apps/v1";
const DAEMON_SETS: &str = "daemonsets.apps/v1";
const JOBS: &str = "jobs.batch/v1";
const CRON_JOBS: &str = "cronjobs.batch/v1";

/// A controller answers in a moment; Jobs' status is written once a second.
const QUIET: Duration = Duration::from_millis(1000);
const QUIET_JOBS: Duration = Duration::from_millis(2500);

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind: &'static str, name: &str, acts: Vec<Act>| {
        let quiet = if kind.starts_with("jobs") || kind.starts_with("cron") { QUIET_JOBS } else { QUIET };
        cases.push(Case { kind, name: name.to_owned(), acts, quiet });
    };
    apps::deployments(&mut add);
    apps::sets(&mut add);
    apps::stateful(&mut add);
    apps::daemons(&mut add);
    batch::jobs(&mut add);
    batch::cron(&mut add);
    services::services(&mut add);
    services::endpoints(&mut add);
    cases
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &str, Vec<Act>);

fn labels() -> Value {
    json!({"app": "web"})
}

/// A template; `mark` tells one from another.
fn template(mark: &str) -> Value {
    let container = json!({"name": "main", "image": "web:1", "env": [{"name": "MARK", "value": mark}],
        "ports": [{"containerPort": 80, "name": "http"}], "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5}});
    json!({"metadata": {"labels": labels()}, "spec": {"containers": [container]}})
}

fn once() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "once:1"}]}})
}

/// An object of that name, whose spec is `first` with what `further` says of it.
fn named(name: &str, mut spec: Value, further: Value) -> Value {
    merge(&mut spec, further);
    json!({"metadata": {"name": name}, "spec": spec})
}

fn merge(into: &mut Value, further: Value) {
    match (into, further) {
        (Value::Object(into), Value::Object(further)) => {
            for (name, value) in further {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, further) => *into = further,
    }
}

/// Replicas of the first template.
fn replicas(count: u8, further: Value) -> Value {
    let selector = json!({"matchLabels": labels()});
    named("web", json!({"replicas": count, "selector": selector, "template": template("one")}), further)
}

fn spec(spec: Value) -> Value {
    json!({"spec": spec})
}

fn marked(mark: &str) -> Value {
    spec(json!({"template": {"spec": template(mark)["spec"]}}))
}
