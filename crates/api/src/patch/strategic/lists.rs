//! Lists inside a strategic merge patch: merged by key, and put in order.
//!
//! The order of a merged list: items of the patch in the order that the patch asks for, items that
//! only the server has in the server's order, the two woven together where the server's order tells
//! how. Upstream: apimachinery util/strategicpatch, mergeSlice and normalizeElementOrder.

use serde_json::{Map, Value};

use super::{Mode, PATCH, merge};
use crate::go;
use crate::patch::PatchError;
use crate::patch::places::{Places, same};
use crate::patch::strategy::Strategy;

/// Merges the items of `patch` into `live`.
pub fn merge_lists(
    live: Vec<Value>,
    patch: Vec<Value>,
    strategy: &Strategy,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    if live.is_empty() && patch.is_empty() {
        return Ok(live);
    }
    if !are_objects(&[&live, &patch])? {
        let mut both: Vec<Value> = Vec::new();
        let mut places = Places::with_room(&[], "", live.len() + patch.len());
        for item in live.iter().chain(&patch) {
            if places.find(&both, item).is_none() {
                places.add(item, both.len());
                both.push(item.clone());
            }
        }
        return in_order(both, &patch, &live, "");
    }
    let key = strategy.merge_key;
    if key.is_empty() {
        return Err(PatchError::Other("cannot merge lists without merge key".into()));
    }
    let (live, patch) = special_items(live, patch, key)?;
    let (order, server_order) = (patch.clone(), live.clone());
    let mut merged = live;
    let mut places = Places::with_room(&merged, key, patch.len());
    for item in patch {
        let Value::Object(item) = item else { return Err(PatchError::wrong_type("map[string]interface {}", &item)) };
        if !item.contains_key(key) {
            return Err(PatchError::no_merge_key(&item, key));
        }
        let item = Value::Object(item);
        let place = places.find(&merged, &item);
        let Value::Object(item) = item else { unreachable!("it was made an object above") };
        match place.and_then(|at| merged[at].as_object_mut()) {
            Some(old) => *old = merge(std::mem::take(old), item, strategy.below, mode)?,
            None => {
                let item = Value::Object(item);
                places.add(&item, merged.len());
                merged.push(item);
            }
        }
    }
    in_order(merged, &order, &server_order, key)
}

/// Puts a merged list in order: `order` for what it names, `server_order` for the rest.
pub fn in_order(
    merged: Vec<Value>,
    order: &[Value],
    server_order: &[Value],
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    for item in merged.iter().chain(order).filter(|_| !key.is_empty()) {
        require_key(item, key)?;
    }
    let (in_order, in_server) = (Places::of(order, key), Places::of(server_order, key));
    let (mut asked, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| in_order.find(order, item).is_some());
    sort_by_order(&mut asked, order, key);
    sort_by_order(&mut rest, server_order, key);
    let mut woven = Vec::with_capacity(asked.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in asked {
        let place = in_server.find(server_order, &item);
        while rest.peek().is_some_and(|r| match (in_server.find(server_order, r), place) {
            (Some(r), Some(place)) => r < place,
            _ => false,
        }) {
            woven.extend(rest.next());
        }
        woven.push(item);
    }
    woven.extend(rest);
    Ok(woven)
}

/// The server's order of a list that a patch has items deleted from: upstream lets new items take the
/// places that became free, so that they stand behind what is left.
pub fn server_order(live: Vec<Value>, patch: &[Value], key: &str) -> Vec<Value> {
    let deletes = |item: &&Value| item.get(PATCH).is_some_and(|d| d == "delete");
    let replaces = patch.iter().any(|item| item.get(PATCH).is_some_and(|d| d == "replace"));
    if key.is_empty() || replaces {
        return live;
    }
    let length = live.len();
    let deleted: Vec<Value> = patch.iter().filter(deletes).cloned().collect();
    let gone = Places::of(&deleted, key);
    let mut order: Vec<Value> = live.into_iter().filter(|item| gone.find(&deleted, item).is_none()).collect();
    let (free, left) = (length - order.len(), Places::of(&order, key));
    let is_new = |item: &&Value| item.get(PATCH).is_none() && left.find(&order, item).is_none();
    let new: Vec<Value> = patch.iter().filter(is_new).take(free).cloned().collect();
    order.extend(new);
    order
}

/// The patch's items must come in the order that `$setElementOrder` has, and all be in it.
pub fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut asked = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        if !key.is_empty() {
            require_key(item, key)?;
        }
        if !asked.any(|o| same(item, o, key)) {
            return Err(PatchError::Other(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                go::plain(&Value::Array(patch.to_vec())),
                go::plain(&Value::Array(order.to_vec()))
            )));
        }
    }
    Ok(())
}

/// Sorts by the place in `order`; what is not there stays behind what is.
pub fn sort_by_order(items: &mut [Value], order: &[Value], key: &str) {
    let places = Places::of(order, key);
    let place = |item: &Value| (item.get(PATCH).is_some(), places.find(order, item).unwrap_or(usize::MAX));
    items.sort_by_cached_key(place);
}

/// Whether all items are objects (true) or scalars (false).
pub fn are_objects(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut items = lists.iter().flat_map(|list| list.iter());
    let Some(first) = items.next() else { return Ok(false) };
    if first.is_array() {
        return Err(PatchError::LIST_OF_LISTS);
    }
    match items.find(|item| std::mem::discriminant(*item) != std::mem::discriminant(first)) {
        Some(_) => {
            let all = Value::Array(lists.iter().map(|list| Value::Array(list.to_vec())).collect());
            Err(PatchError::Other(format!("list element types are not identical: {all}")))
        }
        None => Ok(first.is_object()),
    }
}

fn require_key(item: &Value, key: &str) -> Result<(), PatchError> {
    let Value::Object(map) = item else { return Err(PatchError::wrong_type("map[string]interface {}", item)) };
    if map.contains_key(key) { Ok(()) } else { Err(PatchError::no_merge_key(map, key)) }
}

/// `$patch` among the items: `delete` removes the items of its key, `replace` the whole list.
fn special_items(live: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut live, mut plain, mut deleted, mut replace) = (live, Vec::new(), Vec::new(), false);
    for item in patch {
        match item.get(PATCH).map(|d| d.as_str()) {
            None => plain.push(item),
            Some(Some("delete")) => {
                require_key(&item, key)?;
                deleted.push(item);
            }
            Some(Some("replace")) => replace = true,
            Some(Some("merge")) => {
                return Err(PatchError::Other("merging lists cannot yet be specified in the patch".into()));
            }
            Some(_) => {
                let map: Map<String, Value> = item.as_object().cloned().unwrap_or_default();
                return Err(PatchError::unknown_directive(&map[PATCH], &map));
            }
        }
    }
    let gone = Places::of(&deleted, key);
    live.retain(|old| gone.find(&deleted, old).is_none());
    if replace {
        live.clear();
        return Ok((plain, live));
    }
    Ok((live, plain))
}
