//! Request bodies in protobuf, along the schema table: kubectl's `create` verbs send nothing else.
//!
//! A body is the magic `k8s\0` and a `runtime.Unknown` around the object's own message
//! (apimachinery pkg/runtime/serializer/protobuf). What comes out is the tree that the same object
//! has in JSON. Answers are JSON: every such client takes that too.

use api::Status;
use api::schema::{self, Field, Of, Shape, Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value, json};

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
const MAGIC: &[u8] = b"k8s\0";
/// Messages do not nest deeper (protobuf's own limit).
const DEPTH_MAX: usize = 100;

/// Whether a content type names protobuf.
pub fn is_meant(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or("").trim() == MEDIA_TYPE
}

/// The object of a body. `schema` is what the path makes of it.
pub fn decode(body: &[u8], schema: &str) -> Result<Value, Status> {
    read(body, schema).ok_or_else(|| Status::bad_request("the body is no protobuf of the expected kind"))
}

fn read(body: &[u8], schema: &str) -> Option<Value> {
    let unknown = body.strip_prefix(MAGIC)?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), &b""[..]);
    for (tag, wire) in Wires(unknown) {
        match (tag, wire?) {
            (1, Wire::Bytes(bytes)) => {
                for (tag, wire) in Wires(bytes) {
                    match (tag, wire?) {
                        (1, Wire::Bytes(text)) => api_version = text_of(text)?,
                        (2, Wire::Bytes(text)) => kind = text_of(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut object = message(raw, schema::get(schema)?, 0)?;
    for (key, value) in [("apiVersion", api_version), ("kind", kind)] {
        if !value.is_empty() {
            object[key] = value.into();
        }
    }
    Some(object)
}

/// One field on the wire.
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message in order; None for what is malformed, once, last.
struct Wires<'a>(&'a [u8]);

impl<'a> Iterator for Wires<'a> {
    type Item = (u32, Option<Wire<'a>>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.field();
        if read.is_none() {
            self.0 = &[];
        }
        Some(read.map_or((0, None), |(tag, wire)| (tag, Some(wire))))
    }
}

impl<'a> Wires<'a> {
    fn field(&mut self) -> Option<(u32, Wire<'a>)> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((u32::try_from(key >> 3).ok()?, wire))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

fn message(bytes: &[u8], of: &'static Type, depth: usize) -> Option<Value> {
    if depth > DEPTH_MAX {
        return None;
    }
    if of.shape != Shape::Object {
        return shaped(bytes, of.shape);
    }
    let mut map = Map::new();
    members(bytes, of, None, &mut map, depth)?;
    Some(Value::Object(map))
}

/// Reads the fields of a message, or of the embedded message with this index, into one map.
fn members(
    bytes: &[u8],
    of: &'static Type,
    embed: Option<usize>,
    map: &mut Map<String, Value>,
    depth: usize,
) -> Option<()> {
    for (tag, wire) in Wires(bytes) {
        let wire = wire?;
        if let Some(field) = of.fields.iter().find(|f| f.tag == tag && f.tag != 0 && f.embed == embed) {
            member(field, &wire, map, depth)?;
            continue;
        }
        if embed.is_none()
            && let Some(index) = of.embeds.iter().position(|e| e.tag == tag)
            && let Wire::Bytes(inner) = wire
        {
            members(inner, of, Some(index), map, depth + 1)?;
        }
    }
    Some(())
}

fn member(field: &Field, wire: &Wire<'_>, map: &mut Map<String, Value>, depth: usize) -> Option<()> {
    match &field.of {
        Of::List(of) => {
            let list = map.entry(field.name).or_insert_with(|| json!([])).as_array_mut()?;
            match (&**of, wire) {
                // Numbers may come packed.
                (Of::Int32 | Of::Int64 | Of::Bool, Wire::Bytes(packed)) => {
                    let mut rest = Wires(packed);
                    while !rest.0.is_empty() {
                        list.push(single(of, &Wire::Varint(rest.varint()?), depth)?);
                    }
                }
                _ => list.push(single(of, wire, depth)?),
            }
        }
        Of::Map(of) => {
            let Wire::Bytes(entry) = wire else { return None };
            let (mut key, mut value) = (String::new(), empty(of));
            for (tag, wire) in Wires(entry) {
                match (tag, wire?) {
                    (1, Wire::Bytes(text)) => key = text_of(text)?,
                    (2, wire) => value = single(of, &wire, depth)?,
                    _ => {}
                }
            }
            map.entry(field.name).or_insert_with(|| json!({})).as_object_mut()?.insert(key, value);
        }
        of => {
            let value = single(of, wire, depth)?;
            // proto2 writes every field of a Go struct: what is zero without a pointer is absent in JSON.
            let written = field.pointer || field.always || field.required || !is_zero(&value);
            if written && (field.always || !value.is_null()) {
                map.insert(field.name.into(), value);
            }
        }
    }
    Some(())
}

fn single(of: &Of, wire: &Wire<'_>, depth: usize) -> Option<Value> {
    Some(match (of, wire) {
        (Of::String, Wire::Bytes(text)) => text_of(text)?.into(),
        (Of::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Of::Bool, Wire::Varint(n)) => (*n != 0).into(),
        // Negative numbers come sign-extended to 64 bits.
        (Of::Int32 | Of::Int64, Wire::Varint(n)) => n.cast_signed().into(),
        (Of::Double, Wire::Fixed64(n)) => Number::from_f64(f64::from_bits(*n))?.into(),
        (Of::Double, Wire::Fixed32(n)) => Number::from_f64(f32::from_bits(*n).into())?.into(),
        (Of::Type(link), Wire::Bytes(bytes)) => message(bytes, link.get(), depth + 1)?,
        (Of::List(of), Wire::Bytes(bytes)) => {
            // A list within a map: a message with one repeated field.
            let items: Option<Vec<Value>> =
                Wires(bytes).filter(|(tag, _)| *tag == 1).map(|(_, wire)| single(of, &wire?, depth + 1)).collect();
            items?.into()
        }
        _ => return None,
    })
}

/// What a map's value is when it is not on the wire.
fn empty(of: &Of) -> Value {
    match of {
        Of::String | Of::Bytes => json!(""),
        Of::Bool => json!(false),
        Of::Int32 | Of::Int64 => json!(0),
        Of::Double => json!(0.0),
        Of::List(_) => json!([]),
        Of::Map(_) => json!({}),
        Of::Type(link) if link.get().shape == Shape::Quantity => json!("0"),
        Of::Type(_) => json!({}),
    }
}

/// Types whose JSON is not an object of their fields.
fn shaped(bytes: &[u8], shape: Shape) -> Option<Value> {
    let (mut numbers, mut texts) = ([0i64; 4], [&b""[..]; 4]);
    let mut items = Vec::new();
    for (tag, wire) in Wires(bytes) {
        let slot = usize::try_from(tag).ok().filter(|t| *t < 4);
        match (slot, wire?) {
            (Some(slot), Wire::Varint(n)) => numbers[slot] = n.cast_signed(),
            (Some(slot), Wire::Bytes(text)) => {
                texts[slot] = text;
                if shape == Shape::Strings && slot == 1 {
                    items.push(Value::from(text_of(text)?));
                }
            }
            _ => {}
        }
    }
    Some(match shape {
        Shape::Quantity => text_of(texts[1])?.into(),
        Shape::Time | Shape::MicroTime => {
            let nanos = i32::try_from(numbers[2]).ok()?;
            let time = jiff::Timestamp::new(numbers[1], nanos).ok()?;
            match (shape, numbers[1], nanos) {
                // Go's zero time is absent.
                (_, 0, 0) => Value::Null,
                (Shape::MicroTime, ..) => time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into(),
                _ => time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
            }
        }
        Shape::Duration => go_duration(numbers[1]).into(),
        Shape::IntOrString if numbers[1] == 1 => text_of(texts[3])?.into(),
        Shape::IntOrString => numbers[2].into(),
        Shape::Raw | Shape::Json | Shape::FieldSet => serde_json::from_slice(texts[1]).ok()?,
        Shape::Strings => items.into(),
        _ => return None,
    })
}

/// Nanoseconds as a duration that Go's parser takes.
fn go_duration(nanos: i64) -> String {
    if nanos % 1_000_000_000 == 0 { format!("{}s", nanos / 1_000_000_000) } else { format!("{nanos}ns") }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(_) => false,
    }
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests;
