//! ConfigMap: settings as key and value, text or bytes.

use serde_json::{Value, json};

use super::shared::*;
use crate::kind::{DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::config;

pub static CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.ConfigMap",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        NAME,
        column("Data", "The number of keys.", |map, _| json!(keys(map, "data") + keys(map, "binaryData"))),
        AGE,
    ],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare: prepare_nothing,
        default: default_nothing,
        validate: config::validate_config_map,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};

/// How many entries a map has.
pub(super) fn keys(object: &Value, field: &str) -> usize {
    tree::entries(object, field).count()
}
