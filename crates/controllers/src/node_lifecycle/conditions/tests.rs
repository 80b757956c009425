use serde_json::{Value, json};

use super::{NOT_READY, UNREACHABLE, unknown};

fn node(ready: Option<&str>, taints: Value) -> Value {
    let conditions = ready.map_or(json!([]), |status| json!([{"type": "Ready", "status": status}]));
    json!({"metadata": {}, "spec": {"taints": taints}, "status": {"conditions": conditions}})
}

#[test]
fn taints_follow_the_conditions_and_leave_others_alone() {
    let own = json!({"key": "mine", "effect": "NoSchedule"});
    let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
    let taints = |node: &Value, now: &str| super::taints(node, true, now);
    assert_eq!(taints(&node(None, json!([not_ready.clone()])), "t"), None);
    assert_eq!(taints(&node(Some("True"), json!([own.clone(), not_ready.clone()])), "t"), Some(json!([own])));
    let execute = |key| json!({"key": key, "effect": "NoExecute", "timeAdded": "t"});
    assert_eq!(
        taints(&node(Some("False"), json!([not_ready.clone()])), "t"),
        Some(json!([not_ready, execute(NOT_READY)]))
    );
    let silent = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, execute(UNREACHABLE)]);
    assert_eq!(taints(&node(Some("Unknown"), json!([])), "t"), Some(silent.clone()));
    assert_eq!(taints(&node(Some("Unknown"), silent.clone()), "t"), None);
    let held = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}]);
    assert_eq!(super::taints(&node(Some("Unknown"), silent), false, "t"), Some(held));
}

#[test]
fn a_silent_node_turns_unknown_once() {
    let first = unknown(&node(Some("True"), json!([])), "t").unwrap();
    assert_eq!(
        (&first[0]["reason"], &first[1]["reason"]),
        (&json!("NodeStatusUnknown"), &json!("NodeStatusNeverUpdated"))
    );
    let silent = json!({"status": {"conditions": first}});
    assert_eq!(unknown(&silent, "t"), None);
}

#[test]
fn a_node_that_fails_should_drive_its_pods_away_and_under_either_key_does() {
    use super::{Drives, drives};
    let execute = |key: &str| json!([{"key": key, "effect": "NoExecute"}]);
    let schedule = json!([{"key": NOT_READY, "effect": "NoSchedule"}]);
    for (ready, taints, want) in [
        (None, json!([]), Drives::No),
        (Some("True"), execute(NOT_READY), Drives::No),
        (Some("False"), schedule.clone(), Drives::Should),
        (Some("Unknown"), execute("mine"), Drives::Should),
        (Some("Unknown"), execute(NOT_READY), Drives::Does),
        (Some("False"), execute(UNREACHABLE), Drives::Does),
    ] {
        assert_eq!(drives(&node(ready, taints.clone())), want, "{ready:?} {taints}");
    }
    // Another key takes its place at once.
    let swapped = super::taints(&node(Some("Unknown"), execute(NOT_READY)), true, "t").unwrap();
    let keys: Vec<&str> = swapped.as_array().unwrap().iter().filter_map(|taint| taint["key"].as_str()).collect();
    assert_eq!(keys, [UNREACHABLE, UNREACHABLE]);
}
