//! The status of a pod, from what was seen: pure; the server's copy is only the starting point.
//!
//! Upstream's counterpart is kubelet_pods.go generateAPIPodStatus with the status manager's rules:
//! terminal phases never change again, reason and message live as long as the phase does, foreign
//! conditions are kept, no write where nothing changed.

/// The pod's conditions, in upstream's order.
pub mod conditions;
/// One status per container.
pub mod containers;
/// What differs from the server's copy, as a strategic merge patch.
pub mod patch;
/// Pending, Running, Succeeded, Failed.
pub mod phase;

use crate::view as core;
use crate::view::Time;

use crate::plan::resize::pod_fits;
use crate::plan::{Situation, start_time};
use crate::pod::{self, Role};
use crate::progress::Verdict;

/// The whole status as the server should have it.
pub fn report(s: &Situation<'_>) -> core::PodStatus {
    let old = s.pod.status.clone().unwrap_or_default();
    if let Some(status) = refused(s, &old) {
        return status;
    }
    let over = is_over(s);
    let mut status = core::PodStatus { qos_class: Some(pod::qos(s.pod).into()), ..old.clone() };
    status.init_container_statuses = list(s, |r| matches!(r, Role::Init | Role::Sidecar));
    status.container_statuses = list(s, |r| r == Role::Regular);
    status.ephemeral_container_statuses = list(s, |r| r == Role::Ephemeral);
    if let Some(list) = &mut status.container_statuses {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    // Failed means that nothing of the pod runs any more: until then nothing tells (status_manager.go
    // mergePodStatus).
    let verdict = s.progress.refused.as_ref().or(s.progress.ending.as_ref().and_then(|e| e.verdict.as_ref()));
    let verdict = verdict.filter(|_| over);
    let old_phase = old.phase.as_deref().unwrap_or("");
    let next = match phase::phase_of(s.pod, &status, over) {
        // Terminal phases never change again, nor what was said about them.
        _ if pod::is_terminal(old_phase) => old_phase,
        _ if verdict.is_some() => "Failed",
        next => next,
    };
    let closes = over && (pod::is_deleting(s.pod) || verdict.is_some());
    let last = if closes && !pod::is_terminal(next) { "Failed" } else { next };
    if last != old_phase {
        status.reason = verdict.map(|v| v.cause.reason().to_owned());
        status.message = verdict.map(Verdict::told);
    }
    status.phase = Some(next.to_owned());
    if !pod::is_static(s.pod) {
        status.observed_generation = s.pod.metadata.generation;
    }
    status.start_time = Some(old.start_time.unwrap_or(Time(start_time(s.pod, s.progress))));
    addresses(s, &mut status);
    // What ended unseen is closed only after they were judged (kubelet.go SyncTerminatedPod).
    status.conditions = Some(conditions::conditions(s, &status, verdict));
    if closes {
        containers::close(s.pod, &mut status);
        status.phase = Some(last.to_owned());
    }
    status.resize = None;
    resources(s, old.resources, &mut status);
    status
}

/// A pod that this node does not take, now or in an earlier life of the agent: phase, reason and message
/// tell it all, there is nothing else of it (kubelet.go rejectPod).
fn refused(s: &Situation<'_>, old: &core::PodStatus) -> Option<core::PodStatus> {
    if pod::is_terminal(old.phase.as_deref().unwrap_or("")) {
        let began = old.host_ip.is_some() || old.container_statuses.is_some() || !s.seen.sandboxes.is_empty();
        return (s.progress.refused.is_some() || !began).then(|| old.clone());
    }
    let verdict = s.progress.refused.as_ref()?;
    let foreign = |c: &&core::PodCondition| !conditions::OWN.contains(&c.type_.as_str());
    Some(core::PodStatus {
        phase: Some("Failed".into()),
        reason: Some(verdict.cause.reason().to_owned()),
        message: Some(verdict.told()),
        qos_class: Some(pod::qos(s.pod).into()),
        start_time: Some(old.start_time.unwrap_or(Time(start_time(s.pod, s.progress)))),
        observed_generation: s.pod.metadata.generation.filter(|_| !pod::is_static(s.pod)),
        conditions: Some(old.conditions.iter().flatten().filter(foreign).cloned().collect()),
        nominated_node_name: old.nominated_node_name.clone(),
        ..core::PodStatus::default()
    })
}

/// Ended, and nothing of it runs or is still being made.
fn is_over(s: &Situation<'_>) -> bool {
    let ending = s.progress.ending.is_some() || s.progress.refused.is_some();
    ending && !s.seen.any_running() && !s.progress.busy.iter().any(|j| matches!(j, crate::progress::Job::Start(_)))
}

/// The pod's own resources, where it has any: what was admitted, and what its cgroup was given.
fn resources(s: &Situation<'_>, old: Option<core::ResourceRequirements>, status: &mut core::PodStatus) {
    let own = s.pod.spec.as_ref().and_then(|spec| spec.resources.clone());
    status.allocated_resources = own.as_ref().and_then(|r| r.requests.clone());
    let fits = s.seen.current().is_none_or(|sandbox| pod_fits(s.pod, sandbox));
    status.resources = if fits { own } else { old.filter(|_| own.is_some()).or(own) };
}

fn list(s: &Situation<'_>, which: impl Fn(Role) -> bool) -> Option<Vec<core::ContainerStatus>> {
    let all: Vec<_> = pod::parts(s.pod).iter().filter(|p| which(p.role)).map(|p| containers::status_of(s, p)).collect();
    (!all.is_empty()).then_some(all)
}

/// hostIP(s) and podIP(s); a pod's own addresses stay visible after its end.
fn addresses(s: &Situation<'_>, status: &mut core::PodStatus) {
    if s.progress.refused.is_some() {
        return;
    }
    let hosts = one_per_family(&s.facts.host_ips);
    status.host_ip = hosts.first().cloned();
    // Of an empty list the server keeps nothing: it would differ from what is there for ever.
    status.host_ips = (!hosts.is_empty()).then(|| hosts.iter().map(|ip| core::HostIP { ip: ip.clone() }).collect());
    let host_network = pod::host_network(s.pod);
    if host_network && status.pod_ip.is_some() {
        return;
    }
    let seen = match host_network {
        true => s.facts.host_ips.clone(),
        false if conditions::has_sandbox(s) => s.seen.addresses(),
        false => Vec::new(),
    };
    if seen.is_empty() {
        return;
    }
    let first_is_v6 = s.facts.host_ips.first().is_some_and(|ip| ip.contains(':'));
    let mut own = one_per_family(&seen);
    own.sort_by_key(|ip| ip.contains(':') != first_is_v6);
    status.pod_ip = own.first().cloned();
    status.pod_ips = Some(own.into_iter().map(|ip| core::PodIP { ip }).collect());
}

fn one_per_family(all: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for ip in all {
        if !kept.iter().any(|k| k.contains(':') == ip.contains(':')) {
            kept.push(ip.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests;
