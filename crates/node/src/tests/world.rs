//! Pods, sandboxes and containers for the table tests of plan and report.

use jiff::{SignedDuration, Timestamp};
use runtime::{Container, ContainerId, ContainerSpec, Exit, Phase, Sandbox, SandboxId, SandboxSpec};
use serde_json::{Value, json};

use crate::observe::Seen;
use crate::plan::{Facts, Plan, Situation, plan};
use crate::pod::{NOTE_ADDRESSES, NOTE_ATTEMPT, NOTE_BACKOFF};
use crate::progress::{Progress, Stage};

/// Second 0 of every test.
pub const START: i64 = 1_700_000_000;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn nanos(seconds: i64) -> i128 {
    i128::from(START + seconds) * 1_000_000_000
}

/// One pod on one node, as a test sets it up.
pub struct World {
    pub pod: Value,
    pub seen: Seen,
    pub progress: Progress,
    pub facts: Facts,
    pub wanted: bool,
    pub settled: bool,
    pub now: Timestamp,
}

impl World {
    /// A pod with this spec, admitted, volumes ready, with a living sandbox.
    pub fn new(spec: Value) -> World {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1},
            "spec": spec,
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        });
        let mut progress = Progress::new(at(0));
        progress.volumes = Stage::Ready;
        let facts = Facts {
            node_name: "n".into(),
            host_ips: vec!["192.0.2.1".into()],
            runtime: "gousse".into(),
            backoff_max: SignedDuration::from_secs(300),
        };
        let seen = Seen::new(vec![sandbox("s0", 0, true)], vec!["s0".into()]);
        World { pod, seen, progress, facts, wanted: true, settled: false, now: at(0) }
    }

    pub fn simple(policy: &str) -> World {
        World::new(json!({"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}))
    }

    pub fn bare(mut self) -> World {
        self.seen = Seen::default();
        self
    }

    /// Puts an instance into the newest sandbox.
    pub fn with(mut self, c: Container) -> World {
        self.seen.sandboxes[0].containers.push(c);
        self
    }

    pub fn at(mut self, seconds: i64) -> World {
        self.now = at(seconds);
        self
    }

    pub fn deleting(mut self, grace: i64) -> World {
        self.pod["metadata"]["deletionTimestamp"] = json!("2023-11-14T22:13:20Z");
        self.pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self
    }

    pub fn situation<T>(&self, look: impl FnOnce(&Situation<'_>) -> T) -> T {
        let pod = serde_json::from_value(self.pod.clone()).unwrap();
        look(&Situation {
            pod: &pod,
            seen: &self.seen,
            progress: &self.progress,
            facts: &self.facts,
            wanted: self.wanted,
            settled: self.settled,
            now: self.now,
        })
    }

    pub fn plan(&self) -> Plan {
        self.situation(plan)
    }

    /// The plan, one action a line, and the second at which to look again.
    pub fn planned(&self) -> String {
        let plan = self.plan();
        let mut lines: Vec<String> = plan.actions.iter().map(|a| format!("{a:?}")).collect();
        if let Some(wake) = plan.wake_at {
            lines.push(format!("wake at {}", wake.as_second() - START));
        }
        lines.join("\n")
    }
}

pub fn sandbox(id: &str, attempt: u32, ready: bool) -> Sandbox {
    let annotations =
        [(NOTE_ATTEMPT.to_owned(), attempt.to_string()), (NOTE_ADDRESSES.to_owned(), "10.0.0.5".to_owned())];
    // What a pod is given that asks for nothing.
    let resources = crate::spec::cgroup::pod_limits(&crate::view::Pod::default());
    Sandbox {
        id: SandboxId(id.into()),
        spec: SandboxSpec { annotations: annotations.into(), resources, ..Default::default() },
        ready,
        created_at: nanos(0),
        containers: Vec::new(),
        addresses: Vec::new(),
    }
}

fn container(name: &str, attempt: u32, phase: Phase, created: i64) -> Container {
    Container {
        id: ContainerId(format!("{name}{attempt}")),
        spec: ContainerSpec {
            name: name.into(),
            attempt,
            image: "sha256:1".into(),
            image_name: "i".into(),
            resources: crate::spec::cgroup::container_resources(&crate::view::Pod::default(), None),
            annotations: [(NOTE_BACKOFF.to_owned(), if attempt == 0 { "0" } else { "10" }.to_owned())].into(),
            ..Default::default()
        },
        phase,
        created_at: nanos(created),
        pid: None,
    }
}

pub fn running(name: &str, attempt: u32) -> Container {
    container(name, attempt, Phase::Running { started_at: nanos(1) }, 1)
}

pub fn created(name: &str, attempt: u32) -> Container {
    container(name, attempt, Phase::Created, 1)
}

/// Ran from second 1 to second 5.
pub fn exited(name: &str, attempt: u32, code: i32) -> Container {
    let exit = Exit { code, signal: None, finished_at: nanos(5), oom_killed: false, start_error: String::new() };
    container(name, attempt, Phase::Exited { started_at: Some(nanos(1)), exit }, 1)
}

pub fn lost(name: &str, attempt: u32) -> Container {
    container(name, attempt, Phase::Unknown { started_at: Some(nanos(1)) }, 1)
}
