//! Standard output: the one place where anything is written to it.
//!
//! Whoever asked must know that the answer did not arrive: a full disk ends the program with an error. A
//! reader that went away (`| head`) has what it wanted: that ends it without a word.

use std::fmt::Display;
use std::io::{self, Write};

use nix::errno::Errno;

use crate::failure::{Failure, Result, failure};

/// As the shell tells of a program that SIGPIPE ended, which is how kubectl ends.
const NOBODY_READS: u8 = 128 + 13;

/// One line.
pub fn line(text: impl Display) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Text that brings its own line ends.
pub fn text(text: &str) -> Result<()> {
    write(text.as_bytes())
}

/// Bytes as they are; they are on their way when this returns.
pub fn write(bytes: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| unwritten(&error))
}

/// A line of a program that goes on, read or not: who serves does not end because a disk is full.
pub fn tell(text: impl Display) {
    if let Err(why) = line(text) {
        tracing::debug!("not told: {why}");
    }
}

/// A line on standard error, for a person; there is nobody to tell that it was not written.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn unwritten(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(number) if number == Errno::EPIPE as i32 => Failure { code: NOBODY_READS, ..failure("") },
        Some(number) => failure(format!("write standard output: {}", Errno::from_raw(number).desc())),
        None => failure(format!("write standard output: {error}")),
    }
}
