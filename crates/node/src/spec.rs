//! From a pod to plain specs: what the runtime is asked for, in the kernel's terms. Pure.
//!
//! Everything that needs I/O (image, user look-up, environment, volumes, profiles) is resolved before
//! and handed in. A field that this node cannot honour refuses by name.

/// The command line of a container.
pub mod argv;
/// cgroup names and limits, OOM scores.
pub mod cgroup;
/// A container's spec.
pub mod container;
/// Names: host name and FQDN, /etc/hosts, /etc/resolv.conf.
pub mod names;
/// A sandbox's spec, sysctls, host ports.
pub mod sandbox;
/// Users, capabilities, profiles, masked paths.
pub mod security;

use std::path::PathBuf;

use runtime::MountSource;

/// The node's settings that specs depend on.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node_name: String,
    /// Parent of all pod cgroups: `kubepods`, or with an instance's name before it.
    pub cgroup_root: String,
    pub cluster_domain: String,
    /// The host's own resolver file, already read (systemd-resolved's real one where that runs).
    pub host_resolv: String,
    /// The host's /etc/hosts.
    pub host_hosts: String,
    /// Of the machine, in bytes: for OOM scores.
    pub memory_capacity: i64,
    /// `/var/log/pods`
    pub log_root: PathBuf,
    pub log_size_max: u64,
    pub log_files_max: u32,
    /// Processes a pod may have; 0: not limited.
    pub pids_max: i64,
    /// Unsafe sysctls that are allowed, `kernel.msg*` among them as a prefix.
    pub sysctls_allowed: Vec<String>,
    /// The kernel enforces AppArmor profiles.
    pub apparmor: bool,
}

/// Why a container cannot be made: its waiting reason, and the message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct SpecError {
    pub reason: &'static str,
    pub message: String,
}

impl SpecError {
    pub fn config(message: impl Into<String>) -> SpecError {
        SpecError { reason: "CreateContainerConfigError", message: message.into() }
    }

    pub fn create(message: impl Into<String>) -> SpecError {
        SpecError { reason: "CreateContainerError", message: message.into() }
    }
}

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    /// For an image volume: the reference as the pod names it, yet to be pulled and resolved.
    pub source: MountSource,
    /// Contents that only the node writes: read-only in every container.
    pub read_only: bool,
}

#[cfg(test)]
mod tests;
