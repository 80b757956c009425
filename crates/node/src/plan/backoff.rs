//! Restart back-off: first restart at once, then 10 s doubling to the cap, counted from the end.
//!
//! The level is kept in the container's annotation (the delay that applies once it has ended), so it
//! survives the agent. Upstream: client-go flowcontrol.Backoff as kuberuntime's doBackOff uses it.

use jiff::{SignedDuration, Timestamp};

pub const FIRST: SignedDuration = SignedDuration::from_secs(10);

/// The former instance, as far as back-off is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    pub created_at: Timestamp,
    pub finished_at: Timestamp,
    /// Delay that applies after its end; zero: none.
    pub delay: SignedDuration,
    /// Same container, same image: else the back-off starts anew.
    pub same: bool,
    /// The node itself stopped it: upstream starts the next one in that step, when it has not seen this end
    /// yet and judges by the instance before (kuberuntime doBackOff). When that one ended, if there was one.
    pub stopped: Option<Option<Timestamp>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Start now; the new instance carries this delay.
    Start(SignedDuration),
    /// Not before `until`.
    Wait { until: Timestamp, delay: SignedDuration },
}

pub fn next(past: Option<Past>, now: Timestamp, max: SignedDuration) -> Next {
    let Some(past) = past else { return Next::Start(SignedDuration::ZERO) };
    let expired = past.finished_at.duration_since(past.created_at) > max * 2;
    let same = past.same && !expired;
    match past.stopped {
        Some(None) if same => return Next::Start(past.delay),
        Some(Some(before)) if same && past.finished_at >= before + past.delay => {
            return Next::Start((past.delay * 2).clamp(FIRST.min(max), max));
        }
        _ => {}
    }
    if past.delay.is_zero() || !same {
        return Next::Start(FIRST.min(max));
    }
    let until = past.finished_at + past.delay;
    if now < until {
        return Next::Wait { until, delay: past.delay };
    }
    Next::Start((past.delay * 2).min(max))
}

/// As Go prints a duration of whole seconds: `10s`, `1m20s`, `5m0s`, `1h0m0s`.
pub fn go_duration(d: SignedDuration) -> String {
    let seconds = d.as_secs();
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3600 => format!("{}m{}s", s / 60, s % 60),
        s => format!("{}h{}m{}s", s / 3600, s % 3600 / 60, s % 60),
    }
}

#[cfg(test)]
mod tests;
