//! One Pod on one machine: plan → act → report; probes, volumes, limits, the node's HTTP API.
//!
//! Each pod has one actor: it observes (`runtime.list()` and the API object are the two truths), plans
//! purely, acts idempotently and reports what it saw. Nothing polls. X never knows Y: this crate
//! speaks to the API through `client` with its own identity, like any other user.

#![forbid(unsafe_code)]

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

#[cfg(test)]
mod sample;

/// What a pod may know of itself.
pub mod downward;
/// A container's environment.
pub mod env;
/// `$(NAME)` in commands, arguments and environments.
pub mod expand;
/// One attempt of a probe or hook.
pub mod probe;
/// The contents that a pod names: ConfigMaps, Secrets, tokens, services.
pub mod sources;
/// From a pod to plain specs for the runtime: pure.
pub mod spec;
/// A pod's volumes.
pub mod volumes;
