//! Keys and values, as ConfigMaps and Secrets hold them.

use api::{names, tree};
use serde_json::{Value, json};

use crate::validate::at::{At, Errors};

/// Bytes of all values together.
pub const SIZE_MAX: usize = 1024 * 1024;

/// How many entries a map has.
pub fn keys(object: &Value, field: &str) -> usize {
    tree::entries(object, field).count()
}

/// Once `immutable` is set nothing of the content changes, nor the flag itself.
pub fn frozen(new: &Value, old: &Value, fields: &[&'static str], errors: &mut Errors) {
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

/// A key becomes the name of a file.
pub fn key_name(key: &str, at: &At, errors: &mut Errors) {
    errors.extend(names::config_key(key).iter().map(|m| at.invalid_as(key, m)));
}

/// The length of what base64 text stands for.
pub fn decoded_len(text: &str) -> usize {
    text.len() / 4 * 3 - text.bytes().rev().take_while(|b| *b == b'=').count().min(text.len() / 4 * 3)
}
