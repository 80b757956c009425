//! ReplicaSets and ReplicationControllers: pods come, go, change hands, and are refused.

use api::resource::{PODS, REPLICA_SETS};
use client::ListOptions;

use super::*;

fn set(name: &str, replicas: i64) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels,
            "annotations": {"note": "kept"}, "finalizers": []}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

async fn with_account() -> Cluster {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c
}

impl Cluster {
    async fn pods(&self) -> Vec<Object> {
        self.client.list(&PODS, "n", &ListOptions::default()).await.unwrap().objects
    }

    /// Waits until the set counts so many, and its pods are as many.
    async fn counts(&self, kind: &api::Resource, name: &str, replicas: i64) -> Vec<Object> {
        self.until_of(kind, "n", name, |set| set.is_some_and(|set| set["status"]["replicas"] == replicas)).await;
        let mut pods = self.pods().await;
        pods.retain(|pod| !pod.meta().is_deleting());
        assert_eq!(pods.len() as i64, replicas, "{pods:?}");
        pods
    }

    async fn scale(&self, kind: &api::Resource, name: &str, replicas: i64) {
        let patch = json!({"spec": {"replicas": replicas}});
        self.client.patch(kind, "n", name, "", PatchKind::Merge, &patch).await.unwrap();
    }
}

#[tokio::test]
async fn a_set_has_as_many_pods_as_it_shall_whatever_happens_to_them() {
    let c = with_account().await;
    c.client.create(&REPLICA_SETS, "n", &set("web", 25)).await.unwrap();
    let pods = c.counts(&REPLICA_SETS, "web", 25).await;
    let one = pods[0].value();
    assert!(one["metadata"]["name"].as_str().unwrap().starts_with("web-"), "{one}");
    assert_eq!(one["metadata"]["annotations"]["note"], "kept");
    assert_eq!(one["metadata"]["ownerReferences"][0]["kind"], "ReplicaSet");
    let value = c.client.get(&REPLICA_SETS, "n", "web").await.unwrap().value();
    assert_eq!(value["status"]["fullyLabeledReplicas"], 25, "{value}");
    assert_eq!(value["status"]["observedGeneration"], 1, "{value}");
    // One that is deleted is replaced, by another of another name.
    c.client.delete(&PODS, "n", &pods[3].meta().name, &DeleteOptions::default()).await.unwrap();
    c.until("pods", "n", &pods[3].meta().name, |pod| pod.is_none()).await;
    c.scale(&REPLICA_SETS, "web", 26).await;
    c.counts(&REPLICA_SETS, "web", 26).await;
    c.scale(&REPLICA_SETS, "web", 2).await;
    c.counts(&REPLICA_SETS, "web", 2).await;
    c.scale(&REPLICA_SETS, "web", 0).await;
    c.counts(&REPLICA_SETS, "web", 0).await;
    // Its pods go with it.
    c.scale(&REPLICA_SETS, "web", 1).await;
    let pods = c.counts(&REPLICA_SETS, "web", 1).await;
    c.client.delete(&REPLICA_SETS, "n", "web", &DeleteOptions::default()).await.unwrap();
    c.until("pods", "n", &pods[0].meta().name, |pod| pod.is_none()).await;
}

#[tokio::test]
async fn pods_change_hands_by_their_labels() {
    let c = with_account().await;
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    let orphan = json!({"metadata": {"name": "orphan", "labels": {"app": "web"}}, "spec": spec});
    c.create("pods", "n", orphan).await;
    c.client.create(&REPLICA_SETS, "n", &set("web", 2)).await.unwrap();
    let pods = c.counts(&REPLICA_SETS, "web", 2).await;
    let orphan = pods.iter().find(|pod| pod.meta().name == "orphan").expect("adopted, not one too many");
    assert_eq!(orphan.meta().controller().unwrap().name, "web");
    assert!(orphan.value()["metadata"]["ownerReferences"][0]["blockOwnerDeletion"].as_bool().unwrap());
    let patch = json!({"metadata": {"labels": {"app": "mine"}}});
    c.client.patch(&PODS, "n", "orphan", "", PatchKind::Merge, &patch).await.unwrap();
    let released = |pod: Option<&Value>| pod.is_some_and(|pod| pod["metadata"]["ownerReferences"].is_null());
    c.until("pods", "n", "orphan", released).await;
    c.scale(&REPLICA_SETS, "web", 3).await;
    c.until_of(&REPLICA_SETS, "n", "web", |set| set.is_some_and(|set| set["status"]["replicas"] == 3)).await;
    assert_eq!(c.pods().await.len(), 4, "three of its own, and the one that it let go");
    // Orphaned, and adopted by its successor.
    let orphaning = DeleteOptions { propagation_policy: "Orphan".into(), ..DeleteOptions::default() };
    c.client.delete(&REPLICA_SETS, "n", "web", &orphaning).await.unwrap();
    c.until_of(&REPLICA_SETS, "n", "web", |set| set.is_none()).await;
    assert_eq!(c.pods().await.len(), 4);
    c.client.create(&REPLICA_SETS, "n", &set("web", 3)).await.unwrap();
    c.until_of(&REPLICA_SETS, "n", "web", |set| set.is_some_and(|set| set["status"]["replicas"] == 3)).await;
    assert_eq!(c.pods().await.len(), 4);
}

#[tokio::test]
async fn what_refuses_its_pods_is_told_and_it_goes_on_when_that_is_gone() {
    let c = with_account().await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}});
    c.create("resourcequotas", "n", quota).await;
    c.until("resourcequotas", "n", "few", |quota| quota.is_some_and(|q| q["status"]["hard"]["pods"] == "1")).await;
    let controller = json!({"metadata": {"name": "rc"}, "spec": {"replicas": 3, "selector": {"app": "rc"},
        "template": {"metadata": {"labels": {"app": "rc"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    c.create("replicationcontrollers", "n", controller).await;
    let kind = kind("replicationcontrollers");
    let told = |set: Option<&Value>| {
        set.is_some_and(|set| {
            let condition = &set["status"]["conditions"][0];
            let message = condition["message"].as_str().unwrap_or_default();
            condition["reason"] == "FailedCreate" && message.contains("exceeded quota: few")
        })
    };
    c.until_of(kind, "n", "rc", told).await;
    assert_eq!(c.pods().await.len(), 1);
    c.client.delete(super::kind("resourcequotas"), "n", "few", &DeleteOptions::default()).await.unwrap();
    c.counts(kind, "rc", 3).await;
    c.until_of(kind, "n", "rc", |set| set.is_some_and(|set| set["status"]["conditions"].is_null())).await;
    let value = c.client.get(kind, "n", "rc").await.unwrap().value();
    assert!(value["status"].get("terminatingReplicas").is_none(), "{value}");
}
