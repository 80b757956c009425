//! What this crate's tests are made with.

/// An API server of a few lines.
pub mod small_api;
/// A pod on a node, as plan and report see it.
pub mod world;
