//! Trees into messages: fields in the order of their tags, as upstream's generated code writes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::wire;
use crate::schema::{Of, Shape, Slot, Type};

/// The message of an object, or of one of its embedded parts: both have their fields in the same map.
pub fn object(of: &'static Type, map: &Map<String, Value>, out: &mut Vec<u8>) {
    for (tag, slot) in &of.slots {
        match slot {
            Slot::Field(index) => {
                let field = &of.fields[*index];
                if let Some(value) = map.get(field.name).filter(|value| !value.is_null()) {
                    member(*tag, &field.of, value, out);
                }
            }
            Slot::Embed(index) => {
                let inner = of.embeds[*index].target.get();
                if inner.fields.iter().any(|field| map.contains_key(field.name)) {
                    wire::nested(*tag, out, |out| object(inner, map, out));
                }
            }
        }
    }
}

fn member(tag: u32, of: &'static Of, value: &Value, out: &mut Vec<u8>) {
    match (of, value) {
        (Of::List(of), Value::Array(items)) => items.iter().for_each(|item| single(tag, of, item, out)),
        (Of::Map(of), Value::Object(map)) => {
            for (key, value) in map {
                wire::nested(tag, out, |out| {
                    wire::bytes(1, key.as_bytes(), out);
                    single(2, of, value, out);
                });
            }
        }
        _ => single(tag, of, value, out),
    }
}

pub fn single(tag: u32, of: &'static Of, value: &Value, out: &mut Vec<u8>) {
    match of {
        Of::String => wire::bytes(tag, value.as_str().unwrap_or_default().as_bytes(), out),
        Of::Bool => wire::number(tag, value.as_bool().unwrap_or_default().into(), out),
        Of::Int32 | Of::Int64 => wire::number(tag, value.as_i64().unwrap_or_default(), out),
        Of::Double => wire::double(tag, value.as_f64().unwrap_or_default(), out),
        // The tree was decoded: its base64 is right.
        Of::Bytes => wire::bytes(tag, &STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default(), out),
        Of::Type(link) => wire::nested(tag, out, |out| shaped(link.get(), value, out)),
        // A list within a map or list: a message with one repeated field.
        Of::List(_) if value.is_array() => wire::nested(tag, out, |out| member(1, of, value, out)),
        Of::Map(_) if value.is_object() => wire::nested(tag, out, |out| member(1, of, value, out)),
        // What is neither, whatever the schema says, has no message.
        Of::List(_) | Of::Map(_) => {}
    }
}

/// The inside of a message whose JSON need not be an object.
fn shaped(of: &'static Type, value: &Value, out: &mut Vec<u8>) {
    match (of.shape, value) {
        (Shape::Object, Value::Object(map)) => object(of, map, out),
        (Shape::Quantity, Value::String(text)) => wire::bytes(1, text.as_bytes(), out),
        (Shape::Time | Shape::MicroTime, Value::String(text)) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                wire::number(1, time.as_second(), out);
                let nanos = if of.shape == Shape::Time { 0 } else { time.subsec_nanosecond() };
                wire::number(2, nanos.into(), out);
            }
        }
        (Shape::Duration, Value::String(text)) => wire::number(1, super::read::nanoseconds(text), out),
        (Shape::IntOrString, value) => {
            wire::number(1, value.is_string().into(), out);
            wire::number(2, value.as_i64().unwrap_or_default(), out);
            wire::bytes(3, value.as_str().unwrap_or_default().as_bytes(), out);
        }
        (Shape::Raw | Shape::Json | Shape::FieldSet, value) => wire::bytes(1, value.to_string().as_bytes(), out),
        (Shape::Strings, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).for_each(|item| wire::bytes(1, item.as_bytes(), out));
        }
        (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings, value) => either(of, value, out),
        _ => {}
    }
}

/// A schema, or something else: each has its own tag (apiextensions generated.proto).
fn either(of: &'static Type, value: &Value, out: &mut Vec<u8>) {
    let schema = |tag: u32, map: &Map<String, Value>, out: &mut Vec<u8>| {
        wire::nested(tag, out, |out| object(of.schema_props(), map, out));
    };
    match (of.shape, value) {
        (Shape::SchemaOrBool, Value::Bool(allows)) => wire::number(1, (*allows).into(), out),
        (Shape::SchemaOrBool, Value::Object(map)) => {
            wire::number(1, 1, out);
            schema(2, map, out);
        }
        (_, Value::Object(map)) => schema(1, map, out),
        (Shape::SchemaOrArray, Value::Array(items)) => {
            items.iter().filter_map(Value::as_object).for_each(|map| schema(2, map, out));
        }
        (_, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).for_each(|item| wire::bytes(2, item.as_bytes(), out));
        }
        _ => {}
    }
}
