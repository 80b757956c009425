//! A whole cluster in one process on paused time: faults, checkers, seeds (dev only).
//!
//! A `World` is the real server over a store in memory, with every other part reached through the
//! same transport that the binary uses. All randomness comes from one seed, all waiting is tokio's
//! paused clock, and every revision is checked against the laws of ARCHITECTURE.md. What a seed
//! finds, the seed replays.

#![forbid(unsafe_code)]

/// One seed, as many independent streams of numbers as there are parts.
pub mod chance;
/// The laws of what is told of Services, checked on every revision.
pub mod endpoints;
/// The laws, checked on every revision.
pub mod laws;
/// The way to the server, with its faults.
pub mod link;
/// A machine and its agent's lives.
pub mod machine;
/// Pods of every shape, and how they must end.
pub mod programs;
/// People who create, change and delete at random.
pub mod users;
/// An engine that is watched while the agent uses it.
pub mod witness;
/// The laws of workloads, checked on every revision.
pub mod workloads;
/// The cluster: what is up, and how it is killed and started again.
pub mod world;

pub use chance::Chance;
pub use link::Weather;
pub use world::World;
