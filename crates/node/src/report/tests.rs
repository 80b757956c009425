use runtime::ContainerId;
use serde_json::{Value, json};

use super::*;
use crate::observe::Seen;
use crate::progress::{Cause, PostStart, ProbeKind, ProbeState, Stage, Verdict, Waiting, Why};
use crate::tests::world::{World, at, created, exited, lost, running, sandbox};

fn status(world: &World) -> Value {
    serde_json::to_value(world.situation(report)).unwrap()
}

fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == type_).unwrap()
}

fn phase(world: &World) -> String {
    status(world)["phase"].as_str().unwrap().to_owned()
}

#[test]
fn phases_follow_the_containers() {
    let two = |policy: &str| {
        World::new(json!({"restartPolicy": policy,
            "containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}))
    };
    assert_eq!(phase(&two("Always")), "Pending");
    // One that cannot start keeps the whole pod Pending.
    assert_eq!(phase(&two("Always").with(running("c", 0))), "Pending");
    assert_eq!(phase(&two("Always").with(running("c", 0)).with(running("d", 0))), "Running");
    assert_eq!(phase(&two("Never").with(running("c", 0)).with(exited("d", 0, 1))), "Running");
    assert_eq!(phase(&two("Never").with(exited("c", 0, 0)).with(exited("d", 0, 1))), "Failed");
    assert_eq!(phase(&two("OnFailure").with(exited("c", 0, 0)).with(exited("d", 0, 1))), "Running");
    assert_eq!(phase(&two("OnFailure").with(exited("c", 0, 0)).with(exited("d", 0, 0))), "Succeeded");
    assert_eq!(phase(&two("Always").with(exited("c", 0, 0)).with(exited("d", 0, 0))), "Running");
}

#[test]
fn init_containers_decide_until_regular_ones_run() {
    let world = |policy: &str| {
        World::new(json!({"restartPolicy": policy, "initContainers": [{"name": "a", "image": "i"}],
            "containers": [{"name": "c", "image": "i"}]}))
    };
    assert_eq!(phase(&world("Always").with(running("a", 0))), "Pending");
    assert_eq!(phase(&world("Always").with(exited("a", 0, 1))), "Pending");
    assert_eq!(phase(&world("Never").with(exited("a", 0, 1))), "Failed");
    let ready = status(&world("Always").with(exited("a", 0, 0)).with(running("c", 0)));
    assert_eq!(ready["phase"], "Running");
    assert_eq!(ready["initContainerStatuses"][0]["ready"], true);
    let waiting = status(&world("Always").with(running("a", 0)));
    assert_eq!(waiting["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    let initialized = condition(&waiting, "Initialized");
    assert_eq!(initialized["reason"], "ContainersNotInitialized");
    assert_eq!(initialized["message"], "containers with incomplete status: [a]");
    let mut again = world("Always").with(running("a", 0));
    again.pod["status"]["conditions"] = json!([{"type": "Initialized", "status": "True"}]);
    assert_eq!(condition(&status(&again), "Initialized")["status"], "True");
}

#[test]
fn terminal_phases_and_their_reason_never_change() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.pod["status"] = json!({"phase": "Failed", "reason": "Evicted", "message": "m"});
    let status = status(&world);
    assert_eq!(
        (&status["phase"], &status["reason"], &status["message"]),
        (&json!("Failed"), &json!("Evicted"), &json!("m"))
    );
}

/// As a stock kubelet tells it (kubelet.go rejectPod): nothing of the pod ever was.
#[test]
fn a_refused_pod_has_a_phase_a_reason_and_a_message_and_nothing_else() {
    let mut world = World::simple("Always").bare();
    world.pod["status"] = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "example.com/own", "status": "True"}]});
    let (reason, message) = ("OutOfcpu".to_owned(), "why".to_owned());
    world.progress.refused = Some(Verdict { cause: Cause::Refused(reason), message, disruption: false });
    let refused = status(&world);
    let mut keys: Vec<&str> = refused.as_object().unwrap().keys().map(String::as_str).collect();
    keys.retain(|key| *key != "observedGeneration");
    assert_eq!(keys, ["conditions", "message", "phase", "qosClass", "reason", "startTime"]);
    assert_eq!((&refused["phase"], &refused["reason"]), (&json!("Failed"), &json!("OutOfcpu")));
    assert_eq!(refused["message"], "Pod was rejected: why");
    assert_eq!(refused["conditions"].as_array().unwrap().len(), 1, "{refused}");
    // The next life of the agent, which knows of no refusal, leaves it so; and so does this one.
    world.pod["status"] = refused.clone();
    assert_eq!(status(&world), refused);
    world.progress.refused = None;
    assert_eq!(status(&world), refused);
}

#[test]
fn deleted_pod_is_succeeded_only_if_all_ended_well() {
    for (code, expected) in [(0, "Succeeded"), (143, "Failed")] {
        let mut world = World::simple("Always").with(exited("c", 0, code)).deleting(30);
        world.progress.begin_ending(at(6), 30, None);
        assert_eq!(phase(&world), expected);
    }
    // Never started: closed as unknown.
    let mut world = World::simple("Always").deleting(30);
    world.progress.begin_ending(at(6), 30, None);
    let status = status(&world);
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["reason"], "ContainerStatusUnknown");
}

#[test]
fn ready_pod_shows_all_conditions_in_order() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.pod["status"]["conditions"] = json!([
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2023-11-14T22:13:20Z"},
        {"type": "example.com/gate", "status": "True"},
    ]);
    let status = status(&world);
    let types: Vec<&str> =
        status["conditions"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        ["example.com/gate", "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    );
    assert_eq!(condition(&status, "Ready")["status"], "True");
    assert_eq!(status["podIP"], "10.0.0.5");
    assert_eq!(status["hostIPs"][0]["ip"], "192.0.2.1");
    let c = &status["containerStatuses"][0];
    assert_eq!((&c["ready"], &c["started"], &c["containerID"]), (&json!(true), &json!(true), &json!("gousse://c0")));
}

#[test]
fn a_node_without_addresses_tells_none() {
    let mut world = World::simple("Always");
    assert_eq!(status(&world)["hostIPs"], json!([{"ip": "192.0.2.1"}]));
    world.facts.host_ips.clear();
    let told = status(&world);
    assert_eq!((&told["hostIP"], &told["hostIPs"]), (&Value::Null, &Value::Null));
}

#[test]
fn missing_gate_keeps_the_pod_unready() {
    let mut world = World::simple("Always").with(running("c", 0));
    world.pod["spec"]["readinessGates"] = json!([{"conditionType": "g"}]);
    let status = status(&world);
    let ready = condition(&status, "Ready");
    assert_eq!(ready["reason"], "ReadinessGatesNotReady");
    assert_eq!(ready["message"], "corresponding condition of pod readiness gate \"g\" does not exist.");
    assert_eq!(condition(&status, "ContainersReady")["status"], "True");
}

#[test]
fn readiness_probe_decides_and_survives_an_agent_restart() {
    let spec = json!({"containers": [{"name": "c", "image": "i", "readinessProbe": {"exec": {"command": ["x"]}}}]});
    let mut world = World::new(spec).with(running("c", 0));
    let before = status(&world);
    assert_eq!(before["containerStatuses"][0]["ready"], false);
    assert_eq!(condition(&before, "Ready")["message"], "containers with unready status: [c]");
    world.pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "i", "imageID": "", "restartCount": 0,
        "ready": true, "started": true, "containerID": "gousse://c0", "state": {"running": {}}}]);
    assert_eq!(status(&world)["containerStatuses"][0]["ready"], true);
    let failed = ProbeState { result: Some(false), ..Default::default() };
    world.progress.probes.insert(("c0".into(), ProbeKind::Readiness), failed);
    assert_eq!(status(&world)["containerStatuses"][0]["ready"], false);
}

#[test]
fn crash_loop_shows_the_last_end() {
    let mut world = World::simple("Always").with(exited("c", 2, 3));
    assert_eq!(status(&world)["containerStatuses"][0]["state"]["terminated"]["reason"], "Error");
    world.progress.waiting.insert("c".into(), Waiting { why: Why::CrashLoop, message: "m".into() });
    let status = status(&world);
    let c = &status["containerStatuses"][0];
    assert_eq!(status["phase"], "Running");
    assert_eq!(c["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(c["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(c["restartCount"], 2);
}

#[test]
fn reasons_of_ends_are_containerds() {
    let end = |world: &World| status(world)["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(end(&World::simple("Never").with(exited("c", 0, 0)))["reason"], "Completed");
    let gone = end(&World::simple("Never").with(lost("c", 0)));
    assert_eq!((&gone["reason"], &gone["exitCode"]), (&json!("Unknown"), &json!(255)));
    let mut failed = exited("c", 0, 0);
    if let runtime::Phase::Exited { started_at, exit } = &mut failed.phase {
        *started_at = None;
        exit.start_error = "no such file".into();
    }
    let failed = end(&World::simple("Never").with(failed));
    assert_eq!((&failed["reason"], &failed["exitCode"]), (&json!("StartError"), &json!(128)));
    assert_eq!((&failed["message"], &failed["startedAt"]), (&json!("no such file"), &json!("1970-01-01T00:00:00Z")));
}

#[test]
fn instance_that_vanished_while_running_is_said_to_have() {
    let old = json!([{"name": "c", "image": "i", "imageID": "", "restartCount": 1, "ready": true,
        "containerID": "gousse://x", "state": {"running": {}}}]);
    let mut world = World::simple("Always");
    world.pod["status"]["containerStatuses"] = old.clone();
    let shown = &status(&world)["containerStatuses"][0];
    assert_eq!((&shown["restartCount"], &shown["lastState"]["terminated"]["exitCode"]), (&json!(2), &json!(137)));
    let mut world = World::simple("Never");
    world.pod["status"]["containerStatuses"] = old;
    let shown = &status(&world)["containerStatuses"][0];
    assert_eq!(shown["state"]["terminated"]["reason"], "ContainerStatusUnknown");
}

#[test]
fn restarts_are_not_counted_down_where_an_instance_was_removed_before_it_ran() {
    // The second instance was made and told of; then the agent ended, and the next one removed it.
    let mut world = World::simple("Always").with(exited("c", 0, 3));
    world.pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "i", "imageID": "", "restartCount": 1,
        "ready": false, "containerID": "gousse://c1", "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {"terminated": {"exitCode": 3, "containerID": "gousse://c0"}}}]);
    assert_eq!(status(&world)["containerStatuses"][0]["restartCount"], 1);
    // It is made again under the same number.
    assert_eq!(status(&world.with(running("c", 1)))["containerStatuses"][0]["restartCount"], 1);
}

/// Where its sandbox is lost before it runs it stays on the list. The server's copy always has a `lastState`:
/// where the report had none, they differed for good, and the pod's end waited for that.
#[test]
fn instance_that_never_ran_is_no_restart_and_nobodys_last_state() {
    let in_lost = |name: &str, attempt, c| {
        let mut lost = sandbox(name, attempt, false);
        lost.containers.push(c);
        lost
    };
    let never = |attempt| {
        let mut never = created("c", attempt);
        never.id = ContainerId(format!("never{attempt}"));
        never
    };
    let mut world = World::simple("Always").deleting(30);
    world.progress.begin_ending(at(6), 30, None);
    let first = || in_lost("s0", 0, exited("c", 0, 3));
    let second = || in_lost("s2", 2, exited("c", 1, 4));
    for (sandboxes, count, code, last) in [
        (vec![second(), in_lost("s1", 1, never(1)), first()], 1, 4, json!(3)),
        (vec![in_lost("s1", 1, exited("c", 0, 4)), in_lost("s0", 0, never(0))], 0, 4, Value::Null),
        (vec![in_lost("s1", 1, never(1)), first()], 0, 3, Value::Null),
        (vec![in_lost("s1", 1, never(0)), in_lost("s0", 0, never(0))], 0, 137, Value::Null),
    ] {
        world.seen = Seen::new(sandboxes, Vec::new());
        // Nor does it have a log.
        let logged: Vec<&str> = world.seen.logged("c").iter().map(|i| i.container.id.0.as_str()).collect();
        assert_eq!(logged.iter().any(|id| id.starts_with("never")), code == 137, "{logged:?}");
        world.pod["status"] = json!({"containerStatuses": []});
        let mut stored = status(&world);
        let shown = &mut stored["containerStatuses"][0];
        assert_eq!((&shown["restartCount"], &shown["state"]["terminated"]["exitCode"]), (&json!(count), &json!(code)));
        assert_eq!(shown["lastState"]["terminated"]["exitCode"], last);
        if shown["lastState"].is_null() {
            shown["lastState"] = json!({});
        }
        world.pod["status"] = stored;
        let old = serde_json::from_value(world.pod["status"].clone()).unwrap();
        assert_eq!(patch::patch("u", Some(&old), &world.situation(report)), None);
    }
}

#[test]
fn verdict_fails_the_pod_once_nothing_of_it_runs() {
    let ending = |c: runtime::Container| {
        let mut world = World::simple("Always").with(c);
        let verdict = Verdict { cause: Cause::Evicted, message: "low".into(), disruption: true };
        world.progress.begin_ending(at(3), 1, Some(verdict));
        let status = status(&world);
        let disrupted = status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "DisruptionTarget");
        let ready = condition(&status, "Ready")["reason"].clone();
        (status["phase"].clone(), status["reason"].clone(), disrupted.map(|c| c["reason"].clone()), ready)
    };
    assert_eq!(ending(running("c", 0)), (json!("Running"), Value::Null, None, Value::Null));
    let over = (json!("Failed"), json!("Evicted"), Some(json!("TerminationByKubelet")), json!("PodFailed"));
    assert_eq!(ending(exited("c", 0, 0)), over);
}

#[test]
fn a_sandbox_that_is_not_there_is_told_with_its_reason() {
    let told = |world: &World| {
        let status = status(world);
        let condition = condition(&status, "PodReadyToStartContainers").clone();
        (
            condition["status"].clone(),
            condition["reason"].clone(),
            condition["message"].clone(),
            status["podIP"].clone(),
        )
    };
    let not = |message: &str, ip: Value| (json!("False"), json!("PodSandboxNotReady"), json!(message), ip);
    let ready = (json!("True"), Value::Null, Value::Null, json!("10.0.0.5"));
    assert_eq!(told(&World::simple("Always")), ready);
    assert_eq!(told(&World::simple("Always").bare()), not("no pod sandbox exists", Value::Null));
    let mut ended = World::simple("Always").with(exited("c", 0, 0));
    ended.seen.sandboxes[0].ready = false;
    assert_eq!(told(&ended), not("pod sandbox is not ready", json!("10.0.0.5")));
    // It is made beside the volumes; until those are there nothing can start in it.
    let mut early = World::simple("Always");
    early.progress.volumes = Stage::Failed(at(60));
    assert_eq!(told(&early), not("no pod sandbox exists", Value::Null));
    early.seen.sandboxes[0].ready = false;
    assert_eq!(told(&early), not("no pod sandbox exists", Value::Null));
    // The next life of the agent finds what the one before told of.
    let mut later = World::simple("Always");
    later.pod["status"] = status(&later);
    later.progress.volumes = Stage::New;
    assert_eq!(told(&later), ready);
    later.pod["status"] = json!({});
    assert_eq!(told(&later.with(running("c", 0))), ready);
}

#[test]
fn a_pod_that_is_closed_unseen_keeps_the_conditions_it_had() {
    let reasons = |status: &Value| {
        ["Ready", "ContainersReady"].map(|type_| {
            let condition = condition(status, type_);
            (condition["reason"].clone(), condition["message"].clone())
        })
    };
    let mut world = World::simple("Always").deleting(30);
    world.progress.begin_ending(at(6), 30, None);
    let unready = (json!("ContainersNotReady"), json!("containers with unready status: [c]"));
    let closed = status(&world);
    assert_eq!((&closed["phase"], reasons(&closed)), (&json!("Failed"), [unready.clone(), unready]));
    // Told once: the same the next time, whoever looks.
    world.pod["status"] = closed.clone();
    assert_eq!(status(&world), closed);
    // Whoever ended as seen was judged as ended.
    let mut world = World::simple("Always").with(exited("c", 0, 1)).deleting(30);
    world.progress.begin_ending(at(6), 30, None);
    let failed = (json!("PodFailed"), Value::Null);
    assert_eq!(reasons(&status(&world)), [failed.clone(), failed.clone()]);
    // Called over by somebody else while it was ready.
    let mut world = World::simple("Always").with(running("c", 0));
    world.pod["status"] = status(&world);
    world.pod["status"]["phase"] = json!("Failed");
    assert_eq!(reasons(&status(&world)), [failed.clone(), failed]);
}

#[test]
fn resources_are_always_told_of_what_began_also_after_its_end() {
    let some = json!({"requests": {"cpu": "10m"}, "limits": {"memory": "1Gi"}});
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "a", "image": "i"}],
        "containers": [{"name": "c", "image": "i", "resources": some}, {"name": "d", "image": "i"}],
        "ephemeralContainers": [{"name": "e", "image": "i"}]});
    let resources = |world: &World| {
        let status = status(world);
        let of = |list: &str, at: usize| status[list][at]["resources"].clone();
        [
            of("initContainerStatuses", 0),
            of("containerStatuses", 0),
            of("containerStatuses", 1),
            of("ephemeralContainerStatuses", 0),
        ]
    };
    let world = World::new(spec).with(exited("a", 0, 0));
    assert_eq!(resources(&world), [json!({}), Value::Null, Value::Null, Value::Null]);
    let world = world.with(exited("c", 0, 0)).with(running("d", 0)).with(exited("e", 0, 0));
    assert_eq!(resources(&world), [json!({}), some, json!({}), json!({})]);
}

#[test]
fn ephemeral_containers_have_no_started() {
    let spec =
        json!({"containers": [{"name": "c", "image": "i"}], "ephemeralContainers": [{"name": "e", "image": "i"}]});
    let mut worlds = vec![World::new(spec.clone())];
    worlds.extend([running("e", 0), exited("e", 0, 0)].map(|e| World::new(spec.clone()).with(e)));
    let mut ended = World::new(spec).with(exited("e", 0, 0)).deleting(1);
    ended.progress.begin_ending(at(6), 1, None);
    worlds.push(ended);
    for world in worlds {
        let status = status(&world);
        assert_eq!(status["ephemeralContainerStatuses"][0].get("started"), None, "{status}");
        assert!(status["containerStatuses"][0]["started"].is_boolean(), "{status}");
    }
}

/// Upstream tells nothing of a start before it is done (kuberuntime startContainer): the count rises with
/// the container that runs.
#[test]
fn a_restart_is_told_once_it_runs() {
    let shown = |world: &World| {
        let c = status(world)["containerStatuses"][0].clone();
        let state = c["state"].as_object().unwrap().iter().next().unwrap();
        let reason = state.1["reason"].as_str().unwrap_or("").to_owned();
        (state.0.clone(), reason, c["restartCount"].as_i64().unwrap(), c["containerID"].as_str().map(str::to_owned))
    };
    let told = |state: &str, reason: &str, count: i64, id: Option<&str>| {
        (state.to_owned(), reason.to_owned(), count, id.map(|id| format!("gousse://{id}")))
    };
    let ended = told("terminated", "Error", 0, Some("c0"));
    assert_eq!(shown(&World::simple("Always").with(created("c", 0))), told("waiting", "ContainerCreating", 0, None));
    let world = World::simple("Always").with(exited("c", 0, 3));
    assert_eq!(shown(&world), ended);
    let mut world = world.with(created("c", 1));
    assert_eq!(shown(&world), ended);
    let waits = |reason: &'static str| Waiting { why: Why::Failed(reason), message: String::new() };
    world.progress.waiting.insert("c".into(), waits("CrashLoopBackOff"));
    assert_eq!(shown(&world), told("waiting", "CrashLoopBackOff", 0, Some("c0")));
    // Its postStart hook is part of its start, and so is what a failed one brings.
    let mut hooked = World::simple("Always").with(exited("c", 0, 3)).with(running("c", 1));
    hooked.progress.post_start.insert("c1".into(), PostStart::Running);
    assert_eq!(shown(&hooked), ended);
    hooked.progress.waiting.insert("c".into(), waits("PostStartHookError"));
    hooked.progress.post_start.insert("c1".into(), PostStart::Failed);
    assert_eq!(shown(&hooked), told("waiting", "PostStartHookError", 0, Some("c0")));
    let mut first = World::simple("Always").with(running("c", 0));
    first.progress.post_start.insert("c0".into(), PostStart::Failed);
    first.progress.waiting.insert("c".into(), waits("PostStartHookError"));
    assert_eq!(shown(&first), told("waiting", "ContainerCreating", 0, None));
    let runs = World::simple("Always").with(exited("c", 0, 3)).with(running("c", 1));
    assert_eq!(shown(&runs), told("running", "", 1, Some("c1")));
    assert_eq!(status(&runs)["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
}
