//! Each law is broken once, and found.

use serde_json::{Value, json};

use super::{Objects, Workloads};

/// A history, and what was found in it.
#[derive(Default)]
struct History {
    laws: Workloads,
    objects: Objects,
}

impl History {
    fn write(&mut self, key: &str, object: Value) -> Vec<String> {
        let before = self.objects.insert(key.into(), object.clone());
        self.laws.check(key, before.as_ref(), &object, false, &self.objects);
        self.laws.take_violations()
    }

    fn fine(&mut self, key: &str, object: Value) {
        assert_eq!(self.write(key, object), [] as [String; 0], "{key}");
    }

    fn found(&mut self, key: &str, object: Value, what: &str) {
        let found = self.write(key, object);
        assert!(found.iter().any(|found| found.contains(what)), "{key}: {found:?}");
    }
}

fn object(uid: &str, kind: &str, owner: &str) -> Value {
    json!({"metadata": {"uid": uid, "ownerReferences": [{"kind": kind, "uid": owner, "controller": true}]}})
}

fn ready(mut pod: Value) -> Value {
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    pod
}

fn ending(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod
}

/// A Deployment of two with one more and none less, and its set.
fn deployment() -> History {
    let mut history = History::default();
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "10%"}});
    history
        .fine("deployments.apps/n/d", json!({"metadata": {"uid": "d"}, "spec": {"replicas": 2, "strategy": strategy}}));
    for (set, replicas) in [("old", 2), ("new", 1)] {
        history.fine(&format!("replicasets.apps/n/{set}"), set_of(set, replicas));
    }
    for (name, set) in [("a", "old"), ("b", "old"), ("c", "new")] {
        history.fine(&format!("pods/n/{name}"), object(name, "ReplicaSet", set));
    }
    history
}

fn set_of(name: &str, replicas: i64) -> Value {
    let mut set = object(name, "Deployment", "d");
    set["spec"] = json!({"replicas": replicas});
    set
}

#[test]
fn a_pod_too_many_is_found() {
    let mut history = deployment();
    history.found("replicasets.apps/n/new", set_of("new", 2), "4 pods of a Deployment of 2 and 1");
    let mut history = deployment();
    history.laws.doubt(1);
    history.fine("pods/n/e", object("e", "ReplicaSet", "new"));
    history.laws.doubt(0);
    history.found("pods/n/f", object("f", "ReplicaSet", "new"), "pod 3 of a ReplicaSet of 1");
}

#[test]
fn an_available_pod_too_few_is_found() {
    let mut history = deployment();
    // Before it was ever whole nothing is promised.
    history.fine("pods/n/a", ready(object("a", "ReplicaSet", "old")));
    history.fine("pods/n/b", ready(object("b", "ReplicaSet", "old")));
    history.fine("pods/n/c", ready(object("c", "ReplicaSet", "new")));
    history.fine("pods/n/a", ending(ready(object("a", "ReplicaSet", "old"))));
    history.found("pods/n/b", ending(ready(object("b", "ReplicaSet", "old"))), "1 are available of a Deployment of 2");
}

#[test]
fn a_second_pod_of_a_daemon_set_on_a_node_is_found() {
    let mut history = History::default();
    let on = |name: &str, node: &str| {
        let mut pod = object(name, "DaemonSet", "s");
        let fields = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
        pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": fields});
        pod
    };
    history.fine("pods/n/a", on("a", "n1"));
    history.fine("pods/n/b", on("b", "n2"));
    history.found("pods/n/c", on("c", "n1"), "pod 2 of a DaemonSet on n1");
}

#[test]
fn a_job_that_counts_a_pod_twice_or_not_at_all_is_found() {
    let mut history = History::default();
    let job = |status: Value| json!({"metadata": {"uid": "j"}, "status": status});
    history.fine("jobs.batch/n/j", job(json!({})));
    let mut pod = object("a", "Job", "j");
    pod["status"] = json!({"phase": "Succeeded"});
    history.fine("pods/n/a", pod.clone());
    history.fine("jobs.batch/n/j", job(json!({"uncountedTerminatedPods": {"succeeded": ["a"]}})));
    let twice = json!({"succeeded": 1, "uncountedTerminatedPods": {"succeeded": ["a"]}});
    history.found("jobs.batch/n/j", job(twice), "counts 2 pods succeeded");
    history.found("jobs.batch/n/j", job(json!({})), "succeeded went from 1 to 0");
    let complete = json!([{"type": "Complete", "status": "True"}]);
    history.fine("jobs.batch/n/j", job(json!({"conditions": complete})));
    pod["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    history.fine("pods/n/a", pod);
    let History { mut laws, objects } = history;
    laws.add_up(&objects);
    let found = laws.take_violations();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("counts 0 pods that succeeded, of 1") && found[1].contains("is held"), "{found:?}");
}

#[test]
fn a_time_that_runs_twice_and_runs_that_are_forbidden_are_found() {
    let mut history = History::default();
    let forbids = json!({"metadata": {"uid": "c"}, "spec": {"concurrencyPolicy": "Forbid"}});
    history.fine("cronjobs.batch/n/c", forbids);
    let at = |uid: &str, time: &str, status: Value| {
        let mut job = object(uid, "CronJob", "c");
        job["metadata"]["annotations"] = json!({"batch.kubernetes.io/cronjob-scheduled-timestamp": time});
        job["status"] = status;
        job
    };
    let done = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    history.fine("jobs.batch/n/a", at("a", "1", json!({})));
    history.fine("jobs.batch/n/a", at("a", "1", done.clone()));
    history.found("jobs.batch/n/b", at("b", "1", done), "run 2 of the time");
    history.fine("jobs.batch/n/x", at("x", "2", json!({})));
    history.found("jobs.batch/n/y", at("y", "3", json!({})), "2 run at once");
}
