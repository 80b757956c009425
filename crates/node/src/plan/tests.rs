use expect_test::{Expect, expect};
use runtime::Phase;
use serde_json::json;

use super::*;
use crate::observe::Seen;
use crate::progress::{Hook, PostStart, ProbeState, Waiting};
use crate::tests::world::{World, at, created, exited, lost, running, sandbox};

fn check(world: &World, expected: Expect) {
    expected.assert_eq(&world.planned());
}

/// A world in which the pod's end has begun and every running container is being stopped.
fn ending(mut world: World, grace: i64) -> World {
    world.progress.begin_ending(at(10), grace, None);
    let ids: Vec<String> = world.seen.containers().map(|c| c.id.0.clone()).collect();
    for id in ids {
        world.progress.begin_stop(&id, at(10), grace, false);
    }
    world.at(10)
}

fn sidecar_world() -> World {
    World::new(json!({
        "restartPolicy": "Always",
        "initContainers": [
            {"name": "a", "image": "i", "restartPolicy": "Always"},
            {"name": "b", "image": "i", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "c", "image": "i"}],
    }))
}

#[test]
fn new_pod_gets_volumes_and_sandbox_side_by_side() {
    let mut world = World::simple("Always").bare();
    world.progress.volumes = Stage::New;
    check(
        &world,
        expect![[r#"
        PrepareVolumes
        RunSandbox { attempt: 0, changed: false }"#]],
    );
    world.progress.busy.extend([Job::Volumes, Job::Sandbox]);
    check(&world, expect![[r#""#]]);
}

#[test]
fn regular_containers_start_in_parallel_and_running_ones_need_nothing() {
    let spec = json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]});
    check(
        &World::new(spec.clone()),
        expect![[r#"
        Start { name: "c", attempt: 0, backoff: 0 }
        Start { name: "d", attempt: 0, backoff: 0 }"#]],
    );
    check(&World::new(spec).with(running("c", 0)).with(running("d", 0)), expect![[r#""#]]);
}

#[test]
fn restart_policy_decides_after_an_exit() {
    for (policy, code, starts) in
        [("Always", 0, true), ("Always", 1, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
    {
        let plan = World::simple(policy).with(exited("c", 0, code)).at(6).planned();
        assert_eq!(plan.contains("Start"), starts, "{policy} {code}: {plan}");
        assert_eq!(plan.contains("BeginEnding"), !starts, "{policy} {code}: {plan}");
    }
}

#[test]
fn container_rules_go_before_the_policy() {
    let world = |code| {
        World::new(json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i",
            "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]}))
        .with(exited("c", 0, code))
        .at(6)
    };
    check(&world(42), expect![[r#"Start { name: "c", attempt: 1, backoff: 10 }"#]]);
    check(&world(1), expect!["BeginEnding { grace: 30, verdict: None }"]);
}

#[test]
fn second_restart_waits_for_its_back_off_and_says_so_once() {
    let mut world = World::simple("Always").with(exited("c", 0, 1)).with(exited("c", 1, 1)).at(7);
    check(
        &world,
        expect![[r#"
        NoteWaiting { name: "c", why: CrashLoop, message: "back-off 10s restarting failed container=c pod=p_ns(u)" }
        wake at 15"#]],
    );
    let message = "back-off 10s restarting failed container=c pod=p_ns(u)".to_owned();
    world.progress.waiting.insert("c".into(), Waiting { why: Why::CrashLoop, message });
    check(&world, expect!["wake at 15"]);
    check(&world.at(15), expect![[r#"Start { name: "c", attempt: 2, backoff: 20 }"#]]);
}

#[test]
fn instances_beyond_two_are_forgotten() {
    let world = World::simple("Always").with(exited("c", 0, 1)).with(exited("c", 1, 1)).with(running("c", 2));
    check(&world, expect![[r#"RemoveContainer { id: "c0" }"#]]);
}

#[test]
fn created_but_never_started_is_made_anew() {
    check(&World::simple("Always").with(created("c", 0)), expect![[r#"RemoveContainer { id: "c0" }"#]]);
    let mut busy = World::simple("Always").with(created("c", 0));
    busy.progress.busy.insert(Job::Start("c".into()));
    check(&busy, expect![[r#""#]]);
}

#[test]
fn lost_sandbox_is_let_go_and_made_anew() {
    let mut world = World::simple("Always").with(lost("c", 3));
    world.seen.sandboxes[0].ready = false;
    world.progress.sandbox = Stage::Ready;
    check(&world, expect![[r#"StopSandbox { id: "s0" }"#]]);
    world.seen.attached.clear();
    check(&world, expect!["RunSandbox { attempt: 1, changed: true }"]);
    let old = world.seen.sandboxes[0].clone();
    world.seen = Seen::new(vec![old, sandbox("s1", 1, true)], vec!["s1".into()]);
    check(&world.at(60), expect![[r#"Start { name: "c", attempt: 4, backoff: 20 }"#]]);
}

#[test]
fn finished_containers_of_a_never_pod_are_not_run_in_a_new_sandbox() {
    let mut world = World::simple("Never").with(lost("c", 0));
    world.seen.sandboxes[0].ready = false;
    check(&world, expect!["BeginEnding { grace: 30, verdict: None }"]);
}

#[test]
fn changed_image_replaces_that_container_only() {
    let spec = json!({"restartPolicy": "Never",
        "containers": [{"name": "c", "image": "new"}, {"name": "d", "image": "i"}]});
    let mut world = World::new(spec).with(running("c", 0)).with(running("d", 0));
    check(
        &world,
        expect![[
            r#"BeginStop { id: "c0", name: "c", grace: 30, message: "Container c definition changed, will be restarted", replace: true }"#
        ]],
    );
    world.progress.begin_stop("c0", at(0), 30, true);
    world.seen.sandboxes[0].containers[0] = exited("c", 0, 143);
    check(&world.at(6), expect![[r#"Start { name: "c", attempt: 1, backoff: 10 }"#]]);
}

#[test]
fn init_containers_run_one_after_the_other() {
    let spec = json!({"restartPolicy": "Never",
        "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}]});
    check(&World::new(spec.clone()), expect![[r#"Start { name: "a", attempt: 0, backoff: 0 }"#]]);
    check(&World::new(spec.clone()).with(running("a", 0)), expect![[r#""#]]);
    check(
        &World::new(spec.clone()).with(exited("a", 0, 0)),
        expect![[r#"Start { name: "b", attempt: 0, backoff: 0 }"#]],
    );
    let done = World::new(spec.clone()).with(exited("a", 0, 0)).with(exited("b", 0, 0));
    check(&done, expect![[r#"Start { name: "c", attempt: 0, backoff: 0 }"#]]);
    check(&World::new(spec.clone()).with(exited("a", 0, 1)), expect!["BeginEnding { grace: 30, verdict: None }"]);
    // Pruned init containers do not run again once a regular one exists.
    check(&World::new(spec).with(running("c", 0)), expect![[r#""#]]);
}

#[test]
fn failing_init_container_restarts_only_itself() {
    let spec = json!({"restartPolicy": "OnFailure",
        "initContainers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}],
        "containers": [{"name": "c", "image": "i"}]});
    let world = World::new(spec).with(exited("a", 0, 0)).with(exited("b", 0, 1)).at(6);
    check(&world, expect![[r#"Start { name: "b", attempt: 1, backoff: 10 }"#]]);
}

#[test]
fn sidecar_lets_its_follower_start_once_it_has_started() {
    check(&sidecar_world(), expect![[r#"Start { name: "a", attempt: 0, backoff: 0 }"#]]);
    check(&sidecar_world().with(running("a", 0)), expect![[r#"Start { name: "b", attempt: 0, backoff: 0 }"#]]);
    let mut world = sidecar_world().with(running("a", 0)).with(running("b", 0));
    check(&world, expect![[r#"Start { name: "c", attempt: 0, backoff: 0 }"#]]);
    // A startup probe gates it.
    world.pod["spec"]["initContainers"][1]["startupProbe"] = json!({"exec": {"command": ["x"]}, "periodSeconds": 1});
    check(&world.at(1), expect![[r#"Probe { id: "b0", name: "b", kind: Startup }"#]]);
    // A crashed earlier one is restarted without holding up the rest.
    let crashed = sidecar_world().with(exited("a", 0, 1)).with(running("b", 0)).at(6);
    check(
        &crashed,
        expect![[r#"
        Start { name: "a", attempt: 1, backoff: 10 }
        Start { name: "c", attempt: 0, backoff: 0 }"#]],
    );
}

#[test]
fn failed_probes_stop_the_container_with_their_own_grace() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "livenessProbe": {
        "exec": {"command": ["x"]}, "initialDelaySeconds": 4, "periodSeconds": 10, "terminationGracePeriodSeconds": 5}}]});
    let mut world = World::new(spec).with(running("c", 0));
    check(&world, expect!["wake at 5"]);
    let failed = ProbeState { result: Some(false), ..Default::default() };
    world.progress.probes.insert(("c0".into(), ProbeKind::Liveness), failed);
    check(
        &world,
        expect![[
            r#"BeginStop { id: "c0", name: "c", grace: 5, message: "Container c failed liveness probe, will be restarted", replace: false }"#
        ]],
    );
}

#[test]
fn failed_post_start_hook_stops_the_container() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.progress.post_start.insert("c0".into(), PostStart::Failed);
    check(
        &world,
        expect![[r#"BeginStop { id: "c0", name: "c", grace: 30, message: "FailedPostStartHook", replace: false }"#]],
    );
}

#[test]
fn deletion_announces_signals_and_kills_after_the_grace() {
    let world = World::simple("Always").with(running("c", 0)).deleting(20);
    check(&world, expect!["BeginEnding { grace: 20, verdict: None }"]);
    let mut world = world;
    world.progress.begin_ending(at(10), 20, None);
    check(
        &world,
        expect![[r#"BeginStop { id: "c0", name: "c", grace: 20, message: "Stopping container c", replace: false }"#]],
    );
    let mut world = ending(world, 20);
    check(&world, expect![[r#"StopSignal { id: "c0", kill_after: 20 }"#]]);
    let stop = world.progress.stops.get_mut("c0").unwrap();
    (stop.signalled, stop.kill_at) = (Some(at(10)), Some(at(30)));
    check(&world, expect!["wake at 30"]);
    check(&world.at(30), expect![[r#"Kill { id: "c0" }"#]]);
}

#[test]
fn hook_time_is_taken_off_but_two_seconds_always_remain() {
    let spec = json!({"containers": [{"name": "c", "image": "i",
        "lifecycle": {"preStop": {"exec": {"command": ["x"]}}}}]});
    let mut world = ending(World::new(spec).with(running("c", 0)).deleting(30), 30);
    check(&world, expect![[r#"PreStop { id: "c0", name: "c", budget: 30 }"#]]);
    for (hook, now, expected) in [
        (Hook::Running, 15, "wake at 40"),
        (Hook::Done(at(15)), 15, r#"StopSignal { id: "c0", kill_after: 25 }"#),
        (Hook::Done(at(39)), 39, r#"StopSignal { id: "c0", kill_after: 2 }"#),
        (Hook::Running, 40, r#"StopSignal { id: "c0", kill_after: 2 }"#),
    ] {
        world.progress.stops.get_mut("c0").unwrap().hook = hook;
        world.now = at(now);
        assert_eq!(world.planned(), expected);
    }
}

#[test]
fn forced_deletion_still_gives_two_seconds() {
    let world = World::simple("Always").with(running("c", 0)).deleting(0);
    check(&world, expect!["BeginEnding { grace: 1, verdict: None }"]);
    check(&ending(world, 1), expect![[r#"StopSignal { id: "c0", kill_after: 2 }"#]]);
}

#[test]
fn shorter_grace_takes_effect_at_once_and_a_longer_one_never() {
    let mut world = ending(World::simple("Always").with(running("c", 0)).deleting(100), 100);
    let stop = world.progress.stops.get_mut("c0").unwrap();
    (stop.signalled, stop.kill_at) = (Some(at(10)), Some(at(110)));
    let mut world = world.deleting(5).at(20);
    check(&world, expect!["BeginEnding { grace: 5, verdict: None }"]);
    world.progress.begin_ending(at(20), 5, None);
    check(&world, expect!["wake at 25"]);
    check(&world.deleting(500), expect!["wake at 25"]);
}

#[test]
fn sidecars_end_after_the_regular_ones_in_reverse_order() {
    let world = sidecar_world().with(running("a", 0)).with(running("b", 0)).with(running("c", 0)).deleting(30);
    let mut world = ending(world, 30);
    check(
        &world,
        expect![[r#"
        StopSignal { id: "c0", kill_after: 30 }
        wake at 40"#]],
    );
    world.seen.sandboxes[0].containers[2] = exited("c", 0, 0);
    check(
        &world,
        expect![[r#"
        StopSignal { id: "b0", kill_after: 30 }
        wake at 40"#]],
    );
    world.seen.sandboxes[0].containers[1] = exited("b", 0, 0);
    world.now = at(25);
    check(&world, expect![[r#"StopSignal { id: "a0", kill_after: 15 }"#]]);
}

#[test]
fn at_expiry_all_sidecars_get_the_signal_and_two_seconds() {
    let world = sidecar_world().with(running("a", 0)).with(running("b", 0)).with(running("c", 0)).deleting(30);
    let mut world = ending(world, 30).at(40);
    let stop = world.progress.stops.get_mut("c0").unwrap();
    (stop.signalled, stop.kill_at) = (Some(at(10)), Some(at(40)));
    check(
        &world,
        expect![[r#"
        StopSignal { id: "a0", kill_after: 2 }
        StopSignal { id: "b0", kill_after: 2 }
        Kill { id: "c0" }"#]],
    );
}

#[test]
fn sidecar_that_ends_while_its_pod_ends_stays_ended() {
    let world = sidecar_world().with(exited("a", 0, 1)).with(running("b", 0)).with(running("c", 0)).deleting(30);
    let mut world = ending(world, 30);
    world.progress.stops.get_mut("c0").unwrap().signalled = Some(at(10));
    check(&world, expect!["wake at 40"]);
}

/// Upstream stops and starts in one step, in which it has not seen that end yet: each back-off comes one
/// instance later than after an end of its own.
#[test]
fn container_that_the_node_stopped_is_judged_by_the_one_before() {
    let stopped = |world: World, id: &str| {
        let mut world = world;
        world.progress.begin_stop(id, at(4), 1, false);
        world
    };
    let first = stopped(World::simple("Always").with(exited("c", 0, 137)).at(5), "c0");
    check(&first, expect![[r#"Start { name: "c", attempt: 1, backoff: 0 }"#]]);
    // Neither has waited yet.
    let mut second = World::simple("Always").with(exited("c", 0, 137)).with(exited("c", 1, 137)).at(5);
    second.seen.sandboxes[0].containers[1].spec.annotations.insert(crate::pod::NOTE_BACKOFF.into(), "0".into());
    check(&stopped(second, "c1"), expect![[r#"Start { name: "c", attempt: 2, backoff: 10 }"#]]);
    // The one before ended less than the back-off ago: this one waits, from its own end.
    let third = || stopped(World::simple("Always").with(exited("c", 1, 137)).with(exited("c", 2, 137)), "c2");
    assert!(third().at(14).planned().ends_with("wake at 15"), "{}", third().at(14).planned());
    check(&third().at(15), expect![[r#"Start { name: "c", attempt: 3, backoff: 20 }"#]]);
    // More than that ago: at once.
    let mut late = third().at(60);
    let Phase::Exited { exit, .. } = &mut late.seen.sandboxes[0].containers[1].phase else { unreachable!() };
    exit.finished_at += 55_000_000_000;
    check(&late, expect![[r#"Start { name: "c", attempt: 3, backoff: 20 }"#]]);
    // A failed hook is part of the start.
    let mut hooked = first;
    hooked.progress.post_start.insert("c0".into(), PostStart::Failed);
    check(&hooked, expect![[r#"Start { name: "c", attempt: 1, backoff: 10 }"#]]);
}

#[test]
fn everything_goes_once_all_has_stopped_and_the_object_last() {
    let mut world = ending(World::simple("Always").with(exited("c", 0, 0)).deleting(30), 30);
    check(
        &world,
        expect![[r#"
        StopSandbox { id: "s0" }
        TeardownVolumes"#]],
    );
    world.seen.sandboxes[0].ready = false;
    world.seen.attached.clear();
    world.progress.torn_down = true;
    check(&world, expect![[r#""#]]);
    world.settled = true;
    check(&world, expect!["Finish"]);
    world.progress.busy.insert(Job::Finish);
    check(&world, expect![[r#""#]]);
}

#[test]
fn finished_pod_lets_its_sandbox_go_and_stays() {
    let mut world = ending(World::simple("Never").with(exited("c", 0, 0)), 30);
    check(
        &world,
        expect![[r#"
        StopSandbox { id: "s0" }
        TeardownVolumes"#]],
    );
    world.seen.sandboxes[0].ready = false;
    world.seen.attached.clear();
    world.progress.torn_down = true;
    world.settled = true;
    check(&world, expect![[r#""#]]);
}

#[test]
fn pod_unknown_to_the_server_is_ended_shortly() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.wanted = false;
    check(&world, expect!["BeginEnding { grace: 1, verdict: None }"]);
}

#[test]
fn deadline_ends_the_pod_as_failed() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.pod["spec"]["activeDeadlineSeconds"] = json!(60);
    check(&world, expect!["wake at 60"]);
    check(
        &world.at(60),
        expect![[
            r#"BeginEnding { grace: 30, verdict: Some(Verdict { cause: DeadlineExceeded, message: "Pod was active on the node longer than the specified deadline", disruption: false }) }"#
        ]],
    );
}

#[test]
fn pull_back_off_holds_the_start() {
    let mut world = World::simple("Always").at(3);
    let delay = jiff::SignedDuration::from_secs(10);
    let pull = crate::progress::PullBackoff { delay, until: at(12), error: "no such host".into() };
    world.progress.pulls.insert("i".into(), pull);
    check(
        &world,
        expect![[r#"
        NoteWaiting { name: "c", why: PullBackOff { image: "i" }, message: "Back-off pulling image \"i\": ErrImagePull: no such host" }
        wake at 12"#]],
    );
    check(&world.at(12), expect![[r#"Start { name: "c", attempt: 0, backoff: 0 }"#]]);
}

#[test]
fn ephemeral_container_starts_beside_a_running_init_container() {
    let spec = json!({"initContainers": [{"name": "a", "image": "i"}], "containers": [{"name": "c", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i"}]});
    check(&World::new(spec).with(running("a", 0)), expect![[r#"Start { name: "e", attempt: 0, backoff: 0 }"#]]);
}

#[test]
fn ephemeral_container_runs_once_also_where_the_agent_died_before_its_start() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i"}]});
    let world = || World::new(spec.clone()).with(running("c", 0));
    check(&world().with(created("e", 0)), expect![[r#"RemoveContainer { id: "e0" }"#]]);
    let mut busy = world().with(created("e", 0));
    busy.progress.busy.insert(Job::Start("e".into()));
    check(&busy, expect![[r#""#]]);
    check(&world().with(running("e", 0)), expect![[r#""#]]);
    check(&world().with(exited("e", 0, 1)).at(60), expect![[r#""#]]);
}

/// Which no cgroup shows: of memory none does, of processor time not the last thousandths.
#[test]
fn request_that_changes_restarts_a_container_whose_policy_says_so() {
    let spec = |memory: &str, policy: &str| {
        json!({"containers": [{"name": "c", "image": "i",
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}],
            "resources": {"requests": {"cpu": "100m", "memory": memory}, "limits": {"memory": "64Mi"}}}]})
    };
    let step = |policy: &str, noted: Option<&str>| {
        let pod = serde_json::from_value(World::new(spec("32Mi", policy)).pod).unwrap();
        let part = &crate::pod::parts(&pod)[0];
        let mut c = running("c", 0);
        c.spec.resources = crate::spec::cgroup::container_resources(&pod, part.spec.resources.as_ref());
        if let Some(noted) = noted {
            let given = &spec(noted, policy)["containers"][0]["resources"];
            c.spec.annotations.insert(crate::pod::NOTE_RESOURCES.into(), given.to_string());
        }
        super::resize::step(&pod, part, &c)
    };
    use super::resize::Step;
    assert_eq!(step("RestartContainer", Some("48Mi")), Step::Restart);
    assert_eq!(step("RestartContainer", Some("32Mi")), Step::Nothing);
    assert_eq!(step("RestartContainer", None), Step::Nothing, "nobody knows");
    assert_eq!(step("NotRequired", Some("48Mi")), Step::Nothing);
}
