//! Secret: a ConfigMap for what not everybody may read, with a type that demands certain keys.

use api::{FieldError, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::keys::{SIZE_MAX, decoded_len, frozen, key_name, keys};
use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            text("Type", "What the secret is for.", "type"),
            computed("Data", "The number of keys.", |secret, _| json!(keys(secret, "data"))),
            AGE,
        ],
        field_selectors: vec![field("type")],
        hooks: Hooks { default, validate, ..HOOKS },
        ..Kind::namespaced("v1", "Secret", "secrets").judged_as_new()
    }
}

/// `stringData` is for writing only: it lands in `data`, over keys of the same name
/// (pkg/apis/core/v1/conversion.go).
fn default(_: &Kind, secret: &mut Value) {
    tree::set_default_text(secret, "type", "Opaque");
    let Some(Value::Object(plain)) = secret.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    if plain.is_empty() {
        return;
    }
    let Some(data) = tree::child(secret, "data") else { return };
    for (key, value) in plain {
        data[key] = json!(STANDARD.encode(value.as_str().unwrap_or("")));
    }
}

fn validate(kind: &Kind, secret: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, secret, old);
    let at = At::root(secret);
    if let Some(old) = old {
        meta::immutable(&at.get("type"), &At::root(old).get("type"), &mut errors);
        frozen(secret, old, &["data"], &mut errors);
    }
    let data = at.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        key_name(key, &value, &mut errors);
        size += decoded_len(value.text());
    }
    if size > SIZE_MAX {
        errors.push(data.too_long(SIZE_MAX));
    }
    let missing = |key: &str| data.value.get(key).is_none();
    match at.get("type").text() {
        "kubernetes.io/service-account-token" => {
            let account = at.get("metadata").get("annotations").key("kubernetes.io/service-account.name");
            if account.text().is_empty() {
                errors.push(account.required(""));
            }
        }
        "kubernetes.io/dockercfg" => docker(&data.key(".dockercfg"), &mut errors),
        "kubernetes.io/dockerconfigjson" => docker(&data.key(".dockerconfigjson"), &mut errors),
        "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
            errors.extend(["username", "password"].map(|key| data.key(key).required("")));
        }
        "kubernetes.io/ssh-auth" if data.key("ssh-privatekey").text().is_empty() => {
            errors.push(data.key("ssh-privatekey").required(""));
        }
        "kubernetes.io/tls" => {
            let absent = ["tls.crt", "tls.key"].into_iter().filter(|key| missing(key));
            errors.extend(absent.map(|key| data.key(key).required("")));
        }
        _ => {}
    }
    errors
}

/// A docker configuration must be there and be JSON.
fn docker(at: &At, errors: &mut Errors) {
    if !at.has() {
        errors.push(at.required(""));
        return;
    }
    let parsed = STANDARD
        .decode(at.text())
        .map_err(|e| e.to_string())
        .and_then(|bytes| serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).map_err(|e| e.to_string()));
    if let Err(why) = parsed {
        errors.push(at.invalid_as("<secret contents redacted>", &why));
    }
}
