use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn judged(limits: Value) -> Vec<String> {
    let kind = kind("limitranges");
    let mut range = json!({"metadata": {"name": "l", "namespace": "n"}, "spec": {"limits": limits}});
    kind.default(&mut range);
    told(&kind.validate(&range, None, &Context::default()))
}

#[test]
fn a_container_gets_the_limit_that_is_nearest() {
    let kind = kind("limitranges");
    let defaulted = |limit: Value| {
        let mut range = json!({"spec": {"limits": [limit]}});
        kind.default(&mut range);
        range["spec"]["limits"][0].clone()
    };
    let limit = defaulted(json!({"type": "Container", "max": {"cpu": "0.5", "memory": "1Gi"},
        "min": {"ephemeral-storage": "0.0001"}, "default": {"cpu": "400m"}}));
    assert_eq!(limit["default"], json!({"cpu": "400m", "memory": "1Gi"}));
    assert_eq!(limit["defaultRequest"], json!({"cpu": "400m", "memory": "1Gi", "ephemeral-storage": "1m"}));
    assert_eq!(limit["max"]["cpu"], "500m");
    let limit = json!({"type": "Pod", "max": {"cpu": "1"}});
    assert_eq!(defaulted(limit.clone()), limit);
}

#[test]
fn limits_fit_each_other() {
    assert_eq!(
        judged(json!([{"type": "Pod", "max": {"cpu": "1"}}, {"type": "Container", "min": {"cpu": "1m"}}])),
        [""; 0]
    );
    assert_eq!(judged(json!([{"type": "example.com/x", "max": {"a.io/b": "1"}}])), [""; 0]);
    assert_eq!(
        judged(json!([{"type": "Pod"}, {"type": "Pod", "default": {"cpu": "1"}}, {"type": "X"}, {"type": "a b"}])),
        [
            "spec.limits[1].type: Duplicate value: \"Pod\"",
            "spec.limits[1].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[2].type: Invalid value: \"X\": must be a standard limit type or fully qualified",
            "spec.limits[3].type: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or \
             '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
             used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ]
    );
    assert_eq!(
        judged(
            json!([{"type": "PersistentVolumeClaim", "max": {"cpu": "1"}}, {"type": "Pod", "max": {"storage": "1"}}])
        ),
        [
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was \
             provided",
            "spec.limits[1].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
        ]
    );
    let container = |fields: Value| {
        let mut limit = json!({"type": "Container"});
        limit.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        judged(json!([limit]))
    };
    assert_eq!(
        container(
            json!({"min": {"cpu": "2"}, "max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}})
        ),
        [
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
            "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
        ]
    );
    assert_eq!(
        container(json!({"max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "3"}})),
        [
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than max value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"3\": default request value 3 is greater than default \
             limit value 2",
            "spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1",
        ]
    );
    assert_eq!(
        container(json!({"maxLimitRequestRatio": {"cpu": "800m"}})),
        ["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"800m\": ratio 800m is less than 1"]
    );
    assert_eq!(
        container(json!({"min": {"memory": "2"}, "max": {"memory": "3"}, "maxLimitRequestRatio": {"memory": "2"}})),
        [
            "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"2\": ratio 2 is greater than max/min = 1.500000"
        ]
    );
    assert_eq!(
        container(json!({"default": {"a.io/b": "3"}, "defaultRequest": {"a.io/b": "2"}})),
        ["spec.limits[0].defaultRequest[a.io/b]: Invalid value: \"2\": default value 3 must equal to defaultRequest \
             value 2 in a.io/b"]
    );
}

#[test]
fn a_range_without_a_name_is_called_by_its_uid() {
    let kind = kind("limitranges");
    let mut range = json!({"metadata": {"uid": "u", "namespace": "n"}});
    kind.prepare(&mut range, None, &Context::default());
    assert_eq!(range["metadata"]["name"], "u");
}
