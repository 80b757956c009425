use super::*;
use crate::tests::kind;
use crate::workload::tests::{changed, judged, with, write};

#[test]
fn a_stateful_set_is_completed() {
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1024Mi"}}}});
    let mount = json!([{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
    let spec = json!({"volumeClaimTemplates": [claim], "template": {"spec": {"containers": mount, "hostname": "A_"}}});
    let (set, errors) = write("statefulsets", with("statefulsets", spec), None, "");
    assert_eq!(errors, [""; 0], "a claim is a volume, and pods have other names");
    let spec = &set["spec"];
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}})
    );
    assert_eq!(spec["persistentVolumeClaimRetentionPolicy"], json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    assert_eq!(
        spec["volumeClaimTemplates"][0],
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                "volumeMode": "Filesystem"},
            "status": {"phase": "Pending"}})
    );
    assert_eq!(
        (&spec["podManagementPolicy"], &set["status"]["availableReplicas"]),
        (&json!("OrderedReady"), &json!(0))
    );
    let rolling = json!({"updateStrategy": {"type": "RollingUpdate"}});
    let (set, _) = write("statefulsets", with("statefulsets", rolling), None, "");
    assert_eq!(set["spec"]["updateStrategy"], json!({"type": "RollingUpdate"}), "as upstream leaves it");
    assert_eq!(kind("statefulsets").columns[1].of(&set, ""), "0/1");
}

#[test]
fn stateful_sets_are_judged() {
    assert_eq!(
        judged(
            "statefulsets",
            json!({"podManagementPolicy": "Odd", "replicas": -1, "ordinals": {"start": -1},
            "serviceName": "A", "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Odd"}})
        ),
        [
            "spec.podManagementPolicy: Invalid value: \"Odd\": must be 'OrderedReady' or 'Parallel'",
            "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Odd\": supported values: \
             \"Retain\", \"Delete\"",
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            "spec.serviceName: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case \
             alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
             or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ]
    );
    let with = |strategy: Value| judged("statefulsets", json!({"updateStrategy": strategy}));
    assert_eq!(
        with(json!({"type": "Odd"})),
        ["spec.updateStrategy: Invalid value: {\"Type\":\"Odd\",\"RollingUpdate\":null}: must be 'RollingUpdate' or \
          'OnDelete'"]
    );
    assert_eq!(
        with(json!({"type": "OnDelete", "rollingUpdate": {"partition": 2}})),
        ["spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":2,\"MaxUnavailable\":null}: only allowed \
          for updateStrategy 'RollingUpdate'"]
    );
    assert_eq!(
        with(json!({"rollingUpdate": {"partition": -1, "maxUnavailable": "0%"}})),
        [
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": cannot be 0",
        ]
    );
}

#[test]
fn what_names_pods_and_claims_stays() {
    assert_eq!(changed("statefulsets", json!({"replicas": 3, "minReadySeconds": 5})), [""; 0]);
    assert_eq!(
        changed("statefulsets", json!({"serviceName": "s", "podManagementPolicy": "Parallel"})),
        [
            "spec.serviceName: Invalid value: \"s\": field is immutable",
            "spec.podManagementPolicy: Invalid value: \"Parallel\": field is immutable",
        ]
    );
    let (mut set, _) = write("statefulsets", with("statefulsets", json!({"revisionHistoryLimit": -1})), None, "");
    let line =
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    assert_eq!(kind("statefulsets").warnings(&set, None)[0], line);
    let old = set.clone();
    set["status"]["replicas"] = json!(1);
    assert!(kind("statefulsets").warnings(&set, Some(&old)).is_empty(), "a status is not commented on");
    // What an older version let in.
    let mut bad = old.clone();
    bad["spec"]["template"]["spec"]["containers"][0]["image"] = json!("");
    let mut new = bad.clone();
    new["spec"]["replicas"] = json!(2);
    assert_eq!(write("statefulsets", new, Some(&bad), "").1, [""; 0]);
}

#[test]
fn claims_are_judged_when_they_are_new() {
    let claim = json!([{"metadata": {"name": "data"}, "spec": {"volumeMode": ""}}]);
    let path = "spec.volumeClaimTemplates[0].spec";
    let wrong = [
        format!("{path}.accessModes: Required value: at least 1 access mode is required"),
        format!("{path}.resources[storage]: Required value"),
        format!("{path}.volumeMode: Unsupported value: \"\": supported values: \"Block\", \"Filesystem\""),
    ];
    assert_eq!(judged("statefulsets", json!({"volumeClaimTemplates": claim})), wrong);
    // Let in by an older version.
    let mut old = write("statefulsets", with("statefulsets", json!({})), None, "").0;
    old["spec"]["volumeClaimTemplates"] = claim;
    assert_eq!(
        write("statefulsets", old.clone(), Some(&old), "").1.len(),
        1,
        "it may not change, not even by a default"
    );
}
