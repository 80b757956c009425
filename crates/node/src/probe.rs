//! One attempt of a probe or hook, and what came of it: a table of ways to ask, one file each.
//!
//! Thresholds and periods are the plan's; here is only the attempt. Matches pkg/probe upstream:
//! a failure is an answer, an error means that nobody could ask.

use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::IntOrString;
use crate::view::{Container, LifecycleHandler, Probe};
use runtime::{ContainerId, Engine};

mod exec;
mod grpc;
mod http;
mod sleep;
mod tcp;

/// None: the probe asks in another way.
type ProbeWay = for<'a> fn(&'a Probe, &'a Target<'a>, Duration) -> Option<Boxed<'a, Answer>>;
/// None: it is another sort of hook.
type HookWay = for<'a> fn(&'a LifecycleHandler, &'a Target<'a>, Duration) -> Option<Boxed<'a, Answer>>;

static PROBES: &[ProbeWay] = &[exec::probe, http::probe, tcp::probe, grpc::probe];
/// TCP is accepted and fails.
static HOOKS: &[HookWay] = &[exec::hook, http::hook, sleep::hook];

/// What an attempt found.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Success,
    /// A success with something to say: event ProbeWarning.
    Warning(String),
    Failure(String),
    /// Nobody could ask: the last result stands.
    Error(String),
    /// It was asked, and the answer was lost: it stands for nothing.
    Unknown(String),
}

impl Answer {
    /// None: it stands for nothing.
    pub fn success(&self) -> Option<bool> {
        match self {
            Answer::Success | Answer::Warning(_) => Some(true),
            Answer::Failure(_) => Some(false),
            Answer::Error(_) | Answer::Unknown(_) => None,
        }
    }
}

/// Whom an attempt asks.
pub struct Target<'a> {
    pub engine: &'a dyn Engine,
    pub container: &'a Container,
    pub id: &'a ContainerId,
    /// Empty while the pod has none: an error for network probes.
    pub pod_ip: &'a str,
    /// A command under a name that this container knows is the same run, and not begun again.
    pub run: &'a str,
}

/// Runs the probe once, within its own time-out.
pub async fn probe(probe: &Probe, target: &Target<'_>) -> Answer {
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1) as u64);
    match PROBES.iter().find_map(|way| way(probe, target, limit)) {
        Some(attempt) => attempt.await,
        None => Answer::Error(format!("missing probe handler for {}", target.container.name)),
    }
}

/// Runs the hook once.
pub async fn hook(handler: &LifecycleHandler, target: &Target<'_>, limit: Duration) -> Answer {
    match HOOKS.iter().find_map(|way| way(handler, target, limit)) {
        Some(attempt) => attempt.await,
        None => Answer::Error("a handler must be exec, httpGet or sleep".into()),
    }
}

/// Whom to ask: the host that is named, else the pod.
fn address<'a>(host: Option<&'a str>, port: &IntOrString, target: &Target<'a>) -> Result<(&'a str, u16), String> {
    let host = host.filter(|host| !host.is_empty()).unwrap_or(target.pod_ip);
    number_of(port, target.container).map(|port| (host, port))
}

/// A number, or the container's port of that name.
fn number_of(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
            match (named, name.parse()) {
                (Some(port), _) => port.container_port,
                (None, Ok(number)) => number,
                // The text of Go's strconv.Atoi, which clients know.
                (None, Err(_)) => return Err(format!("strconv.Atoi: parsing {name:?}: invalid syntax")),
            }
        }
    };
    u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

#[cfg(test)]
mod tests;
