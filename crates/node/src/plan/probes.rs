//! When each probe of a running container is due; thresholds are kept in `progress::ProbeState`.
//!
//! Until the first result readiness counts as failed, liveness as fine, startup as unknown; the other
//! two wait for startup; liveness and startup pause after a failure until a new container runs, and
//! stop for good once the pod is being deleted (prober/worker.go).

use crate::view as core;
use jiff::{SignedDuration, Timestamp};
use runtime::Container;

use crate::observe::started_at;
use crate::plan::{Action, Plan, Situation};
use crate::pod::Part;
use crate::progress::{ProbeKind, ProbeState};

/// The probes of one running container that are due, and when the next is.
pub fn plan(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>, c: &Container) {
    let id = &c.id.0;
    if s.progress.post_start.contains_key(id) {
        return;
    }
    let started = s.has_started(part, id);
    let ending = s.progress.ending.is_some();
    for kind in [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness] {
        let Some(probe) = probe_of(part, kind) else { continue };
        let wanted = match kind {
            ProbeKind::Startup => !started && !ending,
            ProbeKind::Liveness => started && !ending,
            ProbeKind::Readiness => started,
        };
        let state = s.progress.probes.get(&(id.clone(), kind));
        let paused = kind != ProbeKind::Readiness && state.is_some_and(|p| p.result == Some(false));
        if !wanted || paused || state.is_some_and(|p| p.running) {
            continue;
        }
        let due = due(s, probe, c, state);
        if s.now < due {
            out.wake(due);
        } else {
            out.push(Action::Probe { id: id.clone(), name: part.name().to_owned(), kind });
        }
    }
}

pub fn probe_of<'a>(part: &'a Part<'_>, kind: ProbeKind) -> Option<&'a core::Probe> {
    match kind {
        ProbeKind::Startup => part.spec.startup_probe.as_ref(),
        ProbeKind::Liveness => part.spec.liveness_probe.as_ref(),
        ProbeKind::Readiness => part.spec.readiness_probe.as_ref(),
    }
}

fn due(s: &Situation<'_>, probe: &core::Probe, c: &Container, state: Option<&ProbeState>) -> Timestamp {
    if let Some(next) = state.and_then(|p| p.next_at) {
        return next;
    }
    let delay = i64::from(probe.initial_delay_seconds.unwrap_or(0));
    started_at(c).unwrap_or(s.now) + SignedDuration::from_secs(delay)
}

pub fn period(probe: &core::Probe) -> SignedDuration {
    SignedDuration::from_secs(i64::from(probe.period_seconds.unwrap_or(10).max(1)))
}
