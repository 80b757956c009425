//! Bodies in whatever form they come, as JSON: YAML, protobuf, watches, OpenAPI in protobuf. Pure.
//!
//! What a body is shows itself: protobuf by its magic, the rest by its content type. Objects are read along the schema
//! table, so that an absent field and a zero are one, as they are for Go. A request's body is written as JSON and sent
//! in protobuf if it says so.

use api::decode::{self, FieldValidation};
use api::proto::wire::{Reader, Wire};
use api::proto::{self, gnostic};
use api::schema;
use serde_json::{Value, json};

use super::servers::Answer;

const MAGIC: &[u8] = b"k8s\0";

/// The body of an answer; None: it has no form that is known.
pub fn read(answer: &Answer) -> Option<Value> {
    let media = answer.headers.iter().find(|(name, _)| name == "content-type").map_or("", |(_, value)| value);
    let body = &answer.body[..];
    if body.starts_with(MAGIC) {
        return object(body);
    }
    match media.split(';').next().unwrap_or_default() {
        proto::MEDIA_TYPE if !body.is_empty() => frames(body),
        gnostic::V2_TYPE => gnostic::decode(&gnostic::V2, body),
        gnostic::V3_TYPE => gnostic::decode(&gnostic::V3, body),
        "application/yaml" => decode::untyped(body).ok(),
        _ => serde_json::from_slice(body).ok().or_else(|| lines(body)),
    }
}

/// What is sent: in protobuf if that is its type and it is an object of a known kind, as it is otherwise.
pub fn sent(media: &str, body: String) -> Vec<u8> {
    let in_protobuf = || {
        let value: Value = serde_json::from_str(&body).ok()?;
        let name = schema_of(value["apiVersion"].as_str()?, value["kind"].as_str()?)?;
        proto::encode(name, &value).ok()
    };
    let made = if media == proto::MEDIA_TYPE { in_protobuf() } else { None };
    made.unwrap_or_else(|| body.into_bytes())
}

/// A watch's events, one a line.
fn lines(body: &[u8]) -> Option<Value> {
    let lines: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(body).into_iter().collect();
    lines.ok().filter(|lines| !lines.is_empty()).map(Value::Array)
}

/// A watch's events, each with its length before it.
fn frames(mut body: &[u8]) -> Option<Value> {
    let mut events = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        body = rest;
        let (mut event, mut reader) = (json!({}), Reader(frame));
        while !reader.is_empty() {
            match reader.field()? {
                (1, Wire::Bytes(text)) => event["type"] = String::from_utf8_lossy(text).into(),
                (2, Wire::Bytes(raw)) => {
                    if let (1, Wire::Bytes(raw)) = Reader(raw).field()? {
                        event["object"] = object(raw)?;
                    }
                }
                _ => {}
            }
        }
        events.push(event);
    }
    Some(Value::Array(events))
}

/// An object with its envelope.
fn object(body: &[u8]) -> Option<Value> {
    let (mut names, mut reader) = (["", ""], Reader(body.strip_prefix(MAGIC)?));
    while !reader.is_empty() {
        let (1, Wire::Bytes(meta)) = reader.field()? else { continue };
        let mut meta = Reader(meta);
        while !meta.is_empty() {
            if let (tag @ 1..=2, Wire::Bytes(text)) = meta.field()? {
                names[tag as usize - 1] = std::str::from_utf8(text).ok()?;
            }
        }
    }
    let name = schema_of(names[0], names[1])?;
    let value = proto::decode(body, name).ok()?;
    Some(decode::tree(value.clone(), name, FieldValidation::Ignore).map_or(value, |decoded| decoded.value))
}

/// The row of the schema table.
pub fn schema_of(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let package = match group.split('.').next() {
        None | Some("") => "core",
        Some(first) => first,
    };
    let of = |package: &str, version: &str| {
        let end = format!(".{package}.{version}.{kind}");
        schema::names().find(|name| name.ends_with(&end))
    };
    of(package, version).or_else(|| of("meta", if version.is_empty() { "v1" } else { version }))
}
