//! Random clusters: for every seed the laws hold on every revision, whatever breaks meanwhile.
//!
//! `SIM_SEED=17 cargo test -p sim` replays one seed, `SIM_SEEDS=500` tries so many.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::Reason;
use api::resource::{NAMESPACES, NODES, PODS};
use client::{Cache, Client, DeleteOptions, ListOptions, Scope};
use serde_json::json;
use server::Component;
use sim::programs::{PROGRAMS, Program};
use sim::users::{User, account};
use sim::{Chance, Weather, World};

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(4)).collect(),
    }
}

/// Each seed on a runtime of its own, so that one's tasks do not reach into the next; the first one
/// twice, with the same history.
fn each_seed<F: Future<Output = u64>>(story: impl Fn(u64) -> F) {
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(story(seed))
    };
    for (n, seed) in seeds().into_iter().enumerate() {
        let first = run(seed);
        if n == 0 {
            assert_eq!(run(seed), first, "seed {seed} replays");
        }
    }
}

const STORMY: Weather = Weather {
    lost_requests: 30,
    lost_answers: 30,
    late: 200,
    lateness: Duration::from_millis(300),
    cut_watches: 20,
    refused_writes: 0,
};

async fn users_in_a_storm(seed: u64) -> u64 {
    let mut world = World::start(seed).await;
    let admin = world.client("admin", Component::Admin, Weather::default());
    for namespace in ["default", "team-a", "team-b"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let _ = admin.create(&NAMESPACES, "", &object).await;
        account(&admin, namespace).await.unwrap();
    }
    for node in ["n1", "n2"] {
        let capacity = json!({"cpu": "2", "memory": "4Gi", "pods": "10"});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node},
            "status": {"capacity": capacity, "allocatable": capacity, "conditions": ready}});
        let made = admin.create(&NODES, "", &object).await.unwrap();
        let mut status = made.value();
        status["status"] = object["status"].clone();
        status["spec"].as_object_mut().map(|spec| spec.remove("taints"));
        admin.update_sub(&NODES, "", node, "status", &status).await.unwrap();
    }
    world.start_scheduler(STORMY);
    let watcher = world.client("watcher", Component::Admin, STORMY);
    let cache = Cache::start(watcher, &PODS, Scope::default());
    let mut surprises = Vec::new();
    for n in 0..4 {
        let name = format!("user{n}");
        let user = User::new(world.client(&name, Component::Admin, STORMY), seed, &name);
        surprises.push(user.surprises());
        world.start_part(&name, user.work(60, Duration::from_millis(400)));
    }
    world.store_fails(20);
    let mut chance = Chance::new(seed, "story");
    for _ in 0..10 {
        world.pass(chance.pause(Duration::from_secs(3))).await;
        match chance.below(3) {
            0 => {
                world.kill_server();
                world.pass(chance.pause(Duration::from_secs(2))).await;
                world.start_server().await;
            }
            1 => world.start_scheduler(STORMY),
            _ => {}
        }
    }
    // The sky clears: everybody sees the same, and then nothing happens any more.
    world.store_fails(0);
    world.site.calm_down();
    world.pass(Duration::from_secs(120)).await;
    let surprises: Vec<String> = surprises.iter().flat_map(|list| list.lock().unwrap().clone()).collect();
    assert!(surprises.is_empty(), "seed {seed}: {surprises:#?}");
    let stored = world.store.list("pods/", None, usize::MAX, None).unwrap().entries;
    let (stored, cached): (Vec<_>, Vec<_>) =
        (stored.iter().map(|e| e.revision.0).collect(), cache.list().iter().map(|o| o.revision()).collect());
    if std::env::var_os("SIM_TALK").is_some() {
        eprintln!(
            "seed {seed}: {} revisions, {} requests, {} pods left",
            world.store.revision().0,
            world.site.requests(),
            stored.len()
        );
    }
    assert_eq!(cached, stored, "seed {seed}: the cache shows what the store holds");
    world.trace()
}

/// Until it is done, or there is nothing to delete.
async fn delete(world: &mut World, admin: &Client, name: &str, options: &DeleteOptions) {
    while let Err(status) = admin.delete(&PODS, "default", name, options).await {
        if status.reason == Reason::NotFound {
            return;
        }
        world.pass(Duration::from_millis(500)).await;
    }
}

async fn pods_in_a_storm(seed: u64) -> u64 {
    let mut world = World::start(seed).await;
    world.start_controllers(STORMY);
    world.start_scheduler(STORMY);
    let nodes = ["n1", "n2"];
    for node in nodes {
        world.start_node(node, STORMY);
    }
    let admin = world.client("admin", Component::Admin, Weather::default());
    world.pass(Duration::from_secs(20)).await;
    let mut chance = Chance::new(seed, "story");
    let pods = &*PODS;
    let mut alive: Vec<(String, &Program)> = Vec::new();
    let mut rebooted = false;
    let mut unknown: Vec<String> = Vec::new();
    world.store_fails(5);
    world.runtimes_lose(20);
    for turn in 0..16 {
        let program = chance.pick(PROGRAMS);
        let name = format!("{}-{turn}", program.name);
        let pod = program.pod(&name, chance.below(20));
        match admin.create(pods, "default", &pod).await {
            Ok(_) => alive.push((name, program)),
            // It may have happened or not, and be seen only after the next write: it must not stay.
            Err(status) if status.code >= 500 => unknown.push(name),
            Err(status) => panic!("seed {seed}: {status}"),
        }
        world.pass(chance.pause(Duration::from_secs(4))).await;
        match chance.below(11) {
            9 | 10 => {
                let node = *chance.pick(&nodes);
                world.kill_supervisor(node);
            }
            0 => {
                world.kill_server();
                world.pass(chance.pause(Duration::from_secs(3))).await;
                world.start_server().await;
            }
            1 => world.start_scheduler(STORMY),
            2 => world.start_controllers(STORMY),
            3 | 4 => {
                let node = *chance.pick(&nodes);
                world.kill_node(node);
                world.pass(chance.pause(Duration::from_secs(5))).await;
                world.start_node(node, STORMY);
            }
            5 => {
                let node = *chance.pick(&nodes);
                world.reboot(node);
                rebooted = true;
                world.pass(chance.pause(Duration::from_secs(5))).await;
                world.start_node(node, STORMY);
            }
            6 | 7 if !alive.is_empty() => {
                let (name, _) = alive.swap_remove(chance.below(alive.len() as u64) as usize);
                let grace = [None, None, Some(0), Some(3)][chance.below(4) as usize];
                let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
                delete(&mut world, &admin, &name, &options).await;
            }
            _ => {}
        }
    }
    world.store_fails(0);
    world.runtimes_lose(0);
    world.site.calm_down();
    world.pass(Duration::from_secs(20)).await;
    for name in unknown {
        delete(&mut world, &admin, &name, &DeleteOptions::default()).await;
    }
    // Ten minutes of back-off at most lie between a crash and its next run.
    world.pass(Duration::from_secs(700)).await;
    let mut seen: Vec<(String, String)> = Vec::new();
    for pod in admin.list(pods, "default", &ListOptions::default()).await.unwrap().objects {
        let phase = pod.value()["status"]["phase"].as_str().unwrap_or_default().to_string();
        seen.push((pod.meta().name.clone(), phase));
    }
    alive.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&String> = alive.iter().map(|(name, _)| name).collect();
    assert_eq!(seen.iter().map(|(name, _)| name).collect::<Vec<_>>(), names, "seed {seed}: what is there in the end");
    for ((name, program), (_, phase)) in alive.iter().zip(&seen) {
        let ended = phase == program.end || (rebooted && program.is_fragile() && phase == "Failed");
        assert!(ended, "seed {seed}: {name} is {phase}, not {}\n{}", program.end, world.story_of(name));
    }
    world.machines_hold_only(&seen.into_iter().map(|(name, _)| name).collect::<Vec<_>>()).await;
    if std::env::var_os("SIM_TALK").is_some() {
        eprintln!("seed {seed}: {} revisions, {} requests", world.store.revision().0, world.site.requests());
    }
    world.trace()
}

#[test]
fn pods_reach_their_end_in_every_storm() {
    each_seed(pods_in_a_storm);
}

#[test]
fn the_laws_hold_in_every_storm() {
    each_seed(users_in_a_storm);
}
