//! Stored JSON into messages without a tree between: what long lists are made of.
//!
//! The JSON is ours: canonical, and of the type that it is read as. Fields come in the order of their names, not of
//! their tags, and an embedded part may come in pieces, which every reader of protobuf joins; a test holds the result
//! against that of `write`.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{wire, write};
use crate::schema::{Of, Shape, Type};

/// The message of an object of that type, from its JSON.
pub fn object(of: &'static Type, json: &[u8], out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    reader.deserialize_map(Members { of, out })?;
    reader.end()
}

/// A message that is written in place: what stands before its length.
fn begin(tag: u32, out: &mut Vec<u8>) -> usize {
    wire::varint(u64::from(tag) << 3 | 2, out);
    out.push(0);
    out.len()
}

/// Puts the length in front of what was written since; nearly all fit into the byte that is there.
fn end(start: usize, out: &mut Vec<u8>) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let mut bytes = Vec::with_capacity(4);
    wire::varint(length as u64, &mut bytes);
    out.splice(start - 1..start, bytes);
}

/// The members of an object.
struct Members<'o> {
    of: &'static Type,
    out: &'o mut Vec<u8>,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.of.name)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(index) = map.next_key_seed(Name(self.of))? {
            let Some(field) = index.map(|index| &self.of.fields[index]).filter(|field| field.tag != 0) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // The parts that it is in, each in the one before.
            let (mut of, mut inner, mut parts) = (self.of, field, Vec::new());
            while let Some(part) = inner.embed.map(|part| &of.embeds[part]) {
                parts.push(begin(part.tag, self.out));
                of = part.target.get();
                inner = of.field(field.name).ok_or_else(|| M::Error::custom("a field that its part lacks"))?;
            }
            map.next_value_seed(Member { tag: inner.tag, of: &inner.of, out: &mut *self.out })?;
            parts.into_iter().rev().for_each(|start| end(start, self.out));
        }
        Ok(())
    }
}

/// A member's name: which field it is.
struct Name(&'static Type);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.fields.binary_search_by(|field| field.name.cmp(name)).ok())
    }
}

/// A member's value: lists and maps are repeated fields.
struct Member<'o> {
    tag: u32,
    of: &'static Of,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.of {
            Of::List(_) | Of::Map(_) => deserializer.deserialize_any(self),
            _ => Single { tag: self.tag, of: self.of, out: self.out }.deserialize(deserializer),
        }
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a map")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        let Of::List(of) = self.of else { return Err(S::Error::custom("a list where none is")) };
        while items.next_element_seed(Single { tag: self.tag, of, out: &mut *self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let Of::Map(of) = self.of else { return Err(M::Error::custom("a map where none is")) };
        loop {
            // An entry is begun before it is known whether there is one more.
            let before = self.out.len();
            let start = begin(self.tag, self.out);
            if map.next_key_seed(Text { tag: 1, out: &mut *self.out })?.is_none() {
                self.out.truncate(before);
                return Ok(());
            }
            map.next_value_seed(Single { tag: 2, of, out: &mut *self.out })?;
            end(start, self.out);
        }
    }
}

/// A text as a field.
struct Text<'o> {
    tag: u32,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        wire::bytes(self.tag, text.as_bytes(), self.out);
        Ok(())
    }
}

/// One value as a field.
struct Single<'o> {
    tag: u32,
    of: &'static Of,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Single<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.of {
            Of::Type(link) => match link.get().shape {
                Shape::Object => deserializer.deserialize_any(self),
                Shape::Raw | Shape::Json | Shape::FieldSet => {
                    let json = <&RawValue>::deserialize(deserializer)?.get();
                    if json != "null" {
                        let start = begin(self.tag, self.out);
                        wire::bytes(1, json.as_bytes(), self.out);
                        end(start, self.out);
                    }
                    Ok(())
                }
                _ => self.by_tree(deserializer),
            },
            Of::Bytes | Of::List(_) | Of::Map(_) => self.by_tree(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Single<'_> {
    /// What is small, or rare.
    fn by_tree<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = Value::deserialize(deserializer)?;
        if !value.is_null() {
            write::single(self.tag, self.of, &value, self.out);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Single<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        wire::bytes(self.tag, text.as_bytes(), self.out);
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        wire::number(self.tag, value.into(), self.out);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.of {
            Of::Double => wire::double(self.tag, value as f64, self.out),
            _ => wire::number(self.tag, value, self.out),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.visit_i64(i64::try_from(value).map_err(|_| E::custom("a number that is too large"))?)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        wire::double(self.tag, value, self.out);
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        let Of::Type(link) = self.of else { return Err(M::Error::custom("an object where none is")) };
        let start = begin(self.tag, self.out);
        Members { of: link.get(), out: &mut *self.out }.visit_map(map)?;
        end(start, self.out);
        Ok(())
    }
}
