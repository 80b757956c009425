//! Services while everything breaks: when all is calm again, each tells of the pods that it has; and published faults
//! of upstream's controllers of endpoints, as stories.
//!
//! `SIM_SEED=17` replays one seed, `SIM_SEEDS=500` tries so many.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::resource::{DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, PODS, REPLICA_SETS, SERVICES};
use api::{Object, Reason, Resource};
use client::{Client, DeleteOptions, ListOptions, PatchKind};
use serde_json::{Value, json};
use server::Component;
use sim::{Chance, Weather, World};

const SECOND: Duration = Duration::from_secs(1);
const STORMY: Weather = Weather {
    lost_requests: 30,
    lost_answers: 30,
    late: 200,
    lateness: Duration::from_millis(300),
    cut_watches: 20,
    refused_writes: 40,
};

fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(usual)).collect(),
    }
}

/// So many pods that end a second after they are asked to.
fn deployment(name: &str, replicas: i64) -> Value {
    let template = json!({"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 3,
        "containers": [{"name": "c", "image": "toolbox", "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/puppet", "--term-after", "1"]}]}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}})
}

/// The same without a Deployment, of which nobody promises that its pods are available.
fn replica_set(name: &str, replicas: i64) -> Value {
    let mut set = deployment(name, replicas);
    set["kind"] = json!("ReplicaSet");
    set
}

fn service(name: &str, selects: bool) -> Value {
    let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
    if selects {
        service["spec"]["selector"] = json!({"app": name});
    }
    service
}

fn addresses(name: &str, ip: &str) -> Value {
    json!({"metadata": {"name": name}, "subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80}]}]})
}

async fn cluster(seed: u64, weather: Weather, nodes: &[&str]) -> (World, Client) {
    let mut world = World::start(seed).await;
    world.start_controllers(weather);
    world.start_scheduler(weather);
    for node in nodes {
        world.start_node(node, weather);
    }
    let admin = world.client("admin", Component::Admin, Weather::default());
    world.pass(15 * SECOND).await;
    (world, admin)
}

async fn create(admin: &Client, kind: &Resource, object: &Value) {
    while let Err(status) = admin.create(kind, "default", object).await {
        if status.reason == Reason::AlreadyExists {
            return;
        }
        assert!(status.code >= 500, "{status}");
        tokio::time::sleep(SECOND / 2).await;
    }
}

async fn patch(admin: &Client, kind: &Resource, name: &str, patch: &Value) {
    while let Err(status) = admin.patch(kind, "default", name, "", PatchKind::Merge, patch).await {
        assert!(status.code >= 500, "{name}: {status}");
        tokio::time::sleep(SECOND / 2).await;
    }
}

async fn slices(admin: &Client, service: &str) -> Vec<Object> {
    let label_selector = format!("kubernetes.io/service-name={service}");
    let options = ListOptions { label_selector, ..ListOptions::default() };
    admin.list(&ENDPOINT_SLICES, "default", &options).await.unwrap().objects
}

/// Every ready endpoint's pod, or its address where it is none's.
async fn ready(admin: &Client, service: &str) -> Vec<String> {
    let mut told = Vec::new();
    for slice in slices(admin, service).await {
        for endpoint in slice.value()["endpoints"].as_array().into_iter().flatten() {
            let name = endpoint["targetRef"]["name"].as_str().or(endpoint["addresses"][0].as_str());
            if endpoint["conditions"]["ready"] == true {
                told.push(name.unwrap().to_owned());
            }
        }
    }
    told.sort();
    told
}

async fn calm(world: &mut World, what: &str) {
    world.check().await;
    world.laws.endpoints_are_the_pods();
    let found = world.laws.violations().join("\n");
    assert!(found.is_empty(), "{what}:\n{}\n{found}", world.laws.recent());
}

async fn in_a_storm(seed: u64) {
    let nodes = ["n1", "n2"];
    let (mut world, admin) = cluster(seed, STORMY, &nodes).await;
    for name in ["web", "api"] {
        create(&admin, &DEPLOYMENTS, &deployment(name, 4)).await;
        create(&admin, &SERVICES, &service(name, true)).await;
    }
    create(&admin, &SERVICES, &service("db", false)).await;
    create(&admin, &ENDPOINTS, &addresses("db", "192.0.2.1")).await;
    let mut chance = Chance::new(seed, "story");
    world.store_fails(5);
    for turn in 0..14 {
        world.pass(chance.pause(6 * SECOND)).await;
        let name = *chance.pick(&["web", "api"]);
        match chance.below(8) {
            0 => world.start_controllers(STORMY),
            1 => {
                world.kill_server();
                world.pass(chance.pause(3 * SECOND)).await;
                world.start_server().await;
            }
            2 => {
                let node = *chance.pick(&nodes);
                world.kill_node(node);
                world.pass(chance.pause(5 * SECOND)).await;
                world.start_node(node, STORMY);
            }
            3 => {
                let replicas = chance.below(8);
                patch(&admin, &DEPLOYMENTS, name, &json!({"spec": {"replicas": replicas}})).await;
            }
            4 => {
                let _lost = admin.delete(&SERVICES, "default", name, &DeleteOptions::default()).await;
                world.pass(chance.pause(SECOND)).await;
                if admin.get(&SERVICES, "default", name).await.is_err() {
                    create(&admin, &SERVICES, &service(name, true)).await;
                }
            }
            5 => {
                let subsets = addresses("db", &format!("192.0.2.{}", turn + 2))["subsets"].clone();
                patch(&admin, &ENDPOINTS, "db", &json!({"subsets": subsets})).await;
            }
            _ => {
                let note = json!({"metadata": {"annotations": {"turn": turn.to_string()}}});
                patch(&admin, &DEPLOYMENTS, name, &json!({"spec": {"template": note}})).await;
            }
        }
    }
    world.store_fails(0);
    world.site.calm_down();
    world.pass(300 * SECOND).await;
    calm(&mut world, &format!("seed {seed}")).await;
    let ip = admin.get(&ENDPOINTS, "default", "db").await.unwrap().value()["subsets"][0]["addresses"][0]["ip"].clone();
    assert_eq!(json!(ready(&admin, "db").await), json!([ip]), "seed {seed}");
    for name in ["web", "api"] {
        let families: Vec<String> =
            slices(&admin, name).await.iter().map(|slice| slice.value()["addressType"].to_string()).collect();
        let distinct: std::collections::BTreeSet<&String> = families.iter().collect();
        assert_eq!(families.len(), distinct.len(), "seed {seed}: one slice is enough for {name}: {families:?}");
    }
    world.site.listen();
    world.pass(100 * SECOND).await;
    let heard = world.site.heard();
    let asks = |line: &&String| line.contains("endpoint");
    assert_eq!(heard.iter().find(asks), None, "seed {seed}: an idle cluster writes no endpoints");
}

#[tokio::test(start_paused = true)]
async fn after_every_storm_the_ready_endpoints_are_the_ready_pods() {
    for seed in seeds(3) {
        in_a_storm(seed).await;
    }
}

/// In calm weather every tenth of a second is calm: a pod that was asked to end is not told ready.
#[tokio::test(start_paused = true)]
async fn while_a_deployment_rolls_its_service_follows_every_pod_at_once() {
    let (mut world, admin) = cluster(1, Weather::default(), &["n1", "n2"]).await;
    create(&admin, &SERVICES, &service("web", true)).await;
    create(&admin, &DEPLOYMENTS, &deployment("web", 5)).await;
    for tenth in 0..400 {
        if tenth == 150 {
            let note = json!({"spec": {"template": {"metadata": {"annotations": {"turn": "1"}}}}});
            patch(&admin, &DEPLOYMENTS, "web", &note).await;
        }
        if tenth == 320 {
            patch(&admin, &DEPLOYMENTS, "web", &json!({"spec": {"replicas": 1}})).await;
        }
        world.pass(SECOND / 10).await;
        calm(&mut world, &format!("at {tenth}")).await;
    }
    assert_eq!(ready(&admin, "web").await.len(), 1);
}

/// Whoever leads is lost, one after the other.
#[tokio::test(start_paused = true)]
async fn of_two_controllers_one_leads_and_no_endpoint_is_told_twice_as_they_change() {
    for is_cut in [true, false] {
        let mut world = World::start(1).await;
        ["a", "b"].iter().for_each(|name| world.start_candidate(name, Weather::default()));
        world.start_scheduler(Weather::default());
        world.start_node("n1", Weather::default());
        let admin = world.client("admin", Component::Admin, Weather::default());
        world.pass(20 * SECOND).await;
        create(&admin, &SERVICES, &service("web", true)).await;
        create(&admin, &DEPLOYMENTS, &deployment("web", 5)).await;
        for name in ["a", "b", "a"] {
            world.pass(3 * SECOND).await;
            let note = json!({"spec": {"template": {"metadata": {"annotations": {"turn": name}}}}});
            patch(&admin, &DEPLOYMENTS, "web", &note).await;
            if is_cut {
                world.site.cut_off(name);
            } else {
                world.kill_part(name);
            }
            world.pass(40 * SECOND).await;
            calm(&mut world, &format!("{name} was lost")).await;
            if is_cut {
                world.site.rejoin();
            } else {
                world.start_candidate(name, Weather::default());
            }
        }
        world.pass(60 * SECOND).await;
        calm(&mut world, "in the end").await;
        assert_eq!(ready(&admin, "web").await.len(), 5);
    }
}

/// kubernetes/kubernetes#93374, #100033: a controller that does not see its own slices makes them again.
#[tokio::test(start_paused = true)]
async fn a_controller_whose_cache_of_slices_stands_still_makes_no_slice_twice() {
    let (mut world, admin) = cluster(1, Weather::default(), &["n1"]).await;
    world.site.hold("controllers", "/endpointslices");
    create(&admin, &SERVICES, &service("web", true)).await;
    create(&admin, &DEPLOYMENTS, &deployment("web", 3)).await;
    for replicas in [5, 2, 6] {
        world.pass(60 * SECOND).await;
        patch(&admin, &DEPLOYMENTS, "web", &json!({"spec": {"replicas": replicas}})).await;
    }
    world.pass(60 * SECOND).await;
    // One of each family.
    assert!(slices(&admin, "web").await.len() <= 2, "{}", world.laws.recent());
    world.site.release();
    world.pass(30 * SECOND).await;
    calm(&mut world, "released").await;
    assert_eq!(ready(&admin, "web").await.len(), 6);
}

/// kubernetes/kubernetes#125638: pods whose state changes fast leave Endpoints that are out of date.
#[tokio::test(start_paused = true)]
async fn pods_that_turn_ready_and_unready_fast_are_told_as_they_ended() {
    for seed in 1..4 {
        let weather = Weather { late: 500, lateness: Duration::from_millis(200), ..Weather::default() };
        let (mut world, admin) = cluster(seed, weather, &["n1"]).await;
        create(&admin, &SERVICES, &service("web", true)).await;
        create(&admin, &REPLICA_SETS, &replica_set("web", 3)).await;
        world.pass(30 * SECOND).await;
        world.kill_node("n1");
        let pods = admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects;
        for turn in 0..41 {
            for pod in &pods {
                let status = if turn % 2 == 0 { "False" } else { "True" };
                let flip = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
                let name = &pod.meta().name;
                admin.patch(&PODS, "default", name, "status", PatchKind::Strategic, &flip).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        world.pass(3 * SECOND).await;
        calm(&mut world, &format!("seed {seed}")).await;
        assert_eq!(ready(&admin, "web").await, [] as [String; 0]);
    }
}

/// kubernetes/kubernetes#125354, #112143: Endpoints that are made anew while nobody controls keep no slice of the old.
#[tokio::test(start_paused = true)]
async fn endpoints_that_are_made_anew_while_nobody_controls_are_mirrored_anew() {
    let (mut world, admin) = cluster(1, Weather::default(), &[]).await;
    create(&admin, &SERVICES, &service("db", false)).await;
    create(&admin, &ENDPOINTS, &addresses("db", "192.0.2.1")).await;
    world.pass(5 * SECOND).await;
    assert_eq!(ready(&admin, "db").await, ["192.0.2.1"]);
    world.kill_part("controllers");
    admin.delete(&ENDPOINTS, "default", "db", &DeleteOptions::default()).await.unwrap();
    create(&admin, &ENDPOINTS, &addresses("db", "192.0.2.1")).await;
    world.start_controllers(Weather::default());
    world.pass(60 * SECOND).await;
    assert_eq!(ready(&admin, "db").await, ["192.0.2.1"]);
    let owner = admin.get(&ENDPOINTS, "default", "db").await.unwrap().meta().uid.clone();
    assert_eq!(slices(&admin, "db").await[0].meta().owner_references[0].uid, owner);
    // And those of a Service that went meanwhile go (kubernetes/kubernetes#6877).
    world.kill_part("controllers");
    admin.delete(&SERVICES, "default", "db", &DeleteOptions::default()).await.unwrap();
    world.start_controllers(Weather::default());
    world.pass(60 * SECOND).await;
    assert!(admin.get(&ENDPOINTS, "default", "db").await.is_err());
    assert_eq!(slices(&admin, "db").await.len(), 0);
}

/// kubernetes/kubernetes#109414: the address of a pod that failed is another's, and the old one is told no more.
#[tokio::test(start_paused = true)]
async fn a_pod_that_failed_is_told_no_more_whatever_it_says_of_itself() {
    let (mut world, admin) = cluster(1, Weather::default(), &["n1"]).await;
    create(&admin, &SERVICES, &service("web", true)).await;
    create(&admin, &REPLICA_SETS, &replica_set("web", 2)).await;
    world.pass(30 * SECOND).await;
    world.kill_node("n1");
    let pods = admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects;
    let failed = json!({"status": {"phase": "Failed", "reason": "OutOfmemory"}});
    admin.patch(&PODS, "default", &pods[0].meta().name, "status", PatchKind::Merge, &failed).await.unwrap();
    world.pass(SECOND).await;
    calm(&mut world, "one failed").await;
    assert_eq!(ready(&admin, "web").await, [pods[1].meta().name.clone()]);
}
