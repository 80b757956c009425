//! Ending a container, and a pod: hook, turn, stop signal, kill; then sandbox, volumes, object.
//!
//! The order and the figures are kuberuntime's killContainer: the hook's whole seconds are taken off
//! the grace, a sidecar waits for its turn, then never less than two seconds between signal and kill.

use jiff::Timestamp;
use runtime::Container;

use crate::observe::is_running;
use crate::plan::{Action, End, Plan, Situation, probes};
use crate::pod::{self, Part, Role};
use crate::progress::{Ending, GRACE_FLOOR, Hook, Job, Stop};

/// The pod's end, from its first announcement to its removal.
pub fn end(s: &Situation<'_>, out: &mut Plan, end: End) {
    let Some(ending) = &s.progress.ending else {
        return out.push(Action::BeginEnding { grace: end.grace, verdict: end.verdict });
    };
    if end.grace < ending.grace {
        return out.push(Action::BeginEnding { grace: end.grace, verdict: end.verdict });
    }
    let parts = pod::parts(s.pod);
    let mut running = false;
    for c in s.seen.containers().filter(|c| is_running(c)) {
        running = true;
        let part = parts.iter().find(|p| p.name() == c.spec.name);
        stop_one(s, out, &parts, part, c, ending);
    }
    // Whoever still writes would make anew what the teardown removes.
    let writes = |j: &Job| matches!(j, Job::Start(_) | Job::Sandbox | Job::Volumes | Job::Refresh);
    if running || s.progress.busy.iter().any(writes) {
        return;
    }
    take_down(s, out);
}

/// One running container of an ending pod.
fn stop_one(
    s: &Situation<'_>,
    out: &mut Plan,
    parts: &[Part<'_>],
    part: Option<&Part<'_>>,
    c: &Container,
    ending: &Ending,
) {
    let Some(stop) = s.progress.stops.get(&c.id.0) else {
        let name = c.spec.name.clone();
        let message = format!("Stopping container {name}");
        return out.push(Action::BeginStop { id: c.id.0.clone(), name, grace: ending.grace, message, replace: false });
    };
    match part {
        Some(part) => {
            step(s, out, part, c, stop, is_turn(s, parts, part));
            // Readiness goes on, so that the endpoint can turn unready; the other probes stop.
            probes::plan(s, out, part, c);
        }
        // Nothing is known of it but that it runs: no hook, no order.
        None if stop.signalled.is_some() => kill_when_due(s, out, c, stop),
        None => out.push(Action::StopSignal { id: c.id.0.clone(), kill_after: stop.grace.max(GRACE_FLOOR) }),
    }
}

/// The next step of stopping one container; `turn`: nobody has to end before it.
pub fn step(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>, c: &Container, stop: &Stop, turn: bool) {
    if stop.signalled.is_some() {
        return kill_when_due(s, out, c, stop);
    }
    let ends = api::later(stop.since, stop.grace);
    let hook_end = match stop.hook {
        Hook::NotYet if part.pre_stop().is_some() && stop.grace > 0 => {
            let (id, name) = (c.id.0.clone(), part.name().to_owned());
            return out.push(Action::PreStop { id, name, budget: stop.grace });
        }
        Hook::NotYet => stop.since,
        Hook::Running if s.now < ends => return out.wake(ends),
        // Abandoned: it dies with the container.
        Hook::Running => ends,
        Hook::Done(at) => at.min(ends),
    };
    let left = stop.grace - whole_seconds(stop.since, hook_end);
    let expires = api::later(hook_end, left);
    if !turn && s.now < expires {
        return out.wake(expires);
    }
    let left = left - whole_seconds(hook_end, s.now);
    out.push(Action::StopSignal { id: c.id.0.clone(), kill_after: left.max(GRACE_FLOOR) });
}

fn kill_when_due(s: &Situation<'_>, out: &mut Plan, c: &Container, stop: &Stop) {
    match stop.kill_at {
        Some(at) if s.now < at => out.wake(at),
        Some(_) if !stop.killed => out.push(Action::Kill { id: c.id.0.clone() }),
        _ => {}
    }
}

fn whole_seconds(from: Timestamp, to: Timestamp) -> i64 {
    to.duration_since(from).as_secs().max(0)
}

/// Sidecars wait for the regular containers, then for the sidecars that were started after them
/// (KEP 753); all others stop at once.
fn is_turn(s: &Situation<'_>, parts: &[Part<'_>], part: &Part<'_>) -> bool {
    if part.role != Role::Sidecar {
        return true;
    }
    parts
        .iter()
        .filter(|p| match p.role {
            Role::Regular | Role::Init => true,
            Role::Sidecar => p.index > part.index,
            Role::Ephemeral => false,
        })
        .all(|p| !s.seen.instances(p.name()).iter().any(|i| is_running(i.container)))
}

/// Everything has stopped: sandbox and volumes go; the object too, once the server has its last status.
fn take_down(s: &Situation<'_>, out: &mut Plan) {
    let mut waiting = false;
    for sandbox in &s.seen.sandboxes {
        let id = sandbox.id.0.clone();
        if sandbox.ready || s.seen.attached.contains(&id) {
            waiting = true;
            if !s.progress.busy.contains(&Job::StopSandbox(id.clone())) {
                out.push(Action::StopSandbox { id });
            }
        }
    }
    if !s.progress.torn_down {
        waiting = true;
        if !s.progress.busy.contains(&Job::Teardown) {
            out.push(Action::TeardownVolumes);
        }
    }
    let goes = !s.wanted || pod::is_deleting(s.pod);
    if goes && !waiting && (s.settled || !s.wanted) && !s.progress.busy.contains(&Job::Finish) {
        out.push(Action::Finish);
    }
}
