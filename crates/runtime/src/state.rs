//! What the engines answer: the observed state of sandboxes, containers and images.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::{ContainerId, ContainerSpec, SandboxId, SandboxSpec};

/// A sandbox as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    pub id: SandboxId,
    pub spec: SandboxSpec,
    /// False once stopped, or after its namespaces were lost (reboot, death of the keeper).
    pub ready: bool,
    /// Nanoseconds since the epoch.
    pub created_at: i128,
    pub containers: Vec<Container>,
    /// Of a network that the engine made, in its order of preference; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl Sandbox {
    pub fn has_label(&self, label: &str, value: &str) -> bool {
        // Values differ sooner than names.
        self.spec.labels.iter().any(|(name, found)| found == value && name == label)
    }
}

/// A container as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Container {
    pub id: ContainerId,
    pub spec: ContainerSpec,
    pub phase: Phase,
    pub created_at: i128,
    /// The process in the host's PID namespace, while it runs.
    pub pid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    Created,
    Running {
        started_at: i128,
    },
    Exited {
        started_at: Option<i128>,
        exit: Exit,
    },
    /// It ran, and its end was not seen (reboot, death of the keeper).
    Unknown {
        started_at: Option<i128>,
    },
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status, or 128 + signal.
    pub code: i32,
    pub signal: Option<i32>,
    pub finished_at: i128,
    pub oom_killed: bool,
    /// Why it never ran (exec failed and its like); empty otherwise. Reported as StartError, code 128.
    pub start_error: String,
}

/// A hint that something changed; look at `list`.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    Container(SandboxId, ContainerId),
    Sandbox(SandboxId),
    /// Hints were lost: look at everything.
    Lagged,
}

/// A local image, with what a container needs of its configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Image {
    /// Digest of the configuration, `sha256:…`: what `ContainerSpec::image` takes.
    pub id: String,
    /// `docker.io/library/nginx:1.27`
    pub tags: Vec<String>,
    /// `docker.io/library/nginx@sha256:…`
    pub digests: Vec<String>,
    /// Bytes on the disk.
    pub size: u64,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: PathBuf,
    /// As the image states it: `1000`, `www-data`, `1000:1000`, or empty.
    pub user: String,
    /// `SIGQUIT`, `3`, or empty.
    pub stop_signal: String,
    pub labels: BTreeMap<String, String>,
    pub volumes: Vec<PathBuf>,
    /// Loaded by hand or built in rather than pulled with credentials.
    pub preloaded: bool,
}

/// A user of an image, looked up in its own /etc/passwd and /etc/group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups that the image's /etc/group gives this user.
    pub groups: Vec<u32>,
    /// False where the image named a user that is not numeric.
    pub numeric: bool,
    pub home: PathBuf,
}

/// Usage at one moment, for limits, eviction and /stats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_nanoseconds: u64,
    /// All memory that counts against the limit, what could be reclaimed included.
    pub memory: u64,
    pub memory_working_set: u64,
    pub memory_rss: u64,
    /// Bytes written below the container's root.
    pub writable_layer: u64,
    /// Files and folders below it.
    pub writable_inodes: u64,
    pub pids: u64,
}
