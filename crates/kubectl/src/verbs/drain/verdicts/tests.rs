//! A table of pods under all flags.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

const NOW: &str = "2026-11-29T12:00:00Z";

fn pod(name: &str, owner: &str, spec: Value, status: Value) -> Object {
    let owners = match owner {
        "" => json!([]),
        kind => {
            let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
            json!([{"apiVersion": version, "kind": kind, "name": "owner", "uid": "u", "controller": true}])
        }
    };
    let metadata = json!({"name": name, "namespace": "ns", "ownerReferences": owners});
    Object::from_value(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}),
    )
    .unwrap()
}

fn changed(pod: &Object, change: impl FnOnce(&mut Value)) -> Object {
    let mut value = pod.value();
    change(&mut value);
    Object::from_value(&value).unwrap()
}

fn pods() -> Vec<Object> {
    let local = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    let (done, none) = (json!({"phase": "Failed"}), json!({}));
    vec![
        pod("bare", "", none.clone(), none.clone()),
        pod("bare-done", "", none.clone(), done.clone()),
        pod("set", "ReplicaSet", none.clone(), none.clone()),
        pod("set-local", "ReplicaSet", local.clone(), none.clone()),
        pod("set-local-done", "ReplicaSet", local, done.clone()),
        pod("daemon", "DaemonSet", none.clone(), none.clone()),
        pod("daemon-done", "DaemonSet", none.clone(), done),
        changed(&pod("mirror", "", none.clone(), none.clone()), |value| {
            value["metadata"]["annotations"] = json!({MIRROR: "hash"});
        }),
        changed(&pod("leaving", "Job", none.clone(), none), |value| {
            value["metadata"]["deletionTimestamp"] = json!("2026-11-29T11:58:00Z");
        }),
    ]
}

fn check(missing: &Missing, allowed: Allowed, wanted: Expect) {
    let now = NOW.parse().unwrap();
    let all = pods().into_iter().map(|pod| {
        let verdict = of(&pod, missing, allowed, now);
        (pod, verdict)
    });
    let verdicts = Verdicts(all.collect());
    let going: Vec<String> = verdicts.going().iter().map(|pod| pod.meta().name.clone()).collect();
    let (warnings, refusals) = (verdicts.warnings(), verdicts.refusals().join("\n"));
    wanted.assert_eq(&format!("going: {}\nwarnings: {warnings}\n{refusals}\n", going.join(" ")));
}

#[test]
fn without_flags_whoever_would_lose_something_keeps_the_node() {
    check(
        &Missing::new(),
        Allowed::default(),
        expect![[r#"
            going: bare-done set set-local-done daemon-done leaving
            warnings: 
            cannot delete Pods that declare no controller (use --force to override): ns/bare
            cannot delete Pods with local storage (use --delete-emptydir-data to override): ns/set-local
            cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): ns/daemon
        "#]],
    );
}

#[test]
fn flags_let_pods_go_with_a_warning_and_daemons_and_mirrors_stay() {
    let allowed = Allowed { force: true, ignore_daemon_sets: true, delete_empty_dirs: true, skip_deleted_after: 60 };
    check(
        &Missing::new(),
        allowed,
        expect![[r#"
            going: bare bare-done set set-local set-local-done daemon-done
            warnings: deleting Pods that declare no controller: ns/bare; ignoring DaemonSet-managed Pods: ns/daemon

        "#]],
    );
    // Two minutes are not more than two minutes.
    let now = NOW.parse().unwrap();
    let leaving = pods().pop().unwrap().value();
    assert!(is_skipped(&leaving, 119, now) && !is_skipped(&leaving, 120, now) && !is_skipped(&leaving, 0, now));
}

#[test]
fn an_orphan_of_a_daemon_set_goes_by_force_only_and_a_forbidden_look_is_no_orphan() {
    let gone = api::Status::not_found("apps", "daemonsets", "owner");
    let missing = |status: &api::Status| Missing::from([(("ns".into(), "owner".into()), status.clone())]);
    let (orphan, now) = (pod("daemon", "DaemonSet", json!({}), json!({})), NOW.parse().unwrap());
    let force = Allowed { force: true, ignore_daemon_sets: true, ..Allowed::default() };
    assert_eq!(of(&orphan, &missing(&gone), force, now), Verdict::Goes);
    let why = Verdict::Refused("daemonsets.apps \"owner\" not found".into());
    assert_eq!(of(&orphan, &missing(&gone), Allowed { force: false, ..force }, now), why);
    let forbidden = api::Status::new(api::Reason::Forbidden, "no");
    assert_eq!(of(&orphan, &missing(&forbidden), force, now), Verdict::Refused("no".into()));
}
