//! Trees by ownership: an applied configuration merged into an object, and fields taken out of it.
//!
//! Upstream: structured-merge-diff typed (merge.go, remove.go, validate.go).

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::place::Place;
use super::set::Set;

/// `config` over `live`: its leaves win, nothing is removed, its order of list items wins.
pub fn merge(live: Option<&Value>, config: Option<&Value>, place: Place) -> Option<Value> {
    match place {
        Place::Object(_) | Place::Map(_) | Place::Free if is_map(live) || is_map(config) => {
            let empty = Map::new();
            let left = live.and_then(Value::as_object).unwrap_or(&empty);
            let right = config.and_then(Value::as_object).unwrap_or(&empty);
            let mut merged = Map::new();
            for key in left.keys().chain(right.keys().filter(|key| !left.contains_key(*key))) {
                let inner = place.below(&Element::Field(key.clone()));
                if let Some(value) = merge(left.get(key), right.get(key), inner) {
                    merged.insert(key.clone(), value);
                }
            }
            Some(Value::Object(merged))
        }
        Place::Set | Place::Keyed(..) if is_list(live) || is_list(config) => {
            let left = live.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let right = config.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Some(Value::Array(lists(left, right, place)))
        }
        _ => config.or(live).cloned(),
    }
}

/// `value` without the items of the set; None: nothing is left. An object or list that lost all its
/// items stays as a null: it is not gone for those who own it as such.
pub fn remove(value: &Value, items: &Set, place: Place) -> Option<Value> {
    match (place, value) {
        (Place::Object(_) | Place::Map(_) | Place::Free, Value::Object(map)) => {
            let kept = map.iter().filter_map(|(key, value)| {
                let element = Element::Field(key.clone());
                let left = keep(value, &element, items, place)?;
                Some((key.clone(), left.unwrap_or(Value::Null)))
            });
            let kept: Map<String, Value> = kept.collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        (Place::Set | Place::Keyed(..), Value::Array(list)) => {
            let kept: Vec<Value> = list
                .iter()
                .filter_map(|item| match place.item(item) {
                    Ok(element) => keep(item, &element, items, place)?,
                    Err(_) => Some(item.clone()),
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
        (_, Value::Object(_) | Value::Array(_)) => None,
        (_, scalar) => Some(scalar.clone()),
    }
}

/// None: the item goes; `Some(None)`: it stays, but nothing of it is left.
fn keep(value: &Value, element: &Element, items: &Set, place: Place) -> Option<Option<Value>> {
    if items.has(element) {
        return None;
    }
    Some(match items.below(element) {
        Some(below) => remove(value, below, place.below(element)),
        None => Some(value.clone()),
    })
}

fn is_map(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_some_and(|map| !map.is_empty())
}

fn is_list(value: Option<&Value>) -> bool {
    value.and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// Items come in the configuration's order; before each stand those that only the live list has
/// there. A shared item that the live list has at another place is passed over.
fn lists(live: &[Value], config: &[Value], place: Place) -> Vec<Value> {
    let (left, right) = (elements(live, place), elements(config, place));
    // How often the live list has an item, and the last of them.
    let mut there: HashMap<&Element, (usize, &Value)> = HashMap::with_capacity(left.len());
    for (element, item) in &left {
        let (count, last) = there.entry(element).or_insert((0, item));
        (*count, *last) = (*count + 1, item);
    }
    let wanted: HashSet<&Element> = right.iter().map(|(element, _)| element).collect();
    let mut shared = right.iter().map(|(element, _)| element).filter(|e| there.contains_key(e)).peekable();
    let mut merged = Vec::new();
    let mut at = 0;
    for (element, item) in &right {
        while let Some((before, value)) = left.get(at) {
            if !wanted.contains(before) {
                merged.push((*value).clone());
                at += 1;
                continue;
            }
            match shared.peek() {
                _ if before == element => {}
                Some(next) if *next == before => break,
                Some(_) => {
                    at += 1;
                    continue;
                }
                None => {}
            }
            at += 1;
            break;
        }
        // An item that is there twice is no one's: it is not merged with.
        let old = there.get(element).filter(|(count, _)| *count == 1).map(|(_, only)| *only);
        merged.extend(merge(old, Some(item), place.below(element)));
        if shared.peek() == Some(&element) {
            shared.next();
        }
    }
    let rest = left.iter().skip(at).filter(|(element, _)| !wanted.contains(element));
    merged.extend(rest.map(|(_, item)| (*item).clone()));
    merged
}

/// The items that have a name, with it.
fn elements(items: &[Value], place: Place) -> Vec<(Element, &Value)> {
    items.iter().filter_map(|item| Some((place.item(item).ok()?, item))).collect()
}
