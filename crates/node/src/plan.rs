//! What is to be done for one pod now: pure, synchronous, empty at the fixpoint.
//!
//! `plan(situation) → Plan`: actions, and the moment at which time alone would change the answer.
//! The actor performs the actions, looks again and plans again. Upstream's counterpart is
//! kuberuntime's computePodActions together with the pod workers' states.

/// Restart back-off, anchored at an instance's end.
pub mod backoff;
/// Init containers in order, with sidecars among them.
pub mod init;
/// When each probe of a running container is due.
pub mod probes;
/// Containers that should be running.
pub mod regular;
/// Limits of running containers that are no longer what their pod says.
pub mod resize;
/// Stopping a container, and a whole pod.
pub mod termination;

use crate::view as core;
use jiff::{SignedDuration, Timestamp};

use crate::observe::{Seen, attempt_of};
use crate::pod::{self, Part, Role};
use crate::progress::{Cause, Job, ProbeKind, Progress, Stage, Verdict, Why};

/// Seconds that an evicted pod is left (eviction_manager.go immediateEvictionGracePeriodSeconds).
const EVICTION_GRACE: i64 = 1;

/// All that a plan may depend on.
pub struct Situation<'a> {
    pub pod: &'a core::Pod,
    pub seen: &'a Seen,
    pub progress: &'a Progress,
    pub facts: &'a Facts,
    /// False once the pod is no longer in the API (or its manifest is gone).
    pub wanted: bool,
    /// The server has accepted the status that `report` gives for what is seen.
    pub settled: bool,
    pub now: Timestamp,
}

impl Situation<'_> {
    /// A regular container exists in the living sandbox.
    pub fn is_initialized(&self, parts: &[Part<'_>]) -> bool {
        parts.iter().any(|p| p.role == Role::Regular && self.seen.latest_here(p.name()).is_some())
    }

    /// Its postStart hook is done and its startup probe has passed: the status field `started`.
    pub fn has_started(&self, part: &Part<'_>, id: &str) -> bool {
        if self.progress.post_start.contains_key(id) {
            return false;
        }
        if part.spec.startup_probe.is_none() {
            return true;
        }
        match self.progress.probes.get(&(id.to_owned(), ProbeKind::Startup)) {
            Some(state) => state.result == Some(true),
            None => false,
        }
    }
}

/// What plan and report know of the node.
#[derive(Clone, Debug)]
pub struct Facts {
    pub node_name: String,
    /// In order of preference.
    pub host_ips: Vec<String>,
    /// `gousse` in `gousse://<id>`.
    pub runtime: String,
    /// Cap of the restart back-off (maxContainerRestartPeriod).
    pub backoff_max: SignedDuration,
}

/// One idempotent step on runtime, network or volumes, or one note to remember.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    PrepareVolumes,
    /// Network and sandbox; `changed` where a former one was lost.
    RunSandbox {
        attempt: u32,
        changed: bool,
    },
    /// Image, environment, create, start, postStart. `backoff`: seconds that apply after its end.
    Start {
        name: String,
        attempt: u32,
        backoff: i64,
    },
    RemoveContainer {
        id: String,
    },
    /// Why a container waits; told as an event too.
    NoteWaiting {
        name: String,
        why: Why,
        message: String,
    },
    BeginStop {
        id: String,
        name: String,
        grace: i64,
        message: String,
        replace: bool,
    },
    PreStop {
        id: String,
        name: String,
        budget: i64,
    },
    /// The stop signal; KILL follows after so many seconds.
    StopSignal {
        id: String,
        kill_after: i64,
    },
    Kill {
        id: String,
    },
    Probe {
        id: String,
        name: String,
        kind: ProbeKind,
    },
    /// The pod's end begins, or its grace shrinks.
    BeginEnding {
        grace: i64,
        verdict: Option<Verdict>,
    },
    /// Kills what is left in it and lets its network go.
    StopSandbox {
        id: String,
    },
    TeardownVolumes,
    /// Forgets all sandboxes, then deletes the object at the server if it is to go.
    Finish,
    /// New limits for the pod and its running containers.
    Resize,
}

/// The actions due now, and when to look again if nothing else happens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    pub(crate) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}

pub fn plan(s: &Situation<'_>) -> Plan {
    tracing::trace!(target: "walk", verb = "plan", name = s.pod.metadata.name.as_deref());
    let mut out = Plan::default();
    if s.progress.invalid && s.wanted && !pod::is_deleting(s.pod) {
        return out;
    }
    match end_of(s, &mut out) {
        Some(end) => termination::end(s, &mut out, end),
        None => run(s, &mut out),
    }
    out
}

/// Why a pod has to end.
pub struct End {
    pub grace: i64,
    pub verdict: Option<Verdict>,
}

/// Whether, and with what grace, the pod is to end. Order: gone, evicted, deleted, deadline, done.
fn end_of(s: &Situation<'_>, out: &mut Plan) -> Option<End> {
    let spec_grace = pod::spec_grace(s.pod).max(1);
    if !s.wanted && !pod::is_static(s.pod) {
        // Unknown to the server: ended shortly (pod_workers.go).
        return Some(End { grace: 1, verdict: None });
    }
    if !s.wanted {
        return Some(End { grace: spec_grace, verdict: None });
    }
    let evicted = s.progress.evicted.as_ref().filter(|_| !pod::is_terminal(pod::phase(s.pod)));
    if let Some(verdict) = evicted {
        // A pod that is being deleted has no longer than any other.
        return Some(End { grace: EVICTION_GRACE, verdict: Some(verdict.clone()) });
    }
    if pod::is_deleting(s.pod) {
        let recorded = s.pod.metadata.deletion_grace_period_seconds;
        return Some(End { grace: recorded.unwrap_or(spec_grace).max(1), verdict: None });
    }
    if let Some(refused) = &s.progress.refused {
        return Some(End { grace: 1, verdict: Some(refused.clone()) });
    }
    if pod::is_terminal(pod::phase(s.pod)) {
        return Some(End { grace: spec_grace, verdict: None });
    }
    if let Some(ending) = &s.progress.ending {
        return Some(End { grace: ending.grace, verdict: ending.verdict.clone() });
    }
    if let Some(deadline) = deadline(s) {
        if s.now >= deadline {
            return Some(End { grace: spec_grace, verdict: Some(deadline_exceeded()) });
        }
        out.wake(deadline);
    }
    regular::is_finished(s).then_some(End { grace: spec_grace, verdict: None })
}

/// Start time plus activeDeadlineSeconds (kubelet active_deadline.go).
fn deadline(s: &Situation<'_>) -> Option<Timestamp> {
    let seconds = s.pod.spec.as_ref()?.active_deadline_seconds?;
    Some(api::later(start_time(s.pod, s.progress), seconds))
}

pub fn start_time(pod: &core::Pod, progress: &Progress) -> Timestamp {
    pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or(progress.born, |t| t.0)
}

fn deadline_exceeded() -> Verdict {
    Verdict {
        cause: Cause::DeadlineExceeded,
        message: "Pod was active on the node longer than the specified deadline".into(),
        disruption: false,
    }
}

/// Volumes and sandbox side by side, then init containers, then the regular ones.
fn run(s: &Situation<'_>, out: &mut Plan) {
    let volumes = stage(s, out, &s.progress.volumes, Job::Volumes, Action::PrepareVolumes);
    let Some(sandbox) = s.seen.current() else {
        return replace_sandbox(s, out);
    };
    if !volumes {
        return;
    }
    for part in pod::parts(s.pod).iter().filter(|p| p.role == Role::Ephemeral) {
        ephemeral(s, out, part);
    }
    if init::plan(s, out) {
        regular::plan(s, out);
    }
    resize::plan(s, out);
    regular::prune(s, out, sandbox);
}

/// Once: one that has run is not run again, in whatever sandbox that was.
fn ephemeral(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>) {
    if s.seen.latest_begun(part.name()).is_some() {
        return;
    }
    match s.seen.latest_here(part.name()) {
        Some(created) => regular::recover(s, out, part, created),
        None => regular::start(s, out, part),
    }
}

/// A lost sandbox is let go, then the next one made.
fn replace_sandbox(s: &Situation<'_>, out: &mut Plan) {
    let latest = s.seen.latest_sandbox();
    for old in &s.seen.sandboxes {
        let job = Job::StopSandbox(old.id.0.clone());
        if s.seen.attached.contains(&old.id.0) || old.ready {
            if !s.progress.busy.contains(&job) {
                out.push(Action::StopSandbox { id: old.id.0.clone() });
            }
            return;
        }
    }
    let attempt = latest.map_or(0, |old| attempt_of(old) + 1);
    stage(s, out, &s.progress.sandbox, Job::Sandbox, Action::RunSandbox { attempt, changed: latest.is_some() });
}

/// True once a stage is ready; else plans it, unless it is under way or backing off.
fn stage(s: &Situation<'_>, out: &mut Plan, stage: &Stage, job: Job, action: Action) -> bool {
    match stage {
        _ if s.progress.busy.contains(&job) => {}
        // A sandbox that was ready and is gone again is made anew.
        Stage::Ready if job != Job::Sandbox => return true,
        Stage::Failed(at) if s.now < *at => out.wake(*at),
        _ => out.push(action),
    }
    false
}

#[cfg(test)]
mod tests;
