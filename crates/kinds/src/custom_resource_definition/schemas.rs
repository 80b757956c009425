//! Schemas of custom resources: which parts of OpenAPI may stand in them, and how lists and maps merge.
//!
//! apiextensions-apiserver pkg/apis/apiextensions/validation, ValidateCustomResourceDefinitionOpenAPISchema,
//! but for what compiles expressions, and for defaults against the schema they stand in.

use std::collections::BTreeSet;

use api::tree;
use serde_json::Value;

use super::field_path;
use super::structural::{self, LISTS, is_zero};
use crate::validate::at::{At, Errors};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// At the root of a schema whose status is judged by itself: fields, and Go's words for them.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// Maps and single schemas below a schema.
const MAPS: [&str; 4] = ["properties", "patternProperties", "definitions", "dependencies"];
const SINGLE: [&str; 4] = ["items", "not", "additionalProperties", "additionalItems"];

/// A schema and all below it.
pub fn walk(schema: &Value, visit: &mut dyn FnMut(&Value)) {
    if !schema.is_object() {
        return;
    }
    visit(schema);
    for below in LISTS.iter().flat_map(|field| tree::list(schema, field)) {
        walk(below, visit);
    }
    for (_, below) in MAPS.iter().flat_map(|field| tree::entries(schema, field)) {
        walk(below, visit);
    }
    for field in SINGLE {
        walk(&schema[field], visit);
        schema[field].as_array().into_iter().flatten().for_each(|below| walk(below, visit));
    }
}

/// The schema of a version, or of all.
pub fn judge(validation: &At, has_status: bool, errors: &mut Errors) {
    let schema = validation.get("openAPIV3Schema");
    if !schema.has() {
        return;
    }
    let mut found = Errors::new();
    if has_status {
        root(&schema, &mut found);
    }
    if schema.get("nullable").flag() {
        found.push(schema.get("nullable").forbidden("nullable cannot be true at the root"));
    }
    let unsupported = structural::unsupported(schema.value);
    if unsupported.is_none() {
        structural::judge(&schema, &mut found);
    }
    judge_schema(&schema, &Place { is_root: true, in_metadata: false, no_defaults: None }, &mut found);
    if let Some(why) = unsupported.filter(|_| found.is_empty()) {
        found.push(schema.invalid_as("", &why));
    }
    errors.extend(found);
}

fn root(schema: &At, errors: &mut Errors) {
    let kind = schema.get("type");
    let set = |field: &str| !is_zero(&schema.value[field]);
    let is_allowed = |field: &str| AT_ROOT.iter().any(|(known, _)| *known == field);
    let is_odd = |field: &String| set(field) && !is_allowed(field);
    let words = AT_ROOT.iter().map(|(_, word)| *word).collect::<Vec<_>>().join(" ");
    let not_here =
        format!("only [{words}] fields are allowed at the root of the schema if the status subresource is enabled");
    let is_first = ["id", "$schema", "$ref"].iter().any(|field| set(field));
    if !is_first && set("type") && kind.text() != "object" {
        let why =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(kind.invalid(why));
    } else if schema.value.as_object().is_some_and(|map| map.keys().any(is_odd)) {
        errors.push(schema.invalid(&not_here));
    }
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    is_root: bool,
    /// In that of metadata, kind or apiVersion.
    in_metadata: bool,
    /// Why no default may stand here.
    no_defaults: Option<String>,
}

impl Place {
    fn below(&self) -> Place {
        Place { is_root: false, ..self.clone() }
    }
}

fn judge_schema(schema: &At, place: &Place, errors: &mut Errors) {
    if !schema.value.is_object() {
        return;
    }
    standard(schema, place, errors);
    if schema.get("uniqueItems").flag() {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(schema.get("uniqueItems").forbidden(why));
    }
    below(schema, place, errors);
    let preserves = schema.get("x-kubernetes-preserve-unknown-fields");
    if preserves.has() && !preserves.flag() {
        errors.push(preserves.invalid("must be true or undefined"));
    }
    merges(schema, errors);
    map_keys(schema, errors);
    keys_are_there(schema, errors);
    rules(schema, errors);
}

/// What of OpenAPI is not supported at all.
fn standard(schema: &At, place: &Place, errors: &mut Errors) {
    let kind = schema.get("type");
    if !kind.text().is_empty() && !TYPES.contains(&kind.text()) {
        errors.push(kind.not_supported(TYPES));
    }
    if let Some(reason) = place.no_defaults.as_ref().filter(|_| schema.has_field("default")) {
        errors.push(schema.get("default").forbidden(&format!("must not be set {reason}")));
    }
    for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let is_set = match field {
            "additionalItems" | "dependencies" | "$ref" => schema.has_field(field),
            _ => !is_zero(schema.get(field).value),
        };
        if is_set {
            errors.push(schema.get(field).forbidden(&format!("{field} is not supported")));
        }
    }
    if kind.text() == "null" {
        errors.push(kind.forbidden("type cannot be set to null, use nullable as an alternative"));
    }
    if schema.get("items").value.as_array().is_some_and(|list| !list.is_empty()) {
        errors.push(schema.get("items").forbidden("items must be a schema object and not an array"));
    }
    if place.in_metadata && schema.get("x-kubernetes-embedded-resource").flag() {
        let why = "must not be used inside of resource meta";
        errors.push(schema.get("x-kubernetes-embedded-resource").forbidden(why));
    }
}

fn below(schema: &At, place: &Place, errors: &mut Errors) {
    let (more, properties) = (schema.get("additionalProperties"), schema.get("properties"));
    if more.has() {
        if !properties.is_empty() && more.value != &Value::Bool(true) {
            errors.push(more.forbidden("additionalProperties and properties are mutual exclusive"));
        }
        let mut at = place.below();
        if place.in_metadata {
            at.no_defaults = Some("inside additionalProperties applying to object metadata".into());
        }
        judge_schema(&more, &at, errors);
    }
    let is_resource = place.is_root || schema.get("x-kubernetes-embedded-resource").flag();
    for (name, property) in properties.entries() {
        let mut at = place.below();
        if is_resource && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
            at.in_metadata = true;
            if place.is_root {
                at.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        judge_schema(&property, &at, errors);
    }
    let at = place.below();
    judge_schema(&schema.get("not"), &at, errors);
    for item in LISTS.iter().flat_map(|field| schema.get(field).items()) {
        judge_schema(&item, &at, errors);
    }
    schema.get("definitions").entries().for_each(|(_, item)| judge_schema(&item, &at, errors));
    let items = schema.get("items");
    judge_schema(&items, &at, errors);
    items.items().for_each(|item| judge_schema(&item, &at, errors));
    schema.get("dependencies").entries().for_each(|(_, item)| judge_schema(&item, &at, errors));
}

/// Types of lists and maps.
fn merges(schema: &At, errors: &mut Errors) {
    let (kind, items) = (schema.get("type"), schema.get("items"));
    let (map, list) = (schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type"));
    let of_type = |wanted: &str, extension: &str| {
        let why = format!("must be {wanted} if {extension} is specified");
        if kind.text().is_empty() { kind.required(&why) } else { kind.invalid(&why) }
    };
    if map.has() && kind.text() != "object" {
        errors.push(of_type("object", "x-kubernetes-map-type"));
    }
    if map.has() && !["atomic", "granular"].contains(&map.text()) {
        errors.push(map.not_supported(&["atomic", "granular"]));
    }
    let atomic = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (of_item, map_of_item) = (items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type"));
    if list.has() && kind.text() != "array" {
        errors.push(of_type("array", "x-kubernetes-list-type"));
    } else if list.text() == "set" {
        match items.get("type").text() {
            "array" if of_item.has() && of_item.text() != "atomic" => errors.push(of_item.invalid(atomic)),
            // Upstream shows the type of the list here.
            "object" if map_of_item.text() != "atomic" => {
                errors.push(map_of_item.invalid_as(of_item.value.clone(), atomic));
            }
            _ => {}
        }
    }
    if list.has() && !["atomic", "set", "map"].contains(&list.text()) {
        errors.push(list.not_supported(&["atomic", "set", "map"]));
    }
}

/// By which keys the elements of a list are told.
fn map_keys(schema: &At, errors: &mut Errors) {
    let (list, keys) = (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys"));
    if !keys.is_empty() && list.text() != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(if list.has() { list.invalid(why) } else { list.required(why) });
    }
    if list.text() != "map" {
        return;
    }
    if keys.is_empty() {
        errors.push(keys.required("must not be empty if x-kubernetes-list-type is map"));
    }
    let items = schema.get("items");
    if !items.has() {
        return errors.push(items.required("must have a schema if x-kubernetes-list-type is map"));
    }
    if !items.value.is_object() {
        let why = "must only have a single schema if x-kubernetes-list-type is map";
        return errors.push(items.invalid(why));
    }
    if items.get("type").text() != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.push(items.get("type").invalid(why));
    }
    let mut seen = BTreeSet::new();
    for key in keys.items().map(|key| key.text()) {
        let property = items.get("properties").key(key);
        let kind = property.get("type");
        if !property.has() {
            errors.push(keys.invalid("entries must all be names of item properties"));
        } else if matches!(kind.text(), "array" | "object") {
            let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            errors.push(kind.invalid_as("object", why));
        }
        if !seen.insert(key) {
            errors.push(keys.invalid("must not contain duplicate entries"));
        }
    }
}

/// Of a list whose elements are told apart, none is null, and every key is there.
fn keys_are_there(schema: &At, errors: &mut Errors) {
    let (list, items) = (schema.get("x-kubernetes-list-type"), schema.get("items"));
    if !items.value.is_object() || !["set", "map"].contains(&list.text()) {
        return;
    }
    if items.get("nullable").flag() {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {}", list.text());
        errors.push(items.get("nullable").forbidden(&why));
    }
    let keys = schema.get("x-kubernetes-list-map-keys");
    for key in keys.items().map(|key| key.text()).filter(|_| list.text() == "map") {
        let property = items.get("properties").key(key);
        let is_required = items.get("required").items().any(|name| name.text() == key);
        if property.has() && !is_required && !property.has_field("default") {
            let why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                       property";
            errors.push(property.get("default").required(why));
        }
        if property.get("nullable").flag() {
            let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(property.get("nullable").forbidden(why));
        }
    }
}

/// Expressions: all of them but whether they compile.
fn rules(schema: &At, errors: &mut Errors) {
    for rule in schema.get("x-kubernetes-validations").items() {
        let [text, message, made, reason, path] =
            ["rule", "message", "messageExpression", "reason", "fieldPath"].map(|field| rule.get(field));
        let is_blank = |at: &At| at.text().trim().is_empty();
        let has_breaks = |at: &At| at.text().trim().contains(['\n', '\r']);
        if is_blank(&text) {
            errors.push(text.required("rule is not specified"));
        } else if !message.text().is_empty() && is_blank(&message) {
            errors.push(message.invalid("must be non-empty if specified"));
        } else if has_breaks(&message) {
            errors.push(message.invalid("must not contain line breaks"));
        } else if has_breaks(&text) && is_blank(&message) {
            errors.push(message.required("message must be specified if rule contains line breaks"));
        }
        if !made.text().is_empty() && is_blank(&made) {
            errors.push(made.required("messageExpression must be non-empty if specified"));
        }
        if reason.has() && !REASONS.contains(&reason.text()) {
            errors.push(reason.not_supported(REASONS));
        }
        if !path.text().is_empty() && is_blank(&path) {
            errors.push(path.invalid("must be non-empty if specified"));
        }
        if path.text().contains(['\n', '\r']) {
            errors.push(path.invalid("must not contain line breaks"));
        }
        if !path.text().is_empty() && field_path::found(path.text(), schema.value, true).is_err() {
            errors.push(path.invalid("must be a valid path"));
        }
    }
}

#[cfg(test)]
mod tests;
