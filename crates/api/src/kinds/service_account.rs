//! ServiceAccount: an identity for the processes of a namespace's pods.

use super::shared::*;
use crate::kind::{DeleteStrategy, Hooks, Kind};
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
        prepare: prepare_nothing,
        default: default_nothing,
        validate: config::validate_service_account,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};
