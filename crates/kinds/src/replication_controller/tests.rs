use super::*;
use crate::tests::kind;
use crate::workload::tests::{judged, with, write};

#[test]
fn labels_and_selector_are_the_templates_where_they_are_missing() {
    let (controller, errors) = write("replicationcontrollers", with("replicationcontrollers", json!({})), None, "");
    assert_eq!(errors, [""; 0]);
    assert_eq!((&controller["spec"]["selector"], &controller["spec"]["replicas"]), (&json!({"a": "b"}), &json!(1)));
    assert_eq!(controller["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(kind("replicationcontrollers").columns.last().unwrap().of(&controller, ""), "a=b");
}

#[test]
fn replication_controllers_are_judged() {
    assert_eq!(
        judged("replicationcontrollers", json!({"template": null, "replicas": -1})),
        [
            "spec.selector: Required value",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template: Required value",
        ]
    );
    assert_eq!(
        judged(
            "replicationcontrollers",
            json!({"selector": {"a": "c"}, "template": {"spec": {"activeDeadlineSeconds": 1}}})
        ),
        [
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not \
             Supported",
        ]
    );
}
