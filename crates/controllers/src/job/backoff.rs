//! How long a Job waits after failures before it makes another pod. Pure.
//!
//! pkg/controller/job/backoff_utils.go.

use std::time::Duration;

use jiff::Timestamp;

use super::pod::JobPod;

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(600);

/// Failures since the last success, and when the last of them was. Kept in memory only: a controller that begins
/// anew does not wait for what it did not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub failures: i64,
    pub last: Option<Timestamp>,
}

impl Record {
    /// After these pods have ended, too.
    pub fn after(self, succeeded: &[&JobPod], failed: &[&JobPod]) -> Record {
        let last_success = succeeded.iter().map(|pod| pod.finished_at()).max();
        let failures = failed.iter().map(|pod| pod.finished_at());
        let since = failures.filter(|at| last_success.is_none_or(|success| *at > success));
        let since: Vec<Timestamp> = since.collect();
        let (before, last) = match last_success {
            Some(_) => (0, None),
            None => (self.failures, self.last),
        };
        Record { failures: before + since.len() as i64, last: since.into_iter().max().or(last) }
    }

    pub fn rest(&self, now: Timestamp) -> Duration {
        match self.last {
            Some(last) => rest(self.failures, last, now),
            None => Duration::ZERO,
        }
    }
}

/// What is left of the pause after so many failures, the last of which was then.
pub fn rest(failures: i64, last: Timestamp, now: Timestamp) -> Duration {
    if failures <= 0 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(6);
    let pause = (FIRST * 2_u32.pow(doublings)).min(MOST);
    match Duration::try_from(now.duration_since(last)) {
        Ok(elapsed) => pause.saturating_sub(elapsed),
        // In the future: the clocks differ.
        Err(_) => pause + Duration::try_from(last.duration_since(now)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_ten_minutes() {
        let last: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let pause = |failures, elapsed| rest(failures, last, api::later(last, elapsed)).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 8, 99].map(|failures| pause(failures, 0)), [0, 10, 20, 40, 320, 600, 600, 600]);
        assert_eq!([(1, 4), (1, 10), (1, 11), (2, 15), (1, -5)].map(|(n, at)| pause(n, at)), [6, 0, 0, 5, 15]);
    }
}
