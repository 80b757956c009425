//! PriorityClass: a name for a pod's priority.

use serde_json::json;

use super::shared::*;
use crate::kind::{Column, DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::cluster;

pub static PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    version: "v1",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    namespaced: false,
    schema: "io.k8s.api.scheduling.v1.PriorityClass",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        NAME,
        Column {
            kind: "integer",
            ..column("Value", "The priority.", |class, _| json!(tree::int(class, "value").unwrap_or(0)))
        },
        Column {
            kind: "boolean",
            ..column("Global-Default", "Whether it is for pods that name none.", |class, _| {
                json!(tree::flag(class, "globalDefault"))
            })
        },
        AGE,
        column("PreemptionPolicy", "Whether its pods may push others out.", |class, _| {
            json!(tree::text(class, "preemptionPolicy"))
        }),
    ],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare: |class, old, _| count_generation(class, old),
        default: |class| tree::set_default_text(class, "preemptionPolicy", "PreemptLowerPriority"),
        validate: cluster::validate_priority_class,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};
