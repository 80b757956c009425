use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn judged(plural: &str, body: Value) -> Vec<String> {
    let kind = kind(plural);
    let mut role = json!({"metadata": {"name": "system:a:b", "namespace": "n"}});
    if !kind.namespaced {
        role["metadata"] = json!({"name": "system:a:b"});
    }
    body.as_object().unwrap().iter().for_each(|(field, value)| role[field] = value.clone());
    told(&kind.validate(&role, None, &Context::default()))
}

#[test]
fn a_rule_is_about_resources_or_about_paths() {
    let good = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/log"], "resourceNames": ["a"]}]);
    assert_eq!(judged("roles", json!({"rules": good})), [""; 0]);
    assert_eq!(judged("clusterroles", json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/*"]}]})), [""; 0]);
    assert_eq!(
        judged("roles", json!({"rules": [{}]})),
        [
            "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            "rules[0].resources: Required value: resource rules must supply at least one resource",
            "rules[0].verbs: Required value",
        ]
    );
    assert_eq!(
        judged("roles", json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["pods"]}]})),
        [
            r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: namespaced rules cannot apply to non-resource URLs"#,
            r#"rules[0].nonResourceURLs: Invalid value: ["/a"]: rules cannot apply to both regular resources and non-resource URLs"#,
        ]
    );
}

#[test]
fn a_cluster_role_is_gathered_by_selectors_that_hold() {
    let gathered = |selectors| judged("clusterroles", json!({"aggregationRule": {"clusterRoleSelectors": selectors}}));
    assert_eq!(gathered(json!([{"matchLabels": {"a": "b"}}])), [""; 0]);
    assert_eq!(
        gathered(json!([])),
        ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
             aggregationRule is non-nil"]
    );
    assert_eq!(
        gathered(json!([{"matchExpressions": [{"key": "a", "operator": "Sometimes"}]}])),
        [
            r#"aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: Invalid value: "Sometimes": not a valid selector operator"#,
            "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.",
        ]
    );
}

#[test]
fn a_name_may_be_whatever_a_path_can_hold() {
    let kind = kind("clusterroles");
    let named = |name: &str| told(&kind.validate(&json!({"metadata": {"name": name}}), None, &Context::default()));
    assert_eq!(named("System:Über all"), [""; 0]);
    assert_eq!(named("a/b"), [r#"metadata.name: Invalid value: "a/b": may not contain '/'"#]);
    assert_eq!(named(".."), [r#"metadata.name: Invalid value: "..": may not be '..'"#]);
}

#[test]
fn a_role_without_rules_says_so() {
    let kind = kind("clusterroles");
    for mut role in [json!({}), json!({"rules": []}), json!({"rules": null})] {
        kind.default(&mut role);
        kind.prepare(&mut role, None, &Context::default());
        assert!(role.get("rules").is_some_and(Value::is_null), "{role}");
    }
}
