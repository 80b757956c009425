//! What differs between two objects, and what an object has: as sets of fields.
//!
//! Upstream: structured-merge-diff typed (compare.go, tofieldset.go).

use serde_json::{Map, Value};

use super::element::Element;
use super::place::Place;
use super::set::Set;

/// No field is in more than one of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
    /// An item of a list that is owned item by item has no key: whose it is nobody can say.
    pub nameless: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Added,
    Modified,
    Removed,
}

/// From `old` to `new`, two objects of the place's type.
pub fn compare(old: &Value, new: &Value, place: Place) -> Difference {
    let mut difference = Difference::default();
    below(Some(old), Some(new), place, &mut difference);
    difference
}

/// Every leaf and list item of an object.
pub fn fields(value: &Value, place: Place) -> Set {
    let mut set = Set::default();
    collect(value, place, &mut set);
    set
}

impl Difference {
    /// Without the fields that a write to this (sub)resource does not change.
    pub fn without(self, reset: &Set) -> Difference {
        Difference {
            added: self.added.without(reset),
            modified: self.modified.without(reset),
            removed: self.removed.without(reset),
            nameless: self.nameless,
        }
    }

    fn mark(&mut self, element: Element, mark: Option<Mark>) {
        match mark {
            Some(Mark::Added) => self.added.insert(element),
            Some(Mark::Modified) => self.modified.insert(element),
            Some(Mark::Removed) => self.removed.insert(element),
            None => {}
        }
    }

    /// Compares one step below; `element` names it, and is only made when there is something to say.
    fn step(&mut self, old: Option<&Value>, new: Option<&Value>, place: Place, element: impl Fn() -> Element) {
        let mut inner = Difference::default();
        let mark = below(old, new, place, &mut inner);
        self.nameless |= inner.nameless;
        for (set, inner) in
            [(&mut self.added, inner.added), (&mut self.modified, inner.modified), (&mut self.removed, inner.removed)]
        {
            if !inner.is_empty() {
                set.put_below(element(), inner);
            }
        }
        if mark.is_some() {
            self.mark(element(), mark);
        }
    }
}

/// Fills in what differs below a place, and says what happened to the place itself.
fn below(old: Option<&Value>, new: Option<&Value>, place: Place, found: &mut Difference) -> Option<Mark> {
    let descend = match place {
        Place::Leaf => false,
        Place::Object(_) | Place::Map(_) | Place::Free => objects(old, new, place, found),
        Place::Set | Place::Keyed(..) => lists(old, new, place, found),
    };
    match (old, new) {
        (None, _) => Some(Mark::Added),
        (_, None) => Some(Mark::Removed),
        (Some(old), Some(new)) => (!descend && old != new).then_some(Mark::Modified),
    }
}

/// False: both are empty or no objects, and count as a leaf.
fn objects(old: Option<&Value>, new: Option<&Value>, place: Place, found: &mut Difference) -> bool {
    let (left, right) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let odd = |value: Option<&Value>| value.is_some_and(|v| !v.is_object() && !v.is_null());
    if left.is_none_or(Map::is_empty) && right.is_none_or(Map::is_empty) || odd(old) || odd(new) {
        return false;
    }
    let lefts = left.into_iter().flat_map(|map| map.keys());
    let rights = right.into_iter().flat_map(|map| map.keys()).filter(|key| !left.is_some_and(|m| m.contains_key(*key)));
    for key in lefts.chain(rights) {
        let (a, b) = (side(old, place, key), side(new, place, key));
        found.step(a, b, place.of_name(key), || Element::Field(key.clone()));
    }
    true
}

fn lists(old: Option<&Value>, new: Option<&Value>, place: Place, found: &mut Difference) -> bool {
    let (left, right) = (items(old), items(new));
    if left.is_empty() && right.is_empty() {
        return false;
    }
    if left == right {
        return true;
    }
    let all = left.len() + right.len();
    let (left, right) = (by_element(left, place), by_element(right, place));
    found.nameless |= left.len() + right.len() < all;
    let (mut left, mut right) = (&left[..], &right[..]);
    while let Some((element, _)) = match (left.first(), right.first()) {
        (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
        (a, b) => a.or(b),
    } {
        let before = take_same(&mut left, element);
        let after = take_same(&mut right, element);
        item(element, before, after, place.of_item(), found);
    }
    true
}

/// A field of one side: what Go writes as null when nothing is set is there, as null.
fn side<'v>(whole: Option<&'v Value>, place: Place, key: &str) -> Option<&'v Value> {
    static NULL: Value = Value::Null;
    let found = whole.and_then(|whole| whole.get(key));
    found.or_else(|| (whole.is_some() && place.null_when_absent(key)).then_some(&NULL))
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

type Items<'v> = [(Element, &'v Value)];

/// Sorted by element, so that lists of any length are compared, and their sets built, in one pass.
fn by_element(items: &[Value], place: Place) -> Vec<(Element, &Value)> {
    let mut sorted: Vec<(Element, &Value)> =
        items.iter().filter_map(|item| Some((place.item(item).ok()?, item))).collect();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    sorted
}

/// Cuts the items of an element off the front.
fn take_same<'l, 'v>(items: &mut &'l Items<'v>, element: &Element) -> &'l Items<'v> {
    let count = items.iter().take_while(|(e, _)| e == element).count();
    let (same, rest) = items.split_at(count);
    *items = rest;
    same
}

/// One item of a list; items that are there several times count as a whole.
fn item(element: &Element, old: &Items, new: &Items, place: Place, found: &mut Difference) {
    let (first_old, first_new) = (old.first().map(|(_, item)| *item), new.first().map(|(_, item)| *item));
    match (old.len(), new.len()) {
        (0..=1, 0..=1) => found.step(first_old, first_new, place, || element.clone()),
        (2.., 2..) => found.mark(element.clone(), (old != new).then_some(Mark::Modified)),
        (2.., _) => {
            if !new.is_empty() {
                found.step(None, first_new, place, || element.clone());
            }
            found.mark(element.clone(), Some(Mark::Removed));
        }
        (_, _) => {
            if !old.is_empty() {
                found.step(first_old, None, place, || element.clone());
            }
            found.mark(element.clone(), Some(Mark::Added));
        }
    }
}

/// Adds what is below a place; true: the place itself is a leaf.
fn collect(value: &Value, place: Place, set: &mut Set) -> bool {
    match (place, value) {
        (Place::Object(_) | Place::Map(_) | Place::Free, Value::Object(map)) => {
            for (key, value) in map {
                let element = Element::Field(key.clone());
                let mut inner = Set::default();
                let leaf = collect(value, place.of_name(key), &mut inner);
                let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                set.put_below(element.clone(), inner);
                if leaf || hollow || !place.names(key) {
                    set.insert(element);
                }
            }
            false
        }
        (Place::Set | Place::Keyed(..), Value::Array(items)) => {
            let items = by_element(items, place);
            for same in items.chunk_by(|(a, _), (b, _)| a == b) {
                let (element, item) = &same[0];
                if same.len() == 1 {
                    let mut inner = Set::default();
                    collect(item, place.below(element), &mut inner);
                    set.put_below(element.clone(), inner);
                }
                set.insert(element.clone());
            }
            false
        }
        (Place::Object(_) | Place::Map(_) | Place::Set | Place::Keyed(..), Value::Null) => false,
        _ => true,
    }
}
