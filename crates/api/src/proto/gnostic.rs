//! OpenAPI documents in protobuf, along a table of gnostic's messages: JSON into bytes and back.
//!
//! client-go asks for version 2 in no other form. The messages are those of
//! github.com/google/gnostic-models (openapiv2, openapiv3), each as a `Message` in `v2` and `v3`: tags, JSON names and
//! forms. A zero is not written, but where one of several forms stands. Extensions are YAML there, of which JSON is a
//! part. What the table does not have is left out, as nothing of ours is.

use serde_json::{Map, Number, Value};

use super::DEPTH_MAX;
use super::wire::{Reader, Wire, bytes, double, nested, number};

/// The messages of version 2.
mod v2;
/// The messages of version 3.
mod v3;

pub use v2::DOCUMENT as V2;
pub use v3::DOCUMENT as V3;

/// The type that clients ask for. An at-sign is not allowed there, so that the answer's has a dot
/// (kube-openapi handler/handler.go, handler3/handler.go).
pub const V2_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
pub const V2_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
pub const V3_ASKED: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
pub const V3_TYPE: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

/// One message.
pub struct Message {
    /// The tag, the name in JSON and what stands there.
    fields: &'static [(u32, &'static str, Form)],
    /// The tag under which all other names are pairs of name and value.
    others: Option<(u32, Form)>,
    /// The tag under which `x-…` are pairs of name and `Any`; 0: none.
    extensions: u32,
}

/// How a value stands on the wire.
#[derive(Clone, Copy)]
pub enum Form {
    Text,
    Flag,
    Int,
    Number,
    /// YAML.
    Any,
    Message(&'static Message),
    /// A message with the value alone, under that tag.
    Around(u32, &'static Form),
    /// A repeated field.
    List(&'static Form),
    /// A message with one of several, the first that fits.
    One(&'static [(u32, When, Form)]),
}

/// Which of several forms a value has.
#[derive(Clone, Copy)]
pub enum When {
    Has(&'static str),
    /// A parameter's place.
    In(&'static str),
    IsMap,
    IsFlag,
    IsNumber,
    IsText,
    Always,
}

/// The bytes of a document.
pub fn encode(of: &Message, document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 18);
    if let Some(map) = document.as_object() {
        message(of, map, &mut out);
    }
    out
}

/// The document of the bytes; None: they are malformed.
pub fn decode(of: &Message, bytes: &[u8]) -> Option<Value> {
    read_message(of, bytes, 0).map(Value::Object)
}

fn message(of: &Message, map: &Map<String, Value>, out: &mut Vec<u8>) {
    for (tag, name, form) in of.fields {
        if let Some(value) = map.get(*name) {
            write(*tag, form, value, false, out);
        }
    }
    for (name, value) in map.iter().filter(|(name, _)| !of.fields.iter().any(|(_, known, _)| known == name)) {
        let (tag, form) = match (name.starts_with("x-") && of.extensions > 0, of.others) {
            (true, _) => (of.extensions, Form::Any),
            (false, Some(others)) => others,
            (false, None) => continue,
        };
        nested(tag, out, |out| {
            bytes(1, name.as_bytes(), out);
            write(2, &form, value, true, out);
        });
    }
}

/// `always`: zeroes too.
fn write(tag: u32, form: &Form, value: &Value, always: bool, out: &mut Vec<u8>) {
    match (form, value) {
        (Form::Text, Value::String(text)) if always || !text.is_empty() => bytes(tag, text.as_bytes(), out),
        (Form::Flag, Value::Bool(flag)) if always || *flag => number(tag, (*flag).into(), out),
        (Form::Int, value) => match value.as_i64() {
            Some(value) if always || value != 0 => number(tag, value, out),
            _ => {}
        },
        (Form::Number, value) => match value.as_f64() {
            Some(value) if always || value != 0.0 => double(tag, value, out),
            _ => {}
        },
        (Form::Any, value) => nested(tag, out, |out| bytes(2, value.to_string().as_bytes(), out)),
        (Form::Message(of), Value::Object(map)) => nested(tag, out, |out| message(of, map, out)),
        (Form::Around(inner, form), value) => nested(tag, out, |out| write(*inner, form, value, true, out)),
        (Form::List(form), Value::Array(items)) => items.iter().for_each(|item| write(tag, form, item, true, out)),
        (Form::One(forms), value) => nested(tag, out, |out| {
            if let Some((tag, _, form)) = forms.iter().find(|(_, when, _)| when.fits(value)) {
                write(*tag, form, value, true, out);
            }
        }),
        _ => {}
    }
}

impl When {
    fn fits(self, value: &Value) -> bool {
        match self {
            When::Has(name) => value.get(name).is_some(),
            When::In(place) => value["in"] == place,
            When::IsMap => value.is_object(),
            When::IsFlag => value.is_boolean(),
            When::IsNumber => value.is_number(),
            When::IsText => value.is_string(),
            When::Always => true,
        }
    }
}

fn read_message(of: &Message, bytes: &[u8], depth: usize) -> Option<Map<String, Value>> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut map = Map::new();
    let mut reader = Reader(bytes);
    while !reader.is_empty() {
        let (tag, wire) = reader.field()?;
        if let Some((_, name, form)) = of.fields.iter().find(|(known, _, _)| *known == tag) {
            match form {
                Form::List(form) => {
                    let list = map.entry(*name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
                    list.push(read(form, wire, depth + 1)?);
                }
                form => drop(map.insert((*name).to_owned(), read(form, wire, depth + 1)?)),
            }
        } else {
            let form = match of.others {
                _ if tag == of.extensions => Form::Any,
                Some((others, form)) if tag == others => form,
                _ => continue,
            };
            let Wire::Bytes(pair) = wire else { return None };
            let (mut name, mut value) = (String::new(), Value::Object(Map::new()));
            let mut reader = Reader(pair);
            while !reader.is_empty() {
                match reader.field()? {
                    (1, Wire::Bytes(text)) => name = String::from_utf8(text.to_vec()).ok()?,
                    (2, wire) => value = read(&form, wire, depth + 1)?,
                    _ => {}
                }
            }
            map.insert(name, value);
        }
    }
    Some(map)
}

fn read(form: &Form, wire: Wire, depth: usize) -> Option<Value> {
    Some(match (form, wire) {
        (Form::Text, Wire::Bytes(text)) => String::from_utf8(text.to_vec()).ok()?.into(),
        (Form::Flag, Wire::Varint(flag)) => (flag != 0).into(),
        (Form::Int, Wire::Varint(value)) => value.cast_signed().into(),
        (Form::Number, Wire::Fixed64(bits)) => {
            let value = f64::from_bits(bits);
            // A whole one is written as such.
            match value as i64 {
                whole if whole as f64 == value => whole.into(),
                _ => Number::from_f64(value)?.into(),
            }
        }
        (Form::Any, Wire::Bytes(inner)) => {
            let mut value = Value::Null;
            let mut reader = Reader(inner);
            while !reader.is_empty() {
                if let (2, Wire::Bytes(yaml)) = reader.field()? {
                    value = serde_saphyr::from_str(std::str::from_utf8(yaml).ok()?).ok()?;
                }
            }
            value
        }
        (Form::Message(of), Wire::Bytes(inner)) => Value::Object(read_message(of, inner, depth)?),
        (Form::Around(inner, form), Wire::Bytes(message)) => {
            let mut values = Vec::new();
            let mut reader = Reader(message);
            while !reader.is_empty() {
                let (tag, wire) = reader.field()?;
                if tag == *inner {
                    values.push(read(if let Form::List(form) = form { form } else { form }, wire, depth + 1)?);
                }
            }
            if matches!(form, Form::List(_)) { Value::Array(values) } else { values.pop()? }
        }
        (Form::One(forms), Wire::Bytes(message)) => {
            let mut value = Value::Object(Map::new());
            let mut reader = Reader(message);
            while !reader.is_empty() {
                let (tag, wire) = reader.field()?;
                if let Some((_, _, form)) = forms.iter().find(|(known, _, _)| *known == tag) {
                    value = read(form, wire, depth + 1)?;
                }
            }
            value
        }
        _ => return None,
    })
}
