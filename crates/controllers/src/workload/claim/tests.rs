use api::resource::REPLICA_SETS;
use serde_json::{Value, json};

use super::*;

fn object(kind: &str, more: Value) -> Object {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "n",
        "resourceVersion": "1", "uid": "x", "labels": {"app": "web"}}});
    for (field, value) in more.as_object().unwrap() {
        object["metadata"][field] = value.clone();
    }
    Object::from_value(&object).unwrap()
}

#[test]
fn who_manages_a_pod_is_decided_by_uid_and_selector() {
    let selector = Labels::parse("app=web").unwrap();
    let of = |uid: &str| json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": uid, "controller": true}]);
    let ending = json!({"uid": "own", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (owner, pod, want) in [
        (json!({"uid": "own"}), json!({"ownerReferences": of("own")}), Verdict::Own),
        (json!({"uid": "own"}), json!({"ownerReferences": of("other")}), Verdict::Other),
        (json!({"uid": "own"}), json!({"ownerReferences": of("own"), "labels": {}}), Verdict::Release),
        (json!({"uid": "own"}), json!({"ownerReferences": of("other"), "labels": {}}), Verdict::Other),
        (json!({"uid": "own"}), json!({}), Verdict::Adopt),
        (json!({"uid": "own"}), json!({"labels": {"app": "db"}}), Verdict::Other),
        (json!({"uid": "own"}), json!({"namespace": "m"}), Verdict::Other),
        (json!({"uid": "own"}), json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), Verdict::Other),
        (ending.clone(), json!({}), Verdict::Other),
        (ending.clone(), json!({"ownerReferences": of("own")}), Verdict::Own),
        (ending, json!({"ownerReferences": of("own"), "labels": {}}), Verdict::Other),
    ] {
        let set = object("ReplicaSet", owner.clone());
        let owner = Owner { resource: &REPLICA_SETS, object: &set, selector: &selector };
        assert_eq!(judge(&owner, &object("Pod", pod.clone())), want, "{owner:?} {pod}", owner = set.value());
    }
}
