use super::*;
use crate::tests::{kind, told};

fn schema(spec: Value) -> Value {
    json!({"metadata": {"name": "s", "resourceVersion": "1"}, "spec": spec})
}

fn judged(spec: Value) -> Vec<String> {
    let kind = kind("flowschemas");
    let mut schema = schema(spec);
    kind.default(&mut schema);
    told(&kind.validate(&schema, None, &Context::default()))
}

fn rule(with: Value) -> Vec<String> {
    let mut rule = json!({"subjects": [{"kind": "User", "user": {"name": "u"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["n"]}]});
    rule.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    judged(json!({"priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}))
}

#[test]
fn a_schema_names_its_level_and_its_rules() {
    assert_eq!(judged(json!({"priorityLevelConfiguration": {"name": "l"}})), [""; 0]);
    assert_eq!(
        judged(json!({"matchingPrecedence": -1, "distinguisherMethod": {"type": "X"}})),
        [
            "spec.matchingPrecedence: Invalid value: -1: must be a positive value",
            "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"X\"}: supported values: \"ByNamespace\", \
             \"ByUser\"",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        ]
    );
    let level = json!({"name": "l"});
    assert_eq!(
        judged(json!({"matchingPrecedence": 1, "priorityLevelConfiguration": level})),
        ["spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1"]
    );
    assert_eq!(
        judged(json!({"matchingPrecedence": 10001, "priorityLevelConfiguration": level})),
        ["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"]
    );
}

#[test]
fn rules_have_subjects_and_something_to_match() {
    assert_eq!(rule(json!({})), [""; 0]);
    assert_eq!(
        rule(json!({"subjects": [], "resourceRules": []})),
        [
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
        ]
    );
    let at = "spec.rules[0].subjects";
    assert_eq!(
        rule(json!({"subjects": [{"kind": "User", "group": {"name": "g"}}, {"kind": "X"},
            {"kind": "ServiceAccount", "serviceAccount": {"name": "A"}}, {"kind": "Group", "group": {}}]})),
        [
            format!("{at}[0].user: Required value: user is required when subject kind is 'User'"),
            format!("{at}[0].group: Forbidden: group is forbidden when subject kind is not 'Group'"),
            format!(r#"{at}[1].kind: Unsupported value: "X": supported values: "Group", "ServiceAccount", "User""#),
            format!(
                "{at}[2].serviceAccount.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower \
                 case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ),
            format!("{at}[2].serviceAccount.namespace: Required value: must specify namespace for service account"),
            format!("{at}[3].group.name: Required value"),
        ]
    );
    let at = "spec.rules[0].resourceRules[0]";
    assert_eq!(
        rule(json!({"resourceRules": [{"verbs": ["*", "get"], "apiGroups": [], "resources": ["*", "a"]}]})),
        [
            format!("{at}.verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs"),
            format!("{at}.apiGroups: Required value: resource rules must supply at least one api group"),
            format!(
                "{at}.resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources"
            ),
            format!(
                "{at}.namespaces: Required value: resource rules that are not cluster scoped must supply at least one \
                 namespace"
            ),
        ]
    );
    let at = "spec.rules[0].nonResourceRules[0]";
    let urls = ["/", "", "x", "/a b", "/a//b", "/a*", "/a/*"];
    assert_eq!(
        rule(json!({"nonResourceRules": [{"verbs": ["fly"], "nonResourceURLs": urls}]})),
        [
            format!(
                "{at}.verbs: Unsupported value: [\"fly\"]: supported values: \"create\", \"delete\", \"deletecollection\", \
                 \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\""
            ),
            format!("{at}.nonResourceURLs[1]: Invalid value: \"\": must not be empty"),
            format!("{at}.nonResourceURLs[2]: Invalid value: \"x\": must start with slash"),
            format!("{at}.nonResourceURLs[3]: Invalid value: \"/a b\": must not contain white-space"),
            format!("{at}.nonResourceURLs[4]: Invalid value: \"/a//b\": must not contain double slash"),
            format!("{at}.nonResourceURLs[5]: Invalid value: \"/a*\": wildcard can only do suffix matching"),
        ]
    );
}

#[test]
fn a_mandatory_schema_stays_and_a_status_has_one_condition_of_a_type() {
    let kind = kind("flowschemas");
    let mut exempt = schema(bootstrap::mandatory("flowschemas", "exempt").unwrap());
    exempt["metadata"]["name"] = json!("exempt");
    assert_eq!(told(&kind.validate(&exempt, None, &Context::default())), [""; 0]);
    exempt["spec"]["rules"] = json!([]);
    let told_of = told(&kind.validate(&exempt, None, &Context::default()));
    assert!(told_of[0].ends_with(": spec of 'exempt' must equal the fixed value"), "{told_of:?}");
    exempt["status"] = json!({"conditions": [{"type": "A"}, {"type": "A"}, {}]});
    let context = Context { subresource: "status".into(), ..Context::default() };
    assert_eq!(
        told(&kind.validate(&exempt, Some(&exempt), &context)),
        ["status.conditions[1].type: Duplicate value: \"A\"", "status.conditions[2].type: Required value"]
    );
    assert_eq!(dangling(&json!({"status": {"conditions": [{"type": "Dangling", "status": "True"}]}})), "True");
    assert_eq!(dangling(&json!({})), "?");
}
