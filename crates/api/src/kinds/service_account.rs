//! ServiceAccount: an identity for the processes of a namespace's pods.

use serde_json::Value;

use super::shared::*;
use crate::kind::{Context, DeleteStrategy, Hooks, Kind};
use crate::tree;
use crate::validate::config;

pub static SERVICE_ACCOUNT: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.ServiceAccount",
    verbs: ALL_VERBS,
    subresources: &[body("token", "TokenRequest", "authentication.k8s.io/v1", CREATE)],
    columns: &[NAME, AGE],
    field_selectors: &[],
    versions: &[],
    hooks: Hooks {
        prepare,
        default: default_nothing,
        validate: config::validate_service_account,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};

/// Of its secrets only the names are kept (pkg/registry/core/serviceaccount/strategy.go).
fn prepare(account: &mut Value, _: Option<&Value>, _: &Context) {
    for secret in tree::each(account, "secrets").filter_map(Value::as_object_mut) {
        secret.retain(|key, _| key == "name");
    }
}
