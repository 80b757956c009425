//! A supervisor that says nothing: asked whether it lives, and ended if it does not say so.
//!
//! Its end costs nothing: the keeper starts another, which goes on where it was. One that hangs would
//! start and stop nothing, however long. One that somebody stopped is continued.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::time::Instant;

use super::hindrance::Hindrance::{self, Stopped};
use super::sys;

/// Whether it was stopped is looked at after each of these, without a word from it.
const LOOK: Duration = Duration::from_secs(1);
/// It is asked after so many, and ended after twice as many: it never takes its time on purpose, what does is done
/// by its children.
const LOOKS: u32 = 4;
/// How long it may read nothing.
pub const PATIENCE: Duration = LOOK.saturating_mul(2 * LOOKS);

pub struct Watchdog {
    supervisor: Option<(u32, OwnedFd)>,
    /// The last look, or something was heard, or nothing was asked before.
    since: Instant,
    looks: u32,
}

/// What is to be done about the silence.
pub enum Silent {
    /// It is to be asked whether it lives.
    Ask,
    /// It was ended.
    Ended,
    /// It has time.
    Spared,
}

impl Watchdog {
    /// One that watches nothing: an older supervisor does not say who it is.
    pub fn asleep() -> Watchdog {
        Watchdog { supervisor: None, since: Instant::now(), looks: 0 }
    }

    pub fn of(pid: u32) -> Watchdog {
        Watchdog { supervisor: sys::pidfd_open(pid).ok().map(|fd| (pid, fd)), ..Watchdog::asleep() }
    }

    pub fn is_awake(&self) -> bool {
        self.supervisor.is_some()
    }

    /// Something was heard, or begins to be waited for.
    pub fn rest(&mut self) {
        (self.since, self.looks) = (Instant::now(), 0);
    }

    pub fn due(&self) -> Instant {
        self.since + LOOK
    }

    pub fn is_due(&mut self) -> Silent {
        self.since = Instant::now();
        self.looks += 1;
        let is_stopped = || self.supervisor.as_ref().is_some_and(|(pid, _)| Hindrance::of(*pid) == Some(Stopped));
        if self.looks == LOOKS {
            return Silent::Ask;
        }
        if self.looks < 2 * LOOKS && !is_stopped() {
            return Silent::Spared;
        }
        // One that is left alone is not spoken of every second.
        self.looks = 0;
        if self.bite() { Silent::Ended } else { Silent::Spared }
    }

    /// Ends it, unless a debugger holds it, or the kernel: that would not let it end either. True: it ends.
    pub fn bite(&self) -> bool {
        let Some((pid, process)) = &self.supervisor else { return false };
        let (remedy, signal) = match Hindrance::of(*pid) {
            Some(Stopped) => ("was stopped, and is continued".into(), Some(libc::SIGCONT)),
            Some(hindrance) => (hindrance.to_string(), None),
            None => ("hangs, and is replaced".into(), Some(libc::SIGKILL)),
        };
        tracing::error!("the runtime's supervisor does not answer: process {pid} {remedy}");
        signal.is_some_and(|signal| sys::pidfd_signal(process.as_fd(), signal).is_ok() && signal == libc::SIGKILL)
    }
}
