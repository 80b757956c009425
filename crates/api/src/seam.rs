//! Time and randomness come through here, injected, so that the simulator can own them.
//!
//! Parts take these in their typed config. Waiting is tokio's (paused in the simulator); only the
//! wall clock and random bytes need a seam of their own.

use std::sync::Arc;

/// The wall clock.
pub type Clock = Arc<dyn Fn() -> jiff::Timestamp + Send + Sync>;

/// Fills a buffer with random bytes; in production the system's secure source.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A time as `metav1.Time` tells it: RFC 3339 in UTC, whole seconds.
pub fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time so many seconds on; the end of time where that leads beyond it. Users choose such numbers.
pub fn later(time: jiff::Timestamp, seconds: i64) -> jiff::Timestamp {
    time.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MAX)
}
