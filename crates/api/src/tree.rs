//! Reading a JSON tree by dotted paths: `text(pod, "spec.nodeName")`; what is absent is empty.
//!
//! The hooks of the kind table work on trees, not structs, so that unknown fields survive. A path
//! names map keys only; keys that hold dots (labels) are asked for with `get`.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// The value at a path, `Null` where there is none.
pub fn at<'a>(tree: &'a Value, path: &str) -> &'a Value {
    let mut here = tree;
    for key in path.split('.') {
        match here.get(key) {
            Some(next) => here = next,
            None => return &NULL,
        }
    }
    here
}

pub fn has(tree: &Value, path: &str) -> bool {
    !at(tree, path).is_null()
}

pub fn text<'a>(tree: &'a Value, path: &str) -> &'a str {
    at(tree, path).as_str().unwrap_or("")
}

pub fn int(tree: &Value, path: &str) -> Option<i64> {
    at(tree, path).as_i64()
}

/// False where absent.
pub fn flag(tree: &Value, path: &str) -> bool {
    at(tree, path).as_bool().unwrap_or(false)
}

pub fn list<'a>(tree: &'a Value, path: &str) -> &'a [Value] {
    at(tree, path).as_array().map_or(&[], Vec::as_slice)
}

/// The entries of a map, in key order.
pub fn entries<'a>(tree: &'a Value, path: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(tree, path).as_object().into_iter().flatten()
}

/// The map at a key, made if it is absent; None if something else stands there.
pub fn child<'a>(tree: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let map = tree.as_object_mut()?;
    let slot = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.is_object().then_some(slot)
}

/// Sets a key unless it holds something; returns whether it did.
pub fn set_default(tree: &mut Value, key: &str, value: impl Into<Value>) -> bool {
    let Some(map) = tree.as_object_mut() else { return false };
    let empty = map.get(key).is_none_or(Value::is_null);
    if empty {
        map.insert(key.into(), value.into());
    }
    empty
}

/// Like `set_default`, but an empty string counts as absent, as Go's zero value does.
pub fn set_default_text(tree: &mut Value, key: &str, value: &str) {
    let Some(map) = tree.as_object_mut() else { return };
    if map.get(key).and_then(Value::as_str).unwrap_or("").is_empty() {
        map.insert(key.into(), value.into());
    }
}

/// Puts a key as it stands in `from`: the same value, or absent as there.
pub fn keep(tree: &mut Value, from: &Value, key: &str) {
    let Some(map) = tree.as_object_mut() else { return };
    match from.get(key) {
        Some(value) => map.insert(key.into(), value.clone()),
        None => map.remove(key),
    };
}

/// The elements of a list that may be edited in place; none where there is no list.
pub fn each<'a>(tree: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    tree.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}
