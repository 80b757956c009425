use super::*;
use crate::tests::cluster;

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn budget(status: Value) -> Value {
    json!({"metadata": {"name": "b", "generation": 2}, "spec": {}, "status": status})
}

#[test]
fn a_budget_gives_what_it_has_and_says_why_it_has_none() {
    let now = "2026-01-01T00:00:00Z";
    let next = taken(&budget(json!({"observedGeneration": 2, "disruptionsAllowed": 2})), "p", now).unwrap();
    assert_eq!(next["status"], json!({"observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": {"p": now}}));
    let last = taken(&budget(json!({"observedGeneration": 2, "disruptionsAllowed": 1})), "p", now).unwrap();
    assert_eq!(
        last["status"]["conditions"],
        json!([{"type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
            "lastTransitionTime": now, "observedGeneration": 2}])
    );
    let refused = |status: Value| {
        let told = taken(&budget(status), "p", now).unwrap_err();
        (told.code, told.retry_after_seconds, told.causes[0].message.clone(), told.causes[0].reason.clone())
    };
    let cause = || "DisruptionBudget".to_string();
    assert_eq!(
        refused(json!({"observedGeneration": 1, "disruptionsAllowed": 9})),
        (429, Some(10), "The disruption budget b is still being processed by the server.".into(), cause())
    );
    assert_eq!(
        refused(json!({"observedGeneration": 2, "desiredHealthy": 3, "currentHealthy": 2})),
        (429, None, "The disruption budget b needs 3 healthy pods and has 2 currently".into(), cause())
    );
    let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no"}]);
    assert_eq!(
        refused(json!({"observedGeneration": 2, "conditions": failed})).2,
        "The disruption budget b does not allow evicting pods currently because it failed sync: no"
    );
    assert_eq!(refused(json!({"observedGeneration": 2, "disruptionsAllowed": -1})).0, 403);
    let many: Map<String, Value> = (0..=DISRUPTED_MAX).map(|n| (n.to_string(), json!(now))).collect();
    let full = json!({"observedGeneration": 2, "disruptionsAllowed": 5, "disruptedPods": many});
    assert_eq!(refused(full).0, 403);
}

#[tokio::test]
async fn an_eviction_takes_from_the_budget_and_is_refused_when_nothing_is_left() {
    let cluster = cluster().await;
    let (code, _) =
        cluster.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    assert_eq!(code, 201);
    let spec = json!({"nodeName": "far", "containers": [{"name": "c", "image": "i"}]});
    let status = |ready: &str| json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    for (name, ready) in [("one", "True"), ("two", "True"), ("sick", "False")] {
        let pod = json!({"metadata": {"name": name, "labels": {"a": "b"}}, "spec": spec});
        let (code, mut pod) = cluster.post(PODS, pod).await;
        assert_eq!(code, 201, "{pod}");
        pod["status"] = status(ready);
        assert_eq!(cluster.put(&format!("{PODS}/{name}/status"), pod).await.0, 200);
    }
    let selector = json!({"matchLabels": {"a": "b"}});
    let (code, mut budget) = cluster
        .post(BUDGETS, json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": selector}}))
        .await;
    assert_eq!(code, 201, "{budget}");
    let evict = async |name: &str| {
        let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        cluster.post(&format!("{PODS}/{name}/eviction"), body).await
    };
    let (code, told) = evict("one").await;
    assert_eq!((code, told["message"].as_str()), (429, Some(VIOLATES)), "nobody has counted yet");
    budget["status"] = json!({"observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 3,
        "disruptionsAllowed": 1});
    let (code, counted) = cluster.put(&format!("{BUDGETS}/b/status"), budget).await;
    assert_eq!(code, 200, "{counted}");
    // Not ready, and enough others are: it costs nothing.
    assert_eq!(evict("sick").await.0, 201);
    let allowed = async || cluster.get(&format!("{BUDGETS}/b")).await.1["status"].clone();
    assert_eq!(allowed().await["disruptionsAllowed"], 1);
    assert_eq!(evict("one").await.0, 201);
    let left = allowed().await;
    assert_eq!((&left["disruptionsAllowed"], left["disruptedPods"].get("one").is_some()), (&json!(0), true));
    let (code, told) = evict("two").await;
    assert_eq!(code, 429, "{told}");
    assert_eq!(told["details"]["causes"][0]["reason"], "DisruptionBudget");
    assert!(cluster.get(&format!("{PODS}/two")).await.1["metadata"].get("deletionTimestamp").is_none());
    // A pod that is going already is nobody's loss.
    assert_eq!(evict("one").await.0, 201);
    let (_, second) = cluster.post(BUDGETS, json!({"metadata": {"name": "c"}, "spec": {"selector": {}}})).await;
    assert_eq!(second["spec"]["selector"], json!({}));
    let (code, told) = evict("two").await;
    assert_eq!(code, 500);
    assert!(told["message"].as_str().unwrap().contains("more than one PodDisruptionBudget"), "{told}");
}
