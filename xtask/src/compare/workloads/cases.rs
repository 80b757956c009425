//! The cases: what is asked of a workload, step by step, and what becomes of its pods.

use std::time::Duration;

use serde_json::{Value, json};

use super::kubelet::Fate;

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
const QUIET: Duration = Duration::from_millis(700);
const QUIET_JOBS: Duration = Duration::from_millis(2500);

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind: &'static str, name: &str, acts: Vec<Act>| {
        let quiet = if kind.starts_with("jobs") || kind.starts_with("cron") { QUIET_JOBS } else { QUIET };
        cases.push(Case { kind, name: name.to_owned(), acts, quiet });
    };
    deployments(&mut add);
    sets(&mut add);
    stateful(&mut add);
    daemons(&mut add);
    jobs(&mut add);
    cron(&mut add);
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

fn deployments(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods, Until};
    const IT: &str = "deployments";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let rollout = vec![
        Create(IT, replicas(2, json!({}))),
        Pods(Fate::Ready, 1),
        Play,
        patch(marked("two")),
        Play,
        patch(marked("one")),
        Play,
        patch(spec(json!({"replicas": 3}))),
        Play,
        patch(spec(json!({"paused": true}))),
        patch(marked("three")),
        patch(spec(json!({"replicas": 4}))),
        Play,
        patch(spec(json!({"paused": false}))),
        Play,
        patch(spec(json!({"revisionHistoryLimit": 0}))),
        Pods(Fate::Unready, 2),
        patch(json!({"metadata": {"annotations": {"note": "x"}}})),
        Delete(IT, "web", "Background"),
    ];
    add(DEPLOYMENTS, "rollout", rollout);
    let numbers = json!({"strategy": {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": 0}}});
    let surge = vec![
        Create(IT, replicas(3, numbers)),
        Play,
        patch(marked("two")),
        Pods(Fate::Ready, 1),
        patch(spec(json!({"replicas": 5}))),
        Play,
        patch(spec(json!({"replicas": 0}))),
        Play,
    ];
    add(DEPLOYMENTS, "surge", surge);
    let recreate = vec![
        Create(IT, replicas(2, json!({"strategy": {"type": "Recreate"}}))),
        Play,
        patch(marked("two")),
        Pods(Fate::Gone, 1),
        Pods(Fate::Gone, 1),
        Play,
        Delete(IT, "web", "Orphan"),
        Create(IT, replicas(2, json!({"strategy": {"type": "Recreate"}}))),
    ];
    add(DEPLOYMENTS, "recreate", recreate);
    let late = vec![
        Create(IT, replicas(1, json!({"progressDeadlineSeconds": 2}))),
        Until("ProgressDeadlineExceeded"),
        Play,
        patch(marked("two")),
        Until("ProgressDeadlineExceeded"),
        patch(marked("one")),
        Play,
    ];
    add(DEPLOYMENTS, "deadline", late);
    add(
        DEPLOYMENTS,
        "slow",
        vec![Create(IT, replicas(1, json!({"minReadySeconds": 2}))), Play, Until("MinimumReplicasAvailable")],
    );
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}});
    add(
        DEPLOYMENTS,
        "quota",
        vec![
            Create("resourcequotas", quota),
            Until("\"used\":{\"pods\":\"0\"}"),
            Create(IT, replicas(2, json!({}))),
            Until("ReplicaFailure"),
            Play,
        ],
    );
    add(
        DEPLOYMENTS,
        "all selected",
        vec![Create(IT, replicas(0, json!({}))), patch(marked("two")), patch(marked("one"))],
    );
}

fn sets(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    let pod = json!({"metadata": {"name": "stray", "labels": labels()}, "spec": template("one")["spec"]});
    for (kind, plural) in [(REPLICA_SETS, "replicasets"), (CONTROLLERS, "replicationcontrollers")] {
        let mut object = replicas(3, json!({}));
        if kind == CONTROLLERS {
            object["spec"]["selector"] = labels();
        }
        let acts = vec![
            Create("pods", pod.clone()),
            Create(plural, object.clone()),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Patch("pods", "stray", json!({"metadata": {"labels": {"app": "other"}}})),
            Play,
            Patch(plural, "web", spec(json!({"replicas": 1}))),
            Play,
            Patch(plural, "web", marked("two")),
            Delete(plural, "web", "Orphan"),
            Create(plural, object),
        ];
        add(kind, "replaced", acts);
    }
}

fn stateful(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    const IT: &str = "statefulsets";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let service = || json!({"serviceName": "web"});
    let claims = json!({"serviceName": "web", "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec":
        {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}}]});
    add(
        STATEFUL_SETS,
        "ordered",
        vec![
            Create(IT, replicas(2, service())),
            Pods(Fate::Ready, 1),
            Play,
            patch(marked("two")),
            Pods(Fate::Gone, 1),
            Play,
            patch(marked("one")),
            Play,
            patch(spec(json!({"replicas": 3}))),
            Pods(Fate::Ready, 1),
            patch(spec(json!({"replicas": 1}))),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        STATEFUL_SETS,
        "partition",
        vec![
            Create(IT, replicas(3, service())),
            Play,
            patch(spec(json!({"updateStrategy": {"rollingUpdate": {"partition": 2}}}))),
            patch(marked("two")),
            Play,
            patch(spec(json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}}))),
            Play,
            patch(spec(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}))),
            patch(marked("three")),
            Delete("pods", "web-1", ""),
            Play,
        ],
    );
    add(
        STATEFUL_SETS,
        "parallel",
        vec![
            Create(
                IT,
                replicas(3, json!({"serviceName": "web", "podManagementPolicy": "Parallel", "ordinals": {"start": 4}})),
            ),
            Play,
            patch(marked("two")),
            Play,
            patch(spec(json!({"revisionHistoryLimit": 0}))),
            patch(marked("three")),
            Play,
        ],
    );
    add(
        STATEFUL_SETS,
        "claims",
        vec![
            Create(IT, replicas(2, claims)),
            Play,
            patch(spec(
                json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"}}),
            )),
            patch(spec(json!({"replicas": 1}))),
            Play,
        ],
    );
}

fn daemons(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    const IT: &str = "daemonsets";
    let patch = |patch: Value| Patch(IT, "web", patch);
    let object = |further: Value| {
        let selector = json!({"matchLabels": labels()});
        named("web", json!({"selector": selector, "template": template("one")}), further)
    };
    add(
        DAEMON_SETS,
        "rollout",
        vec![
            Create(IT, object(json!({}))),
            Pods(Fate::Ready, 1),
            Play,
            patch(marked("two")),
            Pods(Fate::Gone, 1),
            Play,
            patch(marked("one")),
            Play,
            patch(spec(json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}}}))),
            Play,
            Pods(Fate::Failed(1), 1),
            Play,
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        DAEMON_SETS,
        "surge",
        vec![
            Create(IT, object(json!({"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}))),
            Play,
            patch(marked("two")),
            Pods(Fate::Ready, 1),
            Play,
        ],
    );
    add(
        DAEMON_SETS,
        "on delete",
        vec![
            Create(IT, object(json!({"updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 0}))),
            Play,
            patch(marked("two")),
            patch(spec(json!({"updateStrategy": {"type": "RollingUpdate"}}))),
            Play,
        ],
    );
}

fn jobs(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods, Until};
    const IT: &str = "jobs";
    let job = |further: Value| named("web", json!({"template": once()}), further);
    let patch = |patch: Value| Patch(IT, "web", spec(patch));
    add(
        JOBS,
        "completions",
        vec![
            Create(IT, job(json!({"completions": 2}))),
            Pods(Fate::Ready, 1),
            Pods(Fate::Succeeded, 1),
            Pods(Fate::Ready, 1),
            Pods(Fate::Succeeded, 1),
            Delete(IT, "web", "Background"),
        ],
    );
    add(
        JOBS,
        "indexed",
        vec![
            Create(IT, job(json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}))),
            Play,
            Pods(Fate::Succeeded, 2),
            Play,
            patch(json!({"parallelism": 1})),
            Play,
            Pods(Fate::Succeeded, 1),
            Play,
            Pods(Fate::Succeeded, 1),
            Play,
        ],
    );
    add(
        JOBS,
        "back-off",
        vec![
            Create(IT, job(json!({"backoffLimit": 1, "parallelism": 2, "completions": 2}))),
            Play,
            Pods(Fate::Failed(3), 1),
            Until("\"failed\":1"),
            Pods(Fate::Failed(3), 1),
            Play,
        ],
    );
    let rules = |rules: Value| job(json!({"backoffLimit": 0, "podFailurePolicy": {"rules": rules}}));
    let codes = json!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}});
    let ignored = json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
    add(
        JOBS,
        "failure policy",
        vec![
            Create(IT, rules(json!([ignored, codes]))),
            Play,
            Pods(Fate::Disrupted, 1),
            Until("\"phase\":\"Pending\""),
            Play,
            Pods(Fate::Failed(42), 1),
            Play,
        ],
    );
    let per_index = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 0,
        "maxFailedIndexes": 1});
    add(
        JOBS,
        "per index",
        vec![
            Create(IT, job(per_index)),
            Play,
            Pods(Fate::Failed(1), 1),
            Pods(Fate::Succeeded, 1),
            Pods(Fate::Failed(1), 1),
            Play,
        ],
    );
    let success = json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
        "successPolicy": {"rules": [{"succeededIndexes": "0"}]}});
    add(JOBS, "success policy", vec![Create(IT, job(success)), Play, Pods(Fate::Succeeded, 1), Play]);
    add(
        JOBS,
        "suspended",
        vec![
            Create(IT, job(json!({"suspend": true}))),
            patch(json!({"suspend": false})),
            Play,
            patch(json!({"suspend": true})),
            Play,
            patch(json!({"suspend": false})),
            Play,
            Pods(Fate::Succeeded, 1),
        ],
    );
    add(
        JOBS,
        "deadline",
        vec![Create(IT, job(json!({"activeDeadlineSeconds": 4}))), Play, Until("DeadlineExceeded"), Play],
    );
    add(JOBS, "short", vec![Create(IT, job(json!({"ttlSecondsAfterFinished": 0}))), Play, Pods(Fate::Succeeded, 1)]);
}

fn cron(add: Add<'_>) {
    use Act::{Create, Patch, Play, Pods, Until};
    const IT: &str = "cronjobs";
    let object = |further: Value| {
        named("web", json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": once()}}}), further)
    };
    add(
        CRON_JOBS,
        "run",
        vec![
            Create(IT, object(json!({"timeZone": "Europe/Berlin"}))),
            Until("SuccessfulCreate"),
            Play,
            Patch(IT, "web", spec(json!({"suspend": true}))),
            Pods(Fate::Succeeded, 1),
        ],
    );
    add(
        CRON_JOBS,
        "never",
        vec![Create(IT, object(json!({"schedule": "0 0 31 2 *"}))), Patch(IT, "web", spec(json!({"suspend": true})))],
    );
}
