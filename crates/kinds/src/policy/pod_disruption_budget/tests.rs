use super::*;
use crate::tests::{kind, told};

fn budget(spec: Value) -> Value {
    json!({"metadata": {"name": "b", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
}

fn judged(spec: Value) -> Vec<String> {
    told(&kind("poddisruptionbudgets").validate(&budget(spec), None, &Context::default()))
}

#[test]
fn a_budget_names_one_bound() {
    assert_eq!(judged(json!({"minAvailable": "30%", "selector": {}})), [""; 0]);
    assert_eq!(
        judged(json!({"minAvailable": "130%", "maxUnavailable": -1})),
        [
            "spec: Invalid value: {\"MinAvailable\":\"130%\",\"Selector\":null,\"MaxUnavailable\":-1,\
             \"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set",
            "spec.minAvailable: Invalid value: \"130%\": must not be greater than 100%",
            "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
    assert_eq!(
        judged(json!({"maxUnavailable": "x", "unhealthyPodEvictionPolicy": "Odd",
            "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
        [
            "spec.maxUnavailable: Invalid value: \"x\": a valid percent string must be a numeric string followed by an \
             ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or \
             'NotIn'",
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Odd\": supported values: \"AlwaysAllow\", \
             \"IfHealthyBudget\"",
        ]
    );
}

#[test]
fn a_new_budget_allows_nothing_yet() {
    let kind = kind("poddisruptionbudgets");
    let mut new = budget(json!({"minAvailable": 1, "selector": {"matchExpressions": [
        {"key": EMPTY_MATCH, "operator": "Exists"}, {"key": "a", "operator": "Exists"}]}}));
    new["status"] = json!({"disruptionsAllowed": 7});
    kind.prepare(&mut new, None, &Context::default());
    assert_eq!(new["status"]["disruptionsAllowed"], 0);
    assert_eq!(new["spec"]["selector"], json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}));
    let cells: Vec<Value> = kind.columns.iter().map(|column| column.of(&new, "")).collect();
    assert_eq!(cells[1..4], [json!("1"), json!("N/A"), json!(0)]);
}

#[test]
fn a_status_has_good_conditions_and_counts() {
    let kind = kind("poddisruptionbudgets");
    let context = Context { subresource: "status".into(), ..Context::default() };
    let old = budget(json!({"minAvailable": 1}));
    let judged = |status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        told(&kind.validate(&new, Some(&old), &context))
    };
    let good = json!({"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods",
        "lastTransitionTime": "2026-01-01T00:00:00Z"});
    assert_eq!(judged(json!({"conditions": [good], "expectedPods": 3})), [""; 0]);
    assert_eq!(
        judged(json!({"conditions": [good, good, {"reason": "1", "status": "Odd", "observedGeneration": -1}],
            "currentHealthy": -1})),
        [
            "status.conditions[1]: Duplicate value: \"DisruptionAllowed\"",
            "status.conditions[2].type: Required value: is required",
            "status.conditions[2].status: Unsupported value: \"Odd\": supported values: \"False\", \"True\", \
             \"Unknown\"",
            "status.conditions[2].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
            "status.conditions[2].lastTransitionTime: Required value",
            "status.conditions[2].reason: Invalid value: \"1\": a condition reason must start with alphabetic \
             character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an \
             alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or \
             'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}
