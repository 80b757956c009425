//! StatefulSets on the server: one pod after the other, each with its name and its revision; claims with their owner.

use api::resource::{CONTROLLER_REVISIONS, PERSISTENT_VOLUME_CLAIMS, PODS, STATEFUL_SETS};
use client::ListOptions;

use super::*;

fn set(replicas: i64) -> Value {
    let labels = json!({"app": "db"});
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:0"}]}}}})
}

impl Cluster {
    /// As its node would tell.
    async fn comes_up(&self, name: &str) {
        self.until("pods", "n", name, |pod| pod.is_some()).await;
        let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        self.client.patch(&PODS, "n", name, "status", PatchKind::Merge, &status).await.unwrap();
    }
}

#[tokio::test]
async fn a_stateful_set_comes_up_in_order_rolls_back_and_goes() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c.client.create(&STATEFUL_SETS, "n", &set(2)).await.unwrap();
    c.comes_up("db-0").await;
    c.comes_up("db-1").await;
    let whole = |set: Option<&Value>| {
        set.is_some_and(|set| {
            let status = &set["status"];
            ["replicas", "currentReplicas", "updatedReplicas", "availableReplicas"].iter().all(|f| status[*f] == 2)
                && status["currentRevision"] == status["updateRevision"]
                && status["observedGeneration"] == set["metadata"]["generation"]
        })
    };
    c.until_of(&STATEFUL_SETS, "n", "db", whole).await;
    let first = c.client.get(&STATEFUL_SETS, "n", "db").await.unwrap().value()["status"]["currentRevision"].clone();
    let pod = c.client.get(&PODS, "n", "db-1").await.unwrap();
    assert_eq!((&pod.value()["spec"]["hostname"], &pod.value()["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
    assert_eq!(pod.value()["metadata"]["labels"]["controller-revision-hash"], first);
    // To another template, and back to the first one's revision.
    for (image, count) in [("i:1", 2), ("i:0", 2)] {
        let uids = async || {
            let pods = c.client.list(&PODS, "n", &ListOptions::default()).await.unwrap().objects;
            pods.iter().map(|pod| pod.meta().uid.clone()).collect::<Vec<_>>()
        };
        let before = uids().await;
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
        c.client.patch(&STATEFUL_SETS, "n", "db", "", PatchKind::Strategic, &patch).await.unwrap();
        for name in ["db-1", "db-0"] {
            let is_new =
                |pod: Option<&Value>| pod.is_some_and(|pod| !before.iter().any(|uid| pod["metadata"]["uid"] == **uid));
            c.until("pods", "n", name, is_new).await;
            c.comes_up(name).await;
        }
        c.until_of(&STATEFUL_SETS, "n", "db", whole).await;
        let revisions = c.client.list(&CONTROLLER_REVISIONS, "n", &ListOptions::default()).await.unwrap().objects;
        assert_eq!(revisions.len(), count);
    }
    let value = c.client.get(&STATEFUL_SETS, "n", "db").await.unwrap().value();
    assert_eq!(value["status"]["currentRevision"], first, "{value}");
    c.client.delete(&STATEFUL_SETS, "n", "db", &DeleteOptions::default()).await.unwrap();
    c.until("pods", "n", "db-0", |pod| pod.is_none()).await;
}

#[tokio::test]
async fn claims_are_made_before_their_pod_and_go_with_the_set_if_it_says_so() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    let mut set = set(1);
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenDeleted": "Delete", "whenScaled": "Retain"});
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    let made = c.client.create(&STATEFUL_SETS, "n", &set).await.unwrap();
    let is_owned = |claim: Option<&Value>| {
        claim.is_some_and(|claim| {
            claim["metadata"]["ownerReferences"][0]["uid"] == *made.meta().uid
                && claim["metadata"]["labels"] == json!({"app": "db"})
        })
    };
    c.until_of(&PERSISTENT_VOLUME_CLAIMS, "n", "data-db-0", is_owned).await;
    c.client.delete(&STATEFUL_SETS, "n", "db", &DeleteOptions::default()).await.unwrap();
    let asked = |claim: Option<&Value>| claim.is_none_or(|claim| claim["metadata"]["deletionTimestamp"].is_string());
    c.until_of(&PERSISTENT_VOLUME_CLAIMS, "n", "data-db-0", asked).await;
}
