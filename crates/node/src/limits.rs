//! Limits of local storage: what a pod may use, what it uses, and which limit it broke. Pure.
//!
//! Matches localStorageEviction in pkg/kubelet/eviction/eviction_manager.go, order and texts included:
//! first the sizes of emptyDirs, then the pod's total, then each container. Memory-backed emptyDirs are
//! no matter of this file: their tmpfs has the size.

use std::collections::BTreeMap;

use crate::view as core;
use api::quantity::Quantity;
use runtime::disk::DiskUse;

use crate::pod::{self, Part, Role};

pub const STORAGE: &str = "ephemeral-storage";

/// What one pod uses of its node, as measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    /// emptyDirs on the disk, by volume.
    pub volumes: BTreeMap<String, DiskUse>,
    /// Contents of ConfigMaps.
    pub contents: DiskUse,
    /// What every container of the pod may write: /etc/hosts, /etc/resolv.conf.
    pub files: DiskUse,
    pub containers: Vec<ContainerUsed>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerUsed {
    pub name: String,
    /// The working set, in bytes.
    pub memory: u64,
    /// Its processes and threads.
    pub pids: u64,
    /// Written below its root.
    pub layer: DiskUse,
    pub logs: DiskUse,
    /// Its termination messages, of which only the beginning is ever read.
    pub messages: DiskUse,
}

impl Used {
    pub fn pids(&self) -> u64 {
        self.containers.iter().map(|c| c.pids).sum()
    }

    pub fn storage(&self) -> DiskUse {
        let mut all = self.contents;
        // As calcEphemeralStorage counts /etc/hosts; the resolver's file can be written to as well.
        all += self.files;
        for volume in self.volumes.values() {
            all += *volume;
        }
        for container in &self.containers {
            all += container.storage();
        }
        all
    }

    pub fn memory(&self) -> u64 {
        self.containers.iter().map(|c| c.memory).sum()
    }
}

impl ContainerUsed {
    pub fn storage(&self) -> DiskUse {
        let mut all = self.layer;
        all += self.logs;
        all += self.messages;
        all
    }
}

/// Whether anything of this pod has to be measured at all.
pub fn has_limits(pod: &core::Pod) -> bool {
    sized_volumes(pod).next().is_some() || pod::parts(pod).iter().any(|part| own_limit(part).is_some())
}

/// The message of the first limit that is exceeded.
pub fn exceeded(pod: &core::Pod, used: &Used) -> Option<String> {
    let over = |used: DiskUse, limit: Quantity| i128::from(used.bytes) * 1_000_000_000 > limit.nanos();
    for (name, limit) in sized_volumes(pod) {
        if used.volumes.get(name).is_some_and(|u| over(*u, limit)) {
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "));
        }
    }
    if let Some(limit) = total_limit(pod).filter(|limit| over(used.storage(), *limit)) {
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
    }
    let parts = pod::parts(pod);
    let limit_of = |name: &str| {
        let counted = parts.iter().filter(|p| matches!(p.role, Role::Regular | Role::Sidecar));
        counted.filter(|p| p.name() == name).find_map(own_limit).filter(|limit| !limit.is_zero())
    };
    used.containers.iter().find_map(|container| {
        let limit = limit_of(&container.name).filter(|limit| over(container.storage(), *limit))?;
        Some(format!("Container {} exceeded its local ephemeral storage limit \"{limit}\". ", container.name))
    })
}

/// emptyDirs on the disk that may not grow beyond a size.
fn sized_volumes(pod: &core::Pod) -> impl Iterator<Item = (&str, Quantity)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|s| s.medium.as_deref().unwrap_or_default().is_empty())?;
        let limit = Quantity::parse(&source.size_limit.as_ref()?.0).ok()?;
        (!limit.is_zero() && !limit.is_negative()).then_some((volume.name.as_str(), limit))
    })
}

fn own_limit(part: &Part<'_>) -> Option<Quantity> {
    let limits = part.spec.resources.as_ref()?.limits.as_ref()?;
    Quantity::parse(&limits.get(STORAGE)?.0).ok()
}

/// The containers' limits together: of those that run side by side, or of the largest init step. A
/// container without one counts as nothing, yet what it uses counts (component-helpers PodLimits).
fn total_limit(pod: &core::Pod) -> Option<Quantity> {
    let (mut running, mut sidecars, mut peak) = (Quantity::ZERO, Quantity::ZERO, Quantity::ZERO);
    let mut any = false;
    for part in pod::parts(pod) {
        let Some(limit) = own_limit(&part) else { continue };
        any |= part.role != Role::Ephemeral;
        match part.role {
            Role::Init => peak = peak.max(sidecars.plus(limit)),
            Role::Sidecar => {
                sidecars = sidecars.plus(limit);
                peak = peak.max(sidecars);
            }
            Role::Regular => running = running.plus(limit),
            Role::Ephemeral => {}
        }
    }
    any.then(|| running.plus(sidecars).max(peak))
}

#[cfg(test)]
mod tests;
