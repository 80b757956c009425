use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::pod::Daemon;
use super::*;
use crate::workload::revisions::REVISION_HASH;

fn set(more: &Value) -> Value {
    let labels = json!({"app": "d"});
    let mut set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d", "namespace": "n",
        "uid": "u", "resourceVersion": "1", "generation": 1,
        "annotations": {"deprecated.daemonset.template.generation": "1"}}, "status": {},
        "spec": {"selector": {"matchLabels": labels}, "updateStrategy": {"type": "OnDelete"},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:0"}]}}}});
    for (field, value) in more.as_object().unwrap() {
        set["spec"][field] = value.clone();
    }
    set
}

fn of_pod(spec: Value) -> Value {
    set(&json!({"template": {"metadata": {"labels": {"app": "d"}}, "spec": spec}}))
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    let update = json!({"maxUnavailable": unavailable, "maxSurge": surge});
    set(&json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": update}}))
}

fn object(value: &Value) -> Object {
    Object::from_value(value).unwrap()
}

fn node(name: &str, labels: Value, taints: Value) -> Node {
    Node::of(&object(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints}})))
}

#[test]
fn which_nodes_a_set_runs_on_and_stays_on() {
    let required = |terms: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": terms}}}})
    };
    let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
    let (none, runs) = ((false, false), (true, true));
    for (spec, taints, want) in [
        (json!({}), json!([]), runs),
        (json!({"nodeName": "n1"}), json!([]), runs),
        (json!({"nodeName": "n2"}), json!([]), none),
        (json!({"nodeSelector": {"disk": "ssd"}}), json!([]), runs),
        (json!({"nodeSelector": {"disk": "hdd"}}), json!([]), none),
        (
            required(json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd", "ssd"]}]}])),
            json!([]),
            runs,
        ),
        (
            required(
                json!([{"matchExpressions": [{"key": "disk", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]}]),
            ),
            json!([]),
            none,
        ),
        (
            required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])),
            json!([]),
            runs,
        ),
        (
            required(json!([{"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}]}])),
            json!([]),
            none,
        ),
        // An empty term holds nowhere, nor does one that says something unknown.
        (required(json!([{}])), json!([]), none),
        (
            required(json!([{"matchExpressions": [{"key": "disk", "operator": "Like", "values": ["ssd"]}]}])),
            json!([]),
            none,
        ),
        (json!({}), json!([taint("k", "NoSchedule")]), (false, true)),
        (json!({}), json!([taint("k", "NoExecute")]), none),
        (json!({}), json!([taint("k", "PreferNoSchedule")]), runs),
        (json!({"tolerations": [{"key": "k", "operator": "Exists"}]}), json!([taint("k", "NoExecute")]), runs),
        (json!({"tolerations": [{"key": "k", "value": "v"}]}), json!([taint("k", "NoExecute")]), none),
        (json!({}), json!([taint("node.kubernetes.io/not-ready", "NoExecute")]), runs),
        (json!({}), json!([taint("node.kubernetes.io/unschedulable", "NoSchedule")]), runs),
        (json!({}), json!([taint("node.kubernetes.io/network-unavailable", "NoSchedule")]), (false, true)),
        (json!({"hostNetwork": true}), json!([taint("node.kubernetes.io/network-unavailable", "NoSchedule")]), runs),
    ] {
        let verdict = Eligible::of(&of_pod(spec.clone())).judge(&node("n1", json!({"disk": "ssd"}), taints.clone()));
        assert_eq!((verdict.runs, verdict.stays), want, "{spec} {taints}");
    }
}

#[test]
fn a_pod_is_placed_by_its_nodes_name_and_stands_its_troubles() {
    let preferred = json!([{"weight": 1}]);
    let spec = json!({"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists",
        "effect": "NoExecute", "tolerationSeconds": 5}], "affinity": {"nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": preferred,
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": []}]}}}});
    let set = of_pod(spec);
    let made = pod::for_node(&object(&set), &set, "h", "n1");
    assert_eq!(made["metadata"]["generateName"], "d-");
    assert_eq!(
        made["metadata"]["labels"],
        json!({"app": "d", "controller-revision-hash": "h", "pod-template-generation": "1"})
    );
    let affinity = &made["spec"]["affinity"]["nodeAffinity"];
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]);
    assert_eq!(affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"], terms);
    assert_eq!(affinity["preferredDuringSchedulingIgnoredDuringExecution"], preferred);
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 6);
    assert_eq!(
        tolerations[0],
        json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"})
    );
    assert_eq!(made["spec"].get("nodeName"), None, "the scheduler does that");
    let mut made = made;
    made["metadata"]["name"] = json!("d-1");
    let object = object(&made);
    assert_eq!(Daemon { seen: crate::workload::pod::Seen::of(&object), object }.node().unwrap(), "n1");
}

/// Nodes on which what is decided is done.
struct Stage {
    set: Value,
    nodes: Vec<Node>,
    pods: BTreeMap<String, Value>,
    failed: Failed,
    instant: Instant,
    now: Timestamp,
    hash: &'static str,
    made: usize,
}

impl Stage {
    fn new(set: Value, nodes: usize) -> Stage {
        let nodes = (0..nodes).map(|at| node(&format!("n{at:02}"), json!({}), json!([]))).collect();
        Stage {
            set,
            nodes,
            pods: BTreeMap::new(),
            failed: Failed::default(),
            instant: Instant::now(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            hash: "h0",
            made: 0,
        }
    }

    fn look<T>(&mut self, decide: impl FnOnce(&Look<'_>, &mut Failed, Instant) -> T) -> T {
        let on = pod::by_node(self.pods.values().map(object).collect());
        let eligible = Eligible::of(&self.set);
        let look =
            Look { set: &self.set, eligible: &eligible, nodes: &self.nodes, on: &on, hash: self.hash, now: self.now };
        decide(&look, &mut self.failed, self.instant)
    }

    fn act(&mut self, plan: Plan) -> usize {
        for node in &plan.make {
            let mut made = pod::for_node(&object(&self.set), &self.set, self.hash, node);
            self.made += 1;
            made["metadata"]["name"] = json!(format!("p{:05}", self.made));
            made["metadata"]["namespace"] = json!("n");
            made["metadata"]["creationTimestamp"] = json!(self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            made["spec"]["nodeName"] = json!(node);
            made["status"] = json!({"phase": "Pending"});
            self.pods.insert(format!("p{:05}", self.made), made);
        }
        for pod in &plan.end {
            self.pods.remove(&pod.meta().name).expect("it is ended once");
        }
        plan.make.len() + plan.end.len()
    }

    /// A whole round; how much was done.
    fn round(&mut self) -> usize {
        let plan = self.look(plan::manage);
        let done = self.act(plan);
        if self.set["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
            return done;
        }
        let plan = self.look(|look, _, _| plan::roll(look).unwrap());
        done + self.act(plan)
    }

    fn ready(&mut self, most: usize) {
        let since = self.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let pods = self.pods.values_mut().filter(|pod| pod["status"]["phase"] == "Pending");
        for pod in pods.take(most) {
            pod["status"] = json!({"phase": "Running", "conditions":
                [{"type": "Ready", "status": "True", "lastTransitionTime": since}]});
        }
    }

    fn available(&self) -> usize {
        let mut nodes: Vec<&str> = self
            .pods
            .values()
            .filter(|pod| pod["status"]["phase"] == "Running")
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len()
    }

    fn update(&mut self, hash: &'static str) {
        self.hash = hash;
        let generation = self.set["metadata"]["generation"].as_i64().unwrap() + 1;
        self.set["metadata"]["generation"] = json!(generation);
        self.set["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = json!(generation.to_string());
    }

    fn settle(&mut self) {
        for _ in 0..500 {
            let done = self.round();
            self.ready(usize::MAX);
            if done == 0 {
                return;
            }
        }
        panic!("it never rests");
    }

    fn of_hash(&self, hash: &str) -> usize {
        self.pods.values().filter(|pod| pod["metadata"]["labels"][REVISION_HASH] == hash).count()
    }

    fn status(&mut self) -> Value {
        self.look(|look, _, _| plan::status(look).0)
    }
}

#[test]
fn every_node_gets_one_and_the_status_tells() {
    let mut stage = Stage::new(set(&json!({})), 3);
    assert_eq!(stage.status()["desiredNumberScheduled"], 3);
    assert_eq!(stage.round(), 3);
    assert_eq!(stage.round(), 0);
    stage.ready(2);
    assert_eq!(
        stage.status(),
        json!({"currentNumberScheduled": 3, "desiredNumberScheduled": 3, "numberMisscheduled": 0, "numberReady": 2,
            "numberAvailable": 2, "numberUnavailable": 1, "observedGeneration": 1, "updatedNumberScheduled": 3})
    );
    // One node may keep its pod, another may not, a third is gone.
    stage.nodes[0] = node("n00", json!({}), json!([{"key": "k", "effect": "NoSchedule"}]));
    stage.nodes[1] = node("n01", json!({}), json!([{"key": "k", "effect": "NoExecute"}]));
    assert_eq!(stage.round(), 1);
    let status = stage.status();
    assert_eq!((&status["numberMisscheduled"], &status["desiredNumberScheduled"]), (&json!(1), &json!(1)));
    stage.pods.values_mut().for_each(|pod| {
        pod["spec"].as_object_mut().unwrap().remove("nodeName");
    });
    stage.nodes.pop();
    assert_eq!(stage.round(), 1, "who waits for a node that is gone goes too");
    // Whoever is asked to end is waited for; two of a node become one, the elder.
    let mut stage = Stage::new(set(&json!({})), 1);
    stage.round();
    let mut second = stage.pods["p00001"].clone();
    second["metadata"]["name"] = json!("a");
    second["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    stage.pods.insert("a".into(), second);
    assert_eq!(stage.round(), 1);
    let only = stage.pods.get_mut("p00001").unwrap();
    only["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(stage.round(), 0);
}

#[test]
fn a_node_that_refuses_every_pod_gets_fewer_and_fewer() {
    for set in [set(&json!({})), rolling(json!(1), json!(0)), rolling(json!(0), json!(1))] {
        let mut stage = Stage::new(set, 2);
        stage.round();
        let (mut rounds, start) = (0, stage.instant);
        while stage.instant - start < Duration::from_secs(24 * 3600) {
            // The first node fails each at once, the second runs its own.
            for pod in stage.pods.values_mut() {
                let phase = if pod["spec"]["nodeName"] == "n00" { "Failed" } else { "Running" };
                pod["status"] = json!({"phase": phase});
            }
            let plan = stage.look(plan::manage);
            let wait = plan.recheck;
            stage.act(plan);
            // Looks come whenever anything changes; at the latest when it asked for one.
            stage.instant += wait.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(60));
            rounds += 1;
        }
        // 1, 2, 4, … 512 seconds, then every 15 minutes.
        assert!(rounds > 1000 && (90..=115).contains(&stage.made), "{} in {rounds}", stage.made);
        // A new template is tried at once.
        stage.update("h1");
        stage.pods.values_mut().for_each(|pod| pod["status"] = json!({"phase": "Failed"}));
        let plan = stage.look(plan::manage);
        assert_eq!((plan.end.len(), plan.told[0].1), (2, "FailedDaemonPod"));
    }
}

#[test]
fn an_update_never_has_more_than_it_may_nor_fewer_than_it_must() {
    for nodes in [1, 2, 5, 12] {
        for (unavailable, surge) in [
            (json!(1), json!(0)),
            (json!(3), json!(0)),
            (json!("25%"), json!(0)),
            (json!("100%"), json!(0)),
            (json!(0), json!(1)),
            (json!(0), json!(4)),
            (json!(0), json!("50%")),
            (json!(0), json!("100%")),
        ] {
            for coming in [1, 2, 1000] {
                check_update(nodes, &unavailable, &surge, coming);
            }
        }
    }
}

fn check_update(nodes: usize, unavailable: &Value, surge: &Value, coming: usize) {
    let mut stage = Stage::new(rolling(unavailable.clone(), surge.clone()), nodes);
    stage.settle();
    assert_eq!(stage.pods.len(), nodes);
    let most = |share: &Value| usize::try_from(crate::workload::share(share, nodes as i64, true).unwrap()).unwrap();
    stage.update("h1");
    for round in 0..40 {
        if round == 3 {
            stage.update("h2");
        }
        stage.round();
        let said = format!("{nodes} {unavailable} {surge} {coming} round {round}");
        assert!(stage.available() + most(unavailable) >= nodes, "{said}: {} available", stage.available());
        assert!(stage.pods.len() <= nodes + most(surge), "{said}: {} pods", stage.pods.len());
        stage.ready(coming);
    }
    stage.settle();
    assert_eq!((stage.pods.len(), stage.of_hash("h2")), (nodes, nodes));
    let status = stage.status();
    assert_eq!((&status["updatedNumberScheduled"], &status["numberAvailable"]), (&json!(nodes), &json!(nodes)));
}

#[test]
fn what_is_updated_on_delete_stays_until_it_is_deleted() {
    let mut stage = Stage::new(set(&json!({})), 2);
    stage.settle();
    stage.update("h1");
    assert_eq!(stage.round(), 0);
    stage.pods.pop_first();
    stage.settle();
    assert_eq!((stage.of_hash("h0"), stage.of_hash("h1")), (1, 1));
    assert_eq!(stage.status()["updatedNumberScheduled"], 1);
}

#[test]
fn who_was_just_ready_is_looked_at_again_when_it_counts() {
    let mut value = rolling(json!(1), json!(0));
    value["spec"]["minReadySeconds"] = json!(10);
    let mut stage = Stage::new(value, 2);
    stage.round();
    stage.ready(2);
    let (status, recheck) = stage.look(|look, _, _| plan::status(look));
    assert_eq!((&status["numberReady"], &status["numberUnavailable"]), (&json!(2), &json!(2)));
    assert_eq!(recheck, Some(Duration::from_secs(10)));
    stage.now = "2026-01-01T00:00:10Z".parse().unwrap();
    assert_eq!(stage.look(|look, _, _| plan::status(look).0)["numberAvailable"], 2);
    stage.update("h1");
    assert_eq!(stage.round(), 1);
    stage.round();
    stage.ready(2);
    assert_eq!(stage.round(), 0, "the new one is not yet available");
}
