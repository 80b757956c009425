//! Faults of real controllers that were published, as stories.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::resource::{NODES, PODS};
use api::{Object, Resource};
use client::{Client, DeleteOptions, ListOptions, PatchKind};
use serde_json::{Value, json};
use server::Component;
use sim::{Weather, World};

const SECOND: Duration = Duration::from_secs(1);

fn kind(plural: &str) -> &'static Resource {
    kinds::built_in().iter().find(|kind| kind.plural == plural).unwrap()
}

async fn cluster(nodes: &[&str]) -> (World, Client) {
    let mut world = World::start(1).await;
    world.start_controllers(Weather::default());
    world.start_scheduler(Weather::default());
    for node in nodes {
        world.start_node(node, Weather::default());
    }
    let admin = world.client("admin", Component::Admin, Weather::default());
    world.pass(15 * SECOND).await;
    (world, admin)
}

fn template(program: &str, restart: &str) -> Value {
    let argv: Vec<&str> = ["/bin/puppet"].into_iter().chain(program.split_whitespace()).collect();
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "toolbox", "imagePullPolicy": "IfNotPresent", "command": argv}]}})
}

fn workload(kind: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "x"}});
    if spec["template"].is_null() {
        spec["template"] = template("", "Always");
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

async fn pods(admin: &Client) -> Vec<Object> {
    admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects
}

/// kubernetes/kubernetes#129795: a controller whose cache stands still makes its pods again after five minutes.
#[tokio::test(start_paused = true)]
async fn a_replica_set_whose_cache_stands_still_makes_no_pod_twice() {
    let (mut world, admin) = cluster(&["n1"]).await;
    world.site.hold("controllers", "/pods");
    admin.create(kind("replicasets"), "default", &workload("ReplicaSet", json!({"replicas": 5}))).await.unwrap();
    world.pass(300 * SECOND).await;
    let touch = json!({"metadata": {"annotations": {"touched": "yes"}}});
    admin.patch(kind("replicasets"), "default", "x", "", PatchKind::Merge, &touch).await.unwrap();
    world.pass(300 * SECOND).await;
    assert!(pods(&admin).await.len() <= 5, "{}", world.laws.recent());
    world.site.release();
    world.pass(30 * SECOND).await;
    assert_eq!((pods(&admin).await.len(), world.laws.pods_made()), (5, 5));
}

/// The same at the end of pods: what was ended already is not ended again, nor is another in its place.
#[tokio::test(start_paused = true)]
async fn a_replica_set_whose_cache_stands_still_ends_no_pod_too_many() {
    let (mut world, admin) = cluster(&["n1"]).await;
    admin.create(kind("replicasets"), "default", &workload("ReplicaSet", json!({"replicas": 6}))).await.unwrap();
    world.pass(20 * SECOND).await;
    world.site.hold("controllers", "/pods");
    for replicas in [5, 4] {
        let fewer = json!({"spec": {"replicas": replicas}});
        admin.patch(kind("replicasets"), "default", "x", "", PatchKind::Merge, &fewer).await.unwrap();
        world.pass(100 * SECOND).await;
        let left = pods(&admin).await.len();
        assert!(left >= 4, "{left} of {replicas}");
    }
    world.start_controllers(Weather::default());
    world.pass(100 * SECOND).await;
    world.site.release();
    world.pass(30 * SECOND).await;
    assert_eq!((pods(&admin).await.len(), world.laws.pods_made()), (4, 6));
}

/// kubernetes/kubernetes#67250, #60164: a rollout to what never becomes ready stays, also when it is taken back, until
/// somebody deletes the pod (concepts/workloads/controllers/statefulset, "Forced rollback").
#[tokio::test(start_paused = true)]
async fn a_stateful_set_stuck_in_a_broken_rollout_goes_on_when_its_pod_is_deleted() {
    let (mut world, admin) = cluster(&["n1"]).await;
    let set = workload("StatefulSet", json!({"replicas": 2, "serviceName": "x"}));
    admin.create(kind("statefulsets"), "default", &set).await.unwrap();
    world.pass(30 * SECOND).await;
    let sets = kind("statefulsets");
    let waits =
        json!({"name": "first", "image": "toolbox", "imagePullPolicy": "IfNotPresent", "command": ["/bin/puppet"]});
    let never = json!({"spec": {"template": {"spec": {"initContainers": [waits]}}}});
    admin.patch(sets, "default", "x", "", PatchKind::Merge, &never).await.unwrap();
    world.pass(120 * SECOND).await;
    let hash = |pods: &[Object]| -> Vec<String> {
        pods.iter().map(|pod| pod.meta().labels.get("controller-revision-hash").unwrap().to_string()).collect()
    };
    let broken = hash(&pods(&admin).await);
    assert_ne!(broken[0], broken[1], "the first is not touched while the second is broken");
    let as_before = json!({"spec": {"template": {"spec": {"initContainers": null}}}});
    admin.patch(sets, "default", "x", "", PatchKind::Merge, &as_before).await.unwrap();
    world.pass(600 * SECOND).await;
    assert_eq!(hash(&pods(&admin).await), broken, "nobody helps it");
    admin.delete(&PODS, "default", "x-1", &DeleteOptions::default()).await.unwrap();
    world.pass(60 * SECOND).await;
    let mended = pods(&admin).await;
    assert_eq!(hash(&mended), [broken[0].clone(), broken[0].clone()], "the old revision again");
    let status = admin.get(sets, "default", "x").await.unwrap().value()["status"].clone();
    assert_eq!((&status["readyReplicas"], &status["updatedReplicas"]), (&json!(2), &json!(2)), "{status:#}");
}

/// kubernetes/kubernetes#108645, #109429: pods that are held for a Job that is gone never go.
#[tokio::test(start_paused = true)]
async fn no_pod_is_held_for_a_job_that_was_deleted_while_nobody_controlled() {
    for policy in ["Orphan", "Background", "Foreground"] {
        for (program, after) in [("--run 3 --exit 0", 10), ("--run 500 --exit 0", 10), ("--run 3 --exit 1", 4)] {
            let (mut world, admin) = cluster(&["n1"]).await;
            let mut job = workload(
                "Job",
                json!({"parallelism": 3, "completions": 3,
                "template": template(program, "Never")}),
            );
            job["apiVersion"] = json!("batch/v1");
            job["spec"].as_object_mut().unwrap().remove("selector");
            admin.create(kind("jobs"), "default", &job).await.unwrap();
            world.pass(2 * SECOND).await;
            world.kill_part("controllers");
            world.pass(after * SECOND).await;
            let options = DeleteOptions { propagation_policy: policy.into(), ..DeleteOptions::default() };
            admin.delete(kind("jobs"), "default", "x", &options).await.unwrap();
            world.pass(5 * SECOND).await;
            world.start_controllers(Weather::default());
            world.pass(60 * SECOND).await;
            world.laws.add_up();
            world.check().await;
            let gone = admin.get(kind("jobs"), "default", "x").await.is_err();
            let left = pods(&admin).await;
            let held = left.iter().filter(|pod| !pod.meta().finalizers.is_empty()).count();
            assert_eq!((gone, held), (true, 0), "{policy} of {program}\n{}", world.laws.recent());
            assert_eq!(left.is_empty(), policy != "Orphan", "{policy} of {program}: {left:?}");
        }
    }
}

/// A DaemonSet on a node that takes none of its pods: kubernetes/kubernetes#40330 left a loop of deletions and creations,
/// which failedPodsBackoff ended.
#[tokio::test(start_paused = true)]
async fn a_daemon_set_whose_pods_fail_at_once_backs_off() {
    let (mut world, admin) = cluster(&["n1"]).await;
    world.kill_node("n1");
    admin.create(kind("daemonsets"), "default", &workload("DaemonSet", json!({}))).await.unwrap();
    let mut failed = 0;
    // The node refuses each of them as soon as it is there; by its lease it lives.
    for _ in 0..600 {
        world.pass(SECOND).await;
        let renewed =
            json!({"spec": {"renewTime": (world.clock())().strftime("%Y-%m-%dT%H:%M:%S.000000Z").to_string()}});
        let lease = kind("leases");
        admin.patch(lease, "kube-node-lease", "n1", "", PatchKind::Merge, &renewed).await.unwrap();
        for pod in pods(&admin).await {
            let value = pod.value();
            if value["status"]["phase"] == "Failed" || pod.meta().is_deleting() {
                continue;
            }
            let refused = json!({"status": {"phase": "Failed", "reason": "OutOfcpu"}});
            let name = &pod.meta().name;
            admin.patch(&PODS, "default", name, "status", PatchKind::Merge, &refused).await.unwrap();
            failed += 1;
        }
        // Nobody else would end them.
        for pod in pods(&admin).await.iter().filter(|pod| pod.meta().is_deleting()) {
            let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
            let _gone = admin.delete(&PODS, "default", &pod.meta().name, &now).await;
        }
    }
    // 1, 2, 4, 8 … seconds: ten of them are more than ten minutes.
    assert!((4..=11).contains(&failed), "{failed} in ten minutes");
}

/// The same where a taint drives them away (kubernetes/kubernetes#31020, #42398): on a node that drives its pods away a DaemonSet makes no new ones.
#[tokio::test(start_paused = true)]
async fn a_daemon_set_makes_no_pods_for_a_node_that_drives_them_away() {
    let (mut world, admin) = cluster(&["n1", "n2"]).await;
    admin.create(kind("daemonsets"), "default", &workload("DaemonSet", json!({}))).await.unwrap();
    world.pass(20 * SECOND).await;
    assert_eq!((pods(&admin).await.len(), world.laws.pods_made()), (2, 2));
    let taint = json!({"spec": {"taints": [{"key": "mine", "effect": "NoExecute"}]}});
    admin.patch(&NODES, "", "n1", "", PatchKind::Merge, &taint).await.unwrap();
    world.pass(300 * SECOND).await;
    assert_eq!((pods(&admin).await.len(), world.laws.pods_made()), (1, 2));
    admin.patch(&NODES, "", "n1", "", PatchKind::Merge, &json!({"spec": {"taints": []}})).await.unwrap();
    world.pass(30 * SECOND).await;
    assert_eq!((pods(&admin).await.len(), world.laws.pods_made()), (2, 3));
}

/// An answer that is lost after the deed: what was made is not made again.
#[tokio::test(start_paused = true)]
async fn a_pod_whose_making_nobody_told_is_not_made_again() {
    for seed in 1..4 {
        let mut world = World::start(seed).await;
        world.start_controllers(Weather { lost_answers: 300, ..Weather::default() });
        world.start_scheduler(Weather::default());
        world.start_node("n1", Weather::default());
        let admin = world.client("admin", Component::Admin, Weather::default());
        world.pass(60 * SECOND).await;
        world.site.hold("controllers", "/pods");
        admin.create(kind("replicasets"), "default", &workload("ReplicaSet", json!({"replicas": 10}))).await.unwrap();
        world.pass(120 * SECOND).await;
        let count = pods(&admin).await.len();
        assert!((1..=10).contains(&count), "seed {seed}: {count} pods of ten, {} in doubt", world.site.doubtful());
        world.site.release();
        world.site.calm_down();
        world.pass(120 * SECOND).await;
        assert_eq!(pods(&admin).await.len(), 10, "seed {seed}");
    }
}
