//! What the rules of all kinds have in common: paths, metadata, addresses. In upstream's words.
//!
//! A rule is a pure walk over the tree with `At`, a value that knows its path; a kind's own stand beside
//! its row. Matches pkg/apis/core/validation and its neighbours of Kubernetes 1.37; clients match on the
//! texts. Shape and types were checked against the schema before.

/// Addresses and ranges.
pub mod address;
/// A value that knows its path.
pub mod at;
/// What a claim of a volume asks for.
pub mod claim;
/// Conditions.
pub mod conditions;
/// Metadata.
pub mod meta;
/// Paths that never lead out.
pub mod paths;
/// Label selectors in refusals.
pub mod selector;
/// Volumes, wherever they are described.
pub mod volume;
/// Where webhooks listen.
pub mod webhook;

#[cfg(test)]
mod tests;
