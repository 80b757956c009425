//! What is wrong with an applied configuration, told before it is merged.
//!
//! Upstream: structured-merge-diff typed (validate.go). All errors, in the order of the tree; a null is right everywhere.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::element::Element;
use super::place::Place;
use crate::go;
use crate::schema::{Of, Shape, Type};

/// All that is wrong.
pub fn check(of: &'static Type, value: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    typed(of, value, Place::of_type(of), "", &mut wrong);
    wrong
}

fn typed(of: &'static Type, found: &Value, place: Place, path: &str, wrong: &mut Vec<String>) {
    match (of.shape, found) {
        (Shape::Object, Value::Object(map)) => object(of, map, place, path, wrong),
        // Whether it can be read is told of what was merged.
        (Shape::Raw | Shape::IntOrString, _) | (Shape::FieldSet, Value::Object(_)) => {}
        (Shape::Object | Shape::FieldSet, other) => {
            wrong.push(format!("{path}: expected map, got &{{{}}}", go::plain(other)));
        }
        (Shape::Quantity | Shape::Time | Shape::MicroTime, Value::Array(_) | Value::Object(_)) => {
            wrong.push(format!("{path}: expected any scalar, got &{{{}}}", go::plain(found)));
        }
        (Shape::Duration, found) if !found.is_string() => wrong.push(format!("{path}: {}", no_string(found))),
        _ => {}
    }
}

fn object(of: &'static Type, map: &Map<String, Value>, place: Place, path: &str, wrong: &mut Vec<String>) {
    for (key, found) in map {
        let path = format!("{path}.{key}");
        match of.field(key) {
            Some(field) => value(&field.of, found, place.of_name(key), &path, wrong),
            None => wrong.push(format!("{path}: field not declared in schema")),
        }
    }
}

fn value(of: &'static Of, found: &Value, place: Place, path: &str, wrong: &mut Vec<String>) {
    if found.is_null() {
        return;
    }
    match (of, found) {
        (Of::Type(link), found) => typed(link.get(), found, place, path, wrong),
        (Of::List(of), Value::Array(found)) => items(of, found, place, path, wrong),
        (Of::List(_), other) => wrong.push(format!("{path}: expected list, got &{{{}}}", go::plain(other))),
        (Of::Map(of), Value::Object(map)) => {
            for (key, found) in map {
                value(of, found, place.of_name(key), &format!("{path}.{key}"), wrong);
            }
        }
        (Of::Map(_), other) => wrong.push(format!("{path}: expected map, got &{{{}}}", go::plain(other))),
        (Of::String | Of::Bytes, Value::String(_)) | (Of::Bool, Value::Bool(_)) => {}
        (Of::Int32 | Of::Int64 | Of::Double, Value::Number(_)) => {}
        (Of::String | Of::Bytes, other) => wrong.push(format!("{path}: {}", no_string(other))),
        (Of::Bool, other) => wrong.push(format!("{path}: expected boolean, got &{{{}}}", go::plain(other))),
        (Of::Int32 | Of::Int64 | Of::Double, other) => {
            wrong.push(format!("{path}: expected numeric (int or float), got {}", go::type_of(other)));
        }
    }
}

/// Items of a list that is owned item by item are told by their keys, others by where they stand.
fn items(of: &'static Of, found: &[Value], place: Place, path: &str, wrong: &mut Vec<String>) {
    if !matches!(place, Place::Set | Place::Keyed(..)) {
        for (at, item) in found.iter().enumerate() {
            value(of, item, place.of_item(), &format!("{path}[{at}]"), wrong);
        }
        return;
    }
    let mut seen: HashSet<Element> = HashSet::with_capacity(found.len());
    for (at, item) in found.iter().enumerate() {
        let element = match place.item(item) {
            Ok(element) => element,
            Err(why) => {
                wrong.push(format!("{path}: element {at}: {why}"));
                return;
            }
        };
        if seen.contains(&element) {
            wrong.push(format!("{path}: duplicate entries for key {element}"));
        }
        value(of, item, place.below(&element), &format!("{path}{element}"), wrong);
        seen.insert(element);
    }
}

fn no_string(found: &Value) -> String {
    format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::literal(found))
}
