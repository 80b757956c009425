use super::*;
use crate::tests::{kind, told};

fn quota(spec: Value) -> Value {
    json!({"metadata": {"name": "q", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
}

fn judged(spec: Value) -> Vec<String> {
    told(&kind("resourcequotas").validate(&quota(spec), None, &Context::default()))
}

#[test]
fn a_quota_bounds_what_can_be_counted() {
    let hard = json!({"pods": "5", "requests.cpu": "1", "limits.memory": "1Gi", "requests.storage": "1", "count/jobs.batch": 1,
        "services.nodeports": 0, "requests.a.io/b": "1", "gold.storageclass.storage.k8s.io/requests.storage": "1",
        "hugepages-2Mi": "3Mi", "requests.hugepages-2Mi": "2Mi", "ephemeral-storage": "1"});
    assert_eq!(judged(json!({"hard": hard})), [""; 0]);
    assert_eq!(
        judged(json!({"hard": {"limits.storage": "1", "pods": "1500m", "secrets": "-1", "storage": "1"}})),
        [
            "spec.hard[limits.storage]: Invalid value: \"limits.storage\": must be a standard resource type or fully \
             qualified",
            "spec.hard[limits.storage]: Invalid value: \"limits.storage\": must be a standard resource for quota",
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            "spec.hard[secrets]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
        ]
    );
}

#[test]
fn scopes_fit_what_is_counted_and_each_other() {
    let scoped = |scopes: Value, hard: Value| judged(json!({"scopes": scopes, "hard": hard}));
    assert_eq!(scoped(json!(["BestEffort"]), json!({"pods": "1"})), [""; 0]);
    assert_eq!(scoped(json!(["NotBestEffort", "Terminating"]), json!({"limits.cpu": "1", "count/pods": "1"})), [""; 0]);
    assert_eq!(
        scoped(json!(["BestEffort"]), json!({"cpu": "1"})),
        ["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"]
    );
    assert_eq!(
        scoped(json!(["Terminating", "NotTerminating"]), json!({})),
        ["spec.scopes: Invalid value: [\"Terminating\",\"NotTerminating\"]: conflicting scopes"]
    );
    assert_eq!(scoped(json!(["X"]), json!({"pods": "1"})), ["spec.scopes: Invalid value: [\"X\"]: unsupported scope"]);
    let selected = |expression: Value, hard: Value| {
        judged(json!({"scopeSelector": {"matchExpressions": [expression]}, "hard": hard}))
    };
    let of = |scope: &str, operator: &str, values: Value| json!({"scopeName": scope, "operator": operator, "values": values});
    assert_eq!(selected(of("PriorityClass", "In", json!(["high"])), json!({"pods": "1"})), [""; 0]);
    let at = "spec.scopeSelector.matchExpressions";
    assert_eq!(
        selected(of("PriorityClass", "In", json!([])), json!({})),
        [format!(
            "{at}.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
        )]
    );
    assert_eq!(
        selected(of("Terminating", "DoesNotExist", json!(["a"])), json!({})),
        [
            format!(
                "{at}.operator: Invalid value: \"DoesNotExist\": must be 'Exists' when scope is any of \
                 ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                 ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
            ),
            format!(
                "{at}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for \
                 scope selector"
            ),
        ]
    );
    assert_eq!(
        selected(of("VolumeAttributesClass", "Exists", Value::Null), json!({"pods": "1"})),
        [format!(
            "{at}: Invalid value: {{\"MatchExpressions\":[{{\"ScopeName\":\"VolumeAttributesClass\",\"Operator\":\"Exists\",\
             \"Values\":null}}]}}: unsupported scope applied to resource"
        )]
    );
    assert_eq!(
        selected(of("X", "Is", json!([])), json!({})),
        [
            format!("{at}.scopeName: Invalid value: \"X\": unsupported scope"),
            format!("{at}.operator: Invalid value: \"Is\": not a valid selector operator"),
        ]
    );
}

#[test]
fn scopes_stay_and_a_status_is_judged() {
    let kind = kind("resourcequotas");
    let (old, new) = (quota(json!({"scopes": ["BestEffort"]})), quota(json!({"scopes": []})));
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &Context::default())),
        ["spec.scopes: Invalid value: []: field is immutable"]
    );
    let mut new = old.clone();
    new["status"] = json!({"hard": {"pods": "1"}, "used": {"pods": "-1"}});
    let context = Context { subresource: "status".into(), ..Context::default() };
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &context)),
        ["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}

#[test]
fn a_quota_is_shown_with_what_is_used() {
    let quota = json!({"spec": {"hard": {"cpu": "2", "limits.cpu": "1"}}, "status": {
        "hard": {"pods": "2", "limits.cpu": "1", "cpu": "2"}, "used": {"pods": "1"}}});
    assert_eq!((shares(&quota, false), shares(&quota, true)), ("cpu: 0/2, pods: 1/2".into(), "limits.cpu: 0/1".into()));
    let kind = kind("resourcequotas");
    assert_eq!(kind.warnings(&quota, None), ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]);
    let mut old = json!({"spec": {"hard": {"pods": 5}}, "status": {"used": {"cpu": "1000m"}}});
    kind.default(&mut old);
    assert_eq!((&old["spec"]["hard"]["pods"], &old["status"]["used"]["cpu"]), (&json!("5"), &json!("1")));
}
