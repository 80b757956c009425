//! Workloads while everything breaks: their laws on every revision, and the same end whatever broke.
//!
//! `SIM_SEED=17` replays one seed, `SIM_SEEDS=500` tries so many, `SIM_ALL=1` every step.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::resource::PODS;
use api::{Reason, Resource, Status};
use client::{Client, ListOptions, PatchKind};
use serde_json::{Value, json};
use server::Component;
use sim::{Chance, Weather, World};
use store::Revision;

const SECOND: Duration = Duration::from_secs(1);
const CALM: Weather =
    Weather { lost_requests: 0, lost_answers: 0, late: 0, lateness: Duration::ZERO, cut_watches: 0, refused_writes: 0 };
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

fn run<F: Future>(story: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(story)
}

fn kind(plural: &str) -> &'static Resource {
    kinds::built_in().iter().find(|kind| kind.plural == plural && kind.group != "events.k8s.io").unwrap()
}

/// A pod's template; `program` is the puppet's.
fn template(app: &str, program: &str, restart: &str) -> Value {
    let argv: Vec<&str> = ["/bin/puppet"].into_iter().chain(program.split_whitespace()).collect();
    json!({"metadata": {"labels": {"app": app}}, "spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 2,
        "containers": [{"name": "c", "image": "toolbox", "imagePullPolicy": "IfNotPresent", "command": argv}]}})
}

fn selected(app: &str, mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": app}});
    spec["template"] = template(app, "--term-after 1", "Always");
    spec
}

/// One of each kind.
fn wanted() -> Vec<(&'static str, Value)> {
    let object = |kind: &str, name: &str, spec: Value| {
        let group = if kind.ends_with("Job") { "batch/v1" } else { "apps/v1" };
        json!({"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec})
    };
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    let job = |seconds: u32| template("job", &format!("--run {seconds} --exit 0"), "Never");
    vec![
        ("deployments", object("Deployment", "web", selected("web", json!({"replicas": 4, "strategy": rolling})))),
        ("statefulsets", object("StatefulSet", "db", selected("db", json!({"replicas": 2, "serviceName": "db"})))),
        ("daemonsets", object("DaemonSet", "agent", selected("agent", json!({})))),
        ("jobs", object("Job", "sum", json!({"completions": 5, "parallelism": 2, "template": job(3)}))),
        (
            "jobs",
            object(
                "Job",
                "index",
                json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed",
            "template": job(2)}),
            ),
        ),
        (
            "cronjobs",
            object(
                "CronJob",
                "tick",
                json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1, "jobTemplate": {"spec": {"template": job(4)}}}),
            ),
        ),
    ]
}

/// Until the server takes it.
async fn create(admin: &Client, plural: &str, object: &Value) {
    while let Err(status) = admin.create(kind(plural), "default", object).await {
        if status.reason == Reason::AlreadyExists {
            return;
        }
        tokio::time::sleep(SECOND / 2).await;
    }
}

async fn patch(admin: &Client, plural: &str, name: &str, patch: &Value) {
    while let Err(status) = admin.patch(kind(plural), "default", name, "", PatchKind::Merge, patch).await {
        assert!(is_passing(&status), "{plural} {name}: {status}");
        tokio::time::sleep(SECOND / 2).await;
    }
}

fn is_passing(status: &Status) -> bool {
    status.code >= 500 || status.reason == Reason::Conflict
}

/// A new template for these.
async fn roll(admin: &Client, turn: u64) {
    let change = json!({"spec": {"template": {"metadata": {"annotations": {"turn": turn.to_string()}}}}});
    for (plural, name) in [("deployments", "web"), ("statefulsets", "db"), ("daemonsets", "agent")] {
        patch(admin, plural, name, &change).await;
    }
}

/// What must be the same in the end, however it came to it.
async fn end(admin: &Client) -> Vec<String> {
    let mut lines = Vec::new();
    for (plural, name, fields) in [
        ("deployments", "web", &["replicas", "updatedReplicas", "availableReplicas"][..]),
        ("statefulsets", "db", &["replicas", "updatedReplicas", "availableReplicas"]),
        ("daemonsets", "agent", &["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]),
        ("jobs", "sum", &["succeeded", "failed", "active"]),
        ("jobs", "index", &["succeeded", "completedIndexes"]),
    ] {
        let status = admin.get(kind(plural), "default", name).await.unwrap().value()["status"].clone();
        let values: Vec<String> = fields.iter().map(|field| status[*field].to_string()).collect();
        lines.push(format!("{name} {}", values.join(" ")));
    }
    let pods = admin.list(&PODS, "default", &ListOptions::default()).await.unwrap().objects;
    for app in ["web", "db", "agent"] {
        let count = pods.iter().filter(|pod| pod.meta().labels.get("app") == Some(app)).count();
        lines.push(format!("{count} pods of {app}"));
    }
    lines
}

const END: &[&str] = &[
    "web 4 4 4",
    "db 2 2 2",
    "agent 2 2 2",
    "sum 5 null null",
    "index 3 \"0-2\"",
    "4 pods of web",
    "2 pods of db",
    "2 pods of agent",
];

async fn in_a_storm(seed: u64) -> u64 {
    let mut world = World::start(seed).await;
    world.start_controllers(STORMY);
    world.start_scheduler(STORMY);
    let nodes = ["n1", "n2"];
    for node in nodes {
        world.start_node(node, STORMY);
    }
    let admin = world.client("admin", Component::Admin, CALM);
    world.pass(20 * SECOND).await;
    for (plural, object) in wanted() {
        create(&admin, plural, &object).await;
    }
    let mut chance = Chance::new(seed, "story");
    world.store_fails(5);
    for turn in 0..10 {
        world.pass(chance.pause(8 * SECOND)).await;
        match chance.below(8) {
            0 | 1 => world.start_controllers(STORMY),
            2 => {
                world.kill_server();
                world.pass(chance.pause(3 * SECOND)).await;
                world.start_server().await;
            }
            3 => {
                let node = *chance.pick(&nodes);
                world.kill_node(node);
                world.pass(chance.pause(5 * SECOND)).await;
                world.start_node(node, STORMY);
            }
            4 => world.start_scheduler(STORMY),
            _ => roll(&admin, turn).await,
        }
    }
    world.store_fails(0);
    world.site.calm_down();
    // Ten minutes of back-off at most lie between a failure and what comes after.
    world.pass(700 * SECOND).await;
    let end = end(&admin).await;
    assert_eq!(end, END, "seed {seed}:\n{}", world.laws.recent());
    patch(&admin, "cronjobs", "tick", &json!({"spec": {"suspend": true}})).await;
    world.pass(120 * SECOND).await;
    world.laws.add_up();
    world.check().await;
    let revision = world.store.revision().0;
    world.site.listen();
    world.pass(100 * SECOND).await;
    let heard = world.site.heard();
    let other: Vec<&String> = heard.iter().filter(|line| !line.contains("/leases/") && !is_status(line)).collect();
    assert!(other.is_empty(), "seed {seed}: an idle cluster asks {other:#?}");
    if std::env::var_os("SIM_TALK").is_some() {
        let doubt = world.site.doubtful();
        eprintln!("seed {seed}: {revision} revisions, {} requests, {doubt} in doubt", world.site.requests());
    }
    world.trace()
}

/// Every five minutes a node says that it is still as it was.
fn is_status(line: &str) -> bool {
    line.contains("/nodes/") && line.contains("/status")
}

#[test]
fn the_laws_of_workloads_hold_in_every_storm() {
    for (n, seed) in seeds(2).into_iter().enumerate() {
        let first = run(in_a_storm(seed));
        if n == 0 && std::env::var_os("SIM_ALL").is_some() {
            assert_eq!(run(in_a_storm(seed)), first, "seed {seed} replays");
        }
    }
}

/// Two nodes and all workloads, in calm weather, under one of several who may control.
async fn cluster(candidates: &[&str]) -> (World, Client) {
    let mut world = World::start(1).await;
    match candidates {
        [] => world.start_controllers(CALM),
        _ => candidates.iter().for_each(|name| world.start_candidate(name, CALM)),
    }
    world.start_scheduler(CALM);
    world.start_node("n1", CALM);
    world.start_node("n2", CALM);
    let admin = world.client("admin", Component::Admin, CALM);
    world.pass(20 * SECOND).await;
    (world, admin)
}

/// They are made, and get another template while they come up.
async fn deeds(admin: Client) {
    for (plural, object) in wanted() {
        create(&admin, plural, &object).await;
    }
    tokio::time::sleep(6 * SECOND).await;
    roll(&admin, 1).await;
}

async fn finish(world: &mut World, admin: &Client, what: &str) {
    world.pass(200 * SECOND).await;
    assert_eq!(end(admin).await, END, "{what}\n{}", world.laws.recent());
    world.laws.add_up();
    world.check().await;
}

/// The revisions between which it all happens.
async fn unbroken() -> (u64, u64) {
    let (mut world, admin) = cluster(&[]).await;
    let begin = world.store.revision().0;
    deeds(admin.clone()).await;
    world.pass(30 * SECOND).await;
    let last = world.store.revision().0;
    finish(&mut world, &admin, "nothing was killed").await;
    (begin, last)
}

fn steps((begin, last): (u64, u64), usual: u64) -> impl Iterator<Item = u64> {
    let stride = if std::env::var_os("SIM_ALL").is_some() { 1 } else { ((last - begin) / usual).max(1) };
    (begin + 1..=last).step_by(stride as usize)
}

#[test]
fn workloads_come_to_the_same_end_wherever_a_part_is_killed() {
    let span = run(unbroken());
    for (n, step) in steps(span, 8).enumerate() {
        let turn = ["controllers", "server", "scheduler", "n1"];
        let parts = if std::env::var_os("SIM_ALL").is_some() { &turn[..] } else { &turn[n % 4..=n % 4] };
        for part in parts {
            run(killed_at(step, part));
        }
    }
}

async fn killed_at(step: u64, part: &str) {
    let (mut world, admin) = cluster(&[]).await;
    let deeds = tokio::spawn(deeds(admin.clone()));
    world.store.clone().reached(Revision(step)).await;
    match part {
        "server" => world.kill_server(),
        "n1" => world.kill_node(part),
        _ => world.kill_part(part),
    }
    world.pass(SECOND).await;
    match part {
        "server" => world.start_server().await,
        "n1" => world.start_node(part, CALM),
        "scheduler" => world.start_scheduler(CALM),
        _ => world.start_controllers(CALM),
    }
    deeds.await.unwrap();
    finish(&mut world, &admin, &format!("{part} was killed at revision {step}")).await;
}

/// The one that leads is killed, or hears and reaches nothing any more; the other takes over, and then the first again.
#[test]
fn of_two_controllers_one_leads_and_nothing_is_made_twice_as_they_change() {
    let span = run(unbroken());
    for (n, step) in steps(span, 6).enumerate() {
        run(async {
            let (mut world, admin) = cluster(&["a", "b"]).await;
            let deeds = tokio::spawn(deeds(admin.clone()));
            world.store.clone().reached(Revision(step)).await;
            let is_cut = n % 2 == 0;
            for name in ["a", "b"] {
                if is_cut {
                    world.site.cut_off(name);
                } else {
                    world.kill_part(name);
                }
                // A lease is good for fifteen seconds.
                world.pass(25 * SECOND).await;
                if is_cut {
                    world.site.rejoin();
                } else {
                    world.start_candidate(name, CALM);
                }
                world.pass(5 * SECOND).await;
            }
            deeds.await.unwrap();
            finish(&mut world, &admin, &format!("who led was lost at revision {step}")).await;
        });
    }
}

/// Of a schedule no time runs twice, and none of the hour that came again.
#[test]
fn a_clock_that_jumps_runs_no_time_twice() {
    for jump in [-3600, 3600, -90, 90] {
        run(async {
            let (mut world, admin) = cluster(&[]).await;
            let (plural, tick) = wanted().pop().unwrap();
            create(&admin, plural, &tick).await;
            world.pass(300 * SECOND).await;
            world.clock_jumps(jump);
            world.pass(300 * SECOND).await;
            world.start_controllers(CALM);
            world.pass(300 * SECOND).await;
            let jobs = admin.list(kind("jobs"), "default", &ListOptions::default()).await.unwrap().objects;
            assert!(!jobs.is_empty(), "a jump of {jump}");
        });
    }
}

/// A refusal in another's words is no end: it is tried again, and once nothing refuses it is done.
#[test]
fn what_refuses_with_conflicts_holds_nobody_up_for_ever() {
    for seed in seeds(2) {
        run(refused_for_minutes(seed, REFUSING, CALM));
        run(refused_for_minutes(seed, CALM, REFUSING));
    }
}

const REFUSING: Weather = Weather { refused_writes: 500, ..CALM };

async fn refused_for_minutes(seed: u64, controllers: Weather, others: Weather) {
    let mut world = World::start(seed).await;
    world.start_controllers(controllers);
    world.start_scheduler(others);
    world.start_node("n1", others);
    world.start_node("n2", others);
    let admin = world.client("admin", Component::Admin, CALM);
    world.pass(60 * SECOND).await;
    for (plural, object) in wanted() {
        create(&admin, plural, &object).await;
    }
    world.pass(60 * SECOND).await;
    for turn in 0..3 {
        roll(&admin, turn).await;
        world.pass(60 * SECOND).await;
    }
    world.site.calm_down();
    world.pass(150 * SECOND).await;
    assert_eq!(end(&admin).await, END, "seed {seed}\n{}", world.laws.recent());
}
