use super::*;
use crate::tests::told;

fn judged(rule: fn(&At, &mut Errors), value: Value) -> Vec<String> {
    let (root, mut errors) = (json!({"it": value}), Errors::new());
    rule(&At::root(&root).get("it"), &mut errors);
    told(&errors)
}

fn good() -> Value {
    json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"})
}

fn with(change: Value) -> Value {
    let mut rule = good();
    rule.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
    rule
}

#[test]
fn a_rule_names_something_and_nothing_beside_all() {
    assert_eq!(judged(rule, good()), [""; 0]);
    assert_eq!(
        judged(rule, json!({})),
        ["operations", "apiGroups", "apiVersions", "resources"].map(|field| format!("it.{field}: Required value"))
    );
    assert_eq!(
        judged(
            rule,
            with(json!({"operations": ["*", "MAKE"], "apiGroups": ["a", "*"], "apiVersions": ["*", ""],
            "scope": "Here"}))
        ),
        [
            "it.operations: Invalid value: [\"*\",\"MAKE\"]: if '*' is present, must not specify other operations",
            "it.operations[1]: Unsupported value: \"MAKE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \
             \"DELETE\", \"UPDATE\"",
            "it.apiGroups: Invalid value: [\"a\",\"*\"]: if '*' is present, must not specify other API groups",
            "it.apiVersions: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other API versions",
            "it.apiVersions[1]: Required value",
            "it.scope: Unsupported value: \"Here\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
        ]
    );
}

#[test]
fn resources_do_not_hide_each_other() {
    let of = |resources: Value| judged(rule, with(json!({"resources": resources})));
    assert_eq!(of(json!(["*", "*/status"])), [""; 0]);
    assert_eq!(
        of(json!(["pods/*", "pods/status", "*/scale", "a/scale", ""])),
        [
            "it.resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
            "it.resources[3]: Invalid value: \"a/scale\": if '*/scale' is present, must not specify a/scale",
            "it.resources[4]: Required value",
        ]
    );
    assert_eq!(
        of(json!(["*/*", "*", "pods"])),
        [
            "it.resources: Invalid value: [\"*/*\",\"*\",\"pods\"]: if '*/*' is present, must not specify other \
             resources",
            "it.resources: Invalid value: [\"*/*\",\"*\",\"pods\"]: if '*' is present, must not specify other resources \
             without subresources",
        ]
    );
}

#[test]
fn a_match_is_whole_once_it_was_defaulted() {
    let mut resources = json!({"resourceRules": [{"operations": ["CREATE"]}]});
    default(&mut resources);
    assert_eq!(
        resources,
        json!({"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
            "resourceRules": [{"operations": ["CREATE"], "scope": "*"}]})
    );
    assert_eq!(
        judged(
            super::resources,
            json!({"matchPolicy": "Some", "excludeResourceRules": [
            with(json!({"resourceNames": ["a", "a", "b/c"]}))]})
        ),
        [
            "it.matchPolicy: Unsupported value: \"Some\": supported values: \"Equivalent\", \"Exact\"",
            "it.namespaceSelector: Required value",
            "it.objectSelector: Required value",
            "it.excludeResourceRules[0].resourceNames[1]: Duplicate value: \"a\"",
            "it.excludeResourceRules[0].resourceNames[2]: Invalid value: \"b/c\": may not contain '/'",
        ]
    );
    let deletes = json!({"resourceRules": [good(), with(json!({"operations": ["DELETE"]}))]});
    assert_eq!(
        judged(mutating, deletes),
        ["it.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \
          \"CREATE\", \"UPDATE\""]
    );
}

#[test]
fn conditions_have_names_of_their_own() {
    assert_eq!(
        judged(conditions, json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": " "}, {}])),
        [
            "it[1].expression: Required value",
            "it[1].name: Duplicate value: \"a\"",
            "it[2].expression: Required value",
            "it[2].name: Required value",
        ]
    );
    let many: Vec<Value> = (0..65).map(|i| json!({"name": format!("n{i}"), "expression": "true"})).collect();
    assert_eq!(judged(conditions, json!(many)), ["it: Too many: 65: must have at most 64 items"]);
}
