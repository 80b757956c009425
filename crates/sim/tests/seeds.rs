//! Random clusters: for every seed the laws hold on every revision, whatever breaks meanwhile.
//!
//! `SIM_SEED=17 cargo test -p sim` replays one seed, `SIM_SEEDS=500` tries so many.

use std::time::Duration;

use api::kind::by_kind;
use client::{Cache, Scope};
use serde_json::json;
use server::Component;
use sim::users::{User, account};
use sim::{Chance, Weather, World};

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (1..=count.unwrap_or(6)).collect(),
    }
}

/// Each seed on a runtime of its own, so that one's tasks do not reach into the next.
fn each_seed<F: Future<Output = u64>>(story: impl Fn(u64) -> F) -> Vec<u64> {
    let run = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(story(seed))
    };
    seeds().into_iter().map(run).collect()
}

const STORMY: Weather =
    Weather { lost_requests: 30, lost_answers: 30, late: 200, lateness: Duration::from_millis(300), cut_watches: 20 };

async fn users_in_a_storm(seed: u64) -> u64 {
    let mut world = World::start(seed).await;
    let admin = world.client("admin", Component::Admin, Weather::default());
    for namespace in ["default", "team-a", "team-b"] {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let _ = admin.create(by_kind("v1", "Namespace").unwrap(), "", &object).await;
        account(&admin, namespace).await.unwrap();
    }
    for node in ["n1", "n2"] {
        let capacity = json!({"cpu": "2", "memory": "4Gi", "pods": "10"});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node},
            "status": {"capacity": capacity, "allocatable": capacity, "conditions": ready}});
        let made = admin.create(by_kind("v1", "Node").unwrap(), "", &object).await.unwrap();
        let mut status = made.value();
        status["status"] = object["status"].clone();
        status["spec"].as_object_mut().map(|spec| spec.remove("taints"));
        admin.update_sub(by_kind("v1", "Node").unwrap(), "", node, "status", &status).await.unwrap();
    }
    world.start_scheduler(STORMY);
    let watcher = world.client("watcher", Component::Admin, STORMY);
    let cache = Cache::start(watcher, by_kind("v1", "Pod").unwrap(), Scope::default());
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

#[test]
fn the_laws_hold_in_every_storm() {
    let first = each_seed(users_in_a_storm);
    assert_eq!(each_seed(users_in_a_storm), first, "a seed replays");
}
