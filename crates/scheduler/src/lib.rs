//! Which node: FILTERS and SCORES tables, `place` (pure), `bind` (the only effect).
//!
//! The scheduler follows pods, nodes and namespaces, places what is pending in priority order, and
//! posts a Binding. A pod that fits nowhere gets a condition and an event with the reasons, and sleeps
//! until something changes that matters to them. X never knows Y: it knows no machine and no store,
//! and differs from any user of the API in nothing but its credentials.

#![forbid(unsafe_code)]

/// The effects: bindings, conditions, evictions, events.
mod act;
/// Kinds that are followed beside pods, nodes and namespaces.
mod beside;
/// The cluster: nodes and what is used of them.
pub mod cluster;
/// KubeSchedulerConfiguration.
pub mod configuration;
/// Counts by domain, kept as pods come and go.
pub mod counters;
/// What a node must have.
pub mod filters;
/// What is alike has the same.
pub mod fingerprint;
/// The loop.
mod follow;
/// Which change may let a pod in.
pub mod hints;
/// Which node, or the reasons why not.
pub mod place;
/// What placing a pod depends on.
pub mod pod;
/// Which pods must go so that this one fits.
pub mod preempt;
/// What decides for the pods of one scheduler name.
pub mod profile;
/// Pods that wait.
pub mod queue;
/// Amounts as they are counted here.
pub mod resources;
/// Which of those left is best.
pub mod scores;
/// What is true of the whole cluster for one pod.
pub mod surroundings;
/// Nodes that share a label's value.
pub mod topology;
/// For a person: what keeps a pod from its nodes.
pub mod why;
/// Services and controllers, for default spreading.
pub mod workloads;

pub use cluster::{Cluster, Node};
pub use configuration::Configuration;
pub use filters::FILTERS;
pub use follow::{Config, run};
pub use place::{NodeName, Reasons, place};
pub use pod::Pod;
pub use profile::Profile;
pub use scores::SCORES;
pub use why::why;
