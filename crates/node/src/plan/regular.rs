//! Containers that should be running: started, kept, replaced, restarted after their back-off.

use jiff::{SignedDuration, Timestamp};
use runtime::{Container, Sandbox};

use crate::observe::{exit_code, finished_at, is_over, is_running, time};
use crate::plan::backoff::{self, Next, Past, go_duration};
use crate::plan::resize::{self, Step};
use crate::plan::{Action, Plan, Situation, probes, termination};
use crate::pod::{self, NOTE_BACKOFF, Part, Role};
use crate::progress::{Job, PostStart, ProbeKind, Why};

/// Instances kept of each container: the current one and the one before (for `logs -p`).
const KEPT: usize = 2;

/// All regular containers, side by side, and the ephemeral ones' probes-free life.
pub fn plan(s: &Situation<'_>, out: &mut Plan) {
    for part in pod::parts(s.pod).iter().filter(|p| p.role == Role::Regular) {
        keep(s, out, part);
    }
}

/// One container that should be running.
pub fn keep(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>) {
    let Some(c) = s.seen.latest_here(part.name()) else {
        // Ended in a former sandbox: the policy decides whether it runs in this one.
        if ended_code(s, part).is_none_or(|code| pod::restarts_after(s.pod, part, code)) {
            start(s, out, part);
        }
        return;
    };
    let id = c.id.0.as_str();
    if is_over(c) {
        let replaced = s.progress.stops.get(id).is_some_and(|stop| stop.replace);
        if replaced || pod::restarts_after(s.pod, part, exit_code(c).unwrap_or(255)) {
            start(s, out, part);
        }
    } else if !is_running(c) {
        recover(s, out, part, c);
    } else if let Some(stop) = s.progress.stops.get(id) {
        termination::step(s, out, part, c, stop, true);
    } else if let Some((message, grace, replace)) = reason_to_stop(s, part, c) {
        let name = part.name().to_owned();
        out.push(Action::BeginStop { id: id.to_owned(), name, grace, message, replace });
    } else {
        probes::plan(s, out, part, c);
    }
}

/// Why a running container must be stopped: the message, the grace, and whether it is replaced anyhow.
fn reason_to_stop(s: &Situation<'_>, part: &Part<'_>, c: &Container) -> Option<(String, i64, bool)> {
    let id = &c.id.0;
    let name = part.name();
    let grace = pod::spec_grace(s.pod).max(1);
    let restarts = pod::restarts_after(s.pod, part, 137);
    let tail = if restarts { ", will be restarted" } else { "" };
    if c.spec.image_name != part.image() && part.role != Role::Init {
        return Some((format!("Container {name} definition changed, will be restarted"), grace, true));
    }
    if resize::step(s.pod, part, c) == Step::Restart {
        return Some((format!("Container {name} resize requires restart"), grace, true));
    }
    if s.progress.post_start.get(id) == Some(&PostStart::Failed) {
        return Some(("FailedPostStartHook".into(), grace, false));
    }
    for (kind, probe, word) in [
        (ProbeKind::Startup, &part.spec.startup_probe, "startup"),
        (ProbeKind::Liveness, &part.spec.liveness_probe, "liveness"),
    ] {
        let Some(probe) = probe else { continue };
        let failed = s.progress.probes.get(&(id.clone(), kind)).is_some_and(|p| p.result == Some(false));
        if failed {
            let grace = probe.termination_grace_period_seconds.unwrap_or(grace).max(1);
            return Some((format!("Container {name} failed {word} probe{tail}"), grace, false));
        }
    }
    None
}

/// Created and never started, because the agent died in between: made anew.
pub fn recover(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>, c: &Container) {
    if !s.progress.busy.contains(&Job::Start(part.name().to_owned())) {
        out.push(Action::RemoveContainer { id: c.id.0.clone() });
    }
}

/// Starts the next instance, unless it is under way or one of the back-offs says wait.
pub fn start(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>) {
    let name = part.name().to_owned();
    if s.progress.busy.contains(&Job::Start(name.clone())) {
        return;
    }
    let former = former(s, part);
    let delay = match backoff::next(former.map(|f| f.past), s.now, s.facts.backoff_max) {
        Next::Start(delay) => delay,
        Next::Wait { until, delay } => {
            note_crash_loop(s, out, part, delay);
            return out.wake(until);
        }
    };
    if let Some(at) = s.progress.retry_at.get(&name).filter(|at| s.now < **at) {
        return out.wake(*at);
    }
    let images = pod::images_of(s.pod, part);
    let mut pulls = images.into_iter().filter_map(|image| Some((image, s.progress.pulls.get(image)?)));
    if let Some((image, pull)) = pulls.find(|(_, pull)| s.now < pull.until) {
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {}", pull.error);
        let waits = s.progress.waiting.get(&name);
        if waits.is_none_or(|waits| !matches!(waits.why, Why::PullBackOff { .. })) {
            out.push(Action::NoteWaiting { name, why: Why::PullBackOff { image: image.to_owned() }, message });
        }
        return out.wake(pull.until);
    }
    let attempt = former.map_or(0, |f| f.attempt + 1);
    out.push(Action::Start { name, attempt, backoff: delay.as_secs() });
}

fn note_crash_loop(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>, delay: SignedDuration) {
    let name = part.name();
    let message =
        format!("back-off {} restarting failed container={name} pod={}", go_duration(delay), pod::full_name(s.pod));
    let waits = s.progress.waiting.get(name);
    if waits.is_none_or(|waits| waits.why != Why::CrashLoop || waits.message != message) {
        out.push(Action::NoteWaiting { name: name.to_owned(), why: Why::CrashLoop, message });
    }
}

/// The last instance that ran, whatever sandbox it was in, or what the API remembers of it.
#[derive(Clone, Copy)]
struct Former {
    attempt: u32,
    past: Past,
}

fn former(s: &Situation<'_>, part: &Part<'_>) -> Option<Former> {
    if let Some(instance) = s.seen.latest_begun(part.name()) {
        let c = instance.container;
        let seconds = c.spec.annotations.get(NOTE_BACKOFF).and_then(|b| b.parse().ok()).unwrap_or(0);
        // A finished init container that runs again in a new sandbox did not fail.
        let again = part.role == Role::Init && !instance.current;
        let past = Past {
            created_at: time(c.created_at),
            finished_at: finished_at(c).unwrap_or(s.now),
            delay: if again { SignedDuration::ZERO } else { SignedDuration::from_secs(seconds) },
            same: c.spec.image_name == part.image(),
            stopped: is_stopped(s, c).then(|| before(s, part, c)),
        };
        return Some(Former { attempt: c.spec.attempt, past });
    }
    let old = pod::old_status(s.pod, part.name())?;
    let ran = |state: &Option<crate::view::ContainerState>| {
        state.as_ref().is_some_and(|st| st.running.is_some() || st.terminated.is_some())
    };
    if !ran(&old.state) && !ran(&old.last_state) {
        return None;
    }
    let none = Past {
        created_at: Timestamp::MIN,
        finished_at: s.now,
        delay: SignedDuration::ZERO,
        same: false,
        stopped: None,
    };
    Some(Former { attempt: u32::try_from(old.restart_count).unwrap_or(0), past: none })
}

/// For a probe that failed or what was changed, not for its own hook: that is part of its start.
fn is_stopped(s: &Situation<'_>, c: &Container) -> bool {
    s.progress.stops.contains_key(&c.id.0) && !s.progress.post_start.contains_key(&c.id.0)
}

/// When the instance before this one ended.
fn before(s: &Situation<'_>, part: &Part<'_>, c: &Container) -> Option<Timestamp> {
    let older =
        s.seen.instances(part.name()).into_iter().map(|i| i.container).find(|o| o.spec.attempt < c.spec.attempt)?;
    finished_at(older)
}

/// The exit code of a container that is over: as observed, or as the API remembers an instance that
/// is no longer on this machine (137 where it was last seen running).
pub fn ended_code(s: &Situation<'_>, part: &Part<'_>) -> Option<i32> {
    if let Some(latest) = s.seen.latest(part.name()) {
        return exit_code(latest.container);
    }
    let state = pod::old_status(s.pod, part.name())?.state.as_ref()?;
    match (&state.terminated, &state.running) {
        (Some(t), _) => Some(t.exit_code),
        (None, Some(_)) => Some(137),
        _ => None,
    }
}

/// Nothing will run any more: an init container failed for good, or every regular one is over.
pub fn is_finished(s: &Situation<'_>) -> bool {
    let parts = pod::parts(s.pod);
    let done = |p: &Part<'_>| {
        let replaced = s
            .seen
            .latest(p.name())
            .is_some_and(|i| s.progress.stops.get(&i.container.id.0).is_some_and(|stop| stop.replace));
        !replaced && ended_code(s, p).is_some_and(|code| !pod::restarts_after(s.pod, p, code))
    };
    let mut regular = parts.iter().filter(|p| p.role == Role::Regular).peekable();
    if regular.peek().is_some() && regular.all(done) {
        return true;
    }
    if s.is_initialized(&parts) {
        return false;
    }
    parts.iter().filter(|p| p.role == Role::Init).any(|p| done(p) && ended_code(s, p).is_some_and(|code| code != 0))
}

/// Forgets instances beyond the two latest of each container.
pub fn prune(s: &Situation<'_>, out: &mut Plan, sandbox: &Sandbox) {
    for part in pod::parts(s.pod) {
        for old in s.seen.instances(part.name()).into_iter().skip(KEPT) {
            if is_over(old.container) && sandbox.containers.iter().any(|c| c.id == old.container.id) {
                out.push(Action::RemoveContainer { id: old.container.id.0.clone() });
            }
        }
    }
}
