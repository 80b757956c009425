//! Messages into trees. Fields that nobody knows are passed over, as protobuf wants it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::wire::{Reader, Wire};
use super::{DEPTH_MAX, MAGIC, ProtoError};
use crate::schema::{Of, Shape, Slot, Type};

/// The object of a body: envelope and message.
pub fn body(body: &[u8], of: &'static Type) -> Result<Value, ProtoError> {
    if body.is_empty() {
        return Err(ProtoError::NoData);
    }
    let unknown = body.strip_prefix(MAGIC).ok_or(ProtoError::Magic)?;
    if unknown.is_empty() {
        return Err(ProtoError::Empty);
    }
    envelope(unknown, of).ok_or(ProtoError::Malformed)
}

fn envelope(unknown: &[u8], of: &'static Type) -> Option<Value> {
    let (mut names, mut raw) = (Map::new(), &b""[..]);
    let mut reader = Reader(unknown);
    while !reader.is_empty() {
        match reader.field()? {
            (1, Wire::Bytes(meta)) => {
                let mut meta = Reader(meta);
                while !meta.is_empty() {
                    let (key, text) = match meta.field()? {
                        (1, Wire::Bytes(text)) => ("apiVersion", text),
                        (2, Wire::Bytes(text)) => ("kind", text),
                        _ => continue,
                    };
                    names.insert(key.into(), text_of(text)?.into());
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let mut map = Map::new();
    object(raw, of, &mut map, 0)?;
    map.extend(names);
    Some(Value::Object(map))
}

/// Reads the fields of a message, and of its embedded ones, into one map.
fn object(bytes: &[u8], of: &'static Type, map: &mut Map<String, Value>, depth: usize) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut reader = Reader(bytes);
    while !reader.is_empty() {
        let (tag, wire) = reader.field()?;
        let Ok(at) = of.slots.binary_search_by_key(&tag, |(tag, _)| *tag) else { continue };
        match (&of.slots[at].1, wire) {
            (Slot::Field(index), wire) => member(of.fields[*index].name, &of.fields[*index].of, wire, map, depth)?,
            (Slot::Embed(index), Wire::Bytes(inner)) => object(inner, of.embeds[*index].target.get(), map, depth + 1)?,
            _ => return None,
        }
    }
    Some(())
}

fn member(name: &str, of: &'static Of, wire: Wire, map: &mut Map<String, Value>, depth: usize) -> Option<()> {
    match of {
        Of::List(of) => {
            let list = map.entry(name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
            match (&**of, wire) {
                // Numbers may come packed.
                (Of::Int32 | Of::Int64 | Of::Bool, Wire::Bytes(packed)) => {
                    let mut reader = Reader(packed);
                    while !reader.is_empty() {
                        list.push(single(of, Wire::Varint(reader.varint()?), depth)?);
                    }
                }
                _ => list.push(single(of, wire, depth)?),
            }
        }
        Of::Map(of) => {
            let Wire::Bytes(entry) = wire else { return None };
            let (mut key, mut value) = (String::new(), None);
            let mut reader = Reader(entry);
            while !reader.is_empty() {
                match reader.field()? {
                    (1, Wire::Bytes(text)) => key = text_of(text)?,
                    (2, wire) => value = Some(single(of, wire, depth)?),
                    _ => {}
                }
            }
            let map = map.entry(name).or_insert_with(|| Value::Object(Map::new())).as_object_mut()?;
            map.insert(key, value.unwrap_or_else(|| zero(of)));
        }
        of => {
            let value = single(of, wire, depth)?;
            if !value.is_null() {
                map.insert(name.into(), value);
            }
        }
    }
    Some(())
}

fn single(of: &'static Of, wire: Wire, depth: usize) -> Option<Value> {
    Some(match (of, wire) {
        (Of::String, Wire::Bytes(text)) => text_of(text)?.into(),
        (Of::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Of::Bool, Wire::Varint(n)) => (n != 0).into(),
        (Of::Int32, Wire::Varint(n)) => (n as i32).into(),
        (Of::Int64, Wire::Varint(n)) => n.cast_signed().into(),
        (Of::Double, Wire::Fixed64(n)) => Number::from_f64(f64::from_bits(n))?.into(),
        (Of::Double, Wire::Fixed32(n)) => Number::from_f64(f32::from_bits(n).into())?.into(),
        (Of::Type(link), Wire::Bytes(bytes)) => shaped(bytes, link.get(), depth + 1)?,
        (Of::List(_) | Of::Map(_), Wire::Bytes(bytes)) => {
            let mut map = Map::new();
            let mut reader = Reader(bytes);
            while !reader.is_empty() {
                let (_, wire) = reader.field()?;
                member("items", of, wire, &mut map, depth + 1)?;
            }
            map.remove("items").unwrap_or_else(|| zero(of))
        }
        _ => return None,
    })
}

/// A message whose JSON need not be an object.
fn shaped(bytes: &[u8], of: &'static Type, depth: usize) -> Option<Value> {
    if of.shape == Shape::Object {
        let mut map = Map::new();
        object(bytes, of, &mut map, depth)?;
        return Some(Value::Object(map));
    }
    let (mut numbers, mut texts) = ([0i64; 4], [&b""[..]; 4]);
    let mut repeated = Vec::new();
    let mut reader = Reader(bytes);
    while !reader.is_empty() {
        let (tag, wire) = reader.field()?;
        let Some(slot) = usize::try_from(tag).ok().filter(|slot| *slot < 4) else { continue };
        match wire {
            Wire::Varint(n) => numbers[slot] = n.cast_signed(),
            Wire::Bytes(text) => {
                texts[slot] = text;
                repeated.push((slot, text));
            }
            _ => {}
        }
    }
    let of_tag = |tag: usize| repeated.iter().filter(move |(slot, _)| *slot == tag).map(|(_, text)| *text);
    let schema = |bytes: &[u8]| {
        let mut map = Map::new();
        object(bytes, of.schema_props(), &mut map, depth + 1)?;
        Some(Value::Object(map))
    };
    let strings = |tag| of_tag(tag).map(|text| text_of(text).map(Value::from)).collect::<Option<Vec<_>>>();
    Some(match of.shape {
        // Go's zero, where nothing says how much.
        Shape::Quantity if of_tag(1).next().is_none() => "0".into(),
        Shape::Quantity => text_of(texts[1])?.into(),
        Shape::Time | Shape::MicroTime => time(numbers[1], i32::try_from(numbers[2]).ok()?, of.shape)?,
        Shape::Duration => duration(numbers[1]).into(),
        Shape::IntOrString if numbers[1] == 1 => text_of(texts[3])?.into(),
        Shape::IntOrString => numbers[2].into(),
        Shape::Raw | Shape::Json | Shape::FieldSet if texts[1].is_empty() => Value::Null,
        Shape::Raw | Shape::Json | Shape::FieldSet => serde_json::from_slice(texts[1]).ok()?,
        Shape::Strings => strings(1)?.into(),
        Shape::SchemaOrBool => match of_tag(2).next_back() {
            Some(bytes) => schema(bytes)?,
            None => (numbers[1] != 0).into(),
        },
        Shape::SchemaOrArray if of_tag(2).next().is_some() => of_tag(2).map(schema).collect::<Option<Vec<_>>>()?.into(),
        Shape::SchemaOrStrings if of_tag(2).next().is_some() => strings(2)?.into(),
        Shape::SchemaOrArray | Shape::SchemaOrStrings => match of_tag(1).next_back() {
            Some(bytes) => schema(bytes)?,
            None => Value::Null,
        },
        Shape::Object => unreachable!("it was handled above"),
    })
}

fn zero(of: &Of) -> Value {
    match of {
        Of::String | Of::Bytes => "".into(),
        Of::Bool => false.into(),
        Of::Int32 | Of::Int64 | Of::Double => 0.into(),
        Of::List(_) => Value::Array(Vec::new()),
        Of::Map(_) => Value::Object(Map::new()),
        Of::Type(link) if link.get().shape == Shape::Quantity => "0".into(),
        Of::Type(_) => Value::Object(Map::new()),
    }
}

/// Go's zero time is absent; a Time has whole seconds.
fn time(seconds: i64, nanos: i32, shape: Shape) -> Option<Value> {
    if seconds == 0 && nanos == 0 {
        return Some(Value::Null);
    }
    let format = if shape == Shape::Time { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
    Some(Timestamp::new(seconds, nanos).ok()?.strftime(format).to_string().into())
}

/// As Go prints a duration: `1h0m0s`, `1.5s`, `100ms`.
pub fn duration(nanos: i64) -> String {
    let (sign, left) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let fraction = |whole: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", whole / unit, whole % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    let text = match left {
        0 => return "0s".into(),
        1..1_000 => format!("{left}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(left, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(left, 1_000_000)),
        _ => {
            let minutes = left / 60_000_000_000;
            let seconds = format!("{}s", fraction(left % 60_000_000_000, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// The nanoseconds of a Go duration; 0 for what is none.
pub fn nanoseconds(text: &str) -> i64 {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return 0,
        };
        let Ok(number) = number.parse::<f64>() else { return 0 };
        total += number * scale;
        rest = next;
    }
    (sign * total) as i64
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}
