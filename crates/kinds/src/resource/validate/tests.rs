use serde_json::{Value, json};

use super::*;
use crate::tests::told;

fn judged(rule: fn(&At, &mut Errors), value: Value) -> Vec<String> {
    let (root, mut errors) = (json!({"it": value}), Errors::new());
    rule(&At::root(&root).get("it"), &mut errors);
    told(&errors)
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
                         '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of \
                          alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for \
                          validation is '[A-Za-z_][A-Za-z0-9_]*')";

#[test]
fn drivers_are_named_in_any_case_and_in_the_words_of_who_judges() {
    assert_eq!(judged(driver, json!("GPU.example.com")), [""; 0]);
    assert_eq!(judged(driver, json!(null)), ["it: Required value"]);
    assert_eq!(judged(driver, json!("a_b")), [format!("it: Invalid value: \"a_b\": {SUBDOMAIN}")]);
    let long = "a".repeat(64);
    assert_eq!(judged(driver, json!(long)), ["it: Too long: may not be more than 63 bytes"]);
    assert_eq!(judged(caseless_driver, json!(long)), ["it: Too long: may not be more than 63 characters"]);
    let caseless = SUBDOMAIN.replace("a lowercase RFC", "an RFC").replace("lower case ", "").replace("'ex", "'Ex");
    assert_eq!(judged(caseless_driver, json!("a_b")), [format!("it: Invalid value: \"a_b\": {caseless}")]);
    assert_eq!(judged(caseless_driver, json!("")), ["it: Required value"]);
}

#[test]
fn a_pools_name_has_parts() {
    assert_eq!(judged(pool, json!("a/b.c")), [""; 0]);
    assert_eq!(judged(pool, json!("a//b")), [format!("it: Invalid value: \"\": {SUBDOMAIN}")]);
    assert_eq!(
        judged(pool_in_segments, json!("a//_")),
        [
            "it: Invalid value: \"a//_\": segment 1: must not be empty".to_string(),
            format!("it: Invalid value: \"_\": segment 2: {SUBDOMAIN}"),
        ]
    );
}

#[test]
fn attributes_are_named_with_their_domain_or_without() {
    let named: fn(&At, &mut Errors) = |at, errors| qualified(at, at.text(), errors);
    assert_eq!(judged(named, json!("model")), [""; 0]);
    assert_eq!(judged(named, json!("example.com/model")), [""; 0]);
    assert_eq!(
        judged(named, json!("/")),
        [
            "it: Invalid value: \"\": the domain must not be empty",
            "it: Invalid value: \"\": the name must not be empty"
        ]
    );
    assert_eq!(judged(named, json!("1a")), [format!("it: Invalid value: \"1a\": {IDENTIFIER}")]);
    assert_eq!(judged(named, json!("a".repeat(33))), ["it: Too long: may not be more than 32 bytes"]);
    assert_eq!(judged(fully_qualified, json!("example.com/model")), [""; 0]);
    assert_eq!(
        judged(fully_qualified, json!("model")),
        ["it: Invalid value: \"model\": a fully qualified name must be a domain and a name separated by a slash"]
    );
    assert_eq!(
        judged(fully_qualified, json!("A/-")),
        [format!("it: Invalid value: \"A\": prefix: {SUBDOMAIN}"), format!("it: Invalid value: \"-\": {IDENTIFIER}"),]
    );
}

#[test]
fn shares_have_uuids() {
    assert_eq!(judged(uuid, json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8")), [""; 0]);
    for bad in ["6BA7B810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810x9dad-11d1-80b4-00c04fd430c8", "6ba7"] {
        let why = format!("it: Invalid value: \"{bad}\": must be a lowercase UUID in 8-4-4-4-12 format");
        assert_eq!(judged(uuid, json!(bad)), [why]);
    }
}

#[test]
fn an_extended_resource_is_nobodys_own() {
    assert_eq!(judged(extended_resource, json!("example.com/gpu")), [""; 0]);
    assert_eq!(
        judged(extended_resource, json!("gpu")),
        ["it: Invalid value: \"gpu\": a name must be a domain-prefixed path, such as 'example.com/my-prop'"]
    );
    assert_eq!(
        judged(extended_resource, json!("requests.kubernetes.io/gpu")),
        [
            "it: Invalid value: \"requests.kubernetes.io/gpu\": must not have \"kubernetes.io/\" domain",
            "it: Invalid value: \"requests.kubernetes.io/gpu\": must not have \"requests.\" prefix",
        ]
    );
}

#[test]
fn parameters_are_a_small_object() {
    let new: fn(&At, &mut Errors) = |at, errors| json(at, false, errors);
    assert_eq!(judged(new, json!({"a": 1})), [""; 0]);
    assert_eq!(judged(new, json!(null)), ["it: Required value"]);
    assert_eq!(judged(new, json!([1])), ["it: Invalid value: \"<value omitted>\": must be a valid JSON object"]);
    let large = json!({"a": "a".repeat(OPAQUE_MAX)});
    assert_eq!(judged(new, large.clone()), ["it: Too long: may not be more than 10240 bytes"]);
    assert_eq!(judged(|at, errors| json(at, true, errors), large), [""; 0], "it was good when it was stored");
}

#[test]
fn tolerations_and_taints_have_known_effects() {
    assert_eq!(judged(taint, json!({"key": "a", "effect": "None"})), [""; 0]);
    assert_eq!(judged(taint, json!({"key": "a"})), ["it.effect: Required value"]);
    let effects = "supported values: \"NoExecute\", \"NoSchedule\", \"None\"";
    assert_eq!(
        judged(
            tolerations,
            json!([
                {"operator": "Exists", "value": "v"},
                {"operator": "Has", "effect": "All"},
                {"operator": "Equal", "key": "a", "value": "v", "effect": "NoExecute"}
            ])
        ),
        [
            "it[0].value: Invalid value: \"v\": must be empty for operator `Exists`".to_string(),
            "it[1].operator: Unsupported value: \"Has\": supported values: \"Equal\", \"Exists\"".to_string(),
            format!("it[1].effect: Unsupported value: \"All\": {effects}"),
        ]
    );
}

#[test]
fn conditions_of_binding_come_in_two_kinds() {
    let both = json!({"bindingConditions": ["a", "a"], "bindingFailureConditions": ["a"]});
    assert_eq!(
        judged(binding_conditions, both),
        [
            "it.bindingConditions[1]: Duplicate value: \"a\"",
            "it.bindingFailureConditions[0]: Invalid value: \"a\": bindingFailureConditions must not overlap with \
             bindingConditions",
        ]
    );
    assert_eq!(
        judged(binding_conditions, json!({"bindingConditions": ["a"]})),
        ["it.bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use \
          bindingConditions"]
    );
    let many = json!({"bindingConditions": ["a", "b", "c", "d", "e"], "bindingFailureConditions": ["f"]});
    assert_eq!(judged(binding_conditions, many), ["it.bindingConditions: Too many: 5: must have at most 4 items"]);
}
