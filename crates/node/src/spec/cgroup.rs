//! cgroup names and limits of pods and containers, and their OOM scores.
//!
//! Figures are upstream's: kubelet/cm helpers_linux.go (shares, quota), kubelet/qos/policy.go (OOM
//! scores), component-helpers resource (init containers and sidecars in a pod's sum).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::view as core;
use crate::view::Quantity;
use runtime::Resources;

use crate::pod::{self, Part, Role, milli, whole};
use crate::spec::Settings;

const PERIOD: i64 = 100_000;
const QUOTA_MIN: i64 = 1_000;

/// `kubepods/burstable/pod<uid>`; Guaranteed pods stand directly under the root.
pub fn pod_cgroup(pod: &core::Pod, settings: &Settings) -> String {
    let root = &settings.cgroup_root;
    let uid = pod::uid(pod);
    match pod::qos(pod) {
        "Guaranteed" => format!("{root}/pod{uid}"),
        "Burstable" => format!("{root}/burstable/pod{uid}"),
        _ => format!("{root}/besteffort/pod{uid}"),
    }
}

/// 1024 per CPU, at least 2.
pub fn shares(milli_cpu: i64) -> u64 {
    if milli_cpu <= 0 {
        return 2;
    }
    u64::try_from(milli_cpu.saturating_mul(1024) / 1000).unwrap_or(2).clamp(2, 262_144)
}

/// Microseconds per 100 ms; 0: no quota.
pub fn quota(milli_cpu: i64) -> i64 {
    if milli_cpu <= 0 { 0 } else { (milli_cpu.saturating_mul(PERIOD) / 1000).max(QUOTA_MIN) }
}

/// A container's limits: its own, and where it has none, the pod's (kuberuntime getCPULimit, getMemoryLimit).
pub fn container_resources(pod: &core::Pod, given: Option<&core::ResourceRequirements>) -> Resources {
    let empty = BTreeMap::new();
    let own = given.and_then(|r| r.limits.as_ref()).unwrap_or(&empty);
    let of_pod = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref());
    let limits = &of_pod.map_or(Cow::Borrowed(own), |of_pod| Cow::Owned(joined(of_pod, own)));
    let requests = given.and_then(|r| r.requests.as_ref()).unwrap_or(&empty);
    // A limit without a request counts as the request.
    let cpu = if requests.contains_key("cpu") { milli(requests, "cpu") } else { milli(limits, "cpu") };
    Resources {
        cpu_shares: shares(cpu),
        cpu_quota: quota(milli(limits, "cpu")),
        cpu_period: PERIOD.unsigned_abs(),
        memory: whole(limits, "memory"),
        hugepages: hugepages(limits),
        oom_group: true,
        ..Resources::default()
    }
}

/// A limit of nothing is none, but for huge pages.
fn joined(of_pod: &BTreeMap<String, Quantity>, own: &BTreeMap<String, Quantity>) -> BTreeMap<String, Quantity> {
    let counts = |(name, q): &(&String, &Quantity)| name.starts_with("hugepages-") || pod::quantity_milli(&q.0) != 0;
    let own = own.iter().filter(counts).map(|(name, q)| (name.clone(), q.clone()));
    of_pod.clone().into_iter().chain(own).collect()
}

fn hugepages(limits: &BTreeMap<String, Quantity>) -> BTreeMap<String, u64> {
    let sized = |(name, q): (&String, &Quantity)| {
        let size = name.strip_prefix("hugepages-")?;
        // `2Mi` in the API, `2MB` in the cgroup's file names.
        let file = size.strip_suffix("i").map_or_else(|| size.to_owned(), |s| format!("{s}B"));
        Some((file, u64::try_from(pod::quantity_milli(&q.0) / 1000).unwrap_or(0)))
    };
    limits.iter().filter_map(sized).collect()
}

/// What a pod as a whole asks for, by resource, in thousandths. None for a limit that some part lacks.
pub fn pod_sum(pod: &core::Pod, resource: &str, limits: bool) -> Option<i64> {
    let spec = pod.spec.as_ref()?;
    // Pod-level resources stand for the whole pod.
    let sum = of(spec.resources.as_ref(), resource, limits).or_else(|| containers_sum(pod, resource, limits))?;
    Some(sum + spec.overhead.as_ref().map_or(0, |o| milli(o, resource)))
}

fn of(given: Option<&core::ResourceRequirements>, resource: &str, limits: bool) -> Option<i64> {
    let list = given.and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
    list.filter(|l| l.contains_key(resource)).map(|l| milli(l, resource))
}

/// The larger of all that runs together in the end and of each init step with the sidecars before it.
fn containers_sum(pod: &core::Pod, resource: &str, limits: bool) -> Option<i64> {
    let (mut running, mut sidecars, mut init_peak) = (0, 0, 0);
    for part in pod::parts(pod) {
        let Some(need) = of(part.spec.resources.as_ref(), resource, limits).or((!limits).then_some(0)) else {
            if part.role == Role::Ephemeral {
                continue;
            }
            return None;
        };
        match part.role {
            Role::Init => init_peak = init_peak.max(sidecars + need),
            Role::Sidecar => {
                sidecars += need;
                init_peak = init_peak.max(sidecars);
            }
            Role::Regular => running += need,
            Role::Ephemeral => {}
        }
    }
    Some((running + sidecars).max(init_peak))
}

/// Limits of the pod's cgroup.
pub fn pod_resources(pod: &core::Pod, settings: &Settings) -> Resources {
    Resources { pids: settings.pids_max, ..pod_limits(pod) }
}

/// What of them a resize may change: processor and memory.
pub fn pod_limits(pod: &core::Pod) -> Resources {
    let whole_of = |m: i64| m.div_euclid(1000);
    Resources {
        cpu_shares: shares(pod_sum(pod, "cpu", false).unwrap_or(0)),
        cpu_quota: pod_sum(pod, "cpu", true).map_or(0, quota),
        cpu_period: PERIOD.unsigned_abs(),
        memory: pod_sum(pod, "memory", true).map_or(0, whole_of),
        ..Resources::default()
    }
}

/// `new`, but with each limit of processor and memory that is the larger one; 0 is no limit.
pub fn larger(old: &Resources, new: &Resources) -> Resources {
    let limit = |a: i64, b: i64| if a == 0 || b == 0 { 0 } else { a.max(b) };
    Resources {
        cpu_shares: old.cpu_shares.max(new.cpu_shares),
        cpu_quota: limit(old.cpu_quota, new.cpu_quota),
        memory: limit(old.memory, new.memory),
        ..new.clone()
    }
}

/// A container's OOM score: its pod's class, and its memory request (kubelet/qos/policy.go).
pub fn oom_score(pod: &core::Pod, part: &Part<'_>, settings: &Settings) -> i32 {
    let class = pod.spec.as_ref().and_then(|s| s.priority_class_name.as_deref());
    if pod::is_critical(pod) && class == Some("system-node-critical") {
        return -997;
    }
    match pod::qos(pod) {
        "Guaranteed" => return -997,
        "BestEffort" => return 1000,
        _ => {}
    }
    let share = unassigned(pod);
    let mut request = memory_request(part);
    if part.role == Role::Sidecar {
        // It is not killed before the regular container that asks for least.
        let regular = pod::parts(pod).iter().filter(|p| p.role == Role::Regular).map(memory_request).min();
        request = request.max(regular.unwrap_or(0));
    }
    let capacity = i128::from(settings.memory_capacity.max(1));
    let score = 1000 - (i128::from(request) + i128::from(share)) * 1000 / capacity;
    // Above the guaranteed ones, below best effort.
    i32::try_from(score.clamp(3, 999)).unwrap_or(999)
}

fn memory_request(part: &Part<'_>) -> i64 {
    part.spec.resources.as_ref().and_then(|r| r.requests.as_ref()).map_or(0, |r| whole(r, "memory"))
}

/// Each container's share of what the pod as a whole asks for and none of them does.
fn unassigned(pod: &core::Pod) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let own = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).map_or(0, |r| whole(r, "memory"));
    let assigned = containers_sum(pod, "memory", false).unwrap_or(0) / 1000;
    let count = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
    (own - assigned).max(0) / i64::try_from(count.max(1)).unwrap_or(i64::MAX)
}
