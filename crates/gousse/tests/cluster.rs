//! Whole clusters on the real kernel, driven through the binary as a user drives it.
//!
//! Every test is a story in namespaces of its own (network, mounts, processes): it starts `gousse up`,
//! here sleeps: the tests wait on what the programs print and on watches, with bounds as a guard only.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

/// kill -9 of any part loses nothing.
#[path = "cluster/faults.rs"]
mod faults;
/// Namespaces, instances, programs and their output.
#[path = "cluster/stage.rs"]
mod stage;
/// The README's tour.
#[path = "cluster/tour.rs"]
mod tour;
