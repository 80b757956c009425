use super::*;
use crate::tests::kind;
use crate::workload::tests::{judged, with, write};

#[test]
fn a_deployment_rolls_by_default() {
    let (deployment, _) = write("deployments", with("deployments", json!({})), None, "");
    let spec = &deployment["spec"];
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!((&spec["progressDeadlineSeconds"], &deployment["status"]), (&json!(600), &json!({})));
    let cells: Vec<Value> = kind("deployments").columns.iter().map(|column| column.of(&deployment, "")).collect();
    assert_eq!(cells[1..4], [json!("0/1"), json!(0), json!(0)]);
    assert_eq!(cells[5..], [json!("c"), json!("i"), json!("a=b")]);
}

#[test]
fn strategies_are_judged() {
    let with = |strategy: Value| judged("deployments", json!({"strategy": strategy}));
    assert_eq!(with(json!({"type": "Recreate"})), [""; 0]);
    assert_eq!(
        with(json!({"type": "Recreate", "rollingUpdate": {}})),
        ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
    );
    assert_eq!(
        with(json!({"type": "Odd"})),
        ["spec.strategy: Unsupported value: {\"Type\":\"Odd\",\"RollingUpdate\":null}: supported values: \
          \"Recreate\", \"RollingUpdate\""]
    );
    let roll = |update: Value| with(json!({"rollingUpdate": update}));
    let path = "spec.strategy.rollingUpdate";
    assert_eq!(
        roll(json!({"maxUnavailable": 0, "maxSurge": "0%"})),
        [format!("{path}.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0")]
    );
    assert_eq!(
        roll(json!({"maxUnavailable": "101%", "maxSurge": "200%"})),
        [format!("{path}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%")]
    );
    assert_eq!(
        judged(
            "deployments",
            json!({"replicas": -1, "minReadySeconds": 7, "progressDeadlineSeconds": 7,
            "revisionHistoryLimit": -1})
        ),
        [
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            "spec.progressDeadlineSeconds: Invalid value: 7: must be greater than minReadySeconds",
        ]
    );
}

#[test]
fn annotations_count_and_a_status_keeps_labels() {
    let (old, _) = write("deployments", with("deployments", json!({})), None, "");
    let mut new = old.clone();
    new["metadata"]["annotations"] = json!({"a": "b"});
    let (new, _) = write("deployments", new, Some(&old), "");
    assert_eq!(new["metadata"]["generation"], 2);
    let mut status = new.clone();
    status["metadata"]["labels"] = json!({"a": "b"});
    status["metadata"]["annotations"] = json!({});
    status["status"] = json!({"replicas": 1});
    let (status, errors) = write("deployments", status, Some(&new), "status");
    assert_eq!((errors, &status["metadata"]["generation"]), (vec![], &json!(2)));
    assert_eq!((status["metadata"].get("labels"), &status["status"]["replicas"]), (None, &json!(1)));
}
