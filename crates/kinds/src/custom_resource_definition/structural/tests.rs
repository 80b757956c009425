use super::*;
use crate::tests::told;

fn judged(schema: Value) -> Vec<String> {
    let (root, mut errors) = (json!({"s": schema}), Errors::new());
    judge(&At::root(&root).get("s"), &mut errors);
    told(&errors)
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn every_field_has_a_type() {
    assert_eq!(judged(object(json!({"a": {"type": "array", "items": {"type": "string"}}}))), [""; 0]);
    assert_eq!(judged(json!({})), ["s.type: Required value: must not be empty at the root"]);
    assert_eq!(
        judged(json!({"type": "object", "additionalProperties": true,
            "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "array", "items": {}}}})),
        [
            "s.additionalProperties: Forbidden: must not be used at the root",
            "s.properties[a].type: Required value: must not be empty for specified object fields",
            "s.properties[b].items: Required value: must be specified",
            "s.properties[c].items.type: Required value: must not be empty for specified array items",
        ]
    );
    assert_eq!(judged(object(json!({"a": {"x-kubernetes-preserve-unknown-fields": true}}))), [""; 0]);
}

#[test]
fn a_number_or_a_text_is_meant_in_two_ways() {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let with = |mut schema: Value| {
        schema["x-kubernetes-int-or-string"] = true.into();
        judged(object(json!({"a": schema})))
    };
    assert_eq!(with(json!({"anyOf": either})), [""; 0]);
    assert_eq!(with(json!({"allOf": [{"anyOf": either}, {"maximum": 3}]})), [""; 0]);
    assert_eq!(
        with(json!({"oneOf": either, "x-kubernetes-preserve-unknown-fields": true})),
        [
            "s.properties[a].oneOf[0].type: Forbidden: must be empty to be structural",
            "s.properties[a].oneOf[1].type: Forbidden: must be empty to be structural",
            "s.properties[a].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if \
             x-kubernetes-int-or-string is true",
        ]
    );
}

#[test]
fn what_only_judges_names_nothing_new() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}},
        "allOf": [{"properties": {"a": {"maxLength": 3}, "b": {"maxLength": 3}}}],
        "not": {"description": "d", "default": 1, "nullable": true, "properties": {"metadata": {}}}});
    assert_eq!(
        judged(schema),
        [
            "s.not.default: Forbidden: must be undefined to be structural",
            "s.not.description: Forbidden: must be empty to be structural",
            "s.not.nullable: Forbidden: must be false to be structural",
            "s.not.properties[metadata]: Forbidden: must not be specified in a nested context",
            "s.properties[b]: Required value: because it is defined in s.allOf[0].properties[b]",
            "s.properties[metadata]: Required value: because it is defined in s.not.properties[metadata]",
        ]
    );
}

#[test]
fn metadata_is_restricted_by_name_only() {
    let with = |metadata: Value| judged(object(json!({"metadata": metadata})));
    let name = json!({"name": {"type": "string", "pattern": "a"}});
    assert_eq!(with(json!({"type": "object", "properties": name})), [""; 0]);
    assert_eq!(
        with(json!({"type": "string", "properties": {"labels": {"type": "object"}}})),
        [
            "s.properties[metadata].type: Invalid value: \"string\": must be object",
            "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata \
             is implicitly specified",
        ]
    );
    assert_eq!(
        judged(object(json!({"kind": {"type": "integer"}}))),
        ["s.properties[kind].type: Invalid value: \"integer\": must be string"]
    );
}

#[test]
fn a_resource_within_is_an_object() {
    let with = |mut schema: Value| {
        schema["x-kubernetes-embedded-resource"] = true.into();
        judged(object(json!({"a": schema})))
    };
    assert_eq!(with(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})), [""; 0]);
    assert_eq!(
        with(json!({"additionalProperties": {"type": "string"}})),
        [
            "s.properties[a].additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set",
            "s.properties[a].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true \
             without x-kubernetes-preserve-unknown-fields",
            "s.properties[a].type: Required value: must be object if x-kubernetes-embedded-resource is true",
        ]
    );
}

#[test]
fn what_cannot_be_told_is_said() {
    assert_eq!(unsupported(&object(json!({"a": {"type": "string"}}))), None);
    let deep = object(json!({"a": {"allOf": [{"$ref": "r"}]}}));
    assert_eq!(unsupported(&deep).as_deref(), Some("OpenAPIV3Schema '$ref' is not supported"));
}
