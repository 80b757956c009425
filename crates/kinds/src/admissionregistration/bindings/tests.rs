use super::*;
use crate::tests::{kind, told};

fn binding(spec: Value) -> Value {
    json!({"metadata": {"name": "b", "resourceVersion": "1"}, "spec": spec})
}

fn judged(plural: &str, spec: Value) -> Vec<String> {
    let mut binding = binding(spec);
    kind(plural).default(&mut binding);
    told(&kind(plural).validate(&binding, None, &Context::default()))
}

#[test]
fn a_binding_names_its_policy_and_parameters() {
    let judged = |spec: Value| judged("mutatingadmissionpolicybindings", spec);
    assert_eq!(judged(json!({"policyName": "p"})), [""; 0]);
    let all = json!({"name": "x", "parameterNotFoundAction": "Deny"});
    assert_eq!(judged(json!({"policyName": "p", "paramRef": all, "matchResources": {}})), [""; 0]);
    assert_eq!(
        judged(json!({"paramRef": {"name": "a/b", "selector": {}, "parameterNotFoundAction": "Ask"}})),
        [
            "spec.policyName: Required value",
            "spec.paramRef.name: Invalid value: \"a/b\": may not contain '/'",
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Ask\": supported values: \"Deny\", \"Allow\"",
        ]
    );
    assert_eq!(
        judged(json!({"policyName": "p", "paramRef": {}, "matchResources": {"resourceRules": [
            {"operations": ["DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}})),
        [
            "spec.paramRef: Required value: one of name or selector must be specified",
            "spec.paramRef.parameterNotFoundAction: Required value",
            "spec.matchResources.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \
             \"CONNECT\", \"CREATE\", \"UPDATE\"",
        ]
    );
}

#[test]
fn who_offends_a_policy_is_told_in_one_way() {
    let with = |actions: Value| {
        judged("validatingadmissionpolicybindings", json!({"policyName": "p", "validationActions": actions}))
    };
    assert_eq!(with(json!(["Deny", "Audit"])), [""; 0]);
    assert_eq!(with(json!([])), ["spec.validationActions: Required value"]);
    assert_eq!(
        with(json!(["Deny", "Warn", "Warn", "Cry"])),
        [
            "spec.validationActions[2]: Duplicate value: \"Warn\"",
            "spec.validationActions[3]: Unsupported value: \"Cry\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Warn\",\"Cry\"]: must not contain both Deny \
             and Warn (repeating the same validation failure information in the API response and headers serves no \
             purpose)",
        ]
    );
}

#[test]
fn parameters_are_shown_as_they_are_found() {
    let shown = |reference: Value| parameters(&binding(json!({"paramRef": reference})));
    assert_eq!(shown(Value::Null), "<unset>");
    assert_eq!(shown(json!({"name": "x"})), "*/x");
    assert_eq!(shown(json!({"name": "x", "namespace": "n"})), "n/x");
    assert_eq!(
        shown(json!({"selector": {"matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "k", "operator": "In", "values": ["v", "w"]}]}})),
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{\
         LabelSelectorRequirement{Key:k,Operator:In,Values:[v w],},},}"
    );
}
