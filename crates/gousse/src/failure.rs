//! The one error of the command line: a sentence for a person, with what led to it.

use std::fmt::Display;

/// What went wrong, as it is printed after `error: `.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    /// The process's exit code.
    pub code: u8,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failure of our own.
pub fn failure(message: impl Into<String>) -> Failure {
    Failure { message: message.into(), code: 1 }
}

/// Adds what was being done.
pub trait Context<T> {
    fn context(self, doing: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl Display) -> Result<T> {
        self.map_err(|error| failure(format!("{doing}: {error}")))
    }
}

impl From<api::Status> for Failure {
    fn from(status: api::Status) -> Failure {
        failure(status.message)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
