use serde_json::json;

use super::*;
use crate::tests::told;

pub fn judged_at(schema: Value, has_status: bool) -> Vec<String> {
    let (root, mut errors) = (json!({"openAPIV3Schema": schema}), Errors::new());
    judge(&At::root(&root), has_status, &mut errors);
    let told = told(&errors);
    told.into_iter().map(|error| error.replace("openAPIV3Schema.", "").replace("openAPIV3Schema:", ":")).collect()
}

/// A property of an object.
fn property(schema: Value) -> Vec<String> {
    let errors = judged_at(json!({"type": "object", "properties": {"a": schema}}), false);
    errors.into_iter().map(|error| error.replace("properties[a]", "a")).collect()
}

#[test]
fn some_of_openapi_is_not_supported() {
    assert_eq!(property(json!({"type": "string"})), [""; 0]);
    assert_eq!(
        property(json!({"type": "null", "id": "x", "definitions": {"d": {}}, "uniqueItems": true, "$ref": "r"})),
        [
            "a.type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \
             \"object\", \"string\"",
            "a.id: Forbidden: id is not supported",
            "a.definitions: Forbidden: definitions is not supported",
            "a.$ref: Forbidden: $ref is not supported",
            "a.type: Forbidden: type cannot be set to null, use nullable as an alternative",
            "a.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ]
    );
    assert_eq!(
        property(json!({"type": "array", "items": [{"type": "string"}]})),
        ["a.items: Forbidden: items must be a schema object and not an array"]
    );
    assert_eq!(
        judged_at(json!({"type": "object", "$schema": "s"}), false),
        [": Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"]
    );
    assert_eq!(
        judged_at(json!({"type": "object", "properties": {"metadata": {"type": "object", "default": {}}}}), false),
        ["properties[metadata].default: Forbidden: must not be set in top-level metadata"]
    );
    assert_eq!(
        property(
            json!({"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}})
        ),
        ["a.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"]
    );
}

#[test]
fn a_root_whose_status_is_judged_by_itself_is_plain() {
    assert_eq!(judged_at(json!({"type": "object", "description": "d"}), true), [""; 0]);
    let errors = judged_at(json!({"type": "object", "maxProperties": 3}), true);
    assert!(errors[0].contains("only [Description Type Format Title "), "{errors:?}");
    assert!(errors[0].ends_with(
        "XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is \
         enabled"
    ));
    assert_eq!(
        judged_at(json!({"type": "object", "nullable": true}), false),
        ["nullable: Forbidden: nullable cannot be true at the root"]
    );
}

#[test]
fn lists_and_maps_merge_in_known_ways() {
    assert_eq!(
        property(json!({"type": "object", "x-kubernetes-list-type": "set", "x-kubernetes-map-type": "flat"})),
        [
            "a.x-kubernetes-map-type: Unsupported value: \"flat\": supported values: \"atomic\", \"granular\"",
            "a.type: Invalid value: \"object\": must be array if x-kubernetes-list-type is specified",
        ]
    );
    assert_eq!(
        property(
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "nullable": true}})
        ),
        [
            "a.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with \
             x-kubernetes-list-type=set",
            "a.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ]
    );
    let list = |keys: Value, item: Value| {
        property(json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
            "items": {"type": "object", "properties": {"k": item}}}))
    };
    assert_eq!(list(json!(["k"]), json!({"type": "string", "default": ""})), [""; 0]);
    assert_eq!(
        list(json!(["k", "k", "x"]), json!({"type": "string", "nullable": true})),
        [
            "a.x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"x\"]: must not contain duplicate entries",
            "a.x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\",\"x\"]: entries must all be names of item \
             properties",
            "a.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must \
             have a default or be a required property",
            "a.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be \
             nullable",
            "a.items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must \
             have a default or be a required property",
            "a.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be \
             nullable",
        ]
    );
    assert_eq!(
        list(json!([]), json!({"type": "string"})),
        ["a.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"]
    );
}

#[test]
fn expressions_have_messages_for_people() {
    assert_eq!(
        property(json!({"type": "string", "x-kubernetes-validations": [
            {"rule": "true"}, {"rule": " "}, {"rule": "a\nb"}, {"rule": "true", "message": " ", "messageExpression": " "},
            {"rule": "true", "reason": "Because", "fieldPath": "\n"},
        ]})),
        [
            "a.x-kubernetes-validations[1].rule: Required value: rule is not specified",
            "a.x-kubernetes-validations[2].message: Required value: message must be specified if rule contains line \
             breaks",
            "a.x-kubernetes-validations[3].message: Invalid value: \" \": must be non-empty if specified",
            "a.x-kubernetes-validations[3].messageExpression: Required value: messageExpression must be non-empty if \
             specified",
            "a.x-kubernetes-validations[4].reason: Unsupported value: \"Because\": supported values: \
             \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
            "a.x-kubernetes-validations[4].fieldPath: Invalid value: \"\\n\": must be non-empty if specified",
            "a.x-kubernetes-validations[4].fieldPath: Invalid value: \"\\n\": must not contain line breaks",
            "a.x-kubernetes-validations[4].fieldPath: Invalid value: \"\\n\": must be a valid path",
        ]
    );
}
