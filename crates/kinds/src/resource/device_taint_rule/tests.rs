use super::*;
use crate::tests::{kind, told};

fn rule(taint: Value) -> Value {
    json!({"metadata": {"name": "r", "resourceVersion": "1", "generation": 1}, "spec": {"taint": taint}, "status": {}})
}

fn at(now: &str, subresource: &str) -> Context {
    Context { now: now.into(), subresource: subresource.into(), ..Context::default() }
}

#[test]
fn an_effect_holds_from_when_it_was_set() {
    let kind = kind("devicetaintrules");
    let mut old = rule(json!({"key": "k", "effect": "None"}));
    kind.prepare(&mut old, None, &at("2026-01-01T00:00:00Z", ""));
    assert_eq!(old["spec"]["taint"]["timeAdded"], "2026-01-01T00:00:00Z");
    let mut new = old.clone();
    new["spec"]["taint"]["value"] = "v".into();
    kind.prepare(&mut new, Some(&old), &at("2026-01-02T00:00:00Z", ""));
    assert_eq!(new["spec"]["taint"]["timeAdded"], "2026-01-01T00:00:00Z");
    assert_eq!(new["metadata"]["generation"], 2);
    new["spec"]["taint"]["effect"] = "NoExecute".into();
    kind.prepare(&mut new, Some(&old), &at("2026-01-02T00:00:00Z", ""));
    assert_eq!(new["spec"]["taint"]["timeAdded"], "2026-01-02T00:00:00Z");
}

#[test]
fn a_rule_selects_and_taints() {
    let kind = kind("devicetaintrules");
    let judged = |rule: &Value, old: Option<&Value>, part: &str| told(&kind.validate(rule, old, &at("", part)));
    let mut bad = rule(json!({"key": "k", "effect": "Some"}));
    assert_eq!(
        judged(&bad, None, ""),
        ["spec.taint.effect: Unsupported value: \"Some\": supported values: \"NoExecute\", \"NoSchedule\", \"None\""]
    );
    bad["spec"] = json!({"deviceSelector": {"driver": "", "pool": "", "device": "d"}, "taint": {"key": "k"}});
    assert_eq!(
        judged(&bad, None, ""),
        [
            "spec.deviceSelector.driver: Required value",
            "spec.deviceSelector.pool: Required value",
            "spec.taint.effect: Required value"
        ]
    );
    let old = rule(json!({"key": "k", "effect": "None"}));
    let mut new = old.clone();
    new["status"]["conditions"] = json!([{"type": "EvictionInProgress", "status": "True"}]);
    assert_eq!(
        judged(&new, Some(&old), "status"),
        ["status.conditions[0].lastTransitionTime: Required value", "status.conditions[0].reason: Required value"]
    );
}
