//! In-place resize: whether a running container's limits are what its pod says now.
//!
//! The pod that the plan sees holds only resources that were admitted. A resource whose resizePolicy
//! is RestartContainer replaces the container instead (kuberuntime computePodResizeAction).

use runtime::Container;

use crate::pod::Part;
use crate::spec::cgroup::container_resources;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    InPlace,
    Restart,
}

pub fn step(part: &Part<'_>, c: &Container) -> Step {
    let want = container_resources(part.spec.resources.as_ref());
    let have = &c.spec.resources;
    let cpu = want.cpu_shares != have.cpu_shares || want.cpu_quota != have.cpu_quota;
    let memory = want.memory != have.memory;
    let restarts = |resource: &str| {
        let policies = part.spec.resize_policy.iter().flatten();
        policies.into_iter().any(|p| p.resource_name == resource && p.restart_policy == "RestartContainer")
    };
    match (cpu, memory) {
        (false, false) => Step::Nothing,
        _ if cpu && restarts("cpu") || memory && restarts("memory") => Step::Restart,
        _ => Step::InPlace,
    }
}
