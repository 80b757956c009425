//! What was seen of one pod on this machine: its sandboxes, and each container's instances.
//!
//! `runtime.list()` is the truth. `Seen` sorts one pod's share of it so that plan and report can ask:
//! which sandbox is current, which instance of a container is the latest, which came before.

use jiff::Timestamp;
use runtime::{Container, Phase, Sandbox};

use crate::pod::{NOTE_ADDRESSES, NOTE_ATTEMPT};

/// One pod's share of the runtime's list, newest sandbox first.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sandboxes: Vec<Sandbox>,
    /// Ids of sandboxes whose network is still attached.
    pub attached: Vec<String>,
}

/// One instance of a container, and whether its sandbox is the current one.
#[derive(Clone, Copy)]
pub struct Instance<'a> {
    pub container: &'a Container,
    pub current: bool,
}

impl Seen {
    pub fn new(mut sandboxes: Vec<Sandbox>, attached: Vec<String>) -> Seen {
        sandboxes.sort_by_key(|s| std::cmp::Reverse((attempt_of(s), s.created_at)));
        Seen { sandboxes, attached }
    }

    /// The newest sandbox, if it is alive.
    pub fn current(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|s| s.ready)
    }

    /// The newest sandbox, alive or not.
    pub fn latest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// Instances of a container, latest first, whatever sandbox they are in.
    pub fn instances(&self, name: &str) -> Vec<Instance<'_>> {
        let current = self.current().map(|s| &s.id);
        let mut found: Vec<Instance<'_>> = self
            .sandboxes
            .iter()
            .flat_map(|s| s.containers.iter().map(move |c| (s, c)))
            .filter(|(_, c)| c.spec.name == name)
            .map(|(s, container)| Instance { container, current: Some(&s.id) == current })
            .collect();
        found.sort_by_key(|i| std::cmp::Reverse((i.container.spec.attempt, i.container.created_at)));
        found
    }

    /// Those that have logs: that began, or where none did, the latest that was made. One that is only made may
    /// be removed before it runs, or its sandbox be lost.
    pub fn logged(&self, name: &str) -> Vec<Instance<'_>> {
        let mut found = self.instances(name);
        let begun = |instance: &Instance<'_>| is_over(instance.container) || is_running(instance.container);
        match found.iter().any(begun) {
            true => found.retain(begun),
            false => found.truncate(1),
        }
        found
    }

    pub fn latest(&self, name: &str) -> Option<Instance<'_>> {
        self.instances(name).into_iter().next()
    }

    /// The latest instance that was started, in whatever sandbox.
    pub fn latest_begun(&self, name: &str) -> Option<Instance<'_>> {
        self.instances(name).into_iter().find(|i| is_over(i.container) || is_running(i.container))
    }

    /// The latest instance in the living sandbox.
    pub fn latest_here(&self, name: &str) -> Option<&Container> {
        let here = self.current()?;
        here.containers.iter().filter(|c| c.spec.name == name).max_by_key(|c| (c.spec.attempt, c.created_at))
    }

    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.sandboxes.iter().flat_map(|s| s.containers.iter())
    }

    pub fn any_running(&self) -> bool {
        self.containers().any(is_running)
    }

    /// The pod's addresses, from the newest sandbox that has any.
    pub fn addresses(&self) -> Vec<String> {
        self.sandboxes.iter().map(addresses_of).find(|addresses| !addresses.is_empty()).unwrap_or_default()
    }
}

/// Of the network that its engine made, or that it was given.
fn addresses_of(sandbox: &Sandbox) -> Vec<String> {
    match sandbox.spec.annotations.get(NOTE_ADDRESSES) {
        _ if !sandbox.addresses.is_empty() => sandbox.addresses.iter().map(ToString::to_string).collect(),
        Some(noted) if !noted.is_empty() => noted.split(',').map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

pub fn attempt_of(sandbox: &Sandbox) -> u32 {
    sandbox.spec.annotations.get(NOTE_ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or(0)
}

pub fn is_running(c: &Container) -> bool {
    matches!(c.phase, Phase::Running { .. })
}

/// Ended, whether or not its end was seen.
pub fn is_over(c: &Container) -> bool {
    matches!(c.phase, Phase::Exited { .. } | Phase::Unknown { .. })
}

/// The exit code; 255 where a container was lost over a reboot (containerd's and upstream's figure).
pub fn exit_code(c: &Container) -> Option<i32> {
    match &c.phase {
        Phase::Exited { exit, .. } if !exit.start_error.is_empty() => Some(128),
        Phase::Exited { exit, .. } => Some(exit.code),
        Phase::Unknown { .. } => Some(255),
        _ => None,
    }
}

pub fn started_at(c: &Container) -> Option<Timestamp> {
    match &c.phase {
        Phase::Running { started_at } => Some(time(*started_at)),
        Phase::Exited { started_at, .. } | Phase::Unknown { started_at } => started_at.map(time),
        Phase::Created => None,
    }
}

pub fn finished_at(c: &Container) -> Option<Timestamp> {
    match &c.phase {
        Phase::Exited { exit, .. } => Some(time(exit.finished_at)),
        // The end was not seen: the latest moment that is certain.
        Phase::Unknown { started_at } => Some(time(started_at.unwrap_or(c.created_at))),
        _ => None,
    }
}

pub fn time(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
