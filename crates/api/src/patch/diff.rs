//! Patches as differences: from one object to another, and the three-way patch of `apply`.
//!
//! The three-way patch deletes what the user once applied and no longer names, changes what differs
//! from the live object, and leaves alone what others set. Upstream: apimachinery
//! util/strategicpatch (CreateThreeWayMergePatch) and util/jsonmergepatch.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::places::same;
use super::strategic::lists::{are_objects, sort_by_order};
use super::strategic::{DELETE_PRIMITIVES, ELEMENT_ORDER, Mode, PATCH, RETAIN_KEYS, merge};
use super::strategy::{Meta, Strategy};
use super::{PatchError, known};
use crate::Status;

type Object = Map<String, Value>;

/// What a difference is to contain.
#[derive(Clone, Copy)]
struct Wanted {
    changes: bool,
    deletions: bool,
}

/// The strategic merge patch that makes `to` of `from`. Errors when lists break the schema's rules.
pub fn two_way_strategic(schema: &str, from: &Value, to: &Value) -> Result<Value, Status> {
    let both = Wanted { changes: true, deletions: true };
    objects(object(from), object(to), known(schema)?, both, false).map(Value::Object).map_err(Status::from)
}

/// The strategic merge patch of `apply`: `applied` is the last applied configuration.
pub fn three_way_strategic(schema: &str, applied: &Value, wanted: &Value, live: &Value) -> Result<Value, Status> {
    let meta = known(schema)?;
    let three_way = || {
        let changes = Wanted { changes: true, deletions: false };
        let changes = objects(object(live), object(wanted), meta, changes, false)?;
        let deletions = Wanted { changes: false, deletions: true };
        let deletions = objects(object(applied), object(wanted), meta, deletions, false)?;
        merge(deletions, changes, meta, Mode::Combine)
    };
    three_way().map(Value::Object).map_err(Status::from)
}

/// The merge patch (RFC 7396) that makes `to` of `from`.
pub fn two_way_merge(from: &Value, to: &Value) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = Object::new();
    for (key, new) in to {
        match from.get(key) {
            Some(old) if old == new => {}
            Some(old @ Value::Object(_)) if new.is_object() => {
                patch.insert(key.clone(), two_way_merge(old, new));
            }
            _ => {
                patch.insert(key.clone(), new.clone());
            }
        }
    }
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// The merge patch of `apply`, for kinds without a strategic one.
pub fn three_way_merge(applied: &Value, wanted: &Value, live: &Value) -> Value {
    let mut patch = nulls(two_way_merge(applied, wanted), true);
    overlay(&mut patch, nulls(two_way_merge(live, wanted), false));
    patch
}

/// Only the nulls of a merge patch, or all but them.
fn nulls(patch: Value, keep: bool) -> Value {
    let Value::Object(map) = patch else { return patch };
    let kept = map.into_iter().filter_map(|(key, value)| match value {
        Value::Null => keep.then_some((key, Value::Null)),
        Value::Object(_) => {
            let below = nulls(value, keep);
            below.as_object().is_some_and(|m| !m.is_empty() || !keep).then_some((key, below))
        }
        other => (!keep).then_some((key, other)),
    });
    Value::Object(kept.collect())
}

fn overlay(patch: &mut Value, above: Value) {
    match (patch, above) {
        (Value::Object(patch), Value::Object(above)) => {
            for (key, value) in above {
                overlay(patch.entry(key).or_insert(Value::Null), value);
            }
        }
        (patch, above) => *patch = above,
    }
}

fn object(value: &Value) -> &Object {
    static EMPTY: LazyLock<Object> = LazyLock::new(Object::new);
    value.as_object().unwrap_or(&EMPTY)
}

fn objects(from: &Object, to: &Object, meta: Meta, wanted: Wanted, retain: bool) -> Result<Object, PatchError> {
    let mut patch = Object::new();
    for (key, new) in to {
        let Some(old) = from.get(key) else {
            if wanted.changes {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        let strategy = meta.field(key);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if !strategy.replace => {
                let below = objects(old, new, strategy.below, wanted, strategy.retain_keys)?;
                if !below.is_empty() {
                    patch.insert(key.clone(), Value::Object(below));
                }
            }
            (Value::Array(old), Value::Array(new)) if strategy.merge => {
                lists(key, old, new, &strategy, wanted, &mut patch)?;
            }
            (old, new) if wanted.changes && old != new => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    let gone: Vec<&String> = from.keys().filter(|key| !to.contains_key(*key)).collect();
    if wanted.deletions {
        patch.extend(gone.iter().map(|key| (key.to_string(), Value::Null)));
    }
    let kept: Vec<Value> = to.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.clone().into()).collect();
    let loses = gone.iter().any(|key| !from[*key].is_null());
    if retain && !kept.is_empty() && (!patch.is_empty() || loses) {
        patch.insert(RETAIN_KEYS.into(), Value::Array(kept));
    }
    Ok(patch)
}

/// The difference of two merged lists: up to three entries of the patch.
fn lists(
    key: &str,
    old: &[Value],
    new: &[Value],
    strategy: &Strategy,
    wanted: Wanted,
    patch: &mut Object,
) -> Result<(), PatchError> {
    if old.is_empty() {
        if !new.is_empty() && wanted.changes {
            patch.insert(key.into(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let order = if are_objects(&[old, new])? {
        let items = keyed_items(old, new, strategy, wanted)?;
        let same_order = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b, strategy.merge_key));
        let changed = !items.is_empty();
        if changed {
            patch.insert(key.into(), Value::Array(items));
        }
        let ordered = wanted.changes && (changed || !same_order) || wanted.deletions && changed;
        let only_key = |item: &Value| {
            let name = strategy.merge_key;
            Value::Object(Object::from_iter([(name.to_string(), item.get(name).cloned().unwrap_or_default())]))
        };
        ordered.then(|| new.iter().map(only_key).collect::<Vec<_>>())
    } else {
        let mut gone: Vec<Value> = old.iter().filter(|v| wanted.deletions && !new.contains(v)).cloned().collect();
        let mut added: Vec<Value> = new.iter().filter(|v| wanted.changes && !old.contains(v)).cloned().collect();
        sort_by_order(&mut added, new, "");
        gone.sort_by_key(printed);
        gone.dedup();
        let ordered = wanted.deletions && !gone.is_empty() || wanted.changes && old != new;
        if !added.is_empty() {
            patch.insert(key.into(), Value::Array(added));
        }
        if !gone.is_empty() {
            patch.insert(format!("{DELETE_PRIMITIVES}/{key}"), Value::Array(gone));
        }
        ordered.then(|| new.to_vec())
    };
    if let Some(order) = order.filter(|order| !order.is_empty()) {
        patch.insert(format!("{ELEMENT_ORDER}/{key}"), Value::Array(order));
    }
    Ok(())
}

/// Added and changed items in the new order, then a directive for each that is gone.
fn keyed_items(old: &[Value], new: &[Value], strategy: &Strategy, wanted: Wanted) -> Result<Vec<Value>, PatchError> {
    let key = strategy.merge_key;
    let keyed = |item: &Value| {
        let map = object(item);
        map.get(key).cloned().ok_or_else(|| PatchError::no_merge_key(map, key))
    };
    // A key may be there twice (a port for TCP and UDP): the last ones are pairs, then those before.
    let mut left: Vec<&Value> = old.iter().collect();
    let mut items = Vec::new();
    for item in new.iter().rev() {
        let value = keyed(item)?;
        let Some(at) = left.iter().rposition(|o| same(o, item, key)) else {
            if wanted.changes {
                items.push(item.clone());
            }
            continue;
        };
        let before = left.remove(at);
        let mut below = objects(object(before), object(item), strategy.below, wanted, strategy.retain_keys)?;
        if !below.is_empty() {
            below.insert(key.into(), value);
            items.push(Value::Object(below));
        }
    }
    sort_by_order(&mut items, new, key);
    let mut gone = Vec::new();
    for item in left {
        let value = keyed(item)?;
        if wanted.deletions {
            gone.push(value);
        }
    }
    gone.sort_by_key(printed);
    let directive = |value| Object::from_iter([(key.to_string(), value), (PATCH.to_string(), "delete".into())]);
    items.extend(gone.into_iter().map(|value| Value::Object(directive(value))));
    Ok(items)
}

fn printed(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}
