use super::*;
use crate::tests::{kind, told};

#[test]
fn a_policy_patches_in_one_way() {
    let judged = |spec: Value| {
        let rules =
            json!([{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]);
        let mut policy = json!({"metadata": {"name": "p", "resourceVersion": "1"},
            "spec": {"matchConstraints": {"resourceRules": rules}, "reinvocationPolicy": "Never"}});
        policy["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
        kind("mutatingadmissionpolicies").default(&mut policy);
        told(&kind("mutatingadmissionpolicies").validate(&policy, None, &Context::default()))
    };
    assert_eq!(
        judged(json!({"mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}},
        ]})),
        [""; 0]
    );
    assert_eq!(
        judged(json!({"mutations": [
            {},
            {"patchType": "Paint"},
            {"patchType": "JSONPatch", "applyConfiguration": {}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " "}, "jsonPatch": {}},
        ], "reinvocationPolicy": ""})),
        [
            "spec.mutations[0].patchType: Required value",
            "spec.mutations[1].patchType: Unsupported value: \"Paint\": supported values: \"ApplyConfiguration\", \
             \"JSONPatch\"",
            "spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            "spec.mutations[2].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when \
             patchType is JSONPatch",
            "spec.mutations[3].applyConfiguration.expression: Required value",
            "spec.mutations[3].jsonPatch: Invalid value: \"{jsonPatch}\": must not be specified when patchType is \
             ApplyConfiguration",
            "spec.reinvocationPolicy: Required value",
        ]
    );
    assert_eq!(
        judged(json!({"reinvocationPolicy": "Always"})),
        [
            "spec.mutations: Required value: mutations must contain at least one item",
            "spec.reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
        ]
    );
}
