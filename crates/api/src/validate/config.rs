//! ConfigMaps, Secrets and service accounts: keys, sizes, and what a type demands.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::at::{At, Errors};
use super::{meta, names};
use crate::FieldError;
use crate::kind::Context;

/// Bytes of all values together.
const SIZE_MAX: usize = 1024 * 1024;

pub fn validate_config_map(map: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(map, old, true, names::dns_subdomain, &mut errors);
    if let Some(old) = old {
        frozen(map, old, &["data", "binaryData"], &mut errors);
    }
    let at = At::root(map);
    let (text, bytes) = (at.get("data"), at.get("binaryData"));
    let mut size = 0;
    for (key, value) in text.entries() {
        name(key, &value, &mut errors);
        if bytes.value.get(key).is_some() {
            errors.push(value.invalid_as(key.as_str(), "duplicate of key present in binaryData"));
        }
        size += value.text().len();
    }
    for (key, value) in bytes.entries() {
        name(key, &value, &mut errors);
        size += decoded_len(value.text());
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long("", SIZE_MAX));
    }
    errors
}

pub fn validate_secret(secret: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(secret, old, true, names::dns_subdomain, &mut errors);
    let at = At::root(secret);
    if let Some(old) = old {
        meta::immutable(&at.get("type"), &At::root(old).get("type"), &mut errors);
        frozen(secret, old, &["data"], &mut errors);
    }
    let data = at.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        name(key, &value, &mut errors);
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

pub fn validate_service_account(account: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(account, old, true, names::dns_subdomain, &mut errors);
    errors
}

/// Once `immutable` is set nothing of the content changes, nor the flag itself.
fn frozen(new: &Value, old: &Value, fields: &[&'static str], errors: &mut Errors) {
    let (at, was) = (At::root(new), At::root(old));
    const WHY: &str = "field is immutable when `immutable` is set";
    if !was.get("immutable").flag() {
        return;
    }
    if !at.get("immutable").flag() {
        errors.push(at.get("immutable").forbidden(WHY));
    }
    for field in fields {
        let content = |at: At| if at.is_empty() { json!({}) } else { at.value.clone() };
        if content(at.get(field)) != content(was.get(field)) {
            errors.push(at.get(field).forbidden(WHY));
        }
    }
}

fn name(key: &str, at: &At, errors: &mut Errors) {
    errors.extend(names::config_key(key).iter().map(|m| at.invalid_as(key, m)));
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

/// The length of what base64 text stands for.
fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4 * 3)
}
