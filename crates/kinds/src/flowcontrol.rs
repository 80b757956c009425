//! The kinds of flowcontrol.apiserver.k8s.io, and those objects of them that every cluster has.

/// What a server makes at its start.
pub mod bootstrap;
/// What a schema's status says of its level.
pub mod dangling;
pub(crate) mod flow_schema;
pub(crate) mod priority_level;

use std::collections::BTreeSet;

use crate::validate::at::{At, Errors};

/// What both kinds are missing here.
const DORMANT: &str = "requests are bounded by other rules";

/// Conditions here are judged by their types alone.
fn conditions(at: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for kind in at.items().map(|condition| condition.get("type")) {
        if !seen.insert(kind.text()) {
            errors.push(kind.duplicate());
        }
        if kind.text().is_empty() {
            errors.push(kind.required(""));
        }
    }
}
