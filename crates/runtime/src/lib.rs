//! Images, sandboxes and containers from plain specs. Knows no Pod and no API.
//!
//! `list` is the truth, `changes` only a hint. Engines: *native* (our own: a keeper, a supervisor and
//! nothing per pod) and *fake* (scripted by the command, for the simulator).
//!
//! Laws: every operation is idempotent; at most one live sandbox per id; an exit record is kept until
//! it is forgotten by the caller (`remove_container`).

/// The capabilities by name and number.
pub mod capabilities;
/// How much of a disk a folder takes.
pub mod disk;
/// The contract that every engine keeps.
pub mod engine;
/// The engine without processes, for the simulator and for hollow nodes.
pub mod fake;
/// The images of a machine.
pub mod images;
/// Our own engine.
pub mod native;
/// Deleting what others wrote into.
pub mod removal;
/// System-call filters.
pub mod seccomp;
/// What the engines are asked for.
pub mod spec;
/// What they answer.
pub mod state;
/// Opening what others may have put there.
pub mod untrusted;
/// Trees that others change, seen whole.
mod walk;

pub use engine::{Engine, Error};
pub use native::{NativeEngine, supervise};
pub use spec::*;
pub use state::*;
