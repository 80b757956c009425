use super::*;

fn object(metadata: Value) -> Object {
    Object::from_value(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata})).unwrap()
}

#[test]
fn a_finalizer_is_there_until_an_unused_object_is_deleted() {
    let of = |finalizers: &[&str], deleting: bool| {
        let mut metadata = json!({"name": "c", "namespace": "n", "finalizers": finalizers});
        if deleting {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        object(metadata)
    };
    for (finalizers, deleting, is_used, then) in [
        (&["a/b"][..], false, false, Some(&["a/b", "x/y"][..])),
        (&["x/y"], false, false, None),
        (&["x/y", "a/b"], true, false, Some(&["a/b"])),
        (&["x/y"], true, true, None),
        (&["a/b"], true, false, None),
    ] {
        let wanted = then.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(super::finalizers(&of(finalizers, deleting), "x/y", is_used), wanted, "{finalizers:?} {deleting}");
    }
    let held = "kubernetes.io/pvc-protection";
    assert_eq!((WAITING.values)(&of(&[held], true)), ["n"]);
    assert_eq!([of(&[held], false), of(&["a/b"], true)].map(|object| (WAITING.values)(&object).len()), [0, 0]);
}

#[test]
fn a_claim_is_used_by_pods_that_have_a_node() {
    let owned = json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]);
    let plain = object(json!({"name": "c", "namespace": "n"}));
    let made = object(json!({"name": "p-v", "namespace": "n", "ownerReferences": owned}));
    let pod = |with: Value| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"nodeName": "node", "volumes": [{"name": "e", "emptyDir": {}},
                {"name": "w", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "v", "ephemeral": {}}]}});
        for (pointer, value) in with.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value.clone();
        }
        pod
    };
    let ended = json!({"/metadata/deletionTimestamp": "t", "/metadata/deletionGracePeriodSeconds": 0});
    let ending = json!({"/metadata/deletionTimestamp": "t", "/metadata/deletionGracePeriodSeconds": 30});
    for (with, uses_plain, uses_made) in [
        (json!({}), true, true),
        (ending, true, true),
        (ended, true, false),
        (json!({"/spec/nodeName": ""}), false, false),
        (json!({"/metadata/uid": "other"}), true, false),
        (json!({"/spec/volumes": []}), false, false),
        (json!({"/status": {"phase": "Succeeded"}}), true, true),
    ] {
        assert_eq!(
            (uses(&pod(with.clone()), &plain), uses(&pod(with.clone()), &made)),
            (uses_plain, uses_made),
            "{with}"
        );
    }
    let found = claims_of(&Object::from_value(&pod(json!({}))).unwrap());
    assert_eq!(found, ["n/c", "n/p-v"]);
}

#[test]
fn a_class_is_used_by_whoever_has_it_or_is_to_have_it() {
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"},
        "spec": {"volumeAttributesClassName": "c"}, "status": {"currentVolumeAttributesClassName": "a",
            "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "b"}}});
    assert_eq!((ATTRIBUTES.values)(&Object::from_value(&claim).unwrap()), ["a", "b", "c"]);
}
