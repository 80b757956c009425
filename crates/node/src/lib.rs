//! One Pod on one machine: plan → act → report; probes, volumes, limits, the node's HTTP API.
//!
//! Each pod has one actor: it observes (`runtime.list()` and the API object are the two truths), plans
//! purely, acts idempotently and reports what it saw. Nothing polls. X never knows Y: this crate
//! speaks to the API through `client` with its own identity, like any other user.

#![forbid(unsafe_code)]

// The walk: from a pod that is bound here to the status of what was seen.

/// Doing it.
pub mod act;
/// One pod's actor: the loop.
pub mod actor;
/// Whether the node takes a pod.
pub mod admit;
/// The node agent: finds its pods, gives each an actor.
pub mod agent;
/// What an actor is told by others.
pub mod inbox;
/// Looking at the machine, many at once.
pub mod look;
/// What was seen of one pod on this machine.
pub mod observe;
/// What is to be done now: pure.
pub mod plan;
/// A pod as the node reads it.
pub mod pod;
/// How far a pod is, which its actor may forget.
pub mod progress;
/// The status of what was seen: pure.
pub mod report;
/// New resources for a pod that runs.
pub mod resize;
/// The pods that have an actor.
pub mod roster;
/// The pod that an actor is for.
pub mod subject;
/// What is read of objects and told of pods, field by field.
pub mod view;

// What acts are made with.

/// What a pod may know of itself.
pub mod downward;
/// A container's environment.
pub mod env;
/// `$(NAME)` in commands, arguments and environments.
pub mod expand;
/// Keys of pods.
pub mod keys;
/// The last words of a container.
pub mod messages;
/// The network of a node as its pods see it.
pub mod network;
/// One attempt of a probe or hook.
pub mod probe;
/// The contents that a pod names: ConfigMaps, Secrets, tokens, certificates, services.
pub mod sources;
/// From a pod to plain specs for the runtime: pure.
pub mod spec;
/// A pod's volumes.
pub mod volumes;

// The node itself.

/// The node's own certificates.
pub mod certificates;
/// What an agent is told at its start.
pub mod config;
/// What the machine is.
pub mod machine;
/// What the node offers, and what it promised.
pub mod promises;
/// The Node object and its lease.
pub mod register;
/// What all actors share.
pub mod shared;
/// How the node stands.
pub mod standing;
/// Pods from manifests, and their mirrors.
pub mod static_pods;

// What nobody announces, looked at in turn.

/// Which images go when the disk fills up: pure.
pub mod collect;
/// Limits of local storage: pure.
pub mod limits;
/// What one pod uses.
pub mod measure;
/// Memory or disk running short: pure.
pub mod pressure;
/// One table of looks.
pub mod sampler;

// What others ask of it.

/// The node's own HTTPS API.
pub mod api;
/// What the node's own API may ask.
pub mod control;

pub use agent::{Agent, Error, run};
pub use config::Config;
pub use control::Control;
pub use machine::Machine;
pub use network::{Gate, Imagined, Network, Opening, Routed, Subject};

#[cfg(test)]
mod tests;
