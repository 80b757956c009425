use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn volume(with: Value) -> Value {
    let mut spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
    spec.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    let mut volume = json!({"metadata": {"name": "v", "resourceVersion": "1"}, "spec": spec});
    kind("persistentvolumes").default(&mut volume);
    volume
}

fn csi() -> Value {
    json!({"driver": "acme.io", "volumeHandle": "h"})
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("persistentvolumes").validate(new, old, &Context::default()))
}

fn of(with: Value) -> Vec<String> {
    judged(&volume(with), None)
}

#[test]
fn a_volume_says_how_much_it_holds_for_whom() {
    let made = volume(json!({"csi": csi(), "capacity": {"storage": "1500m"}}));
    assert_eq!(judged(&made, None), [""; 0]);
    assert_eq!(
        (&made["spec"]["persistentVolumeReclaimPolicy"], &made["spec"]["volumeMode"], &made["status"]["phase"]),
        (&json!("Retain"), &json!("Filesystem"), &json!("Pending"))
    );
    let wrong = json!({"csi": csi(), "capacity": {"cpu": "-1", "storage": "0"}, "accessModes": ["ReadWriteOncePod",
        "ReadWriteMany", "x"], "persistentVolumeReclaimPolicy": "x", "nodeAffinity": {}, "storageClassName": "A",
        "volumeMode": "x", "volumeAttributesClassName": ""});
    let mut complaints = of(wrong);
    let class = complaints.remove(8);
    assert!(class.starts_with("spec.storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must"));
    assert_eq!(
        complaints,
        [
            "spec.accessModes: Unsupported value: \"x\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes",
            "spec.capacity: Unsupported value: {\"cpu\":\"-1\",\"storage\":\"0\"}: supported values: \"storage\"",
            "spec.capacity[cpu]: Invalid value: -1: must be a valid resource quantity",
            "spec.capacity[cpu]: Invalid value: \"-1\": must be greater than zero",
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.persistentVolumeReclaimPolicy: Unsupported value: \"x\": supported values: \"Delete\", \"Recycle\", \
             \"Retain\"",
            "spec.nodeAffinity.required: Required value: must specify required node constraints",
            "spec.volumeMode: Unsupported value: \"x\": supported values: \"Block\", \"Filesystem\"",
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed",
        ]
    );
    assert_eq!(
        judged(&json!({"metadata": {"name": "v"}, "spec": {"csi": csi()}}), None),
        [
            "spec.accessModes: Required value",
            "spec.capacity: Required value",
            "spec.capacity: Unsupported value: null: supported values: \"storage\"",
        ]
    );
    assert_eq!(
        of(json!({"csi": csi(), "accessModes": ["ReadWriteOncePod", "x"]})).len(),
        1,
        "what is unknown is no other"
    );
    let attributes = json!({"hostPath": {"path": "//."}, "persistentVolumeReclaimPolicy": "Recycle",
        "volumeAttributesClassName": "c"});
    assert_eq!(
        of(attributes),
        [
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
            "spec.csi: Required value: has to be specified when using volumeAttributesClassName",
        ]
    );
}

#[test]
fn a_volume_has_one_source_judged_by_its_own_rules() {
    assert_eq!(of(json!({})), ["spec: Required value: must specify a volume type"]);
    let host = json!({"path": "/x"});
    assert_eq!(
        of(json!({"hostPath": host, "cephfs": {}, "csi": csi(), "flexVolume": {"driver": "d"}})),
        [
            "spec.cephFS: Forbidden: may not specify more than 1 volume type",
            "spec.csi: Forbidden: may not specify more than 1 volume type",
        ]
    );
    let iqn = "iqn.2001-04.com.example:storage.disk";
    for (source, good) in [
        ("hostPath", json!({"path": "/x"})),
        ("gcePersistentDisk", json!({"pdName": "d", "partition": 255})),
        ("glusterfs", json!({"endpoints": "e", "path": "p", "endpointsNamespace": "n"})),
        ("flocker", json!({"datasetName": "d"})),
        ("nfs", json!({"server": "s", "path": "/"})),
        ("quobyte", json!({"registry": "a:1,[::1]:2", "volume": "v"})),
        (
            "iscsi",
            json!({"targetPortal": "p", "iqn": iqn, "lun": 0, "initiatorName": format!("eui.{}", "0".repeat(16))}),
        ),
        ("fc", json!({"targetWWNs": ["w"], "lun": 1})),
        ("azureDisk", json!({"diskName": "d", "diskURI": "/subscriptions/x", "kind": "Managed"})),
        ("storageos", json!({"volumeName": "v", "secretRef": {"name": "s", "namespace": "n"}})),
    ] {
        assert_eq!(of(json!({source: good})), [""; 0], "{source}");
    }
    let local = json!({"required": {"nodeSelectorTerms": [{}]}});
    assert_eq!(of(json!({"local": {"path": "/x"}, "nodeAffinity": local})), [""; 0]);
    for (source, wrong, complaints) in [
        ("hostPath", json!({"path": "/a/../b"}), vec![".path: Invalid value: \"/a/../b\": must not contain '..'"]),
        (
            "awsElasticBlockStore",
            json!({"partition": 256}),
            vec![".volumeID: Required value", ".partition: Invalid value: 256: must be between 1 and 255, inclusive"],
        ),
        ("nfs", json!({"server": "s", "path": "x"}), vec![".path: Invalid value: \"x\": must be an absolute path"]),
        (
            "flocker",
            json!({"datasetName": "a/b", "datasetUUID": "u"}),
            vec![
                ": Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously",
                ".datasetName: Invalid value: \"a/b\": must not contain '/'",
            ],
        ),
        (
            "quobyte",
            json!({"registry": "a", "volume": ""}),
            vec![
                ".registry: Invalid value: \"a\": must be a host:port pair or multiple pairs separated by commas",
                ".volume: Required value",
            ],
        ),
        (
            "iscsi",
            json!({"iqn": "x", "lun": 256, "chapAuthSession": true, "initiatorName": "iqn.x"}),
            vec![
                ".targetPortal: Required value",
                ".iqn: Invalid value: \"x\": must be valid format",
                ".lun: Invalid value: 256: must be between 0 and 255, inclusive",
                ".secretRef: Required value",
                ".initiatorname: Invalid value: \"iqn.x\": must be valid format",
            ],
        ),
        (
            "fc",
            json!({"targetWWNs": ["w"], "wwids": ["i"]}),
            vec![
                ".targetWWNs: Invalid value: [\"w\"]: targetWWNs and wwids can not be specified simultaneously",
                ".lun: Required value: lun is required if targetWWNs is specified",
            ],
        ),
        (
            "flexVolume",
            json!({"options": {"a.K8s.io/b": "c"}}),
            vec![
                ".driver: Required value",
                ".options[a.K8s.io/b]: Invalid value: \"a.K8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
            ],
        ),
        (
            "azureDisk",
            json!({"diskName": "d", "diskURI": "x", "kind": "Shared", "cachingMode": "x"}),
            vec![
                ".cachingMode: Unsupported value: \"x\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                ".diskURI: Unsupported value: \"x\": supported values: \
                 \"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd\"",
            ],
        ),
        (
            "csi",
            json!({"driver": "", "nodePublishSecretRef": {"name": "s"}}),
            vec![
                ".driver: Required value",
                ".volumeHandle: Required value",
                ".nodePublishSecretRef.namespace: Required value",
            ],
        ),
        (
            "cinder",
            json!({"secretRef": {"name": "s"}}),
            vec![".volumeID: Required value", ".secretRef.namespace: Required value"],
        ),
        ("scaleIO", json!({"gateway": "g"}), vec![".system: Required value", ".volumeName: Required value"]),
    ] {
        let complaints: Vec<String> = complaints.iter().map(|text| format!("spec.{source}{text}")).collect();
        assert_eq!(of(json!({source: wrong})), complaints);
    }
    assert_eq!(of(json!({"gcePersistentDisk": {}})), ["spec.persistentDisk.pdName: Required value"]);
    assert_eq!(
        of(json!({"local": {"path": ""}})),
        ["spec.local.path: Required value", "spec.nodeAffinity: Required value: Local volume requires node affinity"]
    );
}

#[test]
fn names_of_storage_in_a_network_are_known_by_their_form() {
    for (name, good) in [
        ("iqn.2001-04.com.example:storage:disk2.sys1", true),
        ("iqn.2001-04.com.example", false),
        ("iqn.2001-04.com.example:a b", false),
        ("iqn.2001-4.com.example:a", false),
        ("iqn.2001-04.:a", false),
        ("eui.0123456789ABCDEF", true),
        ("eui.0123456789ABCDE", false),
        ("naa.0123456789abcdef0123456789abcdef", true),
        ("naa.0123456789abcdef", false),
        ("naä", false),
        ("", false),
    ] {
        let portal = json!({"iscsi": {"targetPortal": "p", "iqn": name, "lun": 0}});
        assert_eq!(of(portal).is_empty(), good, "{name}");
    }
}

#[test]
fn where_a_volume_is_stays() {
    let old = volume(json!({"csi": csi()}));
    let mut later = csi();
    later["controllerExpandSecretRef"] = json!({"name": "s", "namespace": "n"});
    assert_eq!(judged(&volume(json!({"csi": later})), Some(&old)), [""; 0]);
    let mut other = csi();
    other["volumeHandle"] = json!("i");
    assert_eq!(
        judged(&volume(json!({"csi": other, "volumeMode": "Block"})), Some(&old)),
        [
            "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n\
             - csi.volumeHandle: \"h\"\n+ csi.volumeHandle: \"i\"\n",
            "volumeMode: Invalid value: \"Block\": field is immutable",
        ]
    );
    let classed = volume(json!({"csi": csi(), "volumeAttributesClassName": "c"}));
    assert_eq!(
        judged(&old, Some(&classed)),
        ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"]
    );
    let on = |key: &str, zone: &str| {
        let requirement = json!({"key": key, "operator": "In", "values": [zone]});
        volume(
            json!({"csi": csi(), "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}}),
        )
    };
    let beta = on("failure-domain.beta.kubernetes.io/zone", "a");
    assert_eq!(judged(&beta, Some(&old)), [""; 0], "one that had none gets one");
    assert_eq!(judged(&on("topology.kubernetes.io/zone", "a"), Some(&beta)), [""; 0]);
    assert_eq!(
        judged(&on("topology.kubernetes.io/zone", "b"), Some(&beta)),
        ["nodeAffinity: Invalid value: {\"Required\":{\"NodeSelectorTerms\":[{\"MatchExpressions\":[{\"Key\":\
             \"topology.kubernetes.io/zone\",\"Operator\":\"In\",\"Values\":[\"b\"]}],\"MatchFields\":null}]}}: field is \
             immutable, except for updating from beta label to GA"]
    );
    assert!(judged(&old, Some(&beta))[0].starts_with("nodeAffinity: Invalid value: null: field is immutable"));
}

#[test]
fn since_when_a_phase_is_what_it_is_is_the_servers_to_say() {
    let kind = kind("persistentvolumes");
    let at = |now: &str| Context { now: now.into(), subresource: "status".into(), ..Context::default() };
    let mut made = volume(json!({"csi": csi()}));
    kind.prepare(&mut made, None, &at("t1"));
    assert_eq!(made["status"], json!({"phase": "Pending", "lastPhaseTransitionTime": "t1"}));
    let written = |status: Value| {
        let mut new = made.clone();
        new["status"] = status;
        kind.prepare(&mut new, Some(&made), &at("t2"));
        new["status"].clone()
    };
    for (status, since) in [
        (json!({"phase": "Pending"}), "t1"),
        (json!({"phase": "Pending", "lastPhaseTransitionTime": "t3"}), "t3"),
        (json!({"phase": "Bound"}), "t2"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "t1"}), "t2"),
        (json!({"phase": "Bound", "lastPhaseTransitionTime": "t3"}), "t3"),
    ] {
        assert_eq!(written(status.clone())["lastPhaseTransitionTime"], since, "{status}");
    }
}

#[test]
fn what_is_deprecated_of_a_volume_is_worth_a_word() {
    let mut old =
        volume(json!({"rbd": {}, "storageos": {}, "persistentVolumeReclaimPolicy": "Recycle", "nodeAffinity":
        {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "beta.kubernetes.io/os"}]}]}}}));
    old["metadata"]["annotations"] = json!({volume::CLASS: "c", validate::MOUNT_OPTIONS: "ro"});
    assert_eq!(
        kind("persistentvolumes").warnings(&old, Some(&old)),
        [
            "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \
             \"storageClassName\" attribute instead",
            "metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use \"mountOptions\" \
             attribute instead",
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning.",
            "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated \
             since v1.14; use \"kubernetes.io/os\" instead",
            "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
            "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
        ]
    );
    let mut annotated = volume(json!({"csi": csi()}));
    annotated["metadata"]["annotations"] = json!({validate::MOUNT_OPTIONS: "ro"});
    assert_eq!(
        judged(&annotated, None),
        ["metadata.annotations.volume.beta.kubernetes.io/mount-options: Forbidden: may not specify mount options for \
             this volume type"]
    );
    annotated["spec"] = volume(json!({"nfs": {"server": "s", "path": "/"}}))["spec"].clone();
    assert_eq!(judged(&annotated, None), [""; 0]);
}

#[test]
fn a_volume_is_shown_with_its_claim() {
    let shown = |volume: &Value| {
        let cells = kind("persistentvolumes").columns.iter().map(|column| column.of(volume, ""));
        cells.map(|cell| cell.as_str().unwrap_or("?").to_string()).collect::<Vec<_>>()
    };
    let mut volume = volume(json!({"csi": csi(), "accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadWriteOnce"],
        "claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "s"}));
    let rest = ["Pending", "n/c", "s", "<unset>", "", "<unknown>", "Filesystem"];
    assert_eq!(shown(&volume), [&["v", "1Gi", "RWO,RWX", "Retain"][..], &rest].concat());
    volume["metadata"]["deletionTimestamp"] = json!("t");
    assert_eq!(shown(&volume)[4], "Terminating");
}
