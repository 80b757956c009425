//! Whatever parses what others wrote, fed with what nobody would write.
//!
//! No coverage and no nightly compiler: samples are bent, crossed and cut by a small driver, what is
//! accepted becomes a sample itself, and each target holds laws beside "it does not panic" (what is
//! decoded decodes again to the same; a difference makes the one of the other). A seed replays.
//! `cargo test` gives all targets ten seconds; `cargo xtask fuzz --seconds N` as long as you like.

/// Runs a target, watches it, makes what it found smaller.
pub mod driver;
/// New inputs from samples.
pub mod mutate;
/// What is fed.
pub mod targets;

pub use driver::{Found, drive};
pub use targets::TARGETS;

/// One thing that parses.
pub struct Target {
    pub name: &'static str,
    /// Good inputs to begin with.
    pub samples: fn() -> Vec<Vec<u8>>,
    /// Words of the language, put in at random.
    pub words: &'static [&'static str],
    /// Panics where a law is broken; true if the input was accepted.
    pub run: fn(&[u8]) -> bool,
}
