use serde_json::json;

use super::*;

fn status(tree: serde_json::Value) -> core::PodStatus {
    serde_json::from_value(tree).unwrap()
}

#[test]
fn nothing_changed_nothing_written() {
    let old = status(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    assert_eq!(patch("u", Some(&old), &old.clone()), None);
}

#[test]
fn conditions_merge_by_type_and_say_what_went_away() {
    let old = status(json!({"conditions": [
        {"type": "g", "status": "True"},
        {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "m"},
        {"type": "PodResizePending", "status": "True"},
    ]}));
    let new = status(json!({"conditions": [{"type": "g", "status": "True"}, {"type": "Ready", "status": "True"}]}));
    assert_eq!(
        patch("u", Some(&old), &new).unwrap(),
        json!({"metadata": {"uid": "u"}, "status": {
        "$setElementOrder/conditions": [{"type": "g"}, {"type": "Ready"}],
        "conditions": [
            {"type": "Ready", "status": "True", "reason": null, "message": null, "lastProbeTime": null},
            {"type": "PodResizePending", "$patch": "delete"},
        ]}})
    );
}

#[test]
fn changed_address_replaces_the_list_and_a_lost_field_is_nulled() {
    let old = status(json!({"podIPs": [{"ip": "10.0.0.1"}], "reason": "r"}));
    let new = status(json!({"podIPs": [{"ip": "10.0.0.2"}]}));
    assert_eq!(
        patch("u", Some(&old), &new).unwrap()["status"],
        json!({"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}], "reason": null})
    );
}
