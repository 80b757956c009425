//! Structural schemas: every field is named outside of what only judges values.
//!
//! apiextensions-apiserver pkg/apiserver/schema, ValidateStructural, but for patterns.

use serde_json::{Value, json};

use crate::validate::at::{At, Errors};

/// Lists of schemas below a schema.
pub const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const EXTENSIONS: [&str; 3] =
    ["x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"];

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether Go would call it unset.
pub fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) => false,
    }
}

/// Why a schema has no structural form; the fields that are refused elsewhere too.
pub fn unsupported(schema: &Value) -> Option<String> {
    if !schema.is_object() {
        return None;
    }
    const REFUSED: [(&str, &str); 7] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    let is_set = |field: &str| match field {
        "additionalItems" => !schema[field].is_null(),
        _ => !is_zero(&schema[field]),
    };
    if let Some((_, word)) = REFUSED.iter().find(|(field, _)| is_set(field)) {
        return Some(format!("OpenAPIV3Schema '{word}' is not supported"));
    }
    if schema["items"].as_array().is_some_and(|list| !list.is_empty()) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".into());
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == false {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".into());
    }
    let lists = LISTS.iter().flat_map(|field| schema[*field].as_array().into_iter().flatten());
    let properties = schema["properties"].as_object().into_iter().flat_map(|map| map.values());
    let single = ["not", "items", "additionalProperties"].map(|field| &schema[field]);
    lists.chain(properties).chain(single).find_map(unsupported)
}

/// In the order of their texts, as upstream sorts them.
pub fn judge(schema: &At, errors: &mut Errors) {
    let mut found = Errors::new();
    invariants(schema, Level::Root, &mut found);
    complete(schema, schema, schema, &mut found);
    found.sort_by_key(ToString::to_string);
    errors.extend(found);
}

fn invariants(schema: &At, level: Level, errors: &mut Errors) {
    if !schema.value.is_object() {
        return;
    }
    let [kind, items, properties, more] =
        ["type", "items", "properties", "additionalProperties"].map(|field| schema.get(field));
    if kind.text() == "array" && !items.has() {
        errors.push(items.required("must be specified"));
    }
    invariants(&items, Level::Item, errors);
    properties.entries().for_each(|(_, property)| invariants(&property, Level::Field, errors));
    if more.has() {
        if level == Level::Root {
            errors.push(more.forbidden("must not be used at the root"));
        }
        invariants(&more, Level::Field, errors);
    }
    let [either, preserves, embedded] = EXTENSIONS.map(|field| schema.get(field));
    for other in [&preserves, &embedded].into_iter().filter(|other| either.flag() && other.flag()) {
        errors.push(other.invalid("must be false if x-kubernetes-int-or-string is true"));
    }
    values(schema, &Skip::of(schema), errors);
    let is_empty = kind.text().is_empty();
    if embedded.flag() && kind.text() != "object" {
        let why = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if is_empty { kind.required(why) } else { kind.invalid(why) });
    } else if is_empty && !either.flag() && !preserves.flag() {
        errors.push(kind.required(match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        }));
    }
    if embedded.flag() && more.has() {
        errors.push(more.forbidden("must not be used if x-kubernetes-embedded-resource is set"));
    }
    if level == Level::Root && !is_empty && kind.text() != "object" {
        errors.push(kind.invalid("must be object at the root"));
    }
    let is_resource = level == Level::Root || embedded.flag();
    for name in ["kind", "apiVersion"].iter().filter(|_| is_resource) {
        let of_property = properties.key(name).get("type");
        if properties.has_field(name) && of_property.text() != "string" {
            errors.push(of_property.invalid("must be string"));
        }
    }
    if properties.has_field("metadata") {
        metadata(&properties.key("metadata"), is_resource, level, errors);
    }
    if embedded.flag() && !preserves.flag() && properties.is_empty() {
        errors.push(properties.required(
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// Of the root's metadata only the name may be judged.
fn metadata(schema: &At, is_resource: bool, level: Level, errors: &mut Errors) {
    if is_resource && schema.get("type").text() != "object" {
        errors.push(schema.get("type").invalid("must be object"));
    }
    let names_only = |properties: &Value| {
        let of = properties.as_object();
        of.is_some_and(|map| map.keys().all(|name| matches!(name.as_str(), "name" | "generateName")))
    };
    let is_odd = |(field, value): (&String, &Value)| match field.as_str() {
        "type" | "default" => false,
        "properties" => !is_zero(value) && !names_only(value),
        _ => !is_zero(value),
    };
    if level == Level::Root && schema.value.as_object().is_some_and(|map| map.iter().any(is_odd)) {
        errors.push(schema.forbidden(
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        ));
    }
}

/// The two ways in which a number or a text may be meant, which name types where none may be.
#[derive(Default)]
struct Skip {
    any_of: bool,
    any_of_first: bool,
}

impl Skip {
    fn of(schema: &At) -> Skip {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        Skip {
            any_of: schema.get("anyOf").value == &either,
            any_of_first: schema.get("allOf").index(0).get("anyOf").value == &either,
        }
    }
}

/// What only judges values.
fn values(schema: &At, skip: &Skip, errors: &mut Errors) {
    if !skip.any_of {
        schema.get("anyOf").items().for_each(|item| nested(&item, &Skip::default(), errors));
    }
    for (index, item) in schema.get("allOf").items().enumerate() {
        nested(&item, &Skip { any_of: skip.any_of_first && index == 0, any_of_first: false }, errors);
    }
    schema.get("oneOf").items().for_each(|item| nested(&item, &Skip::default(), errors));
    nested(&schema.get("not"), &Skip::default(), errors);
}

fn nested(schema: &At, skip: &Skip, errors: &mut Errors) {
    if !schema.value.is_object() {
        return;
    }
    values(schema, skip, errors);
    nested(&schema.get("items"), &Skip::default(), errors);
    let properties = schema.get("properties");
    properties.entries().for_each(|(_, property)| nested(&property, &Skip::default(), errors));
    const NOT_HERE: [(&str, &str); 13] = [
        ("type", "empty"),
        ("additionalProperties", "undefined"),
        ("default", "undefined"),
        ("title", "empty"),
        ("description", "empty"),
        ("nullable", "false"),
        ("x-kubernetes-preserve-unknown-fields", "false"),
        ("x-kubernetes-embedded-resource", "false"),
        ("x-kubernetes-int-or-string", "false"),
        ("x-kubernetes-list-map-keys", "empty"),
        ("x-kubernetes-list-type", "undefined"),
        ("x-kubernetes-map-type", "undefined"),
        ("x-kubernetes-validations", "empty"),
    ];
    for (field, wanted) in NOT_HERE {
        let at = schema.get(field);
        let is_set = match field {
            "additionalProperties" => at.has() && at.value != &Value::Bool(false),
            _ if wanted == "undefined" => at.has(),
            _ => !is_zero(at.value),
        };
        if is_set {
            errors.push(at.forbidden(&format!("must be {wanted} to be structural")));
        }
    }
    if properties.has_field("metadata") {
        errors.push(properties.key("metadata").forbidden("must not be specified in a nested context"));
    }
}

/// What is judged (`nested`) is named by the structure; both have a place of their own.
fn complete(nested: &At, schema: &At, place: &At, errors: &mut Errors) {
    for item in [nested.get("not")].into_iter().chain(LISTS.iter().flat_map(|field| nested.get(field).items())) {
        complete_nested(&item, schema, place, errors);
    }
}

fn complete_nested(nested: &At, schema: &At, place: &At, errors: &mut Errors) {
    if !nested.value.is_object() {
        return;
    }
    if !schema.value.is_object() {
        return errors.push(place.required(&format!("because it is defined in {}", nested.path())));
    }
    complete(nested, schema, place, errors);
    complete_nested(&nested.get("items"), &schema.get("items"), &place.get("items"), errors);
    for (name, property) in nested.get("properties").entries() {
        let own = schema.get("properties").key(name);
        match own.has() {
            true => complete_nested(&property, &own, &own, errors),
            false => errors.push(own.required(&format!("because it is defined in {}", property.path()))),
        }
    }
}

#[cfg(test)]
mod tests;
