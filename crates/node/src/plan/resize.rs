//! In-place resize: whether limits of a running pod and its containers are what the pod says now.
//!
//! The pod that the plan sees holds only resources that were admitted. A resource whose resizePolicy
//! is RestartContainer replaces the container instead (kuberuntime computePodResizeAction).

use crate::view as core;
use runtime::{Container, Resources, Sandbox};

use crate::observe::{Seen, is_running};
use crate::plan::{Action, Plan, Situation};
use crate::pod::{self, Part, Role, noted_resources};
use crate::progress::{Job, Progress};
use crate::spec::cgroup::{self, container_resources};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    InPlace,
    Restart,
}

/// What is to be changed in place, all at once.
#[derive(Default)]
pub struct Due<'a> {
    pub containers: Vec<(Part<'a>, &'a Container)>,
    /// The pod's cgroup, where that changes: its cpu and memory.
    pub whole: Option<Resources>,
}

/// New limits in place, once at a time.
pub fn plan(s: &Situation<'_>, out: &mut Plan) {
    let due = due(s.pod, s.seen, s.progress);
    if (due.containers.is_empty() && due.whole.is_none()) || s.progress.busy.contains(&Job::Resize) {
        return;
    }
    match s.progress.resize.retry_at {
        Some(at) if s.now < at => out.wake(at),
        _ => out.push(Action::Resize),
    }
}

pub fn due<'a>(pod: &'a core::Pod, seen: &'a Seen, progress: &Progress) -> Due<'a> {
    let Some(sandbox) = seen.current() else { return Due::default() };
    let mut containers = Vec::new();
    let mut restarting = false;
    for part in pod::parts(pod) {
        let Some(c) = resizable(&part).then(|| seen.latest_here(part.name())).flatten().filter(|c| is_running(c))
        else {
            continue;
        };
        match step(pod, &part, c) {
            Step::Restart => restarting = true,
            Step::InPlace if !progress.stops.contains_key(&c.id.0) => containers.push((part, c)),
            _ => {}
        }
    }
    let have = &sandbox.spec.resources;
    let mut whole = cgroup::pod_limits(pod);
    if restarting {
        // The pod shrinks once the old instance with its old limit is gone.
        whole = cgroup::larger(have, &whole);
    }
    Due { containers, whole: (!same(have, &whole)).then_some(whole) }
}

pub fn resizable(part: &Part<'_>) -> bool {
    part.role != Role::Ephemeral
}

/// The pod's own cgroup has what the pod says.
pub fn pod_fits(pod: &core::Pod, sandbox: &Sandbox) -> bool {
    same(&sandbox.spec.resources, &cgroup::pod_limits(pod))
}

fn same(a: &Resources, b: &Resources) -> bool {
    (a.cpu_shares, a.cpu_quota, a.memory) == (b.cpu_shares, b.cpu_quota, b.memory)
}

pub fn step(pod: &core::Pod, part: &Part<'_>, c: &Container) -> Step {
    let want = container_resources(pod, part.spec.resources.as_ref());
    let have = &c.spec.resources;
    let cpu = want.cpu_shares != have.cpu_shares || want.cpu_quota != have.cpu_quota;
    let memory = want.memory != have.memory;
    let restarts = |resource: &str| {
        let policies = part.spec.resize_policy.iter().flatten();
        policies.into_iter().any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
    };
    // A request may change that no cgroup shows.
    let asks_else = |resource: &str| {
        let request = |r: Option<&core::ResourceRequirements>| {
            r.and_then(|r| r.requests.as_ref()).map_or(0, |list| pod::milli(list, resource))
        };
        noted_resources(c).is_some_and(|noted| request(Some(&noted)) != request(part.spec.resources.as_ref()))
    };
    let restart = |resource: &str, changed: bool| restarts(resource) && (changed || asks_else(resource));
    match (cpu, memory) {
        _ if restart("cpu", cpu) || restart("memory", memory) => Step::Restart,
        (false, false) => Step::Nothing,
        _ => Step::InPlace,
    }
}
