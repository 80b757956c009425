use super::*;
use crate::tests::{kind, told};

fn policy(spec: Value) -> Value {
    let rules = json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
    let mut policy = json!({"metadata": {"name": "p", "resourceVersion": "1", "generation": 1},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}]}});
    policy["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    kind("validatingadmissionpolicies").default(&mut policy);
    policy
}

fn judged(spec: Value) -> Vec<String> {
    told(&kind("validatingadmissionpolicies").validate(&policy(spec), None, &Context::default()))
}

#[test]
fn a_policy_says_what_it_judges_and_by_what() {
    assert_eq!(judged(json!({})), [""; 0]);
    assert_eq!(policy(json!({}))["spec"]["failurePolicy"], "Fail");
    assert_eq!(
        judged(json!({"failurePolicy": "Maybe", "matchConstraints": null, "validations": []})),
        [
            "spec.failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
            "spec.matchConstraints: Required value",
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
        ]
    );
    assert_eq!(judged(json!({"matchConstraints": {}})), ["spec.matchConstraints.resourceRules: Required value"]);
    assert_eq!(
        judged(json!({"validations": [
            {"expression": " ", "message": "\t", "messageExpression": " ", "reason": "Because"},
            {"expression": "true", "message": "a\nb"}
        ]})),
        [
            "spec.validations[0].expression: Required value: expression is not specified",
            "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
            "spec.validations[0].message: Invalid value: \"\\t\": must be non-empty if specified",
            "spec.validations[0].reason: Unsupported value: \"Because\": supported values: \"Forbidden\", \
             \"Invalid\", \"RequestEntityTooLarge\"",
            "spec.validations[1].message: Invalid value: \"a\\nb\": must not contain line breaks",
        ]
    );
}

#[test]
fn parameters_have_a_kind_and_variables_names() {
    let kind_of = |kind: Value| judged(json!({"paramKind": kind}));
    assert_eq!(kind_of(json!({"apiVersion": "example.com/v1", "kind": "Limit"})), [""; 0]);
    assert_eq!(kind_of(json!({"apiVersion": "v1", "kind": "ConfigMap"})), [""; 0]);
    assert_eq!(
        kind_of(json!({})),
        ["spec.paramKind.apiVersion: Required value", "spec.paramKind.kind: Required value"]
    );
    assert_eq!(
        kind_of(json!({"apiVersion": "a/b/c", "kind": "K"})),
        ["spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c"]
    );
    assert_eq!(
        kind_of(json!({"apiVersion": "a/", "kind": "K"})),
        ["spec.paramKind.apiVersion: Invalid value: \"a/\": version must be specified"]
    );
    let errors = kind_of(json!({"apiVersion": "A/1", "kind": "1"}));
    assert!(errors[0].starts_with("spec.paramKind.apiVersion: Invalid value: \"A\": a lowercase RFC 1123 subdomain"));
    assert!(errors[1].starts_with("spec.paramKind.apiVersion: Invalid value: \"1\": a DNS-1035 label"));
    let why = "spec.paramKind.kind: Invalid value: \"1\": may have mixed case, but should otherwise match: a DNS-1035";
    assert!(errors[2].starts_with(why), "{errors:?}");
    assert_eq!(
        judged(json!({"variables": [{"name": "ok", "expression": "1"}, {"name": "in", "expression": ""}, {}]})),
        [
            "spec.variables[1].name: Invalid value: \"in\": must be a valid CEL identifier",
            "spec.variables[1].expression: Required value: expression is not specified",
            "spec.variables[2].name: Required value: name is not specified",
            "spec.variables[2].expression: Required value: expression is not specified",
        ]
    );
}

#[test]
fn annotations_have_keys_below_the_policy() {
    assert_eq!(
        judged(json!({"auditAnnotations": [
            {"key": "a", "valueExpression": "'x'"}, {"key": "a", "valueExpression": ""},
            {"key": "b", "valueExpression": "a".repeat(ANNOTATION_MAX + 1)}
        ]})),
        [
            "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
            "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
            "spec.auditAnnotations[2].valueExpression: Required value: must not exceed 5120 bytes in length",
        ]
    );
    let errors = judged(json!({"auditAnnotations": [{"key": "a/b", "valueExpression": "'x'"}]}));
    assert!(
        errors[0].starts_with("spec.auditAnnotations[0].key: Invalid value: \"p/a/b\": a valid label key"),
        "{errors:?}"
    );
}

#[test]
fn a_status_tells_of_expressions_and_changes_no_metadata() {
    let kind = kind("validatingadmissionpolicies");
    let context = Context { subresource: "status".into(), ..Context::default() };
    let old = policy(json!({}));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    new["status"] = json!({"typeChecking": {"expressionWarnings": [{"warning": "", "fieldRef": " "}]},
        "conditions": [{"type": "A", "status": "True"}]});
    kind.prepare(&mut new, Some(&old), &context);
    assert!(new["metadata"].get("labels").is_none());
    assert_eq!(new["metadata"]["generation"], 1);
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &context)),
        [
            "status.typeChecking.expressionWarnings[0].warning: Required value",
            "status.typeChecking.expressionWarnings[0].fieldRef: Required value",
            "status.conditions[0].lastTransitionTime: Required value",
            "status.conditions[0].reason: Required value",
        ]
    );
}

#[test]
fn who_makes_a_policy_hears_that_it_keeps_nothing_out() {
    assert_eq!(
        kind("validatingadmissionpolicies").warnings(&policy(json!({})), None),
        [
            "ValidatingAdmissionPolicy is stored, but no policy is evaluated yet: requests that it denies are let through; \
          its expressions are not compiled"
        ]
    );
}
