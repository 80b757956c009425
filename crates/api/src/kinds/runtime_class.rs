//! RuntimeClass: a name for a way in which a node's runtime can run a pod.

use serde_json::json;

use super::shared::*;
use crate::kind::{DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::cluster;

pub static RUNTIME_CLASS: Kind = Kind {
    group: "node.k8s.io",
    version: "v1",
    kind: "RuntimeClass",
    plural: "runtimeclasses",
    singular: "runtimeclass",
    short_names: &[],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.node.v1.RuntimeClass",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        NAME,
        column("Handler", "The runtime's name for it.", |class, _| json!(tree::text(class, "handler"))),
        AGE,
    ],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare: prepare_nothing,
        default: default_nothing,
        validate: cluster::validate_runtime_class,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};
