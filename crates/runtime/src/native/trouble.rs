//! Says a trouble once, not each time it shows: the runtime's own log lies in memory and has no end.

use std::fmt::Display;

use super::sys;

/// One thing that may go wrong again and again.
#[derive(Default)]
pub struct Trouble {
    lasts: bool,
    said_at: i128,
}

const MINUTE: i128 = 60_000_000_000;

impl Trouble {
    /// Says it if it is new, and was not said in the last minute.
    pub fn say(&mut self, what: impl Display) {
        if self.is_news(sys::now()) {
            eprintln!("supervisor: {what}");
        }
    }

    pub fn is_over(&mut self) {
        self.lasts = false;
    }

    fn is_news(&mut self, now: i128) -> bool {
        if std::mem::replace(&mut self.lasts, true) || (now - self.said_at).abs() < MINUTE {
            return false;
        }
        self.said_at = now;
        true
    }
}

#[cfg(test)]
mod tests;
