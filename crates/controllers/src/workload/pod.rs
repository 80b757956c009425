//! What of a pod counts for its controller: decoded of its bytes, nothing else is.

use std::time::Duration;

use api::{Object, later};
use jiff::Timestamp;
use serde::Deserialize;

/// One pod as its controller counts it.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct Seen {
    pub spec: Spec,
    pub status: Status,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    pub node_name: String,
    pub init_containers: Vec<Container>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    pub restart_policy: String,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    pub phase: String,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    pub r#type: String,
    pub status: String,
    pub last_transition_time: Option<String>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub restart_count: i64,
    pub state: State,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub struct State {
    pub terminated: Option<Terminated>,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    pub exit_code: i64,
    pub finished_at: Option<String>,
}

impl Seen {
    /// A pod that cannot be read counts as one that nothing is known of.
    pub fn of(pod: &Object) -> Seen {
        pod.view().unwrap_or_default()
    }

    /// It has ended, well or not.
    pub fn is_over(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    pub fn is_ready(&self) -> bool {
        self.ready().is_some()
    }

    /// Whether the init container of that name goes on beside the others.
    pub fn is_sidecar(&self, name: &str) -> bool {
        self.spec.init_containers.iter().any(|init| init.name == name && init.restart_policy == "Always")
    }

    /// Since when it is ready, where it says so.
    pub fn ready_since(&self) -> Option<Timestamp> {
        self.ready()?.last_transition_time.as_deref()?.parse().ok()
    }

    /// Whether it has been ready for so many seconds, and if not, how long it still takes: None where nothing is on
    /// its way (pkg/api/v1/pod.IsPodAvailable).
    pub fn available(&self, min_ready_seconds: i64, now: Timestamp) -> (bool, Option<Duration>) {
        if !self.is_ready() {
            return (false, None);
        }
        if min_ready_seconds <= 0 {
            return (true, None);
        }
        let Some(since) = self.ready_since() else { return (false, None) };
        match Duration::try_from(later(since, min_ready_seconds).duration_since(now)) {
            Ok(rest) if !rest.is_zero() => (false, Some(rest)),
            _ => (true, None),
        }
    }

    fn ready(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.r#type == "Ready" && condition.status == "True")
    }
}

/// It runs or will: it has not ended, and nobody asked it to (pkg/controller.IsPodActive).
pub fn is_active(pod: &Object, seen: &Seen) -> bool {
    !seen.is_over() && !pod.meta().is_deleting()
}

/// It was asked to end, and has not yet (pkg/controller.IsPodTerminating).
pub fn is_terminating(pod: &Object, seen: &Seen) -> bool {
    !seen.is_over() && pod.meta().is_deleting()
}
