use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn claim(with: Value) -> Value {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    spec.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    let metadata = json!({"name": "c", "namespace": "n", "resourceVersion": "1"});
    let mut claim = json!({"metadata": metadata, "spec": spec});
    kind("persistentvolumeclaims").default(&mut claim);
    claim
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("persistentvolumeclaims").validate(new, old, &Context::default()))
}

#[test]
fn a_claim_says_how_much_it_needs_and_how() {
    let made = claim(json!({"storageClassName": "", "resources": {"requests": {"storage": "1.5"}}}));
    assert_eq!(judged(&made, None), [""; 0]);
    assert_eq!((&made["spec"]["volumeMode"], &made["status"]["phase"]), (&json!("Filesystem"), &json!("Pending")));
    let word = "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer";
    assert_eq!(warnings(kind("persistentvolumeclaims"), &made, None), [word]);
    let wrong = json!({"accessModes": ["x"], "resources": {"requests": {"storage": "0"}}, "volumeMode": "x",
        "selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}});
    assert_eq!(
        judged(&claim(wrong), None),
        [
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or \
             'NotIn'",
            "spec.accessModes: Unsupported value: \"x\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \
             \"ReadWriteOnce\", \"ReadWriteOncePod\"",
            "spec.resources[storage]: Invalid value: \"0\": must be greater than zero",
            "spec.volumeMode: Unsupported value: \"x\": supported values: \"Block\", \"Filesystem\"",
        ]
    );
    assert_eq!(
        judged(&claim(json!({"accessModes": [], "resources": {}})), None),
        [
            "spec.accessModes: Required value: at least 1 access mode is required",
            "spec.resources[storage]: Required value"
        ]
    );
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let complaints = judged(&claim(json!({field: "A"})), None);
        assert!(complaints[0].starts_with(&format!("spec.{field}: Invalid value: \"A\"")), "{complaints:?}");
    }
}

#[test]
fn what_a_volume_holds_from_the_start_is_said_in_both_fields() {
    let kind = kind("persistentvolumeclaims");
    let prepared = |with: Value, old: Option<&Value>| {
        let mut claim = claim(with);
        kind.prepare(&mut claim, old, &Context::default());
        (claim["spec"]["dataSource"].clone(), claim["spec"]["dataSourceRef"].clone())
    };
    let source = |group: &str, kind: &str| json!({"apiGroup": group, "kind": kind, "name": "s"});
    let elsewhere = {
        let mut reference = source("snapshot.storage.k8s.io", "VolumeSnapshot");
        reference["namespace"] = json!("other");
        reference
    };
    let other = json!({"kind": "PersistentVolumeClaim", "name": "s"});
    let snapshot = source("snapshot.storage.k8s.io", "VolumeSnapshot");
    let populator = source("acme.io", "Image");
    let none = Value::Null;
    for (given, got) in [
        (json!({"dataSource": other}), (&other, &other)),
        (json!({"dataSource": snapshot}), (&snapshot, &snapshot)),
        (json!({"dataSource": populator}), (&none, &none)),
        (json!({"dataSourceRef": populator}), (&populator, &populator)),
        (json!({"dataSourceRef": elsewhere}), (&none, &none)),
        (json!({}), (&none, &none)),
    ] {
        let (source, reference) = prepared(given.clone(), None);
        assert_eq!((&source, &reference), got, "{given}");
    }
    let old = claim(json!({"dataSource": populator, "dataSourceRef": populator}));
    assert_eq!(prepared(json!({"dataSource": populator}), Some(&old)), (populator.clone(), populator.clone()));
    let wrong =
        json!({"dataSource": {"kind": "", "name": ""}, "dataSourceRef": {"apiGroup": "A", "kind": "K", "name": "n"}});
    let complaints = judged(&claim(wrong), None);
    const DEFAULT: &str = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
    assert_eq!(
        complaints[..3],
        [
            "spec.dataSource.name: Required value".to_string(),
            "spec.dataSource.kind: Required value".into(),
            format!("spec.dataSource: Invalid value: \"\": {DEFAULT}"),
        ]
    );
    assert!(
        complaints[3].starts_with("spec.dataSourceRef.apiGroup: Invalid value: \"A\": a lowercase RFC 1123 subdomain")
    );
    assert_eq!(complaints[4], "spec: Invalid value: {}: must match dataSourceRef");
}

#[test]
fn a_claim_changes_only_what_may_come_later() {
    let changed = |from: Value, to: Value| judged(&claim(to), Some(&claim(from)));
    const WHY: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and \
                       volumeAttributesClassName for bound claims\n";
    assert_eq!(changed(json!({}), json!({"volumeName": "v"})), [""; 0]);
    assert_eq!(changed(json!({}), json!({"storageClassName": "c"})), [""; 0], "a class that was not named");
    assert_eq!(
        changed(
            json!({"storageClassName": "c", "volumeName": "v"}),
            json!({"storageClassName": "d", "volumeName": "v"})
        ),
        [format!("{WHY}- storageClassName: \"c\"\n+ storageClassName: \"d\"\n")]
    );
    assert_eq!(
        changed(json!({"volumeName": "v"}), json!({"volumeName": "w", "volumeMode": "Block"})),
        [
            format!(
                "{WHY}- volumeMode: \"Filesystem\"\n+ volumeMode: \"Block\"\n- volumeName: \"v\"\n+ volumeName: \"w\"\n"
            ),
            "volumeMode: Invalid value: \"Block\": field is immutable".into(),
        ]
    );
    let size = |size: &str| json!({"resources": {"requests": {"storage": size}}});
    let larger = "- resources.requests.storage: \"1Gi\"\n+ resources.requests.storage: \"2Gi\"\n";
    assert_eq!(changed(size("1Gi"), size("2Gi")), [format!("{WHY}{larger}")]);
}

#[test]
fn a_bound_claim_may_grow_and_shrink_back_to_more_than_it_has() {
    let bound = |size: &str, attributes: Option<&str>| {
        let mut claim = claim(json!({"volumeName": "v", "resources": {"requests": {"storage": size}}}));
        claim["status"] =
            json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "currentVolumeAttributesClassName": "a"});
        if let Some(class) = attributes {
            claim["spec"]["volumeAttributesClassName"] = json!(class);
        }
        claim
    };
    let old = bound("3Gi", Some("a"));
    assert_eq!(judged(&bound("4Gi", Some("b")), Some(&old)), [""; 0]);
    assert_eq!(judged(&bound("2Gi", Some("a")), Some(&old)), [""; 0]);
    assert_eq!(
        judged(&bound("1Gi", Some("a")), Some(&old)),
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    for (class, what) in [(None, "nil"), (Some(""), "empty string")] {
        assert_eq!(
            judged(&bound("3Gi", class), Some(&old)),
            [format!(
                "spec.volumeAttributesClassName: Forbidden: update to {what} is forbidden when \
                 status.currentVolumeAttributesClassName is not nil"
            )]
        );
    }
}

#[test]
fn a_class_named_by_annotation_becomes_the_field_once() {
    let noted = |note: Option<&str>, class: Option<&str>| {
        let mut claim = claim(class.map_or(json!({}), |class| json!({"storageClassName": class})));
        if let Some(note) = note {
            claim["metadata"]["annotations"] = json!({volume::CLASS: note});
        }
        claim
    };
    let old = noted(Some("a"), None);
    for new in [noted(None, Some("a")), noted(Some("a"), Some("a")), old.clone()] {
        assert_eq!(judged(&new, Some(&old)), [""; 0]);
    }
    const NOTE: &str = "metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value:";
    assert_eq!(judged(&noted(Some("b"), None), Some(&old)), [format!("{NOTE} \"b\": field is immutable")]);
    assert_eq!(judged(&noted(None, None), Some(&old)), [format!("{NOTE} \"\": field is immutable")]);
    assert_eq!(judged(&noted(Some("b"), Some("a")), Some(&old)), [format!("{NOTE} \"b\": field is immutable")]);
    assert!(judged(&noted(Some("a"), Some("b")), Some(&old))[0].starts_with("spec: Forbidden: spec is immutable"));
}

#[test]
fn a_status_says_what_is_being_done_to_a_claim() {
    let kind = kind("persistentvolumeclaims");
    let context = Context { subresource: "status".into(), ..Context::default() };
    let old = claim(json!({}));
    let with = |status: Value| {
        let mut new = old.clone();
        new["status"] = status;
        kind.prepare(&mut new, Some(&old), &context);
        let errors = told(&kind.validate(&new, Some(&old), &context));
        (new["status"].clone(), errors)
    };
    let conditions = json!([{"type": "StatusPatched", "status": "True", "reason": "E2E patchedStatus"}]);
    let (status, errors) = with(
        json!({"phase": "Bound", "conditions": conditions, "healthStatus": {"healthConditions": []},
        "allocatedResourceStatuses": {"storage": "NodeResizePending"}, "allocatedResources": {"storage": "1", "a.b/c": "1"}}),
    );
    assert_eq!((&status["healthStatus"], errors), (&Value::Null, vec![]));
    let states = "\"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \
                  \"NodeResizeInfeasible\", \"NodeResizePending\"";
    let (_, errors) = with(json!({"capacity": {"storage": "-1"}, "allocatedResourceStatuses": {"cpu": "x"},
        "allocatedResources": {"cpu": "1", "storage": "-1"}}));
    assert_eq!(
        errors,
        [
            "status.capacity[storage]: Invalid value: -1: must be a valid resource quantity".to_string(),
            "status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: \"storage\"".into(),
            format!("status.allocatedResourceStatuses: Unsupported value: \"cpu\": supported values: {states}"),
            "status.allocatedResources: Unsupported value: \"cpu\": supported values: \"storage\"".into(),
            "status.allocatedResources[storage]: Invalid value: -1: must be a valid resource quantity".into(),
        ]
    );
}

#[test]
fn a_claim_is_shown_with_what_it_got() {
    let shown = |claim: &Value| {
        let cells = kind("persistentvolumeclaims").columns.iter().map(|column| column.of(claim, ""));
        cells.map(|cell| cell.as_str().unwrap_or("?").to_string()).collect::<Vec<_>>()
    };
    let mut claim = claim(json!({"storageClassName": "s"}));
    claim["status"] = json!({"phase": "Pending", "capacity": {"storage": "2Gi"}, "accessModes": ["ReadOnlyMany"]});
    assert_eq!(shown(&claim), ["c", "Pending", "", "", "", "s", "<unset>", "<unknown>", "Filesystem"]);
    claim["spec"]["volumeName"] = json!("v");
    assert_eq!(shown(&claim)[2..5], ["v", "2Gi", "ROX"]);
}

#[test]
fn the_class_that_an_annotation_names_comes_first() {
    let with = |notes: Value, spec: Value| json!({"metadata": {"annotations": notes}, "spec": spec});
    let both = with(json!({volume::CLASS: "a"}), json!({"storageClassName": "b"}));
    assert_eq!(volume::class_of(&both), Some("a"));
    assert_eq!(volume::class_of(&with(json!({}), json!({"storageClassName": ""}))), Some(""));
    assert_eq!(volume::class_of(&with(json!({}), json!({}))), None);
}
