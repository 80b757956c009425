//! Lease: who holds what, and until when; nodes and elected leaders renew them.

use serde_json::json;

use super::shared::*;
use crate::kind::{DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::cluster;

pub static LEASE: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.coordination.v1.Lease",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        NAME,
        column("Holder", "Who holds it.", |lease, _| json!(tree::text(lease, "spec.holderIdentity"))),
        AGE,
    ],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare: prepare_nothing,
        default: default_nothing,
        validate: cluster::validate_lease,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};
