//! Secret: a ConfigMap for what not everybody may read, with a type that demands certain keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::config_map::keys;
use super::shared::*;
use crate::kind::{Context, DeleteStrategy, FieldSelector, Hooks, Kind};
use crate::tree;
use crate::validate::config;

pub static SECRET: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    schema: "io.k8s.api.core.v1.Secret",
    verbs: ALL_VERBS,
    subresources: &[],
    columns: &[
        NAME,
        column("Type", "What the secret is for.", |secret, _| json!(tree::text(secret, "type"))),
        column("Data", "The number of keys.", |secret, _| json!(keys(secret, "data"))),
        AGE,
    ],
    field_selectors: &[FieldSelector { name: "type", value: |secret| tree::text(secret, "type").into() }],
    versions: &[],
    hooks: Hooks {
        prepare,
        default: |secret| tree::set_default_text(secret, "type", "Opaque"),
        validate: config::validate_secret,
        warnings: warn_nothing,
    },
    delete: DeleteStrategy::Immediate,
};

/// `stringData` is for writing only: it lands in `data`, over keys of the same name. An update
/// without a type keeps the old one (pkg/registry/core/secret/strategy.go).
fn prepare(secret: &mut Value, old: Option<&Value>, _: &Context) {
    if let Some(old) = old.filter(|_| tree::text(secret, "type").is_empty()) {
        tree::keep(secret, old, "type");
    }
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    if plain.is_empty() {
        return;
    }
    let Some(data) = tree::child(secret, "data") else { return };
    for (key, value) in plain {
        data[key] = json!(STANDARD.encode(value.as_str().unwrap_or("")));
    }
}
