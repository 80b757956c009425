//! Strategic merge patch, applied: objects merge by field, lists as their strategy says.
//!
//! Directives are read where they stand: `$patch` on objects and list items, `$retainKeys` on
//! objects, `$setElementOrder/x` and `$deleteFromPrimitiveList/x` beside the list `x`. The same walk
//! combines two patches into one (`Mode::Combine`); then directives are kept and so are nulls.
//! Upstream: apimachinery util/strategicpatch, mergeMap.

use serde_json::{Map, Value};

use super::places::Places;
use super::strategy::Meta;
use super::{PatchError, strategic};
use lists::merge_lists;

/// Lists inside: merged by key, and put in order.
pub mod lists;

pub const PATCH: &str = "$patch";
pub const RETAIN_KEYS: &str = "$retainKeys";
pub const ELEMENT_ORDER: &str = "$setElementOrder";
pub const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A patch onto an object.
    Apply,
    /// A patch onto a patch: the result is a patch.
    Combine,
}

type Object = Map<String, Value>;

/// Merges `patch` into `live`.
pub fn merge(mut live: Object, mut patch: Object, meta: Meta, mode: Mode) -> Result<Object, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => {
                patch.insert(PATCH.into(), directive.clone());
                Err(PatchError::unknown_directive(&directive, &patch))
            }
        };
    }
    retain_keys(&mut live, &mut patch, mode)?;
    ordered_lists(&mut live, &mut patch, meta, mode)?;
    for (key, value) in patch {
        field(&mut live, key, value, meta, mode)?;
    }
    Ok(live)
}

/// What remains of an added value once its directives are taken out; None: nothing.
pub fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(PATCH) => None,
        Value::Object(map) => {
            Some(Value::Object(map.into_iter().filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn field(live: &mut Object, key: String, value: Value, meta: Meta, mode: Mode) -> Result<(), PatchError> {
    let deleting = key.starts_with(DELETE_PRIMITIVES);
    if deleting && mode == Mode::Combine {
        live.insert(key, value);
        return Ok(());
    }
    let key = if deleting { listed(&key, DELETE_PRIMITIVES, PatchError::PRIMITIVE_LIST)? } else { key };
    if value.is_null() {
        live.remove(&key);
        if mode == Mode::Apply {
            return Ok(());
        }
    }
    let strategy = meta.field(&key);
    let merged = match (live.remove(&key), value) {
        (None, _) if deleting => return Ok(()),
        (Some(Value::Object(old)), Value::Object(new)) if !strategy.replace => {
            Value::Object(merge(old, new, strategy.below, mode)?)
        }
        (Some(Value::Object(_)), Value::Object(new)) => Value::Object(new),
        (Some(Value::Array(old)), Value::Array(gone)) if deleting => {
            let places = Places::of(&gone, "");
            Value::Array(old.into_iter().filter(|item| places.find(&gone, item).is_none()).collect())
        }
        (Some(Value::Array(old)), Value::Array(new)) if strategy.merge => {
            Value::Array(merge_lists(old, new, &strategy, mode)?)
        }
        (Some(Value::Array(_)), Value::Array(new)) => Value::Array(new),
        (Some(old), _) if deleting => old,
        (_, mut new) => {
            if mode == Mode::Apply {
                drop_nulls(&mut new);
            }
            match without_directives(new) {
                Some(new) => new,
                None => return Ok(()),
            }
        }
    };
    live.insert(key, merged);
    Ok(())
}

/// `$retainKeys`: the patch names all fields that survive.
fn retain_keys(live: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), PatchError> {
    let Some(kept) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Combine {
        match live.get(RETAIN_KEYS) {
            Some(before) if *before != kept => {
                let why = "are not deep equal: this may happen when calculating the 3-way diff patch";
                return Err(PatchError::Other(format!("{before} and {kept} {why}")));
            }
            _ => live.insert(RETAIN_KEYS.into(), kept),
        };
        return Ok(());
    }
    let Value::Array(kept) = kept else { return Err(PatchError::RETAIN_KEYS) };
    let is_kept = |key: &str| kept.iter().any(|k| k == key);
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_PRIMITIVES) || key.starts_with(ELEMENT_ORDER);
        if !value.is_null() && !directive && !is_kept(key) {
            return Err(PatchError::RETAIN_KEYS);
        }
    }
    live.retain(|key, _| is_kept(key));
    Ok(())
}

/// `$setElementOrder/x`: the list x is merged and ordered at once, and taken out of the patch.
fn ordered_lists(live: &mut Object, patch: &mut Object, meta: Meta, mode: Mode) -> Result<(), PatchError> {
    let orders: Vec<String> = patch.keys().filter(|k| k.starts_with(ELEMENT_ORDER)).cloned().collect();
    for directive in orders {
        let Some(order) = patch.remove(&directive) else { continue };
        if mode == Mode::Combine {
            match live.get(&directive) {
                Some(before) if *before != order => return Err(PatchError::ELEMENT_ORDER),
                _ => live.insert(directive.clone(), order.clone()),
            };
        }
        let order = items(order)?;
        let key = listed(&directive, ELEMENT_ORDER, PatchError::ELEMENT_ORDER)?;
        let strategy = meta.field(&key);
        let old = live.get(&key).cloned().map(items).transpose()?;
        let new = patch.get(&key).cloned().map(items).transpose()?;
        lists::check_order(new.as_deref().unwrap_or_default(), &order, strategy.merge_key)?;
        let patched = new.clone().unwrap_or_default();
        let merged = match (old.clone(), new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => new.into_iter().filter_map(strategic::without_directives).collect(),
            (Some(old), Some(new)) if strategy.merge => merge_lists(old, new, &strategy, mode)?,
            (Some(_), Some(new)) => new,
        };
        let server_order = lists::server_order(old.unwrap_or_default(), &patched, strategy.merge_key);
        let ordered = lists::in_order(merged, &order, &server_order, strategy.merge_key)?;
        live.insert(key.clone(), Value::Array(ordered));
        patch.remove(&key);
    }
    Ok(())
}

/// `x` of `$setElementOrder/x`.
fn listed(directive: &str, prefix: &str, error: PatchError) -> Result<String, PatchError> {
    directive.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).map(str::to_string).ok_or(error)
}

fn items(value: Value) -> Result<Vec<Value>, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(PatchError::wrong_type("[]interface {}", &other)),
    }
}

/// Takes the nulls out of all objects inside.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
