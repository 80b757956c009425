//! Which node: FILTERS and SCORES tables, `place` (pure), `bind` (the only effect).
//!
//! The scheduler follows pods, nodes and namespaces, places what is pending in priority order, and
//! posts a Binding. A pod that fits nowhere gets a condition and an event with the reasons, and sleeps
//! until something changes that matters to them. X never knows Y: it knows no machine and no store,
//! and differs from any user of the API in nothing but its credentials.

#![forbid(unsafe_code)]

/// The effects: bindings, conditions, evictions, events.
mod act;
/// The cluster: nodes and what is used of them.
pub mod cluster;
/// What a node must have.
pub mod filters;
/// The loop.
mod follow;
/// Which node, or the reasons why not.
pub mod place;
/// What placing a pod depends on.
pub mod pod;
/// Which pods must go so that this one fits.
pub mod preempt;
/// Pods that wait.
pub mod queue;
/// Amounts as they are counted here.
pub mod resources;
/// Which of those left is best.
pub mod scores;
/// What is true of the whole cluster for one pod.
pub mod surroundings;

pub use cluster::{Cluster, Node};
pub use filters::FILTERS;
pub use follow::{Config, run};
pub use place::{NodeName, Reasons, place};
pub use pod::Pod;
pub use scores::SCORES;
