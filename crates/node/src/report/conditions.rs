//! The pod's conditions: foreign ones kept and first, then the node's own in upstream's order.
//!
//! Upstream: kubelet/status/generate.go. A transition time moves only with the status; reasons and
//! messages are what clients match on.

use crate::view as core;
use crate::view::Time;

use crate::plan::Situation;
use crate::pod::{self, Role};
use crate::progress::{Stage, Verdict};

/// Types that the node writes itself; all others are kept as they are.
pub const OWN: &[&str] = &[
    "PodResizePending",
    "PodResizeInProgress",
    "DisruptionTarget",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

const READY_TO_START: &str = "PodReadyToStartContainers";
/// Texts of kubelet/types/constants.go.
const NO_SANDBOX: &str = "no pod sandbox exists";
const SANDBOX_NOT_READY: &str = "pod sandbox is not ready";

struct Said {
    status: bool,
    reason: Option<String>,
    message: Option<String>,
}

const TRUE: Said = Said { status: true, reason: None, message: None };

pub fn conditions(s: &Situation<'_>, status: &core::PodStatus, verdict: Option<&Verdict>) -> Vec<core::PodCondition> {
    let old = old_conditions(s);
    let mut all: Vec<core::PodCondition> = old.iter().filter(|c| !OWN.contains(&c.type_.as_str())).cloned().collect();
    let mut put = |type_: &str, said: Said| all.push(condition(s, old, type_, said));
    if let Some(pending) = &s.progress.resize.pending {
        put("PodResizePending", said(true, pending.reason(), pending.message()));
    }
    if let Some(problem) = &s.progress.resize.in_progress {
        let reason = if problem.is_empty() { "" } else { "Error" };
        put("PodResizeInProgress", said(true, reason, problem));
    }
    let disrupted = verdict.filter(|v| v.disruption);
    if let Some(v) = disrupted {
        put("DisruptionTarget", said(true, "TerminationByKubelet", &v.message));
    }
    let foreign_disruption = old.iter().find(|c| c.type_ == "DisruptionTarget" && disrupted.is_none());
    if let Some(kept) = foreign_disruption {
        all.push(kept.clone());
    }
    let mut put = |type_: &str, said: Said| all.push(condition(s, old, type_, said));
    put(READY_TO_START, kept(s, READY_TO_START).unwrap_or_else(|| ready_to_start(s)));
    put("Initialized", kept(s, "Initialized").unwrap_or_else(|| initialized(s, status)));
    let containers = kept(s, "ContainersReady").unwrap_or_else(|| containers_ready(s, status));
    let ready = kept(s, "Ready").unwrap_or_else(|| match (containers.status, gates(s, old)) {
        (true, Some(message)) => said(false, "ReadinessGatesNotReady", &message),
        _ => Said { status: containers.status, reason: containers.reason.clone(), message: containers.message.clone() },
    });
    put("Ready", ready);
    put("ContainersReady", containers);
    put("PodScheduled", TRUE);
    all
}

/// Whether a sandbox is told of: ours is made beside the volumes, upstream's after them, and what a pod
/// without its volumes has is none to start containers in.
pub fn has_sandbox(s: &Situation<'_>) -> bool {
    let told = |c: &core::PodCondition| c.type_ == READY_TO_START && c.message.as_deref() != Some(NO_SANDBOX);
    let made = s.progress.volumes == Stage::Ready || s.seen.containers().next().is_some();
    s.seen.latest_sandbox().is_some() && (made || old_conditions(s).iter().any(told))
}

fn ready_to_start(s: &Situation<'_>) -> Said {
    match has_sandbox(s) {
        true if s.seen.current().is_some() => TRUE,
        true => said(false, "PodSandboxNotReady", SANDBOX_NOT_READY),
        false => said(false, "PodSandboxNotReady", NO_SANDBOX),
    }
}

/// What was told of a pod that is over stands, as its phase does; one that somebody else called over may be ready.
fn kept(s: &Situation<'_>, type_: &str) -> Option<Said> {
    let old = s.pod.status.as_ref().filter(|status| pod::is_terminal(phase(status)))?;
    let told = old.conditions.iter().flatten().find(|c| c.type_ == type_)?;
    let stands = told.status == "False" || type_ == "Initialized";
    stands.then(|| Said { status: told.status == "True", reason: told.reason.clone(), message: told.message.clone() })
}

fn old_conditions<'a>(s: &Situation<'a>) -> &'a [core::PodCondition] {
    s.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn said(status: bool, reason: &str, message: &str) -> Said {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Said { status, reason: some(reason), message: some(message) }
}

fn condition(s: &Situation<'_>, old: &[core::PodCondition], type_: &str, said: Said) -> core::PodCondition {
    let status = if said.status { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == type_);
    let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time);
    core::PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: said.reason,
        message: said.message,
        last_probe_time: None,
        last_transition_time: Some(since.unwrap_or(Time(s.now))),
        observed_generation: if pod::is_static(s.pod) { None } else { s.pod.metadata.generation },
    }
}

fn phase(status: &core::PodStatus) -> &str {
    status.phase.as_deref().unwrap_or("")
}

fn find<'a>(status: &'a core::PodStatus, name: &str) -> Option<&'a core::ContainerStatus> {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    lists.into_iter().flatten().flatten().find(|c| c.name == name)
}

fn initialized(s: &Situation<'_>, status: &core::PodStatus) -> Said {
    let parts = pod::parts(s.pod);
    if !parts.iter().any(|p| matches!(p.role, Role::Init | Role::Sidecar)) {
        return if phase(status) == "Succeeded" { said(true, "PodCompleted", "") } else { TRUE };
    }
    if s.pod.status.is_none() && status.init_container_statuses.is_none() {
        return said(false, "UnknownContainerStatuses", "");
    }
    if phase(status) == "Succeeded" {
        return said(true, "PodCompleted", "");
    }
    let regular_ran = status.container_statuses.iter().flatten().any(|c| {
        let ran = |st: &core::ContainerState| st.running.is_some() || st.terminated.is_some();
        c.state.as_ref().is_some_and(ran) || c.last_state.as_ref().is_some_and(ran)
    });
    if regular_ran {
        return TRUE;
    }
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for part in parts.iter().filter(|p| matches!(p.role, Role::Init | Role::Sidecar)) {
        match find(status, part.name()) {
            None => unknown.push(part.name()),
            Some(c) => {
                let done = match part.role {
                    Role::Sidecar => c.started.unwrap_or(false),
                    _ => c.ready,
                };
                if !done {
                    incomplete.push(part.name());
                }
            }
        }
    }
    // Once initialized, always (upstream since 1.36, with RestartAllContainersOnContainerExits).
    let before = || old_conditions(s).iter().any(|c| c.type_ == "Initialized" && c.status == "True");
    match lists(&unknown, "incomplete", &incomplete) {
        Some(message) if !before() => said(false, "ContainersNotInitialized", &message),
        _ => TRUE,
    }
}

fn containers_ready(s: &Situation<'_>, status: &core::PodStatus) -> Said {
    match phase(status) {
        "Succeeded" => return said(false, "PodCompleted", ""),
        "Failed" => return said(false, "PodFailed", ""),
        _ => {}
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    let parts = pod::parts(s.pod);
    for part in parts.iter().filter(|p| matches!(p.role, Role::Sidecar | Role::Regular)) {
        match find(status, part.name()) {
            None => unknown.push(part.name()),
            Some(c) if !c.ready => unready.push(part.name()),
            Some(_) => {}
        }
    }
    match lists(&unknown, "unready", &unready) {
        Some(message) => said(false, "ContainersNotReady", &message),
        None => TRUE,
    }
}

/// `containers with unknown status: [a], containers with unready status: [b c]`
fn lists(unknown: &[&str], word: &str, rest: &[&str]) -> Option<String> {
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: [{}]", unknown.join(" ")));
    }
    if !rest.is_empty() {
        messages.push(format!("containers with {word} status: [{}]", rest.join(" ")));
    }
    (!messages.is_empty()).then(|| messages.join(", "))
}

/// What the readiness gates object to.
fn gates(s: &Situation<'_>, old: &[core::PodCondition]) -> Option<String> {
    let gates = s.pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let mut messages = Vec::new();
    for gate in gates {
        let t = &gate.condition_type;
        match old.iter().find(|c| c.type_ == *t) {
            None => messages.push(format!("corresponding condition of pod readiness gate \"{t}\" does not exist.")),
            Some(c) if c.status != "True" => {
                messages.push(format!("the status of pod readiness gate \"{t}\" is not \"True\", but {}", c.status))
            }
            Some(_) => {}
        }
    }
    (!messages.is_empty()).then(|| messages.join(", "))
}
