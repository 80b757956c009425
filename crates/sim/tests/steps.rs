//! One small story, broken at every step (law 10). The end is the same wherever a part is killed and
//! whichever commit fails.
//!
//! `cargo test` tries every ninth step, `SIM_ALL=1` every one.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::time::Duration;

use api::resource::PODS;
use api::{Reason, Resource};
use client::{Client, DeleteOptions, ListOptions};
use serde_json::{Value, json};
use server::Component;
use sim::{Weather, World};
use store::{Fault, Revision};

fn pods() -> &'static Resource {
    &PODS
}

fn run<F: Future>(story: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(story)
}

async fn cluster() -> (World, Client) {
    let mut world = World::start(1).await;
    world.start_controllers(Weather::default());
    world.start_scheduler(Weather::default());
    world.start_node("n1", Weather::default());
    let admin = world.client("admin", Component::Admin, Weather::default());
    world.pass(Duration::from_secs(10)).await;
    (world, admin)
}

fn pod(name: &str, restart: &str, init: &[&str], words: &[&str]) -> Value {
    let container = |name: &str, words: &[&str]| {
        let argv: Vec<&str> = ["/bin/puppet"].iter().chain(words).copied().collect();
        json!({"name": name, "image": "toolbox", "imagePullPolicy": "IfNotPresent", "command": argv})
    };
    let mut spec = json!({"restartPolicy": restart, "terminationGracePeriodSeconds": 4,
        "containers": [container("c", words)]});
    if !init.is_empty() {
        spec["initContainers"] = json!([container("first", init)]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// What people do: three pods are made, one of them is deleted. Whoever is refused tries again.
async fn deeds(admin: Client) {
    let wanted = [
        pod("job", "Never", &["--run", "1", "--exit", "0"], &["--run", "2", "--exit", "5"]),
        pod("web", "Always", &[], &["--term-after", "1"]),
        pod("going", "Always", &[], &["--ignore-term"]),
    ];
    for object in &wanted {
        while let Err(status) = admin.create(pods(), "default", object).await {
            if status.reason == Reason::AlreadyExists {
                break;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    loop {
        match admin.delete(pods(), "default", "going", &DeleteOptions::default()).await {
            Ok(_) => return,
            Err(status) if status.reason == Reason::NotFound => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(700)).await,
        }
    }
}

/// All that must be the same in the end.
async fn end(world: &mut World, admin: &Client) -> String {
    world.pass(Duration::from_secs(400)).await;
    let mut lines = Vec::new();
    for pod in admin.list(pods(), "default", &ListOptions::default()).await.unwrap().objects {
        let status = &pod.value()["status"];
        let container = &status["containerStatuses"][0];
        let code = &container["state"]["terminated"]["exitCode"];
        lines.push(format!(
            "{} {} exit {code} restarts {}",
            pod.meta().name,
            status["phase"],
            container["restartCount"]
        ));
    }
    world.machines_hold_only(&["job".into(), "web".into()]).await;
    lines.join("\n")
}

const END: &str = "job \"Failed\" exit 5 restarts 0\nweb \"Running\" exit null restarts 0";

/// The story without a fault: its end, and the revisions between which it happens.
async fn unbroken() -> (u64, u64) {
    let (mut world, admin) = cluster().await;
    let begin = world.store.revision().0;
    deeds(admin.clone()).await;
    world.pass(Duration::from_secs(30)).await;
    let last = world.store.revision().0;
    assert_eq!(end(&mut world, &admin).await, END);
    (begin, last)
}

fn steps(begin: u64, last: u64) -> impl Iterator<Item = u64> {
    let stride = if std::env::var_os("SIM_ALL").is_some() { 1 } else { 9 };
    (begin + 1..=last).step_by(stride)
}

#[test]
fn a_part_killed_at_any_step_changes_nothing_in_the_end() {
    let (begin, last) = run(unbroken());
    for step in steps(begin, last) {
        for part in ["n1", "scheduler", "controllers", "server"] {
            run(async {
                let (mut world, admin) = cluster().await;
                let deeds = tokio::spawn(deeds(admin.clone()));
                world.store.clone().reached(Revision(step)).await;
                match part {
                    "n1" => world.kill_node(part),
                    "server" => world.kill_server(),
                    _ => world.kill_part(part),
                }
                world.pass(Duration::from_secs(2)).await;
                match part {
                    "n1" => world.start_node(part, Weather::default()),
                    "server" => world.start_server().await,
                    "scheduler" => world.start_scheduler(Weather::default()),
                    _ => world.start_controllers(Weather::default()),
                }
                deeds.await.unwrap();
                let end = end(&mut world, &admin).await;
                assert_eq!(end, END, "{part} was killed at revision {step}\n{}", world.story_of("job"));
            });
        }
    }
}

#[test]
fn a_commit_that_fails_changes_nothing_in_the_end() {
    let (begin, last) = run(unbroken());
    for (step, fault) in steps(begin, last).zip([Fault::Refuse, Fault::Lose, Fault::Keep].into_iter().cycle()) {
        run(async {
            let (mut world, admin) = cluster().await;
            world.nth_commit_fails(step, fault);
            deeds(admin.clone()).await;
            let end = end(&mut world, &admin).await;
            assert_eq!(end, END, "commit {step}: {fault:?}\n{}", world.story_of("job"));
        });
    }
}

/// Pods that crash, and pods with hooks; one of them is deleted.
async fn hooks_and_crashes(admin: Client) {
    let hook = |words: &[&str]| json!({"exec": {"command": words}});
    let hooks = json!({"postStart": hook(&["/bin/sleep", "3"]), "preStop": hook(&["/bin/sleep", "2"])});
    let mut hooked = [pod("once", "Never", &[], &["--run", "20", "--exit", "0"]), pod("bye", "Never", &[], &[])];
    hooked.iter_mut().for_each(|pod| pod["spec"]["containers"][0]["lifecycle"] = hooks.clone());
    hooked[1]["spec"]["terminationGracePeriodSeconds"] = json!(15);
    let crash = pod("crash", "Always", &[], &["--run", "1", "--exit", "3"]);
    for object in hooked.iter().chain([&crash]) {
        admin.create(pods(), "default", object).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    admin.delete(pods(), "default", "bye", &DeleteOptions::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// All that must be the same; how often it crashed in between is not.
async fn calm_end(world: &mut World, admin: &Client) -> Vec<(String, String)> {
    world.pass(Duration::from_secs(60)).await;
    world.machines_hold_only(&["once".into(), "crash".into()]).await;
    let listed = admin.list(pods(), "default", &ListOptions::default()).await.unwrap().objects;
    let phase = |pod: &api::Object| pod.value()["status"]["phase"].as_str().unwrap_or_default().to_owned();
    listed.iter().map(|pod| (pod.meta().name.clone(), phase(pod))).collect()
}

fn calm() -> Vec<(String, String)> {
    [("crash", "Running"), ("once", "Succeeded")].map(|(name, phase)| (name.into(), phase.into())).into()
}

#[test]
fn no_hook_is_cut_and_no_restart_uncounted_wherever_the_agent_is_killed() {
    let (begin, last) = run(async {
        let (mut world, admin) = cluster().await;
        let begin = world.store.revision().0;
        hooks_and_crashes(admin.clone()).await;
        let last = world.store.revision().0;
        assert_eq!(calm_end(&mut world, &admin).await, calm());
        (begin, last)
    });
    for step in begin + 1..=last {
        run(async {
            let (mut world, admin) = cluster().await;
            let deeds = tokio::spawn(hooks_and_crashes(admin.clone()));
            world.store.clone().reached(Revision(step)).await;
            world.kill_node("n1");
            world.pass(Duration::from_millis(100)).await;
            world.start_node("n1", Weather::default());
            deeds.await.unwrap();
            let end = calm_end(&mut world, &admin).await;
            assert_eq!(end, calm(), "killed at revision {step}\n{}", world.story_of("once"));
        });
    }
}

#[test]
fn a_supervisor_killed_again_and_again_cuts_no_hook_and_ends_no_container() {
    for pause in [70, 500, 1900] {
        run(async {
            let (mut world, admin) = cluster().await;
            let deeds = tokio::spawn(hooks_and_crashes(admin.clone()));
            for _ in 0..20_000 / pause {
                world.pass(Duration::from_millis(pause)).await;
                world.kill_supervisor("n1");
            }
            deeds.await.unwrap();
            let end = calm_end(&mut world, &admin).await;
            assert_eq!(end, calm(), "killed every {pause} ms\n{}", world.story_of("once"));
        });
    }
}

#[test]
fn logs_go_though_the_agent_died_between_a_pods_sandbox_and_them() {
    run(async {
        let (mut world, admin) = cluster().await;
        admin.create(pods(), "default", &pod("web", "Always", &[], &[])).await.unwrap();
        world.pass(Duration::from_secs(5)).await;
        world.machines["n1"].losses.dies_removing.store(true, std::sync::atomic::Ordering::SeqCst);
        // At once: nobody at the server knows of it any more.
        let forced = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        admin.delete(pods(), "default", "web", &forced).await.unwrap();
        world.pass(Duration::from_secs(10)).await;
        world.kill_node("n1");
        assert_eq!(world.machines["n1"].logs().0.len(), 1);
        world.start_node("n1", Weather::default());
        world.pass(Duration::from_secs(10)).await;
        world.machines_hold_only(&[]).await;
    });
}

/// What was made in a sandbox and had not run when the machine went down stays on its list.
#[test]
fn a_machine_that_reboots_at_any_step_of_a_pods_start_ends_it_all_the_same() {
    let (begin, last) = run(async {
        let (mut world, admin) = cluster().await;
        let begin = world.store.revision().0;
        admin.create(pods(), "default", &pod("web", "Always", &[], &[])).await.unwrap();
        world.pass(Duration::from_secs(5)).await;
        (begin, world.store.revision().0)
    });
    for step in begin + 1..=last {
        run(async {
            let (mut world, admin) = cluster().await;
            admin.create(pods(), "default", &pod("web", "Always", &[], &[])).await.unwrap();
            world.store.clone().reached(Revision(step)).await;
            world.reboot("n1");
            world.pass(Duration::from_millis(100)).await;
            world.start_node("n1", Weather::default());
            for _ in 0..10 {
                world.pass(Duration::from_secs(1)).await;
            }
            admin.delete(pods(), "default", "web", &DeleteOptions::default()).await.unwrap();
            world.pass(Duration::from_secs(30)).await;
            let left = admin.list(pods(), "default", &ListOptions::default()).await.unwrap().objects;
            assert!(left.is_empty(), "rebooted at revision {step}\n{}", world.story_of("web"));
            world.machines_hold_only(&[]).await;
        });
    }
}

/// Else the agent after a kill would tell of an earlier instance as if it were the last.
#[test]
fn the_latest_of_a_pods_sandboxes_goes_last() {
    run(async {
        let (mut world, admin) = cluster().await;
        admin.create(pods(), "default", &pod("web", "Always", &[], &[])).await.unwrap();
        world.pass(Duration::from_secs(5)).await;
        world.reboot("n1");
        world.start_node("n1", Weather::default());
        world.pass(Duration::from_secs(20)).await;
        world.machines["n1"].losses.dies_removing.store(true, std::sync::atomic::Ordering::SeqCst);
        let before = runtime::Engine::list(&*world.machines["n1"].engine).await.unwrap();
        admin.delete(pods(), "default", "web", &DeleteOptions::default()).await.unwrap();
        world.pass(Duration::from_secs(20)).await;
        let left = runtime::Engine::list(&*world.machines["n1"].engine).await.unwrap();
        let latest = before.iter().max_by_key(|sandbox| sandbox.created_at).map(|sandbox| &sandbox.id);
        assert_eq!((before.len(), left.iter().map(|s| &s.id).collect::<Vec<_>>()), (2, latest.into_iter().collect()));
        world.kill_node("n1");
        world.start_node("n1", Weather::default());
        world.pass(Duration::from_secs(20)).await;
        world.machines_hold_only(&[]).await;
    });
}
