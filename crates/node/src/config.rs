//! What a node agent is told at its start. Nothing here is found out; `machine` does that.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use api::{Clock, Entropy};
use ipnet::IpNet;
use jiff::SignedDuration;
use tokio::sync::watch;

use crate::machine::Machine;
use crate::pressure::Thresholds;

/// The settings of one node agent.
#[derive(Clone)]
pub struct Config {
    pub node_name: String,
    /// Survives reboots: `pods/`, `seccomp/`.
    pub data_dir: PathBuf,
    /// Gone after a reboot.
    pub run_dir: PathBuf,
    /// `/var/log`: `pods/` and `containers/` below it.
    pub log_dir: PathBuf,
    /// Static pods; None: there are none.
    pub manifest_dir: Option<PathBuf>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub machine: Machine,
    /// In order of preference; the first of each family is the node's.
    pub host_addresses: Vec<IpAddr>,
    pub max_pods: u32,
    pub allow_privileged: bool,
    pub cluster_domain: String,
    /// Where pods find the cluster's DNS; None: not known yet.
    pub cluster_dns: watch::Receiver<Option<Vec<IpAddr>>>,
    /// The node's own API, as the Node object announces it.
    pub port: u16,
    /// What this machine serves by TCP and no pod's host port takes from it.
    pub own_ports: Vec<SocketAddr>,
    /// Parent of all pod cgroups.
    pub cgroup_root: String,
    /// Kept back from pods: `cpu`, `memory`, `ephemeral-storage`.
    pub reserved: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Taints as the API writes them.
    pub taints: Vec<serde_json::Value>,
    /// Unsafe sysctls that pods may set; `kernel.msg*` means all that begin so.
    pub sysctls_allowed: Vec<String>,
    /// Processes per pod; 0: not limited.
    pub pids_max: i64,
    /// Bytes that the files of a pod's configMap, secret, downwardAPI and projected volumes may take;
    /// None: as many as the memory for them gives each of `max_pods`.
    pub projected_max: Option<u64>,
    pub log_size_max: u64,
    pub log_files_max: u32,
    /// Cap of the restart back-off.
    pub backoff_max: SignedDuration,
    /// Range of the pods' addresses where the server gives the node none.
    pub pod_cidr: Option<IpNet>,
    /// What is kept free of the node's memory and disks.
    pub thresholds: Thresholds,
    /// Whether use of the disk and its like are looked at in turn; not on a machine that is imagined.
    pub sampling: bool,
    /// Whether secrets get a file system of their own even where the run folder lies in memory; not on a
    /// machine that is imagined.
    pub secrets_apart: bool,
}

impl Config {
    /// The node's addresses: the first of each family (pkg/kubelet/nodestatus/setters.go NodeAddress).
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let first = |wanted: fn(&IpAddr) -> bool| self.host_addresses.iter().copied().find(wanted);
        let (v4, v6) = (first(IpAddr::is_ipv4), first(IpAddr::is_ipv6));
        let preferred = self.host_addresses.first().copied();
        let (one, other) = if preferred == v6 { (v6, v4) } else { (v4, v6) };
        one.into_iter().chain(other)
    }

    /// Upstream's defaults for everything but names, folders and seams.
    pub fn new(node_name: &str, data_dir: PathBuf, run_dir: PathBuf, clock: Clock, entropy: Entropy) -> Config {
        Config {
            node_name: node_name.into(),
            log_dir: "/var/log".into(),
            data_dir,
            run_dir,
            manifest_dir: None,
            clock,
            entropy,
            machine: Machine::default(),
            host_addresses: Vec::new(),
            max_pods: 110,
            allow_privileged: true,
            cluster_domain: "cluster.local".into(),
            cluster_dns: watch::channel(Some(Vec::new())).1,
            port: 10250,
            own_ports: Vec::new(),
            cgroup_root: "kubepods".into(),
            reserved: BTreeMap::new(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            sysctls_allowed: Vec::new(),
            pids_max: 0,
            projected_max: None,
            log_size_max: 10 << 20,
            log_files_max: 5,
            backoff_max: SignedDuration::from_secs(300),
            pod_cidr: None,
            thresholds: Thresholds::default(),
            sampling: false,
            secrets_apart: false,
        }
    }

    pub fn now(&self) -> jiff::Timestamp {
        (self.clock)()
    }

    /// 64 hexadecimal digits.
    pub fn new_id(&self) -> String {
        let mut bytes = [0u8; 32];
        (self.entropy)(&mut bytes);
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests;
