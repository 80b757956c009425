//! What upstream's parts must do on our server: one story a controller, all side by side.
//!
//! Each has a namespace of its own. A story waits for what it wants to see, by caches that list and watch; it never looks again after a while.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use api::Resource;
use api::resource::{
    CONFIG_MAPS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, EVENTS, JOBS, LEASES, NAMESPACES, NODES,
    PERSISTENT_VOLUME_CLAIMS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, RESOURCE_QUOTAS, SERVICE_ACCOUNTS, SERVICES,
    STATEFUL_SETS,
};
use client::{Caches, Client, DeleteOptions, Https, PatchKind, kubeconfig};
use serde_json::{Value, json};

pub struct Story {
    pub name: &'static str,
    tell: for<'a> fn(Scene<'a>) -> Telling<'a>,
}

type Telling<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

pub const STORIES: &[Story] = &[
    Story { name: "leases", tell: |scene| Box::pin(leases(scene)) },
    Story { name: "deployment", tell: |scene| Box::pin(deployment(scene)) },
    Story { name: "statefulset", tell: |scene| Box::pin(stateful_set(scene)) },
    Story { name: "daemonset", tell: |scene| Box::pin(daemon_set(scene)) },
    Story { name: "job", tell: |scene| Box::pin(job(scene)) },
    Story { name: "cronjob", tell: |scene| Box::pin(cron_job(scene)) },
    Story { name: "garbage", tell: |scene| Box::pin(garbage(scene)) },
    Story { name: "namespace", tell: |scene| Box::pin(namespace(scene)) },
    Story { name: "scheduler", tell: |scene| Box::pin(scheduler(scene)) },
    Story { name: "counts", tell: |scene| Box::pin(counts(scene)) },
    Story { name: "volumes", tell: |scene| Box::pin(volumes(scene)) },
];

/// The cluster as its administrator sees it.
pub struct World {
    client: Client,
    caches: Caches,
}

/// A namespace of it.
#[derive(Clone)]
struct Scene<'a> {
    world: &'a World,
    namespace: Arc<str>,
}

impl World {
    pub fn of(admin: &Path) -> Result<World> {
        let https = kubeconfig::load(Some(admin), None)?.https;
        let client = Client::new(Arc::new(Https::new(https)?)).named("foreign");
        Ok(World { caches: Caches::new(client.clone()), client })
    }

    /// Runs a story to its end.
    pub async fn tell(&self, story: &Story) -> Result<()> {
        let namespace: Arc<str> = format!("foreign-{}", story.name).into();
        self.client.create(&NAMESPACES, "", &json!({"metadata": {"name": &*namespace}})).await?;
        let scene = Scene { world: self, namespace };
        // Nobody makes a pod before.
        scene.until(&SERVICE_ACCOUNTS, "default", "there", |_| true).await?;
        (story.tell)(scene).await
    }
}

impl Scene<'_> {
    async fn create(&self, kind: &Resource, name: &str, mut object: Value) -> Result<Value> {
        object["metadata"]["name"] = json!(name);
        let made = self.world.client.create(kind, &self.namespace, &object).await;
        Ok(made.with_context(|| format!("creating {} {name}", kind.plural))?.value())
    }

    async fn patch(&self, kind: &Resource, name: &str, patch: Value) -> Result<i64> {
        let namespace = if kind.namespaced { &*self.namespace } else { "" };
        let done = self.world.client.patch(kind, namespace, name, "", PatchKind::Strategic, &patch).await;
        let done = done.with_context(|| format!("patching {} {name}", kind.plural))?.value();
        Ok(done["metadata"]["generation"].as_i64().unwrap_or_default())
    }

    async fn delete(&self, kind: &Resource, name: &str, propagation: &str) -> Result<()> {
        let options = DeleteOptions { propagation_policy: propagation.into(), ..DeleteOptions::default() };
        let done = self.world.client.delete(kind, &self.namespace, name, &options).await;
        done.map(drop).with_context(|| format!("deleting {} {name}", kind.plural))
    }

    /// All of a kind here (everywhere, of what is in no namespace), once they are as they should be.
    async fn until_all(&self, kind: &Resource, wanted: &str, good: impl Fn(&[Value]) -> bool) -> Result<Vec<Value>> {
        let cache = self.world.caches.of(kind);
        cache.synced().await;
        let mut changes = cache.subscribe();
        let namespace = if kind.namespaced { &*self.namespace } else { "" };
        let mut last = Vec::new();
        let waited = async {
            loop {
                let all = cache.list().into_iter().filter(|object| object.meta().namespace == namespace);
                last = all.map(|object| object.value()).collect();
                if good(&last) {
                    return Ok(());
                }
                changes.next().await.context("the cache ended")?;
            }
        };
        match tokio::time::timeout(super::LIMIT / 2, waited).await {
            Ok(ended) => ended.map(|()| last),
            Err(_) => bail!("{} never were {wanted}: {}", kind.plural, json!(last)),
        }
    }

    /// One object, once it is as it should be.
    async fn until(&self, kind: &Resource, name: &str, wanted: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
        let named = |all: &[Value]| all.iter().find(|object| object["metadata"]["name"] == name).cloned();
        let wanted = format!("{wanted} ({name})");
        let all = self.until_all(kind, &wanted, |all| named(all).is_some_and(|one| good(&one))).await?;
        named(&all).context("it was there")
    }

    async fn until_gone(&self, kind: &Resource, name: &str) -> Result<()> {
        let gone = |all: &[Value]| all.iter().all(|object| object["metadata"]["name"] != name);
        self.until_all(kind, &format!("without {name}"), gone).await.map(drop)
    }
}

/// A template whose pods run until they are told to end; `mark` tells one template from another.
fn template(mark: &str) -> Value {
    let env = json!([{"name": "MARK", "value": mark}]);
    json!({
        "metadata": {"labels": {"app": "foreign"}},
        "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "toolbox", "command": ["puppet"], "env": env}]},
    })
}

/// A template whose pods end with that code.
fn ending(code: u8) -> Value {
    let command = json!(["sh", "-c", format!("exit {code}")]);
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "toolbox", "command": command}]}})
}

fn selector() -> Value {
    json!({"matchLabels": {"app": "foreign"}})
}

/// A number of the status, or of another path; 0 where it is not said.
fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// Whether the controller has seen that generation, and each of these numbers of its status is `count`.
fn counts_are(object: &Value, generation: i64, count: i64, of: &[&str]) -> bool {
    number(object, "/status/observedGeneration") >= generation
        && of.iter().all(|name| number(object, &format!("/status/{name}")) == count)
}

fn condition<'a>(object: &'a Value, class: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == class)
}

fn is_true(object: &Value, class: &str) -> bool {
    condition(object, class).is_some_and(|condition| condition["status"] == "True")
}

/// Each holds its lease, and renews it.
async fn leases(scene: Scene<'_>) -> Result<()> {
    let scene = Scene { namespace: "kube-system".into(), ..scene };
    for name in ["kube-scheduler", "kube-controller-manager"] {
        let held = |lease: &Value| lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
        let first = scene.until(&LEASES, name, "held", held).await?;
        let renewed = |lease: &Value| lease["spec"]["renewTime"] != first["spec"]["renewTime"];
        let next = scene.until(&LEASES, name, "renewed", renewed).await?;
        ensure!(first["spec"]["holderIdentity"] == next["spec"]["holderIdentity"], "{name} changed hands: {next}");
    }
    Ok(())
}

/// Rolled out, rolled on, rolled back, scaled, and gone with all that was made of it.
async fn deployment(scene: Scene<'_>) -> Result<()> {
    const ALL: &[&str] = &["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
    let revision = |object: &Value| object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone();
    let spec = json!({"spec": {"replicas": 3, "selector": selector(), "template": template("one")}});
    scene.create(&DEPLOYMENTS, "web", spec).await?;
    let first = scene.until(&DEPLOYMENTS, "web", "rolled out", |it| counts_are(it, 1, 3, ALL)).await?;
    ensure!(revision(&first) == "1", "{first}");
    for (mark, wanted) in [("two", "2"), ("one", "3")] {
        let generation = scene.patch(&DEPLOYMENTS, "web", json!({"spec": {"template": template(mark)}})).await?;
        let done = |it: &Value| counts_are(it, generation, 3, ALL) && revision(it) == wanted;
        scene.until(&DEPLOYMENTS, "web", &format!("at revision {wanted}"), done).await?;
    }
    let sets = scene.until_all(&REPLICA_SETS, "two, one of them empty", |all| {
        all.iter().map(|set| number(set, "/status/replicas")).collect::<std::collections::BTreeSet<_>>()
            == [0, 3].into()
    });
    ensure!(sets.await?.len() == 2, "a rollback takes the ReplicaSet that there is");
    let generation = scene.patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 1}})).await?;
    scene.until(&DEPLOYMENTS, "web", "scaled", |it| counts_are(it, generation, 1, ALL)).await?;
    let scaled = |all: &[Value]| all.iter().any(|event| event["reason"] == "ScalingReplicaSet");
    scene.until_all(&EVENTS, "told", scaled).await?;
    scene.delete(&DEPLOYMENTS, "web", "Foreground").await?;
    scene.until_gone(&DEPLOYMENTS, "web").await?;
    ensure!(scene.until_all(&REPLICA_SETS, "gone", <[Value]>::is_empty).await?.is_empty());
    scene.until_all(&PODS, "gone", <[Value]>::is_empty).await.map(drop)
}

/// In order, to another template, down to nothing.
async fn stateful_set(scene: Scene<'_>) -> Result<()> {
    let headless = json!({"spec": {"clusterIP": "None", "selector": {"app": "foreign"}, "ports": [{"port": 80}]}});
    scene.create(&SERVICES, "db", headless).await?;
    let spec = json!({"replicas": 2, "serviceName": "db", "selector": selector(), "template": template("one")});
    scene.create(&STATEFUL_SETS, "db", json!({"spec": spec})).await?;
    scene
        .until(&STATEFUL_SETS, "db", "ready", |it| counts_are(it, 1, 2, &["readyReplicas", "updatedReplicas"]))
        .await?;
    let named =
        |all: &[Value]| all.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default()).eq(["db-0", "db-1"]);
    scene.until_all(&PODS, "db-0 and db-1", named).await?;
    let generation = scene.patch(&STATEFUL_SETS, "db", json!({"spec": {"template": template("two")}})).await?;
    let updated = |it: &Value| {
        counts_are(it, generation, 2, &["readyReplicas", "updatedReplicas"])
            && it["status"]["currentRevision"] == it["status"]["updateRevision"]
    };
    scene.until(&STATEFUL_SETS, "db", "updated", updated).await?;
    let generation = scene.patch(&STATEFUL_SETS, "db", json!({"spec": {"replicas": 0}})).await?;
    scene.until(&STATEFUL_SETS, "db", "empty", |it| counts_are(it, generation, 0, &["replicas"])).await?;
    scene.until_all(&PODS, "gone", <[Value]>::is_empty).await.map(drop)
}

/// On the only node, and there to another template.
async fn daemon_set(scene: Scene<'_>) -> Result<()> {
    const ALL: &[&str] = &["desiredNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable"];
    let spec = json!({"selector": selector(), "template": template("one")});
    scene.create(&DAEMON_SETS, "agent", json!({"spec": spec})).await?;
    scene.until(&DAEMON_SETS, "agent", "ready", |it| counts_are(it, 1, 1, ALL)).await?;
    let generation = scene.patch(&DAEMON_SETS, "agent", json!({"spec": {"template": template("two")}})).await?;
    scene.until(&DAEMON_SETS, "agent", "updated", |it| counts_are(it, generation, 1, ALL)).await.map(drop)
}

/// One that completes with its indexes, one that fails, one that goes when its time is over.
async fn job(scene: Scene<'_>) -> Result<()> {
    let indexed = json!({"completions": 3, "parallelism": 2, "completionMode": "Indexed", "template": ending(0)});
    scene.create(&JOBS, "good", json!({"spec": indexed})).await?;
    scene.create(&JOBS, "bad", json!({"spec": {"backoffLimit": 0, "template": ending(3)}})).await?;
    scene.create(&JOBS, "short", json!({"spec": {"ttlSecondsAfterFinished": 0, "template": ending(0)}})).await?;
    let done = scene.until(&JOBS, "good", "complete", |it| is_true(it, "Complete")).await?;
    ensure!(done["status"]["completedIndexes"] == "0-2" && done["status"]["succeeded"] == 3, "{done}");
    let failed = scene.until(&JOBS, "bad", "failed", |it| is_true(it, "Failed")).await?;
    let why = condition(&failed, "Failed").map(|condition| condition["reason"].clone());
    ensure!(why == Some("BackoffLimitExceeded".into()), "{failed}");
    scene.until_gone(&JOBS, "short").await
}

/// At the next full minute.
async fn cron_job(scene: Scene<'_>) -> Result<()> {
    let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": ending(0)}}});
    scene.create(&CRON_JOBS, "tick", json!({"spec": spec})).await?;
    let ran = |it: &Value| it["status"]["lastSuccessfulTime"].is_string();
    scene.until(&CRON_JOBS, "tick", "run", ran).await.map(drop)
}

/// Dependents go after their owner, stay as orphans, or go before it.
async fn garbage(scene: Scene<'_>) -> Result<()> {
    for (name, propagation) in [("after", "Background"), ("orphaned", "Orphan"), ("before", "Foreground")] {
        let owner = scene.create(&CONFIG_MAPS, name, json!({})).await?;
        let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name, "blockOwnerDeletion": true,
            "uid": owner["metadata"]["uid"]}]);
        let dependent = format!("{name}-dependent");
        scene.create(&CONFIG_MAPS, &dependent, json!({"metadata": {"ownerReferences": reference}})).await?;
        scene.delete(&CONFIG_MAPS, name, propagation).await?;
        scene.until_gone(&CONFIG_MAPS, name).await?;
        if propagation == "Orphan" {
            let free = |it: &Value| it["metadata"]["ownerReferences"].is_null();
            scene.until(&CONFIG_MAPS, &dependent, "an orphan", free).await?;
        } else {
            scene.until_gone(&CONFIG_MAPS, &dependent).await?;
        }
    }
    Ok(())
}

/// Has its account and certificate, is emptied, and goes.
async fn namespace(scene: Scene<'_>) -> Result<()> {
    let certificate = |it: &Value| it["data"]["ca.crt"].as_str().is_some_and(|text| text.contains("BEGIN CERTIFICATE"));
    scene.until(&CONFIG_MAPS, "kube-root-ca.crt", "there", certificate).await?;
    let spec = json!({"spec": {"replicas": 2, "selector": selector(), "template": template("one")}});
    scene.create(&DEPLOYMENTS, "web", spec).await?;
    scene.until(&DEPLOYMENTS, "web", "ready", |it| counts_are(it, 1, 2, &["readyReplicas"])).await?;
    let name = scene.namespace.to_string();
    scene.world.client.delete(&NAMESPACES, "", &name, &DeleteOptions::default()).await?;
    scene.until_gone(&NAMESPACES, &name).await?;
    scene.until_all(&PODS, "gone", <[Value]>::is_empty).await.map(drop)
}

/// A pod that no node fits is told so, and runs once one does.
async fn scheduler(scene: Scene<'_>) -> Result<()> {
    let mut pod = template("one");
    pod["spec"]["nodeSelector"] = json!({"foreign": "yes"});
    scene.create(&PODS, "choosy", pod).await?;
    let refused =
        |it: &Value| condition(it, "PodScheduled").is_some_and(|condition| condition["reason"] == "Unschedulable");
    scene.until(&PODS, "choosy", "unschedulable", refused).await?;
    let told = |all: &[Value]| all.iter().any(|event| event["reason"] == "FailedScheduling");
    scene.until_all(&EVENTS, "told", told).await?;
    let nodes = scene.until_all(&NODES, "there", |all| !all.is_empty()).await?;
    let node = nodes[0]["metadata"]["name"].as_str().context("a node has a name")?;
    scene.patch(&NODES, node, json!({"metadata": {"labels": {"foreign": "yes"}}})).await?;
    scene.until(&PODS, "choosy", "ready", |it| is_true(it, "Ready")).await?;
    let told = |all: &[Value]| all.iter().any(|event| event["reason"] == "Scheduled");
    scene.until_all(&EVENTS, "told", told).await.map(drop)
}

/// What is counted of quotas, budgets and services.
async fn counts(scene: Scene<'_>) -> Result<()> {
    scene.create(&RESOURCE_QUOTAS, "few", json!({"spec": {"hard": {"pods": "5"}}})).await?;
    // Charged is what a quota is known to allow.
    scene.until(&RESOURCE_QUOTAS, "few", "known", |it| it["status"]["hard"]["pods"] == "5").await?;
    scene.create(&PODS, "one", template("one")).await?;
    scene.until(&RESOURCE_QUOTAS, "few", "counted", |it| it["status"]["used"]["pods"] == "1").await?;
    let budget = json!({"spec": {"minAvailable": 0, "selector": selector()}});
    scene.create(&POD_DISRUPTION_BUDGETS, "loose", budget).await?;
    let service = json!({"spec": {"selector": {"app": "foreign"}, "ports": [{"port": 80}]}});
    scene.create(&SERVICES, "web", service).await?;
    scene.until(&POD_DISRUPTION_BUDGETS, "loose", "counted", |it| it["status"]["currentHealthy"] == 1).await?;
    let slices = Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices");
    let has = |all: &[Value]| all.iter().any(|slice| slice["endpoints"][0]["conditions"]["ready"] == true);
    scene.until_all(&slices, "with the pod's address", has).await?;
    scene.delete(&PODS, "one", "").await?;
    scene.until(&RESOURCE_QUOTAS, "few", "counted", |it| it["status"]["used"]["pods"] == "0").await.map(drop)
}

/// A claim is bound to the volume that fits it, and its volume is protected while it is.
async fn volumes(scene: Scene<'_>) -> Result<()> {
    let volume = json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "", "hostPath": {"path": "/tmp"}}});
    scene.create(&api::resource::PERSISTENT_VOLUMES, "foreign", volume).await?;
    let claim = json!({"spec": {"storageClassName": "", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    scene.create(&PERSISTENT_VOLUME_CLAIMS, "data", claim).await?;
    let bound = |it: &Value| it["status"]["phase"] == "Bound" && it["metadata"]["finalizers"].is_array();
    scene.until(&PERSISTENT_VOLUME_CLAIMS, "data", "bound", bound).await?;
    scene.delete(&PERSISTENT_VOLUME_CLAIMS, "data", "").await?;
    scene.until_gone(&PERSISTENT_VOLUME_CLAIMS, "data").await
}
