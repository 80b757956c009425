//! One Pod on one machine: plan → act → report; probes, volumes, limits, the node's HTTP API.
//!
//! Each pod has one actor: it observes (`runtime.list()` and the API object are the two truths), plans
//! purely, acts idempotently and reports what it saw. Nothing polls. X never knows Y: this crate
//! speaks to the API through `client` with its own identity, like any other user.

#![forbid(unsafe_code)]

// The walk: what was seen, what is to be done, doing it, telling it.

/// Doing it.
pub mod act;
/// One pod's actor.
pub mod actor;
/// The node agent: finds its pods, gives each an actor.
pub mod agent;
/// Looking at the machine, many at once.
pub mod look;
/// What a pod's actor remembers, and may forget.
pub mod memory;
/// What was seen of one pod on this machine.
pub mod observe;
/// What is to be done now: pure.
pub mod plan;
/// A pod as the node reads it.
pub mod pod;
/// The status of what was seen: pure.
pub mod report;

// The node itself.

/// Whether the node takes a pod.
pub mod admit;
/// The node's own HTTPS API.
pub mod api;
/// Which images go when the disk fills up: pure.
pub mod collect;
/// What an agent is told at its start.
pub mod config;
/// What the node's own API may ask.
pub mod control;
/// Limits of local storage: pure.
pub mod limits;
/// What the machine is.
pub mod machine;
/// What one pod uses.
pub mod measure;
/// Memory or disk running short: pure.
pub mod pressure;
/// The Node object and its lease.
pub mod register;
/// New resources for a pod that runs.
pub mod resize;
/// What nobody announces, looked at in turn.
pub mod sampler;
/// What all actors share.
pub mod shared;
/// Pods from manifests, and their mirrors.
pub mod static_pods;

// What a pod's containers are made of.

/// What a pod may know of itself.
pub mod downward;
/// A container's environment.
pub mod env;
/// `$(NAME)` in commands, arguments and environments.
pub mod expand;
/// The last words of a container.
pub mod messages;
/// The network of a node as its pods see it.
pub mod network;
/// One attempt of a probe or hook.
pub mod probe;
/// The contents that a pod names: ConfigMaps, Secrets, tokens, services.
pub mod sources;
/// From a pod to plain specs for the runtime: pure.
pub mod spec;
/// A pod's volumes.
pub mod volumes;

pub use agent::{Agent, Error, run};
pub use config::Config;
pub use control::Control;
pub use machine::Machine;
pub use network::{Imagined, Network};

#[cfg(test)]
mod sample;
#[cfg(test)]
mod small_api;
