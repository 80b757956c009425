//! One status per container: state, last state, counts, what it was really given.
//!
//! Upstream: kubelet_pods.go convertToAPIContainerStatuses (which instance counts, what is said when
//! one vanished) and the status manager's TerminatePod (what never ended properly).

use crate::view as core;
use crate::view::Time;
use runtime::{Container, Phase};

use crate::observe::{exit_code, finished_at, is_over, is_running, started_at};
use crate::plan::{Situation, probes, regular};
use crate::pod::{self, NOTE_IMAGE_NAME, NOTE_IMAGE_REF, NOTE_STOP_SIGNAL, Part, Role};
use crate::progress::ProbeKind;
use crate::spec::cgroup;

const UNKNOWN: &str = "ContainerStatusUnknown";
const NOT_LOCATED: &str = "The container could not be located when the pod was terminated";
const USED_TO_RUN: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";

/// The status of one container.
pub fn status_of(s: &Situation<'_>, part: &Part<'_>) -> core::ContainerStatus {
    let old = pod::old_status(s.pod, part.name());
    let begun = begun(s, part);
    let mut status = match begun.first() {
        Some(latest) => from_instance(s, part, latest),
        None => without_instance(s, part, old),
    };
    // An instance that was made and removed before it ran was counted, and the next one has its number
    // (kubelet_pods.go convertToAPIContainerStatuses).
    status.restart_count = status.restart_count.max(old.map_or(0, |old| old.restart_count));
    if begun.is_empty() {
        // What the API remembers stands.
    } else if let Some(before) = begun.get(1) {
        status.last_state = terminated(s, before).map(in_terminated);
    } else if let Some(old) = old {
        let same = old.container_id.is_some() && old.container_id == status.container_id;
        let ended = old.state.as_ref().filter(|st| st.terminated.is_some());
        status.last_state = if same { old.last_state.clone() } else { ended.cloned().or(old.last_state.clone()) };
    }
    if status.volume_mounts.is_none() {
        status.volume_mounts = volume_mounts(part);
    }
    apply_waiting(s, part, begun.first().copied(), &mut status);
    if part.spec.lifecycle.as_ref().is_some_and(|l| l.stop_signal.is_some()) && status.stop_signal.is_none() {
        status.stop_signal = part.spec.lifecycle.as_ref().and_then(|l| l.stop_signal.clone());
    }
    if part.role == Role::Ephemeral {
        // Nothing probes it (prober_manager.go UpdatePodStatus).
        status.started = None;
    }
    status
}

/// Its instances that can be told of, latest first: one that is only made, or whose postStart hook has not
/// passed, is a step of the start that is under way, and what was there before is shown until then.
fn begun<'a>(s: &Situation<'a>, part: &Part<'_>) -> Vec<&'a Container> {
    let begun = |c: &&Container| is_over(c) || (is_running(c) && !s.progress.post_start.contains_key(&c.id.0));
    s.seen.instances(part.name()).into_iter().map(|i| i.container).filter(begun).collect()
}

/// What is shown of a container that has an instance on this machine.
fn from_instance(s: &Situation<'_>, part: &Part<'_>, c: &Container) -> core::ContainerStatus {
    let id = &c.id.0;
    let notes = &c.spec.annotations;
    let mut status = core::ContainerStatus {
        name: part.name().to_owned(),
        image: notes.get(NOTE_IMAGE_NAME).cloned().unwrap_or_else(|| c.spec.image_name.clone()),
        image_id: notes.get(NOTE_IMAGE_REF).cloned().unwrap_or_else(|| c.spec.image.clone()),
        container_id: Some(format!("{}://{id}", s.facts.runtime)),
        restart_count: i32::try_from(c.spec.attempt).unwrap_or(i32::MAX),
        started: Some(false),
        stop_signal: notes.get(NOTE_STOP_SIGNAL).cloned(),
        user: Some(user(c)),
        ..Default::default()
    };
    match &c.phase {
        Phase::Running { .. } => {
            let started_at = started_at(c).map(Time);
            status.state = Some(core::ContainerState {
                running: Some(core::ContainerStateRunning { started_at }),
                ..Default::default()
            });
            let started = s.has_started(part, id) || was(s, part, id, |o| o.started.unwrap_or(false));
            status.started = Some(started);
            status.ready = started && is_ready(s, part, id);
        }
        Phase::Created => {}
        Phase::Exited { .. } | Phase::Unknown { .. } => {
            status.state = terminated(s, c).map(in_terminated);
            status.ready = part.role == Role::Init && exit_code(c) == Some(0);
        }
    }
    resources(s.pod, part, c, &mut status);
    status
}

/// Ready as soon as started, unless a readiness probe says otherwise; kept over an agent's restart.
fn is_ready(s: &Situation<'_>, part: &Part<'_>, id: &str) -> bool {
    if part.role == Role::Init || part.role == Role::Ephemeral {
        return false;
    }
    if probes::probe_of(part, ProbeKind::Readiness).is_none() {
        return true;
    }
    match s.progress.probes.get(&(id.to_owned(), ProbeKind::Readiness)).and_then(|p| p.result) {
        Some(result) => result,
        None => was(s, part, id, |old| old.ready),
    }
}

/// What the API says of the very same instance.
fn was(s: &Situation<'_>, part: &Part<'_>, id: &str, what: impl Fn(&core::ContainerStatus) -> bool) -> bool {
    let old = pod::old_status(s.pod, part.name());
    let same = old.filter(|o| o.container_id.as_deref().is_some_and(|full| full.ends_with(id)));
    same.is_some_and(what)
}

/// No instance here: waiting for the first one, or what the API remembers.
fn without_instance(s: &Situation<'_>, part: &Part<'_>, old: Option<&core::ContainerStatus>) -> core::ContainerStatus {
    let mut status = core::ContainerStatus {
        name: part.name().to_owned(),
        image: part.image().to_owned(),
        started: Some(false),
        state: Some(waiting(s)),
        volume_mounts: volume_mounts(part),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    if old.state.as_ref().is_some_and(|st| st.terminated.is_some()) {
        return core::ContainerStatus { ready: part.role == Role::Init && old.ready, ..old.clone() };
    }
    status.restart_count = old.restart_count;
    status.last_state = old.last_state.clone();
    if old.state.as_ref().is_none_or(|st| st.running.is_none()) {
        return status;
    }
    // It ran when last reported, and is gone without a trace.
    let restarts = regular::ended_code(s, part).is_none_or(|code| pod::restarts_after(s.pod, part, code));
    let gone = |message: &str| core::ContainerStateTerminated {
        exit_code: 137,
        reason: Some(UNKNOWN.into()),
        message: Some(message.into()),
        ..Default::default()
    };
    if !restarts {
        status.state = Some(in_terminated(gone(NOT_LOCATED)));
        status.container_id = old.container_id.clone();
        status.image_id = old.image_id.clone();
    } else if status.last_state.as_ref().is_none_or(|l| l.terminated.is_none()) {
        status.last_state = Some(in_terminated(gone(USED_TO_RUN)));
        if !pod::is_deleting(s.pod) {
            status.restart_count += 1;
        }
    }
    status
}

/// A reason why it waits replaces the state it had, if it is to run again.
fn apply_waiting(s: &Situation<'_>, part: &Part<'_>, shown: Option<&Container>, status: &mut core::ContainerStatus) {
    let Some(why) = s.progress.waiting.get(part.name()) else { return };
    if s.progress.ending.is_some() || pod::is_deleting(s.pod) {
        return;
    }
    let goes_on = match shown {
        Some(c) => is_running(c) || !pod::restarts_after(s.pod, part, exit_code(c).unwrap_or(255)),
        // The first one is still ending after its hook.
        None => s.seen.latest(part.name()).is_some_and(|latest| is_running(latest.container)),
    };
    if goes_on {
        return;
    }
    if let Some(state) = status.state.take().filter(|st| st.terminated.is_some()) {
        status.last_state = Some(state);
    }
    let message = (!why.message.is_empty()).then(|| why.message.clone());
    status.state = Some(core::ContainerState {
        waiting: Some(core::ContainerStateWaiting { reason: Some(why.why.reason().to_owned()), message }),
        ..Default::default()
    });
}

/// The final status of a pod that was ended: what never ended properly is called unknown
/// (status manager TerminatePod).
pub fn close(pod: &core::Pod, status: &mut core::PodStatus) {
    let unknown = || {
        in_terminated(core::ContainerStateTerminated {
            exit_code: 137,
            reason: Some(UNKNOWN.into()),
            message: Some(NOT_LOCATED.into()),
            ..Default::default()
        })
    };
    let is_waiting = |c: &core::ContainerStatus| c.state.as_ref().is_none_or(|st| st.waiting.is_some());
    let ended_before = |c: &core::ContainerStatus| c.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
    let ended = |c: &core::ContainerStatus| c.state.as_ref().is_some_and(|st| st.terminated.is_some());
    let initialized = {
        let no_init = pod.spec.as_ref().is_none_or(|s| s.init_containers.as_ref().is_none_or(Vec::is_empty));
        let regular_ran = status.container_statuses.iter().flatten().any(|c| ended_before(c) || !is_waiting(c));
        let last_init_ok = status.init_container_statuses.iter().flatten().last().is_some_and(|c| {
            [&c.state, &c.last_state]
                .into_iter()
                .flatten()
                .any(|st| st.terminated.as_ref().is_some_and(|t| t.exit_code == 0))
        });
        no_init || regular_ran || last_init_ok
    };
    if initialized {
        for c in status.container_statuses.iter_mut().flatten().filter(|c| !ended(c)) {
            c.state = Some(unknown());
        }
    }
    if let Some(inits) = &mut status.init_container_statuses {
        let reached = inits.iter().rposition(|c| !is_waiting(c) || ended_before(c)).map_or(1, |i| i + 1);
        for c in inits.iter_mut().take(reached).filter(|c| !ended(c)) {
            c.state = Some(unknown());
        }
    }
    for c in status.container_statuses.iter_mut().flatten() {
        c.ready = false;
        c.started = Some(false);
    }
}

fn waiting(s: &Situation<'_>) -> core::ContainerState {
    let inits = s.pod.spec.as_ref().and_then(|spec| spec.init_containers.as_ref()).is_some_and(|i| !i.is_empty());
    let reason = if inits { "PodInitializing" } else { "ContainerCreating" };
    core::ContainerState {
        waiting: Some(core::ContainerStateWaiting { reason: Some(reason.into()), message: None }),
        ..Default::default()
    }
}

fn in_terminated(t: core::ContainerStateTerminated) -> core::ContainerState {
    core::ContainerState { terminated: Some(t), ..Default::default() }
}

/// How an instance ended; reasons as containerd gives them.
fn terminated(s: &Situation<'_>, c: &Container) -> Option<core::ContainerStateTerminated> {
    let code = exit_code(c)?;
    let told = s.progress.messages.get(&c.id.0).filter(|m| !m.is_empty()).cloned();
    // The file goes with the pod's volumes; what was reported stays.
    let told = told.or_else(|| reported_message(s, c)).unwrap_or_default();
    let (reason, own) = match &c.phase {
        Phase::Exited { exit, .. } if !exit.start_error.is_empty() => ("StartError", exit.start_error.clone()),
        Phase::Exited { exit, .. } if exit.oom_killed => ("OOMKilled", String::new()),
        Phase::Exited { .. } if code == 0 => ("Completed", String::new()),
        Phase::Exited { .. } => ("Error", String::new()),
        _ => ("Unknown", String::new()),
    };
    let message = match (own.is_empty(), told.is_empty()) {
        (true, true) => None,
        (true, false) => Some(told),
        (false, true) => Some(own),
        (false, false) if told.starts_with(&own) => Some(told),
        (false, false) => Some(format!("{own}: {told}")),
    };
    Some(core::ContainerStateTerminated {
        container_id: Some(format!("{}://{}", s.facts.runtime, c.id.0)),
        exit_code: code,
        reason: Some(reason.into()),
        message,
        // A container that never ran shows the epoch, as containerd's StartError does.
        started_at: Some(Time(started_at(c).unwrap_or(jiff::Timestamp::UNIX_EPOCH))),
        finished_at: finished_at(c).map(Time),
        signal: None,
    })
}

fn reported_message(s: &Situation<'_>, c: &Container) -> Option<String> {
    let old = pod::old_status(s.pod, &c.spec.name)?;
    let ends = [&old.state, &old.last_state].into_iter().flatten().filter_map(|st| st.terminated.as_ref());
    let same = |t: &&core::ContainerStateTerminated| t.container_id.as_ref().is_some_and(|id| id.ends_with(&c.id.0));
    ends.filter(same).find_map(|t| t.message.clone())
}

fn user(c: &Container) -> core::ContainerUser {
    let user = &c.spec.user;
    // As CRI tells it: the primary group stands among the supplementary ones.
    let mut groups: Vec<i64> = vec![i64::from(user.gid)];
    groups.extend(user.groups.iter().map(|g| i64::from(*g)).filter(|g| *g != i64::from(user.gid)));
    core::ContainerUser {
        linux: Some(core::LinuxContainerUser {
            uid: i64::from(user.uid),
            gid: i64::from(user.gid),
            supplemental_groups: Some(groups),
        }),
    }
}

fn volume_mounts(part: &Part<'_>) -> Option<Vec<core::VolumeMountStatus>> {
    let mounts: Vec<_> = part
        .spec
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| {
            let read_only = m.read_only.unwrap_or(false);
            let recursive = matches!(m.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
            core::VolumeMountStatus {
                name: m.name.clone(),
                mount_path: m.mount_path.clone(),
                read_only: read_only.then_some(true),
                recursive_read_only: read_only.then(|| if recursive { "Enabled" } else { "Disabled" }.to_owned()),
                volume_status: None,
            }
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// What the cgroup was given, in the pod's own words; what was admitted.
fn resources(pod: &core::Pod, part: &Part<'_>, c: &Container, status: &mut core::ContainerStatus) {
    // Where the cgroup has what the pod says, the pod's own words; else what it was started with.
    let now = c.spec.resources == cgroup::container_resources(pod, part.spec.resources.as_ref());
    let given: Option<core::ResourceRequirements> =
        if now { part.spec.resources.clone() } else { pod::noted_resources(c) };
    let admitted = part.spec.resources.as_ref();
    status.allocated_resources = admitted.and_then(|r| r.requests.clone()).filter(|r| !r.is_empty());
    // What does not run has what it would be given (kubelet_pods.go convertContainerStatusResources).
    let shown = if is_running(c) { given } else { admitted.cloned() };
    status.resources = Some(core::ResourceRequirements { claims: None, ..shown.unwrap_or_default() });
}
