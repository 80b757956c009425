use crate::tests::kind;
use crate::workload::tests::{judged, with, write};
use api::selector::Fields;
use serde_json::{Value, json};

#[test]
fn a_replica_set_is_shown_with_how_many_there_are() {
    let (mut set, _) = write("replicasets", with("replicasets", json!({})), None, "");
    assert_eq!((&set["spec"]["replicas"], &set["status"]), (&json!(1), &json!({"replicas": 0})));
    set["status"] = json!({"replicas": 3, "readyReplicas": 2});
    let row = kind("replicasets");
    let cells: Vec<Value> = row.columns.iter().map(|column| column.of(&set, "")).collect();
    assert_eq!(cells[1..4], [json!(1), json!(3), json!(2)]);
    assert_eq!(cells[5..], [json!("c"), json!("i"), json!("a=b")]);
    let refused = row.check(&Fields::parse("status.replicas=3").unwrap()).unwrap_err();
    assert!(refused.message.starts_with("\"status.replicas\" is not a known field selector"), "{}", refused.message);
    assert_eq!(
        judged("replicasets", json!({"replicas": -1, "minReadySeconds": -1})),
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}
