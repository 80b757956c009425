//! Nodes that fall silent: who is driven away, when, and who comes in their place.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::Resource;
use api::resource::{EVENTS, NODES, PODS};
use client::{Client, DeleteOptions, ListOptions, PatchKind};
use serde_json::{Value, json};
use server::Component;
use sim::{Weather, World};
use store::Revision;

const SECOND: Duration = Duration::from_secs(1);

fn kind(name: &str) -> &'static Resource {
    kinds::built_in().by_kind("apps/v1", name).unwrap()
}

async fn cluster(seed: u64, nodes: &[&str]) -> (World, Client) {
    let mut world = World::start(seed).await;
    world.start_controllers(Weather::default());
    world.start_scheduler(Weather::default());
    for node in nodes {
        world.start_node(node, Weather::default());
    }
    let admin = world.client("admin", Component::Admin, Weather::default());
    world.pass(10 * SECOND).await;
    (world, admin)
}

/// A workload of one pod, which tolerates silence for the usual time or so long.
fn workload(kind: &str, name: &str, tolerated: Option<u64>) -> Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "c", "image": "toolbox", "imagePullPolicy": "IfNotPresent", "command": ["/bin/puppet"]}]});
    if let Some(seconds) = tolerated {
        spec["tolerations"] = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
            "effect": "NoExecute", "tolerationSeconds": seconds}]);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": {"replicas": 1,
        "serviceName": name, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": spec}}})
}

fn strip(mut workload: Value) -> Value {
    if workload["kind"] != "StatefulSet" {
        workload["spec"].as_object_mut().unwrap().remove("serviceName");
    }
    workload
}

/// Of each pod: name up to the last dash, node, and whether it is ready or to end. Sorted.
async fn pods(admin: &Client) -> Vec<String> {
    let listed = admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects;
    let line = |pod: &api::Object| {
        let value = pod.value();
        let conditions = value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|c| c["type"] == "Ready").map_or("", |c| c["status"].as_str().unwrap());
        let app = pod.meta().labels.get("app").unwrap();
        let ending = if pod.meta().is_deleting() { " ending" } else { "" };
        format!("{app} {} {ready}{ending}", value["spec"]["nodeName"].as_str().unwrap_or("-"))
    };
    let mut lines: Vec<String> = listed.iter().map(line).collect();
    lines.sort();
    lines
}

async fn taints(admin: &Client, node: &str) -> Vec<String> {
    let node = admin.get(&NODES, "", node).await.unwrap().value();
    let line = |taint: &Value| format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap());
    node["spec"]["taints"].as_array().into_iter().flatten().map(line).collect()
}

/// Reasons and messages of the events about it.
async fn told(admin: &Client, name: &str) -> Vec<String> {
    let events = admin.list(&EVENTS, "", &ListOptions::default()).await.unwrap().objects;
    let about = events.iter().map(api::Object::value).filter(|event| event["involvedObject"]["name"] == name);
    about
        .map(|event| format!("{}: {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap()))
        .collect()
}

/// One of each kind, all on n1; n2 comes after them.
async fn all_on_the_first() -> (World, Client) {
    let (mut world, admin) = cluster(1, &["n1"]).await;
    for (kind_name, name, tolerated) in
        [("ReplicaSet", "rs", None), ("ReplicaSet", "quick", Some(30)), ("StatefulSet", "set", None)]
    {
        let object = strip(workload(kind_name, name, tolerated));
        admin.create(kind(kind_name), "default", &object).await.unwrap();
    }
    world.pass(10 * SECOND).await;
    world.start_node("n2", Weather::default());
    world.pass(10 * SECOND).await;
    assert_eq!(pods(&admin).await, ["quick n1 True", "rs n1 True", "set n1 True"]);
    (world, admin)
}

#[tokio::test(start_paused = true)]
async fn a_silent_nodes_pods_are_replaced_when_their_time_is_up_but_never_a_stateful_sets() {
    let (mut world, admin) = all_on_the_first().await;
    world.kill_node("n1");
    // Its lease is ten seconds old at most.
    world.pass(39 * SECOND).await;
    assert_eq!(pods(&admin).await, ["quick n1 True", "rs n1 True", "set n1 True"]);
    world.pass(12 * SECOND).await;
    assert_eq!(pods(&admin).await, ["quick n1 False", "rs n1 False", "set n1 False"]);
    let silent = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
    assert_eq!(taints(&admin, "n1").await, silent);
    assert!(told(&admin, "n1").await.contains(&"NodeNotReady: Node n1 status is now: NodeNotReady".to_string()));
    world.pass(31 * SECOND).await;
    assert_eq!(pods(&admin).await, ["quick n1 False ending", "quick n2 True", "rs n1 False", "set n1 False"]);
    world.pass(255 * SECOND).await;
    assert_eq!(pods(&admin).await[2..], ["rs n1 False", "set n1 False"], "300 seconds are not over");
    world.pass(20 * SECOND).await;
    let replaced =
        ["quick n1 False ending", "quick n2 True", "rs n1 False ending", "rs n2 True", "set n1 False ending"];
    assert_eq!(pods(&admin).await, replaced);
    let told = told(&admin, "set-0").await;
    assert!(told.contains(&"NodeNotReady: Node is not ready".to_string()), "{told:?}");
    assert!(told.contains(&"TaintManagerEviction: Marking for deletion Pod default/set-0".to_string()), "{told:?}");
    // However long it takes.
    world.pass(3600 * SECOND).await;
    assert_eq!(pods(&admin).await, replaced);
    world.start_node("n1", Weather::default());
    world.pass(30 * SECOND).await;
    assert_eq!(taints(&admin, "n1").await, [] as [&str; 0]);
    let all = pods(&admin).await;
    assert_eq!(all[..2], ["quick n2 True", "rs n2 True"]);
    assert!(all.len() == 3 && all[2].starts_with("set ") && all[2].ends_with(" True"), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stateful_sets_pod_comes_again_when_it_is_forced_or_its_node_goes() {
    for forced in [true, false] {
        let (mut world, admin) = all_on_the_first().await;
        world.kill_node("n1");
        world.pass(400 * SECOND).await;
        assert_eq!(pods(&admin).await.last().unwrap(), "set n1 False ending");
        world.laws.forces();
        if forced {
            let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
            admin.delete(&PODS, "default", "set-0", &now).await.unwrap();
        } else {
            admin.delete(&NODES, "", "n1", &DeleteOptions::default()).await.unwrap();
        }
        world.pass(60 * SECOND).await;
        assert_eq!(pods(&admin).await.last().unwrap(), "set n2 True", "forced: {forced}");
        if !forced {
            assert_eq!(pods(&admin).await, ["quick n2 True", "rs n2 True", "set n2 True"]);
            let removed = "RemovingNode: Node n1 event: Removing Node n1 from Controller".to_string();
            assert!(told(&admin, "n1").await.contains(&removed));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_keeps_its_pods_and_that_is_told() {
    let (mut world, admin) = all_on_the_first().await;
    world.kill_node("n1");
    world.pass(200 * SECOND).await;
    world.start_node("n1", Weather::default());
    world.pass(600 * SECOND).await;
    let kept = pods(&admin).await;
    assert_eq!(kept, ["quick n2 True", "rs n1 True", "set n1 True"]);
    let cancelled = "TaintManagerEviction: Cancelling deletion of Pod default/set-0".to_string();
    let told = told(&admin, "set-0").await;
    assert!(told.contains(&cancelled), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ends_no_pod_early_and_none_late() {
    for jump in [3600, -3600] {
        let (mut world, admin) = all_on_the_first().await;
        world.kill_node("n1");
        world.pass(70 * SECOND).await;
        assert_eq!(taints(&admin, "n1").await.len(), 2);
        world.clock_jumps(jump);
        world.pass(200 * SECOND).await;
        assert_eq!(pods(&admin).await[2..], ["rs n1 False", "set n1 False"], "jump of {jump}");
        world.pass(120 * SECOND).await;
        assert_eq!(pods(&admin).await[2..], ["rs n1 False ending", "rs n2 True", "set n1 False ending"], "{jump}");
        // Nor is a living node taken for dead.
        assert_eq!(taints(&admin, "n2").await, [] as [&str; 0], "jump of {jump}");
    }
}

/// kubernetes/kubernetes#24597
#[tokio::test(start_paused = true)]
async fn where_no_node_is_heard_nobody_is_driven_away() {
    let (mut world, admin) = all_on_the_first().await;
    world.kill_node("n1");
    world.kill_node("n2");
    world.pass(1000 * SECOND).await;
    for node in ["n1", "n2"] {
        assert_eq!(taints(&admin, node).await, ["node.kubernetes.io/unreachable:NoSchedule"]);
    }
    assert!(pods(&admin).await.iter().all(|pod| !pod.ends_with(" ending")));
    world.start_node("n2", Weather::default());
    world.pass(400 * SECOND).await;
    assert_eq!(pods(&admin).await[2..], ["rs n1 False ending", "rs n2 True", "set n1 False ending"]);
}

/// Controllers that are killed take up where they were, without another 300 seconds.
#[tokio::test(start_paused = true)]
async fn tolerated_time_goes_on_over_a_restart_of_the_controllers() {
    let (mut world, admin) = all_on_the_first().await;
    world.kill_node("n1");
    world.pass(200 * SECOND).await;
    world.start_controllers(Weather::default());
    world.pass(100 * SECOND).await;
    assert!(!pods(&admin).await.last().unwrap().ends_with("ending"));
    world.pass(60 * SECOND).await;
    assert_eq!(pods(&admin).await.last().unwrap(), "set n1 False ending");
}

/// Else who tolerates a taint for a while would be made and driven away without end on a node that has had it for long.
#[tokio::test(start_paused = true)]
async fn who_comes_to_a_node_that_has_driven_pods_away_for_long_has_the_whole_of_the_tolerated_time() {
    let (mut world, admin) = cluster(1, &["n1"]).await;
    let taint = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
    admin.patch(&NODES, "", "n1", "", PatchKind::Merge, &taint).await.unwrap();
    world.pass(3600 * SECOND).await;
    let mut set = strip(workload("ReplicaSet", "late", None));
    set["spec"]["template"]["spec"]["tolerations"] =
        json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]);
    admin.create(kind("ReplicaSet"), "default", &set).await.unwrap();
    world.pass(55 * SECOND).await;
    let uid = async || {
        let all = admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects;
        all.iter().map(|pod| pod.meta().uid.clone()).collect::<Vec<_>>()
    };
    let first = uid().await;
    assert_eq!((first.len(), pods(&admin).await), (1, vec!["late n1 True".to_string()]));
    world.pass(20 * SECOND).await;
    assert!(!uid().await.contains(&first[0]));
}

/// When each of these nodes was tainted, in seconds from the first.
fn tainted_at(world: &World, nodes: &[String]) -> Vec<i64> {
    let objects = world.laws.objects();
    let at = |name: &String| {
        let taints = objects[&format!("nodes/{name}")]["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let driving = taints.into_iter().find(|taint| taint["effect"] == "NoExecute")?;
        driving["timeAdded"].as_str()?.parse::<jiff::Timestamp>().ok().map(|at| at.as_second())
    };
    let mut all: Vec<i64> = nodes.iter().filter_map(at).collect();
    all.sort_unstable();
    let first = all.first().copied().unwrap_or_default();
    all.iter().map(|at| at - first).collect()
}

#[tokio::test(start_paused = true)]
async fn nodes_that_fall_silent_together_are_tainted_ten_seconds_apart_and_half_a_zone_not_at_all() {
    let names: Vec<String> = (1..=9).map(|n| format!("n{n}")).collect();
    let (mut world, admin) = cluster(7, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for (n, name) in names.iter().enumerate() {
        let zone = if n < 7 { "a" } else { "b" };
        let patch = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        admin.patch(&NODES, "", name, "", PatchKind::Merge, &patch).await.unwrap();
    }
    world.pass(5 * SECOND).await;
    // Three of seven: the zone is well.
    names[..3].iter().for_each(|name| world.kill_node(name));
    world.pass(100 * SECOND).await;
    let apart: Vec<i64> = tainted_at(&world, &names).windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart, [10, 10]);
    // Five of seven: it is not, and it is small.
    names[3..5].iter().for_each(|name| world.kill_node(name));
    world.pass(300 * SECOND).await;
    assert_eq!(tainted_at(&world, &names).len(), 3);
    assert_eq!(taints(&admin, "n4").await, ["node.kubernetes.io/unreachable:NoSchedule"]);
    // One is back: four of seven, and it is well again.
    world.start_node("n1", Weather::default());
    world.start_node("n2", Weather::default());
    world.pass(100 * SECOND).await;
    assert_eq!(tainted_at(&world, &names).len(), 3, "n3, n4 and n5");
    assert_eq!(taints(&admin, "n1").await, [] as [&str; 0]);
}

/// A watch that stands still is no silence: the lease itself is asked (kubernetes/kubernetes#132831).
#[tokio::test(start_paused = true)]
async fn a_controller_whose_watches_stand_still_declares_nobody_dead() {
    let (mut world, admin) = cluster(3, &["n1", "n2"]).await;
    world.site.hold("controllers", "/leases");
    world.pass(300 * SECOND).await;
    for node in ["n1", "n2"] {
        assert_eq!(taints(&admin, node).await, [] as [&str; 0], "{:?}", told(&admin, node).await);
    }
    world.site.release();
    world.kill_node("n1");
    world.pass(100 * SECOND).await;
    assert_eq!(taints(&admin, "n1").await.len(), 2);
}

/// kubernetes/kubernetes#50067: who is killed after the node was written down, and before its pods were, writes them
/// down when it is there again.
#[tokio::test(start_paused = true)]
async fn controllers_killed_at_any_step_of_a_nodes_end_end_it_all_the_same() {
    for step in 0..5 {
        let (mut world, admin) = all_on_the_first().await;
        world.kill_node("n1");
        let is_unknown = |world: &World| {
            let node = &world.laws.objects()["nodes/n1"];
            node["status"]["conditions"].as_array().unwrap().iter().any(|c| c["status"] == "Unknown")
        };
        while !is_unknown(&world) {
            let next = Revision(world.store.revision().0 + 1);
            world.store.clone().reached(next).await;
            world.check().await;
        }
        world.start_controllers(Weather::default());
        world.store.clone().reached(Revision(world.store.revision().0 + step)).await;
        world.start_controllers(Weather::default());
        world.pass(15 * SECOND).await;
        assert_eq!(pods(&admin).await, ["quick n1 False", "rs n1 False", "set n1 False"], "step {step}");
        world.pass(320 * SECOND).await;
        assert_eq!(pods(&admin).await.last().unwrap(), "set n1 False ending", "step {step}");
    }
}
