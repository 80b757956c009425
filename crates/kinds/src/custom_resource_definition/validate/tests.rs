use serde_json::json;

use super::super::tests::definition as made;
use super::*;
use crate::tests::{kind, told};

fn judged(change: Value) -> Vec<String> {
    let mut it = made(change);
    let kind = kind("customresourcedefinitions");
    kind.prepare(&mut it, None, &Context::default());
    told(&kind.validate(&it, None, &Context::default()))
}

fn versions(change: Value) -> Vec<String> {
    let mut version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}});
    version.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
    judged(json!({"versions": [version]}))
}

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

#[test]
fn a_definition_is_named_for_what_it_defines() {
    assert_eq!(judged(json!({})), [""; 0]);
    assert_eq!(
        judged(json!({"group": "other", "scope": "World"})),
        [
            "metadata.name: Invalid value: \"foos.example.com\": must be spec.names.plural+\".\"+spec.group",
            "spec.group: Invalid value: \"other\": should be a domain with at least one dot",
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ]
    );
    assert_eq!(
        judged(json!({"names": {"plural": "foos", "kind": "Foo", "listKind": "Foo", "shortNames": ["F"]}})),
        [
            format!("spec.names.shortNames[0]: Invalid value: \"F\": {LABEL}"),
            "spec.names.listKind: Invalid value: \"Foo\": kind and listKind may not be the same".to_string(),
        ]
    );
    assert_eq!(
        judged(json!({"names": {"plural": "foos", "kind": "1"}}))[1],
        format!("spec.names.kind: Invalid value: \"1\": may have mixed case, but should otherwise match: {LABEL}")
    );
}

#[test]
fn one_version_stores_and_each_has_a_schema() {
    let of = |list: Value| judged(json!({"versions": list}));
    let without = of(json!([{"name": "v1"}, {"name": "v1"}]));
    assert_eq!(
        without[..2],
        ["v1", "v1"]
            .iter()
            .enumerate()
            .map(|(i, _)| format!("spec.versions[{i}].schema.openAPIV3Schema: Required value"))
            .collect::<Vec<_>>()
    );
    assert!(without[2].ends_with("must contain unique version names"), "{without:?}");
    assert!(without[3].ends_with("must have exactly one version marked as storage version"));
    assert_eq!(without[4], "status.storedVersions: Invalid value: null: must have at least one stored version");
    let two = |first: &str, second: &str| {
        of(json!([
            {"name": "v1", "storage": true, "schema": {"openAPIV3Schema": {"type": first}}},
            {"name": "v2", "schema": {"openAPIV3Schema": {"type": second}}},
        ]))
    };
    assert_eq!(
        two("string", "string"),
        ["spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"],
        "what all versions have alike is judged once"
    );
    assert_eq!(
        two("object", "string"),
        ["spec.versions[1].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root"]
    );
}

#[test]
fn columns_and_subresources_point_into_objects() {
    assert_eq!(
        versions(json!({"additionalPrinterColumns": [
            {"name": "A", "type": "string", "jsonPath": ".spec.a"},
            {"type": "colour", "format": "f", "jsonPath": "spec"}, {"name": "B"}
        ]})),
        [
            "spec.additionalPrinterColumns[1].name: Required value",
            "spec.additionalPrinterColumns[1].type: Invalid value: \"colour\": must be one of \
             boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[1].format: Invalid value: \"f\": must be one of \
             byte,date,date-time,double,float,int32,int64,password",
            "spec.additionalPrinterColumns[1].JSONPath: Invalid value: \"spec\": must be a simple json path starting \
             with .",
            "spec.additionalPrinterColumns[2].type: Required value: must be one of boolean,date,integer,number,string",
            "spec.additionalPrinterColumns[2].JSONPath: Required value",
        ]
    );
    assert_eq!(
        versions(json!({"subresources": {"scale": {"specReplicasPath": ".status.a", "statusReplicasPath": "",
            "labelSelectorPath": ".metadata"}}})),
        [
            "spec.subresources.scale.specReplicasPath: Invalid value: \".status.a\": should be a json path under .spec",
            "spec.subresources.scale.statusReplicasPath: Required value",
            "spec.subresources.scale.labelSelectorPath: Invalid value: \".metadata\": should be a json path under \
             either .spec or .status",
        ]
    );
    assert_eq!(
        versions(json!({"deprecationWarning": "x"})),
        ["spec.versions[0].deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions"]
    );
}

#[test]
fn objects_are_selected_by_plain_fields() {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "object"}}}}}});
    let by = |paths: &[&str]| {
        let fields: Vec<Value> = paths.iter().map(|path| json!({"jsonPath": path})).collect();
        versions(json!({"schema": schema, "selectableFields": fields}))
    };
    assert_eq!(by(&[".spec.a"]), [""; 0]);
    assert_eq!(
        by(&[".spec.b", ".spec.a", ".spec.a", ".spec.c", ".spec[a]", ""]),
        [
            "spec.selectableFields[0].jsonPath: Invalid value: \".spec.b\": must point to a field of type string, \
             boolean or integer. Enum string fields and strings with formats are allowed.",
            "spec.selectableFields[2].jsonPath: Duplicate value: \".spec.a\"",
            "spec.selectableFields[3].jsonPath: Invalid value: \".spec.c\": is an invalid path: does not refer to a \
             valid field",
            "spec.selectableFields[4].jsonPath: Invalid value: \".spec[a]\": is an invalid path: array notation is not \
             allowed",
            "spec.selectableFields[5].jsonPath: Required value",
        ]
    );
}

#[test]
fn conversion_is_by_a_webhook_or_not_at_all() {
    let with = |conversion: Value| judged(json!({"conversion": conversion}));
    let client = json!({"url": "https://h"});
    assert_eq!(
        with(json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}})),
        [""; 0]
    );
    assert_eq!(
        with(json!({"strategy": "Webhook"})),
        [
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            "spec.conversion.conversionReviewVersions: Required value",
        ]
    );
    assert_eq!(
        with(json!({"strategy": "None", "webhook": {"clientConfig": client, "conversionReviewVersions": ["v1"]}})),
        [
            "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
            "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
        ]
    );
    assert_eq!(
        with(json!({"strategy": "Webhook", "webhook": {"clientConfig": {}, "conversionReviewVersions": ["v2", "v2"]}})),
        [
            "spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required",
            "spec.conversion.conversionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, \
             v1beta1",
        ]
    );
}

#[test]
fn what_is_established_keeps_its_kind_and_scope() {
    let kind = kind("customresourcedefinitions");
    let mut old = made(json!({}));
    kind.prepare(&mut old, None, &Context::default());
    let judged = |old: &Value, change: Value| {
        let mut new = old.clone();
        new["spec"].as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
        told(&kind.validate(&new, Some(old), &Context::default()))
    };
    let other = json!({"scope": "Cluster"});
    assert_eq!(judged(&old, other.clone()), [""; 0]);
    old["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
    assert_eq!(judged(&old, other), ["spec.scope: Invalid value: \"Cluster\": field is immutable"]);
    let moved =
        json!({"versions": [{"name": "v2", "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]});
    assert_eq!(
        judged(&old, moved),
        [
            "status.storedVersions: Invalid value: [\"v1\"]: must have the storage version v2",
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage \
             version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 \
             and removes v1 from status.storedVersions",
        ]
    );
    assert_eq!(
        judged(&old, json!({"preserveUnknownFields": true})),
        ["spec.preserveUnknownFields: Invalid value: true: cannot set to true, set \
          x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"]
    );
}

#[test]
fn a_group_of_the_project_needs_its_approval() {
    let judged = |approval: &str| {
        let mut it = made(json!({"group": "x.k8s.io"}));
        it["metadata"]["name"] = "foos.x.k8s.io".into();
        if !approval.is_empty() {
            it["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": approval});
        }
        let kind = kind("customresourcedefinitions");
        kind.prepare(&mut it, None, &Context::default());
        told(&kind.validate(&it, None, &Context::default()))
    };
    let at = "metadata.annotations[api-approved.kubernetes.io]";
    assert_eq!(judged("unapproved, a test"), [""; 0]);
    assert_eq!(judged("https://github.com/kubernetes/x/pull/1"), [""; 0]);
    let needs = "protected groups must have approval annotation \"api-approved.kubernetes.io\"";
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    assert_eq!(judged(""), [format!("{at}: Required value: {needs}, {see}")]);
    assert_eq!(
        judged("yes"),
        [format!(
            "{at}: Invalid value: \"yes\": {needs} with either a URL or a reason starting with \"unapproved\", {see}"
        )]
    );
}
