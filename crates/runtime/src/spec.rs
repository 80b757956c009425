//! What the engines are asked for: sandboxes, containers, processes, in the kernel's terms.
//!
//! Everything is resolved before it gets here: argv and environment are final, users are numbers,
//! mounts are host paths. All of it is serde: the supervisor keeps it on disk.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// 64 lower-case hex digits, as container logs and statuses show it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId(pub String);

/// 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxId(pub String);

/// Network, IPC and UTS namespaces, a cgroup and `/dev/shm`: what the containers of one pod share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Free for the caller; engines keep and return them (pod UID, name, namespace, attempt).
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub hostname: String,
    pub network: Network,
    pub ipc: Share,
    pub pid: Share,
    /// None: the host's user namespace.
    pub user_namespace: Option<UserNamespace>,
    /// Relative to the cgroup root, e.g. `kubepods/burstable/pod<uid>`; made if absent, removed with the sandbox.
    pub cgroup: String,
    /// Limits of the pod's cgroup as a whole.
    pub resources: Resources,
    /// `kernel.shm_rmid_forced` = `1` …, set inside the namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of `/dev/shm`; 0: 64 MiB.
    pub shm_size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Network {
    /// The host's own.
    #[default]
    Host,
    /// A network namespace made by the caller (a pinned file).
    Namespace(PathBuf),
    /// The engine makes it, where it can (`Engine::makes_networks`).
    Own,
}

/// Who shares a namespace with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Share {
    /// IPC: one for the sandbox. PID: one for each container.
    #[default]
    Private,
    /// PID only: one for the sandbox, with an init.
    Sandbox,
    Host,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// First host id of the range; container ids 0..length map to it.
    pub host_first: u32,
    pub length: u32,
}

/// One container: an overlay of an image, its own mount (and PID) namespace, one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    pub name: String,
    pub attempt: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// As `Images::resolve` gave it: the digest of the image's configuration, `sha256:…`.
    pub image: String,
    /// As the pod named it; only kept and returned.
    pub image_name: String,
    pub argv: Vec<String>,
    /// Final and in order.
    pub env: Vec<(String, String)>,
    /// Made if absent.
    pub cwd: PathBuf,
    pub user: User,
    /// In order; a target is made if absent.
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    /// All capabilities, all devices, no seccomp, no masks, writable /sys and cgroups.
    pub privileged: bool,
    /// Names without `CAP_`; final: what remains after add and drop. Empty when privileged.
    pub capabilities: Vec<String>,
    pub ambient_capabilities: Vec<String>,
    pub seccomp: Seccomp,
    /// A loaded profile's name; None: unconfined.
    pub apparmor: Option<String>,
    pub no_new_privileges: bool,
    pub read_only_root: bool,
    pub masked_paths: Vec<PathBuf>,
    pub read_only_paths: Vec<PathBuf>,
    pub resources: Resources,
    /// −1000…1000; lived with if the machine refuses to lower it.
    pub oom_score_adj: i32,
    pub rlimits: Vec<(String, u64, u64)>,
    pub stdin: bool,
    pub stdin_once: bool,
    pub tty: bool,
    /// CRI log file (`RFC3339Nano stdout F text`), rotated by the supervisor; None: discarded.
    pub log: Option<LogFile>,
    /// Bind-mounted from the sandbox where the spec does not mount its own: /etc/hosts, /etc/hostname, /etc/resolv.conf
    /// come as ordinary `mounts`.
    pub stop_signal: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogFile {
    pub path: PathBuf,
    /// Bytes per file, and files kept.
    pub size_max: u64,
    pub files_max: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    pub source: MountSource,
    pub target: PathBuf,
    pub read_only: bool,
    /// Also every mount below it.
    pub recursive_read_only: bool,
    pub propagation: Propagation,
    /// Below the source, followed without leaving it (symlinks are resolved inside); made as a folder if absent.
    pub sub_path: Option<PathBuf>,
    /// Read-only to the container, but not to us: targets of other mounts that are missing in it are made
    /// (upstream: pkg/volume/util MakeNestedMountpoints). For sources that no container can change.
    #[serde(default)]
    pub hosts_mounts: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or folder of the host.
    Host(PathBuf),
    /// The read-only root of an image (image volumes): the image's id, `sha256:…`.
    Image(String),
    /// A folder of the container itself outside its layers: a copy of what its image has at the target.
    Own,
}

impl Default for MountSource {
    fn default() -> Self {
        MountSource::Host(PathBuf::new())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    pub host: PathBuf,
    pub container: PathBuf,
    /// `rwm`
    pub access: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Seccomp {
    #[default]
    RuntimeDefault,
    Unconfined,
    /// A profile in the OCI JSON form, already read.
    Profile(String),
}

/// Limits of a cgroup; 0 or None: not limited. Written for v1 and v2 alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// cgroup v1 scale, 2…262144; v2 gets upstream's conversion.
    pub cpu_shares: u64,
    /// Microseconds per period; 0: no quota.
    pub cpu_quota: i64,
    pub cpu_period: u64,
    /// Bytes.
    pub memory: i64,
    pub pids: i64,
    pub cpuset_cpus: String,
    /// Page size (`2MB`) to bytes.
    pub hugepages: BTreeMap<String, u64>,
    /// v2's memory.oom.group: kill the container as a whole.
    pub oom_group: bool,
}

/// A further process in a running container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Asked again under the same name, it is not begun again. Empty: a run of its own.
    #[serde(default)]
    pub name: String,
    pub argv: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Columns and rows at the start, with a tty.
    pub size: Option<(u16, u16)>,
}
