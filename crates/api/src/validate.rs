//! All that is wrong with an object, field by field, in upstream's words.
//!
//! One leaf per family of kinds; each is a pure walk over the tree with `At`, a value that knows its
//! path. Matches pkg/apis/core/validation and its neighbours of Kubernetes 1.37; clients match on the
//! texts. Shape and types were checked against the schema before.

pub mod at;
pub mod cluster;
pub mod config;
pub mod event;
pub mod meta;
pub mod names;
pub mod network;
pub mod pod;

#[cfg(test)]
mod tests;
