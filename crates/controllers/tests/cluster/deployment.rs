//! Deployments on the server: sets and pods follow, whatever is asked of them.

use api::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use client::ListOptions;

use super::*;

fn deployment(name: &str, replicas: i64) -> Value {
    let labels = json!({"app": name});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i:0"}]}}}})
}

impl Cluster {
    /// Every pod that is not ready becomes so, as its node would tell.
    async fn all_ready(&self) {
        for pod in self.client.list(&PODS, "n", &ListOptions::default()).await.unwrap().objects {
            let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
            let meta = pod.meta();
            let told = self.client.patch(&PODS, "n", &meta.name, "status", PatchKind::Merge, &status).await;
            // Its set may have given it up meanwhile.
            assert!(told.is_ok() || told.as_ref().is_err_and(|status| status.code == 404), "{told:?}");
        }
    }

    /// Lets pods become ready until the Deployment is whole.
    async fn rolled_out(&self, name: &str, replicas: i64) {
        let whole = |value: &Value| {
            let status = &value["status"];
            ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|field| status[*field] == replicas)
                && status["observedGeneration"] == value["metadata"]["generation"]
        };
        let cache = Cache::start(self.client.clone(), &PODS, Scope::default());
        cache.synced().await;
        let mut changes = cache.subscribe();
        let ready = async {
            loop {
                self.all_ready().await;
                changes.next().await.unwrap();
            }
        };
        let done = self.until_of(&DEPLOYMENTS, "n", name, |value| value.is_some_and(whole));
        tokio::select! { () = done => {}, () = ready => {} }
    }

    async fn sets(&self) -> Vec<Value> {
        let sets = self.client.list(&REPLICA_SETS, "n", &ListOptions::default()).await.unwrap().objects;
        sets.iter().map(Object::value).collect()
    }

    async fn change(&self, name: &str, patch: Value) {
        self.client.patch(&DEPLOYMENTS, "n", name, "", PatchKind::Strategic, &patch).await.unwrap();
    }
}

#[tokio::test]
async fn a_deployment_rolls_to_a_new_template_and_back() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    c.client.create(&DEPLOYMENTS, "n", &deployment("web", 4)).await.unwrap();
    c.rolled_out("web", 4).await;
    let image = |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}});
    c.change("web", image("i:1")).await;
    c.rolled_out("web", 4).await;
    let sets = c.sets().await;
    let mut sizes: Vec<i64> = sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 4], "{sets:?}");
    c.change("web", image("i:0")).await;
    c.rolled_out("web", 4).await;
    assert_eq!(c.sets().await.len(), 2, "the first set is taken again");
    let value = c.client.get(&DEPLOYMENTS, "n", "web").await.unwrap().value();
    assert_eq!(value["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3", "{value}");
    assert_eq!(value["status"]["terminatingReplicas"], 0, "{value}");
    c.change("web", json!({"spec": {"replicas": 2}})).await;
    c.rolled_out("web", 2).await;
    // All of it goes with it.
    c.client.delete(&DEPLOYMENTS, "n", "web", &DeleteOptions::default()).await.unwrap();
    for set in sets {
        c.until_of(&REPLICA_SETS, "n", tree_name(&set), |set| set.is_none()).await;
    }
    let none = |pods: Vec<Object>| pods.iter().all(|pod| pod.meta().controller().is_some());
    assert!(none(c.client.list(&PODS, "n", &ListOptions::default()).await.unwrap().objects));
}

#[tokio::test]
async fn whoever_has_the_name_of_a_set_is_stepped_around() {
    let c = cluster().await;
    c.create("namespaces", "", json!({"metadata": {"name": "n"}})).await;
    c.until("serviceaccounts", "n", "default", |account| account.is_some()).await;
    let mut paused = deployment("web", 1);
    c.client.create(&DEPLOYMENTS, "n", &paused).await.unwrap();
    c.rolled_out("web", 1).await;
    let taken = c.sets().await[0]["metadata"]["name"].clone();
    c.client.delete(&DEPLOYMENTS, "n", "web", &DeleteOptions::default()).await.unwrap();
    c.until_of(&REPLICA_SETS, "n", taken.as_str().unwrap(), |set| set.is_none()).await;
    // Somebody else's, of the same name.
    let labels = json!({"app": "other"});
    let other = json!({"metadata": {"name": taken}, "spec": {"replicas": 0, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    c.client.create(&REPLICA_SETS, "n", &other).await.unwrap();
    paused["metadata"]["annotations"] = json!({"again": "yes"});
    c.client.create(&DEPLOYMENTS, "n", &paused).await.unwrap();
    c.rolled_out("web", 1).await;
    let value = c.client.get(&DEPLOYMENTS, "n", "web").await.unwrap().value();
    assert_eq!(value["status"]["collisionCount"], 1, "{value}");
}

fn tree_name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}
