use super::*;

const NOW: &str = "2026-01-01T00:02:00Z";

fn pod(name: &str, ready: bool, more: Value) -> Object {
    let status = if ready { "True" } else { "False" };
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n",
        "uid": name, "resourceVersion": "1", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "name": "r", "uid": "u", "controller": true}]},
        "status": {"conditions": [{"type": "Ready", "status": status}]}});
    for (field, value) in more.as_object().unwrap() {
        pod["metadata"][field] = value.clone();
    }
    Object::parse(pod.to_string().into_bytes()).unwrap()
}

fn judged(spec: Value, status: Value, pods: &[Object], replicas: Option<i64>) -> Result<(Value, Option<u64>), String> {
    let budget = json!({"metadata": {"generation": 3}, "spec": spec, "status": status});
    let scale = |owner: &OwnerReference| replicas.map(|count| (owner.uid.clone(), count));
    let judged = judge(&budget, pods, scale, NOW.parse().unwrap())?;
    assert_eq!(judged.status["observedGeneration"], 3);
    Ok((judged.status, judged.recheck.map(|rest| rest.as_secs())))
}

/// currentHealthy, desiredHealthy, expectedPods, disruptionsAllowed.
fn counts(spec: Value, pods: &[Object], replicas: Option<i64>) -> Result<[i64; 4], String> {
    let (status, _) = judged(spec, json!({}), pods, replicas)?;
    Ok(["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"].map(|f| status[f].as_i64().unwrap()))
}

#[test]
fn a_budget_counts_what_is_healthy_and_what_must_be() {
    let pods = [pod("a", true, json!({})), pod("b", true, json!({})), pod("c", false, json!({}))];
    for (spec, replicas, want) in [
        (json!({"minAvailable": 1}), None, [2, 1, 3, 1]),
        (json!({"minAvailable": 3}), None, [2, 3, 3, 0]),
        (json!({"minAvailable": "34%"}), Some(3), [2, 2, 3, 0]),
        (json!({"minAvailable": "33%"}), Some(3), [2, 1, 3, 1]),
        (json!({"maxUnavailable": "33%"}), Some(10), [2, 6, 10, 0]),
        (json!({"maxUnavailable": 2}), Some(3), [2, 1, 3, 1]),
        (json!({"maxUnavailable": 9}), Some(3), [2, 0, 3, 2]),
        (json!({}), Some(3), [2, 0, 0, 0]),
    ] {
        assert_eq!(counts(spec.clone(), &pods, replicas), Ok(want), "{spec}");
    }
    assert_eq!(counts(json!({"minAvailable": 0}), &[], None), Ok([0, 0, 0, 0]), "no pod is no reason to allow any");
    let why = counts(json!({"maxUnavailable": 1}), &pods, None).unwrap_err();
    assert_eq!(why, "found no controllers for pod \"a\"");
    let free = [pod("a", true, json!({"ownerReferences": []}))];
    assert_eq!(counts(json!({"maxUnavailable": 1}), &free, None), Ok([1, 0, 0, 0]), "nobody's pods are not counted");
    let ending = [pod("a", true, json!({"deletionTimestamp": NOW})), pod("b", true, json!({}))];
    assert_eq!(counts(json!({"minAvailable": 1}), &ending, None), Ok([1, 1, 2, 0]));
}

#[test]
fn who_was_let_go_does_not_count_until_he_has_stayed() {
    let pods = [pod("a", true, json!({})), pod("b", true, json!({})), pod("c", true, json!({}))];
    let let_go = json!({"disruptedPods": {"a": "2026-01-01T00:01:30Z", "b": "2025-12-31T23:59:59Z", "gone": NOW}});
    let (status, recheck) = judged(json!({"minAvailable": 1}), let_go, &pods, None).unwrap();
    assert_eq!(status["disruptedPods"], json!({"a": "2026-01-01T00:01:30Z"}));
    assert_eq!((&status["currentHealthy"], recheck), (&json!(2), Some(90)));
}

#[test]
fn a_mark_is_stale_after_two_minutes() {
    let marked = |more: Value| {
        let mut condition = json!({"type": "DisruptionTarget", "status": "True",
            "lastTransitionTime": "2026-01-01T00:01:00Z"});
        let mut pod = json!({"status": {"phase": "Running"}});
        for (field, value) in more.as_object().unwrap() {
            match field.as_str() {
                "phase" => pod["status"]["phase"] = value.clone(),
                field => condition[field] = value.clone(),
            }
        }
        pod["status"]["conditions"] = json!([condition]);
        stale_in(&pod, NOW.parse().unwrap()).map(|rest| rest.as_secs())
    };
    assert_eq!(marked(json!({})), Some(60));
    assert_eq!(marked(json!({"lastTransitionTime": "2026-01-01T00:00:00Z"})), Some(0));
    assert_eq!(marked(json!({"reason": "TerminationByKubelet"})), None);
    assert_eq!(marked(json!({"status": "False"})), None);
    assert_eq!(marked(json!({"phase": "Failed"})), None);
}
