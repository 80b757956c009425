//! The kinds: one row each, in one table. How a kind is judged, defaulted and shown stands in its file.
//!
//! Only who judges objects knows rows: the server, a node for its static pods, the simulator. Everybody
//! else knows an `api::Resource`. X never knows Y: no client knows how a kind is judged.

#![forbid(unsafe_code)]

use std::sync::{Arc, LazyLock};

/// What one row says.
pub mod kind;
/// All rows, to be swapped as a whole.
mod table;

/// Keys and values, as two kinds hold them.
mod keys;
/// Who owns which top-level field.
mod ownership;
/// What rows are made of.
mod row;
/// Rules that all kinds have in common.
pub mod validate;

mod config_map;
mod endpoints;
mod event;
mod lease;
mod namespace;
pub mod networking;
mod node;
pub mod pod;
mod priority_class;
pub mod rbac;
mod runtime_class;
mod secret;
mod service;
mod service_account;

/// OpenAPI documents, made when a client asks.
pub mod openapi;
/// What `kubectl get` prints, computed on the server.
pub mod print;

pub use kind::{Context, Kind};
pub use table::{Kinds, Served};

/// Every built-in kind. The order is discovery's: the core group first, then the others by upstream's
/// priorities (controlplane/apiserver/aggregator.go); the names within a group as upstream lists them, so
/// that a client which takes the first match takes the same one.
const ROWS: &[fn() -> Kind] = &[
    // core, and events.k8s.io
    config_map::row,
    endpoints::row,
    event::row,
    namespace::row,
    node::row,
    pod::row,
    secret::row,
    service_account::row,
    service::row,
    // apps
    // autoscaling
    // batch
    // certificates.k8s.io
    // networking.k8s.io
    networking::ingress_class::row,
    networking::ingress::row,
    // policy
    // rbac.authorization.k8s.io
    rbac::binding::cluster_row,
    rbac::role::cluster_row,
    rbac::binding::row,
    rbac::role::row,
    // storage.k8s.io
    // apiextensions.k8s.io
    // admissionregistration.k8s.io
    // scheduling.k8s.io
    priority_class::row,
    // coordination.k8s.io
    lease::row,
    // node.k8s.io
    runtime_class::row,
    // discovery.k8s.io
    // resource.k8s.io
    // flowcontrol.apiserver.k8s.io
    // storagemigration.k8s.io
];

/// The table of the built-in kinds, made once.
pub fn built_in() -> &'static Arc<Kinds> {
    static BUILT_IN: LazyLock<Arc<Kinds>> = LazyLock::new(|| Arc::new(Kinds::new(ROWS.iter().map(|row| row()))));
    &BUILT_IN
}

#[cfg(test)]
mod tests;
