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
/// What makes pods of a template.
mod workload;

mod admissionregistration;
mod api_service;
mod apps;
pub mod autoscaling;
mod batch;
pub mod certificates;
mod component_status;
mod config_map;
mod custom_resource_definition;
mod endpoint_slice;
mod endpoints;
mod event;
pub mod flowcontrol;
mod lease;
mod limit_range;
mod metrics;
mod namespace;
pub mod networking;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_template;
mod policy;
mod priority_class;
pub mod rbac;
mod replication_controller;
mod resource;
mod resource_quota;
mod runtime_class;
mod secret;
pub mod service;
mod service_account;
pub mod storage;
mod storage_version_migration;

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
    component_status::row,
    config_map::row,
    endpoints::row,
    event::row,
    limit_range::row,
    namespace::row,
    node::row,
    persistent_volume_claim::row,
    persistent_volume::row,
    pod::row,
    pod_template::row,
    replication_controller::row,
    resource_quota::row,
    secret::row,
    service_account::row,
    service::row,
    // apiregistration.k8s.io
    api_service::row,
    // apps
    apps::controller_revision::row,
    apps::daemon_set::row,
    apps::deployment::row,
    apps::replica_set::row,
    apps::stateful_set::row,
    // autoscaling
    autoscaling::horizontal_pod_autoscaler::row,
    // batch
    batch::cron_job::row,
    batch::job::row,
    // certificates.k8s.io
    certificates::certificate_signing_request::row,
    certificates::cluster_trust_bundle::row,
    certificates::pod_certificate_request::row,
    // networking.k8s.io
    networking::ingress_class::row,
    networking::ingress::row,
    networking::ip_address::row,
    networking::network_policy::row,
    networking::service_cidr::row,
    // policy
    policy::pod_disruption_budget::row,
    // rbac.authorization.k8s.io
    rbac::binding::cluster_row,
    rbac::role::cluster_row,
    rbac::binding::row,
    rbac::role::row,
    // storage.k8s.io
    storage::csi_driver::row,
    storage::csi_node::row,
    storage::csi_storage_capacity::row,
    storage::storage_class::row,
    storage::volume_attachment::row,
    storage::volume_attributes_class::row,
    // apiextensions.k8s.io
    custom_resource_definition::row,
    // admissionregistration.k8s.io
    admissionregistration::mutating_admission_policy::row,
    admissionregistration::mutating_admission_policy_binding::row,
    admissionregistration::mutating_webhook_configuration::row,
    admissionregistration::validating_admission_policy::row,
    admissionregistration::validating_admission_policy_binding::row,
    admissionregistration::validating_webhook_configuration::row,
    // scheduling.k8s.io
    priority_class::row,
    // coordination.k8s.io
    lease::row,
    // node.k8s.io
    runtime_class::row,
    // discovery.k8s.io
    endpoint_slice::row,
    // resource.k8s.io
    resource::device_class::row,
    resource::device_taint_rule::row,
    resource::resource_claim::row,
    resource::resource_claim_template::row,
    resource::resource_slice::row,
    // flowcontrol.apiserver.k8s.io
    flowcontrol::flow_schema::row,
    flowcontrol::priority_level::row,
    // storagemigration.k8s.io
    storage_version_migration::row,
    // metrics.k8s.io
    metrics::nodes,
    metrics::pods,
];

/// The table of the built-in kinds, made once.
pub fn built_in() -> &'static Arc<Kinds> {
    static BUILT_IN: LazyLock<Arc<Kinds>> = LazyLock::new(|| Arc::new(Kinds::new(ROWS.iter().map(|row| row()))));
    &BUILT_IN
}

#[cfg(test)]
mod tests;
