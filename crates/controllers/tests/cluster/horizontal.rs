//! How many pods there shall be, by what they use.

use super::*;

fn autoscalers() -> &'static api::Resource {
    kinds::built_in().by_plural("autoscaling", "horizontalpodautoscalers").unwrap()
}

fn has(autoscaler: Option<&Value>, kind: &str, status: &str, reason: &str) -> bool {
    let conditions = autoscaler.map(|one| api::tree::list(one, "status.conditions").to_vec()).unwrap_or_default();
    conditions.iter().any(|one| one["type"] == kind && one["status"] == status && one["reason"] == reason)
}

async fn autoscale(c: &Cluster, name: &str, target: Value) {
    let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3});
    let made = c.client.create(autoscalers(), "default", &json!({"metadata": {"name": name}, "spec": spec})).await;
    made.unwrap();
}

#[tokio::test]
async fn too_many_pods_become_fewer_and_what_cannot_be_measured_is_told() {
    let c = cluster().await;
    c.until("serviceaccounts", "default", "default", |account| account.is_some()).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 5, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    c.create("deployments", "default", json!({"metadata": {"name": "web"}, "spec": spec})).await;
    autoscale(&c, "web", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})).await;
    c.until("deployments", "default", "web", |web| web.is_some_and(|web| web["spec"]["replicas"] == 3)).await;
    c.until_of(autoscalers(), "default", "web", |one| {
        has(one, "AbleToScale", "True", "SucceededRescale")
            && one.is_some_and(|one| one["status"]["currentReplicas"] == 5 && one["status"]["desiredReplicas"] == 3)
    })
    .await;
    // Its spec changes: it looks at once, and no node says what is used.
    let more = json!({"spec": {"maxReplicas": 4}});
    c.client.patch(autoscalers(), "default", "web", "", PatchKind::Merge, &more).await.unwrap();
    c.until_of(autoscalers(), "default", "web", |one| {
        has(one, "ScalingActive", "False", "FailedGetResourceMetric")
            && one.is_some_and(|one| one["status"]["observedGeneration"] == 2 && one["status"]["currentReplicas"] == 3)
    })
    .await;
    assert_eq!(c.client.get(kind("deployments"), "default", "web").await.unwrap().value()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn whatever_has_a_scale_is_scaled_and_nothing_else() {
    let c = cluster().await;
    c.until("serviceaccounts", "default", "default", |account| account.is_some()).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"replicas": 7, "selector": {"a": "b"}, "template": template});
    c.create("replicationcontrollers", "default", json!({"metadata": {"name": "old"}, "spec": spec})).await;
    autoscale(&c, "old", json!({"apiVersion": "v1", "kind": "ReplicationController", "name": "old"})).await;
    c.until("replicationcontrollers", "default", "old", |old| old.is_some_and(|old| old["spec"]["replicas"] == 3))
        .await;
    let message = async |name: &str| {
        c.until_of(autoscalers(), "default", name, |one| has(one, "AbleToScale", "False", "FailedGetScale")).await;
        let one = c.client.get(autoscalers(), "default", name).await.unwrap().value();
        one["status"]["conditions"][0]["message"].as_str().unwrap().rsplit_once("current scale: ").unwrap().1.to_owned()
    };
    autoscale(&c, "gone", json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "gone"})).await;
    assert_eq!(message("gone").await, "deployments.apps \"gone\" not found");
    autoscale(&c, "daemon", json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d"})).await;
    assert_eq!(message("daemon").await, "the server could not find the requested resource");
    autoscale(&c, "what", json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "w"})).await;
    assert_eq!(message("what").await, "no matches for kind \"Widget\" in group \"example.com\"");
}
