//! The version 2 document in protobuf: the only form in which client-go asks for it.
//!
//! The messages are gnostic's (github.com/google/gnostic-models, openapiv2). Only what our documents
//! have is written; extensions are YAML there, of which JSON is a part.

use serde_json::{Map, Value};

use api::proto::wire::{bytes, nested, number};

/// The type that clients ask for. An at-sign is not allowed there, so that the answer's has a dot
/// (kube-openapi handler/handler.go).
pub const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
pub const MEDIA_TYPE: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

type Out<'a> = &'a mut Vec<u8>;
/// Writes one value as the inside of a message.
type Write = fn(&Value, Out);

pub fn document(swagger: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 18);
    text(1, &swagger["swagger"], &mut out);
    nested(2, &mut out, |out| {
        text(1, &swagger["info"]["title"], out);
        text(2, &swagger["info"]["version"], out);
    });
    nested(8, &mut out, |out| named(2, &swagger["paths"], path_item, out));
    nested(9, &mut out, |out| named(1, &swagger["definitions"], schema, out));
    out
}

fn path_item(item: &Value, out: Out) {
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        message(tag, &item[method], operation, out);
    }
    items(&item["parameters"], |one| nested(9, out, |out| parameter(one, out)));
}

fn operation(operation: &Value, out: Out) {
    texts(1, &operation["tags"], out);
    text(3, &operation["description"], out);
    text(5, &operation["operationId"], out);
    texts(6, &operation["produces"], out);
    texts(7, &operation["consumes"], out);
    items(&operation["parameters"], |one| nested(8, out, |out| parameter(one, out)));
    nested(9, out, |out| named(1, &operation["responses"], response, out));
    texts(10, &operation["schemes"], out);
    extensions(13, operation, out);
}

/// A ParametersItem: a body, or one of the others by where it stands.
fn parameter(one: &Value, out: Out) {
    nested(1, out, |out| match one["in"].as_str() {
        Some("body") => nested(1, out, |out| {
            text(2, &one["name"], out);
            text(3, &one["in"], out);
            flag(4, &one["required"], out);
            message(5, &one["schema"], schema, out);
        }),
        place => {
            let (tag, kind, unique) = if place == Some("path") { (4, 5, 19) } else { (3, 6, 20) };
            nested(2, out, |out| {
                nested(tag, out, |out| {
                    flag(1, &one["required"], out);
                    text(2, &one["in"], out);
                    text(4, &one["name"], out);
                    text(kind, &one["type"], out);
                    flag(unique, &one["uniqueItems"], out);
                });
            });
        }
    });
}

/// A ResponseValue.
fn response(response: &Value, out: Out) {
    nested(1, out, |out| {
        text(1, &response["description"], out);
        message(2, &response["schema"], |inner, out| nested(1, out, |out| schema(inner, out)), out);
    });
}

fn schema(schema: &Value, out: Out) {
    let inner: Write = |value, out| nested(1, out, |out| self::schema(value, out));
    text(1, &schema["$ref"], out);
    text(2, &schema["format"], out);
    text(4, &schema["description"], out);
    texts(19, &schema["required"], out);
    message(21, &schema["additionalProperties"], inner, out);
    message(22, &schema["type"], |kind, out| text(1, kind, out), out);
    message(23, &schema["items"], inner, out);
    message(25, &schema["properties"], |map, out| named(1, map, self::schema, out), out);
    extensions(31, schema, out);
}

/// `x-…`, each as NamedAny.
fn extensions(tag: u32, value: &Value, out: Out) {
    let extensions = object(value).filter(|(key, _)| key.starts_with("x-"));
    for (key, value) in extensions {
        nested(tag, out, |out| {
            bytes(1, key.as_bytes(), out);
            nested(2, out, |out| bytes(2, value.to_string().as_bytes(), out));
        });
    }
}

/// A map as a list of pairs.
fn named(tag: u32, map: &Value, write: Write, out: Out) {
    for (key, value) in object(map) {
        nested(tag, out, |out| {
            bytes(1, key.as_bytes(), out);
            nested(2, out, |out| write(value, out));
        });
    }
}

fn message(tag: u32, value: &Value, write: Write, out: Out) {
    if !value.is_null() {
        nested(tag, out, |out| write(value, out));
    }
}

fn text(tag: u32, value: &Value, out: Out) {
    if let Some(text) = value.as_str() {
        bytes(tag, text.as_bytes(), out);
    }
}

fn texts(tag: u32, value: &Value, out: Out) {
    items(value, |one| text(tag, one, out));
}

fn flag(tag: u32, value: &Value, out: Out) {
    if value == true {
        number(tag, 1, out);
    }
}

fn items(value: &Value, write: impl FnMut(&Value)) {
    value.as_array().into_iter().flatten().for_each(write);
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}
