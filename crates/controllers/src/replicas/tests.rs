use client::Change;
use serde_json::json;

use super::*;

const NOW: &str = "2026-01-01T00:02:00Z";

fn pod(name: &str, since: Option<&str>, labels: Value) -> (Object, Seen) {
    let ready = if since.is_some() { "True" } else { "False" };
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name,
        "resourceVersion": "1", "labels": labels},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]}});
    let pod = Object::from_value(&pod).unwrap();
    let seen = Seen::of(&pod);
    (pod, seen)
}

fn set(spec: Value, conditions: Value) -> Value {
    let mut set = json!({"metadata": {"name": "r", "generation": 4},
        "spec": {"replicas": 3, "template": {"metadata": {"labels": {"app": "web", "tier": "a"}}}}});
    for (field, value) in spec.as_object().unwrap() {
        set["spec"][field] = value.clone();
    }
    if !conditions.is_null() {
        set["status"]["conditions"] = conditions;
    }
    set
}

fn judged(set: &Value, active: &[(Object, Seen)], failure: Option<&str>) -> (Value, Option<u64>) {
    let found = Found { active, terminating: Some(1), failure: failure.map(str::to_owned) };
    let (status, recheck) = status(set, &found, NOW.parse().unwrap());
    (status, recheck.map(|rest| rest.as_secs()))
}

#[test]
fn status_counts_what_is_labelled_ready_and_available() {
    let whole = json!({"app": "web", "tier": "a", "more": "x"});
    let pods = [
        pod("a", Some("2026-01-01T00:01:30Z"), whole.clone()),
        pod("b", Some("2026-01-01T00:01:55Z"), json!({"app": "web"})),
        pod("c", None, whole),
    ];
    let want = json!({"replicas": 3, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "observedGeneration": 4, "terminatingReplicas": 1});
    assert_eq!(judged(&set(json!({}), Value::Null), &pods, None), (want.clone(), None));
    let mut later = want;
    later["availableReplicas"] = json!(1);
    assert_eq!(judged(&set(json!({"minReadySeconds": 10}), Value::Null), &pods, None), (later.clone(), Some(5)));
    later["availableReplicas"] = json!(1);
    assert_eq!(
        judged(&set(json!({"minReadySeconds": 30}), Value::Null), &pods, None),
        (later, Some(25)),
        "30 s are over"
    );
    let none = json!({"replicas": 0, "observedGeneration": 4, "terminatingReplicas": 1});
    assert_eq!(judged(&set(json!({}), Value::Null), &[], None), (none, None), "zeros are left out");
}

#[test]
fn a_failure_is_told_once_and_taken_back() {
    let pods = [pod("a", None, json!({}))];
    let told = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no",
        "lastTransitionTime": NOW});
    let (status, _) = judged(&set(json!({}), Value::Null), &pods, Some("no"));
    assert_eq!(status["conditions"], json!([told]));
    let (status, _) = judged(&set(json!({}), json!([told])), &pods, Some("still not"));
    assert_eq!(status["conditions"], json!([told]));
    let (status, _) = judged(&set(json!({}), json!([{"type": "Own", "status": "True"}, told])), &pods, None);
    assert_eq!(status["conditions"], json!([{"type": "Own", "status": "True"}]));
    let (status, _) = judged(&set(json!({"replicas": 0}), Value::Null), &pods, Some("no"));
    assert_eq!(status["conditions"][0]["reason"], "FailedDelete");
}

#[test]
fn a_pod_concerns_who_manages_it_and_an_orphan_whoever_would() {
    let named = |name: &str, selector: Value| {
        let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": {"selector": selector},
            "metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}});
        Object::from_value(&set).unwrap()
    };
    let all = [
        named("web", json!({"matchLabels": {"app": "web"}})),
        named("db", json!({"matchLabels": {"app": "db"}})),
        named("bad", json!({"matchExpressions": [{"key": "app", "operator": "Is"}]})),
    ];
    let owned = |owner: Option<&str>, kind: &str| {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n",
            "uid": "p", "resourceVersion": "1", "labels": {"app": "web"}}});
        if let Some(owner) = owner {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": owner, "controller": true}]);
        }
        Some(Object::from_value(&pod).unwrap())
    };
    let keys = |old: Option<Object>, new: Option<Object>| {
        let change = Change { key: Key::new("n", "p"), old, new };
        let keys = concerned(&change, &REPLICA_SETS, |pod| SETS.selecting(pod, all.to_vec()));
        keys.iter().map(|key| key.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, owned(Some("x"), "ReplicaSet")), ["x"]);
    assert_eq!(keys(owned(Some("x"), "ReplicaSet"), owned(Some("y"), "ReplicaSet")), ["x", "y"]);
    assert_eq!(keys(owned(Some("x"), "ReplicaSet"), None), ["x"]);
    assert_eq!(keys(owned(Some("x"), "ReplicaSet"), owned(None, "")), ["x", "web"]);
    assert_eq!(keys(None, owned(Some("x"), "Job")), Vec::<String>::new());
}
