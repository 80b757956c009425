//! Pending, Running, Succeeded, Failed: from the container statuses alone.
//!
//! Upstream: kubelet_pods.go getPhase. Sidecars count while the pod starts and as running ones; once
//! they have ended they decide nothing.

use crate::view as core;

use crate::pod::{self, Role};

/// `over`: the pod was ended by deletion, deadline or eviction and nothing of it runs any more; the
/// restart policy no longer counts then (static pods are exempt).
pub fn phase_of(pod: &core::Pod, status: &core::PodStatus, over: bool) -> &'static str {
    let find = |name: &str| {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        lists.into_iter().flatten().flatten().find(|c| c.name == name)
    };
    let parts = pod::parts(pod);
    let (mut pending_init, mut failed_init) = (0, 0);
    let (mut unknown, mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0, 0);
    let mut regular_started = false;
    let never = pod::restart_policy(pod) == "Never";
    // Whether something that stopped will run again, by the containers' own rules too.
    let mut restarting = false;
    for part in parts.iter().filter(|p| p.role != Role::Ephemeral) {
        let found = find(part.name());
        let state = found.and_then(|c| c.state.as_ref());
        let last = found.and_then(|c| c.last_state.as_ref()).and_then(|l| l.terminated.as_ref());
        let is_running = state.is_some_and(|st| st.running.is_some());
        let ended = state.and_then(|st| st.terminated.as_ref());
        let restarts = |code: i32| pod::restarts_after(pod, part, code);
        match part.role {
            Role::Init => match (is_running, ended.or(last)) {
                (true, _) | (false, None) => pending_init += 1,
                (false, Some(end)) if end.exit_code != 0 => failed_init += i32::from(!restarts(end.exit_code) || never),
                _ => {}
            },
            Role::Sidecar => {
                let started = found.and_then(|c| c.started).unwrap_or(false);
                if is_running {
                    running += 1;
                    pending_init += i32::from(!started);
                } else if ended.is_none() && last.is_none() {
                    pending_init += 1;
                    waiting += 1;
                }
            }
            Role::Regular if is_running => {
                running += 1;
                regular_started = true;
            }
            Role::Regular => match (ended, last, found) {
                (Some(end), _, _) => {
                    regular_started = true;
                    stopped += 1;
                    succeeded += i32::from(end.exit_code == 0);
                    restarting |= restarts(end.exit_code);
                }
                (None, Some(_), _) => {
                    regular_started = true;
                    stopped += 1;
                    restarting = true;
                }
                (None, None, Some(_)) => waiting += 1,
                (None, None, None) => unknown += 1,
            },
            Role::Ephemeral => {}
        }
    }
    let init_pending = parts.iter().any(|p| p.role == Role::Init && init_is_pending(p, find(p.name())));
    if failed_init > 0 && (!regular_started || never) {
        return "Failed";
    }
    match () {
        () if (pending_init > 0 || init_pending) && !regular_started => "Pending",
        () if waiting > 0 => "Pending",
        () if running > 0 && unknown == 0 => "Running",
        () if running == 0 && stopped > 0 && unknown == 0 => {
            let terminal = over && !pod::is_static(pod);
            match (terminal, restarting) {
                (false, true) => "Running",
                _ if stopped == succeeded => "Succeeded",
                _ => "Failed",
            }
        }
        () => "Pending",
    }
}

/// A failed init container that is to run again has not finished.
fn init_is_pending(part: &pod::Part<'_>, status: Option<&core::ContainerStatus>) -> bool {
    debug_assert!(part.role == Role::Init);
    let Some(status) = status else { return true };
    let done = status.state.as_ref().and_then(|st| st.terminated.as_ref());
    done.is_none_or(|end| end.exit_code != 0)
}
