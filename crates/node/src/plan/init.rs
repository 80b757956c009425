//! Init containers one after the other, sidecars kept running among them.
//!
//! Only the furthest one reached decides what follows; earlier sidecars are merely kept alive. Once a
//! regular container exists in the sandbox the pod is initialized for good (computeInitContainerActions).

use crate::observe::{exit_code, is_over, is_running};
use crate::plan::{Plan, Situation, regular};
use crate::pod::{self, Part, Role};
use crate::progress::PostStart;

/// True where the regular containers may run.
pub fn plan(s: &Situation<'_>, out: &mut Plan) -> bool {
    let parts = pod::parts(s.pod);
    let inits: Vec<&Part<'_>> = parts.iter().filter(|p| matches!(p.role, Role::Init | Role::Sidecar)).collect();
    if inits.is_empty() {
        return true;
    }
    if s.is_initialized(&parts) {
        for sidecar in inits.iter().filter(|p| p.role == Role::Sidecar) {
            regular::keep(s, out, sidecar);
        }
        return true;
    }
    let Some(reached) = inits.iter().rposition(|p| s.seen.latest_here(p.name()).is_some()) else {
        regular::start(s, out, inits[0]);
        return false;
    };
    for sidecar in inits[..reached].iter().filter(|p| p.role == Role::Sidecar) {
        regular::keep(s, out, sidecar);
    }
    if !is_passed(s, out, inits[reached]) {
        return false;
    }
    match inits.get(reached + 1) {
        Some(next) => {
            regular::start(s, out, next);
            false
        }
        None => true,
    }
}

/// The furthest container reached lets its follower start; else what it needs is planned.
fn is_passed(s: &Situation<'_>, out: &mut Plan, part: &Part<'_>) -> bool {
    if part.role == Role::Sidecar {
        regular::keep(s, out, part);
        let Some(c) = s.seen.latest_here(part.name()) else { return false };
        return is_running(c) && s.has_started(part, &c.id.0);
    }
    let Some(c) = s.seen.latest_here(part.name()) else { return false };
    if is_over(c) && exit_code(c) == Some(0) {
        return true;
    }
    if is_over(c) {
        if pod::restarts_after(s.pod, part, exit_code(c).unwrap_or(255)) {
            regular::start(s, out, part);
        }
    } else if !is_running(c) {
        regular::recover(s, out, part, c);
    } else if s.progress.post_start.get(&c.id.0) == Some(&PostStart::Failed) || s.progress.stops.contains_key(&c.id.0) {
        regular::keep(s, out, part);
    }
    false
}
