use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::retention::{Pair, Policy};
use super::rollout::Act;
use super::*;

const NOW: &str = "2026-01-01T00:00:00Z";

/// A StatefulSet with its pods and claims, in which what is decided is done.
struct Stage {
    set: Value,
    pods: BTreeMap<String, Value>,
    claims: BTreeMap<String, Value>,
    /// By name; the last is the newest.
    templates: Vec<(String, Value)>,
    now: Timestamp,
    made: usize,
}

fn stage(replicas: i64, spec: Value) -> Stage {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:0"}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "own", "emptyDir": {}}]}});
    let claim = json!({"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
    let mut set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "n",
        "uid": "s", "generation": 1}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
        "serviceName": "svc", "podManagementPolicy": "OrderedReady", "volumeClaimTemplates": [claim],
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}, "template": template}});
    for (field, value) in spec.as_object().unwrap() {
        set["spec"][field] = value.clone();
    }
    let templates = vec![("web-r0".to_owned(), template)];
    Stage { set, pods: BTreeMap::new(), claims: BTreeMap::new(), templates, now: NOW.parse().unwrap(), made: 0 }
}

impl Stage {
    /// One look, done: `+web-0`, `-web-0`, `~web-0`.
    fn look(&mut self) -> Vec<String> {
        let owner = Object::from_value(&self.set).unwrap();
        let pods = self.pods.values().map(|pod| Pod::of("web", Object::from_value(pod).unwrap()).unwrap());
        let pods = pods.collect();
        let update = self.templates.last().unwrap();
        let at = tree::text(&self.set, "status.currentRevision");
        let current = self.templates.iter().find(|(name, _)| name == at).unwrap_or(update);
        let revision = |(name, template): &'_ (String, Value)| (name.clone(), template.clone());
        let (current, update) = (revision(current), revision(update));
        let claims = self.claims.clone();
        let look = Look {
            owner: &owner,
            set: &self.set,
            current: Revision { name: &current.0, template: &current.1 },
            update: Revision { name: &update.0, template: &update.1 },
            collisions: 0,
            pods,
            claim: &|name| claims.get(name).map(|claim| Object::from_value(claim).unwrap()),
            now: self.now,
        };
        let decision = rollout::decide(&look).unwrap();
        let mut told = Vec::new();
        for step in decision.stages.into_iter().flat_map(|stage| stage.steps) {
            assert!(step.ending.is_empty(), "{:?}", step.ending);
            for claim in step.claims {
                let name = tree::text(&claim, "metadata.name").to_owned();
                assert!(self.claims.insert(name, claim).is_none());
            }
            for (claim, amended) in step.amended {
                let claim = self.claims.get_mut(&claim.meta().name).unwrap();
                claim["metadata"]["ownerReferences"] = amended.references;
            }
            match step.act {
                Act::Create(mut pod) => {
                    self.made += 1;
                    pod["metadata"]["uid"] = json!(format!("p{}", self.made));
                    pod["status"] = json!({"phase": "Pending"});
                    told.push(format!("+{}", step.pod));
                    assert!(self.pods.insert(step.pod, pod).is_none(), "one of a name");
                }
                Act::Update(pod) => {
                    told.push(format!("~{}", step.pod));
                    if let Some(pod) = pod {
                        self.pods.insert(step.pod, pod);
                    }
                }
                Act::Delete(pod) => {
                    told.push(format!("-{}", step.pod));
                    let pod = self.pods.get_mut(&pod.meta().name).unwrap();
                    assert!(pod["metadata"]["deletionTimestamp"].is_null(), "ended twice");
                    pod["metadata"]["deletionTimestamp"] = json!(NOW);
                }
                Act::Claims => {}
            }
        }
        self.set["status"] = decision.status;
        told
    }

    /// What ends is gone; what was made runs, unless it is broken.
    fn run(&mut self) {
        self.pods.retain(|_, pod| pod["metadata"]["deletionTimestamp"].is_null());
        for pod in self.pods.values_mut() {
            if pod["spec"]["containers"][0]["image"] != "broken" {
                pod["status"] = json!({"phase": "Running", "conditions":
                    [{"type": "Ready", "status": "True", "lastTransitionTime": NOW}]});
            }
        }
    }

    /// Until nothing is done any more: all that was, a look a line.
    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..100 {
            let before = (self.set.clone(), self.pods.clone(), self.claims.clone());
            let told = self.look();
            self.run();
            if !told.is_empty() {
                all.push(told.join(" "));
            }
            if before == (self.set.clone(), self.pods.clone(), self.claims.clone()) {
                return all;
            }
        }
        panic!("it never rests: {all:?}");
    }

    fn image(&mut self, image: &str) {
        let name = format!("web-r{}", self.templates.len());
        let mut template = self.templates.last().unwrap().1.clone();
        template["spec"]["containers"][0]["image"] = json!(image);
        self.templates.push((name, template));
    }

    fn status(&self, field: &str) -> Value {
        self.set["status"][field].clone()
    }

    fn images(&self) -> Vec<String> {
        self.pods.values().map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().into()).collect()
    }

    fn missing(&self) -> i64 {
        let is_well =
            |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running";
        identity::replicas(&self.set) - self.pods.values().filter(is_well).count() as i64
    }

    fn owners(&self, claim: &str) -> Vec<&str> {
        let owners = tree::list(&self.claims[claim], "metadata.ownerReferences");
        owners.iter().map(|owner| tree::text(owner, "uid")).collect()
    }
}

#[test]
fn pods_come_one_after_the_other_and_go_in_the_other_order() {
    let mut stage = stage(3, json!({}));
    assert_eq!(stage.settle(), ["+web-0", "+web-1", "+web-2"]);
    stage.set["spec"]["replicas"] = json!(1);
    assert_eq!(stage.settle(), ["-web-2", "-web-1"]);
    assert_eq!(stage.claims.len(), 3, "claims stay");
    assert_eq!(stage.status("availableReplicas"), 1);
    stage.set["spec"]["ordinals"] = json!({"start": 5});
    assert_eq!(stage.settle(), ["+web-5", "-web-0"]);
}

#[test]
fn in_parallel_nobody_waits() {
    let mut stage = stage(3, json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(stage.settle(), ["+web-0 +web-1 +web-2"]);
    stage.set["spec"]["replicas"] = json!(0);
    assert_eq!(stage.settle(), ["-web-2 -web-1 -web-0"]);
}

#[test]
fn a_pod_has_its_names_its_claims_and_its_revision() {
    let mut stage = stage(1, json!({}));
    stage.settle();
    let pod = &stage.pods["web-0"];
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "web", "apps.kubernetes.io/pod-index": "0", "statefulset.kubernetes.io/pod-name": "web-0",
            "controller-revision-hash": "web-r0"})
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "s");
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("web-0"), &json!("svc")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-0"}}, {"name": "own", "emptyDir": {}}])
    );
    let claim = &stage.claims["data-web-0"];
    assert_eq!(claim["metadata"]["labels"], json!({"a": "b", "app": "web"}));
    assert_eq!(claim["spec"], json!({"accessModes": ["ReadWriteOnce"]}));
    // Who lost its label gets it back.
    stage.pods.get_mut("web-0").unwrap()["metadata"]["labels"] =
        json!({"app": "web", "controller-revision-hash": "web-r0"});
    assert_eq!(stage.settle(), ["~web-0"]);
    assert_eq!(stage.pods["web-0"]["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"], "web-0");
}

#[test]
fn one_that_ended_is_replaced_when_it_is_gone() {
    for phase in ["Failed", "Succeeded"] {
        let mut stage = stage(2, json!({}));
        stage.settle();
        stage.pods.get_mut("web-0").unwrap()["status"] = json!({"phase": phase});
        assert_eq!(stage.look(), ["-web-0"]);
        assert_eq!(stage.look(), [""; 0], "it holds its name");
        stage.run();
        assert_eq!(stage.settle(), ["+web-0"]);
    }
}

#[test]
fn a_template_rolls_from_the_highest_down_to_the_partition() {
    let mut stage = stage(3, json!({}));
    stage.settle();
    stage.image("i:1");
    stage.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(2);
    assert_eq!(stage.settle(), ["-web-2", "+web-2"]);
    assert_eq!((stage.status("currentRevision"), stage.status("updateRevision")), (json!("web-r0"), json!("web-r1")));
    assert_eq!((stage.status("currentReplicas"), stage.status("updatedReplicas")), (json!(2), json!(1)));
    // One below it that goes comes back as it was.
    stage.pods.remove("web-1");
    assert_eq!(stage.settle(), ["+web-1"]);
    assert_eq!(stage.images(), ["i:0", "i:0", "i:1"]);
    stage.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(0);
    assert_eq!(stage.settle(), ["-web-1", "+web-1", "-web-0", "+web-0"]);
    assert_eq!((stage.status("currentRevision"), stage.status("currentReplicas")), (json!("web-r1"), json!(3)));
    // On deletion only.
    stage.set["spec"]["updateStrategy"] = json!({"type": "OnDelete"});
    stage.image("i:2");
    assert_eq!(stage.settle(), [""; 0]);
    stage.pods.remove("web-1");
    assert_eq!(stage.settle(), ["+web-1"]);
    assert_eq!(stage.images(), ["i:1", "i:2", "i:1"]);
}

#[test]
fn a_rollout_never_misses_more_than_it_may() {
    for replicas in [0, 1, 2, 3, 5, 8] {
        for unavailable in [json!(1), json!(2), json!(5), json!("34%"), json!("1%"), json!("100%"), Value::Null] {
            for policy in ["OrderedReady", "Parallel"] {
                let mut stage = stage(replicas, json!({"podManagementPolicy": policy}));
                stage.settle();
                stage.set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = unavailable.clone();
                let most = crate::workload::share(&unavailable, replicas, false).unwrap().max(1);
                stage.image("i:1");
                for round in 0..60 {
                    if round == 3 {
                        stage.image("i:2");
                    }
                    stage.look();
                    assert!(stage.missing() <= most, "{replicas} {unavailable} {policy}: {}", stage.missing());
                    stage.run();
                }
                stage.settle();
                assert!(stage.images().iter().all(|image| image == "i:2"), "{replicas} {unavailable} {policy}");
                assert_eq!((stage.status("currentRevision"), stage.pods.len() as i64), (json!("web-r2"), replicas));
            }
        }
    }
}

#[test]
fn a_broken_template_holds_the_rollout_in_order_and_not_in_parallel() {
    let broken = |policy: &str| {
        let mut stage = stage(3, json!({"podManagementPolicy": policy}));
        stage.settle();
        stage.image("broken");
        assert_eq!(stage.settle(), ["-web-2", "+web-2"]);
        stage.image("i:2");
        stage
    };
    // As upstream has it: the broken one has to be deleted by hand.
    let mut ordered = broken("OrderedReady");
    assert_eq!(ordered.settle(), [""; 0]);
    ordered.pods.remove("web-2");
    assert_eq!(ordered.settle(), ["+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]);
    assert_eq!(broken("Parallel").settle(), ["-web-2", "+web-2", "-web-1", "+web-1", "-web-0", "+web-0"]);
}

#[test]
fn one_that_is_not_available_yet_holds_the_next_and_is_looked_at_again() {
    let mut stage = stage(2, json!({"minReadySeconds": 10}));
    stage.look();
    stage.run();
    assert_eq!(stage.look(), [""; 0]);
    assert_eq!((stage.status("readyReplicas"), stage.status("availableReplicas")), (json!(1), json!(0)));
    stage.now = "2026-01-01T00:00:10Z".parse().unwrap();
    assert_eq!(stage.look(), ["+web-1"]);
}

#[test]
fn claims_go_with_whom_the_policy_says() {
    let policy = |deleted: &str, scaled: &str| json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}});
    for (deleted, scaled, of_both) in [
        ("Retain", "Retain", [vec![], vec![]]),
        ("Delete", "Retain", [vec!["s"], vec!["s"]]),
        ("Retain", "Delete", [vec![], vec!["p2"]]),
        ("Delete", "Delete", [vec!["s"], vec!["p2"]]),
    ] {
        let mut stage = stage(2, policy(deleted, scaled));
        stage.settle();
        stage.set["spec"]["replicas"] = json!(1);
        assert_eq!(stage.settle(), ["-web-1"]);
        let owners = ["data-web-0", "data-web-1"].map(|claim| stage.owners(claim));
        assert_eq!(owners, of_both, "{deleted} {scaled}");
        // Another policy, and all are as it says.
        stage.set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] = json!("Delete");
        stage.settle();
        assert_eq!(stage.owners("data-web-0"), ["s"]);
        // What is to go with a pod of before holds the place of the next.
        stage.set["spec"]["replicas"] = json!(2);
        let expected: &[&str] = if scaled == "Delete" { &[] } else { &["+web-1"] };
        assert_eq!(stage.settle(), expected, "{deleted} {scaled}");
        if scaled == "Delete" {
            stage.claims.remove("data-web-1");
            assert_eq!(stage.settle(), ["+web-1"]);
            assert_eq!(stage.owners("data-web-1"), ["s"]);
        }
    }
}

#[test]
fn a_claim_that_somebody_else_manages_is_left_to_them() {
    let stage = stage(1, json!({}));
    let set = Object::from_value(&stage.set).unwrap();
    let owner = |kind: &str, name: &str, uid: &str, controller: bool| {
        let version = if kind == "StatefulSet" { "apps/v1" } else { "v1" };
        json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": controller})
    };
    let amended = |owners: Vec<Value>| {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data-web-0", "ownerReferences": owners}});
        let policy = Policy { goes_with_set: true, goes_with_pod: false };
        let pair = Pair { set: set.meta(), pod: "web-0", pod_uid: "p", is_condemned: false };
        let amended = policy.amend(&Object::from_value(&claim).unwrap(), &pair)?;
        let uids = amended.references.as_array().unwrap().iter().map(|owner| tree::text(owner, "uid").to_owned());
        Some((uids.collect::<Vec<_>>(), amended.is_foreign))
    };
    let ours = || owner("StatefulSet", "web", "s", true);
    assert_eq!(amended(vec![ours()]), None);
    assert_eq!(amended(vec![]), Some((vec!["s".into()], false)));
    assert_eq!(amended(vec![owner("StatefulSet", "web", "before", true)]), None);
    assert_eq!(amended(vec![owner("Database", "d", "d", true)]), None);
    assert_eq!(amended(vec![owner("Database", "d", "d", true), ours()]), Some((vec!["d".into()], true)));
    assert_eq!(amended(vec![owner("Database", "d", "d", false), ours()]), None);
    assert_eq!(amended(vec![owner("StatefulSet", "web", "s", false)]), Some((vec!["s".into()], false)));
    assert_eq!(amended(vec![ours(), owner("Pod", "web-0", "p", true)]), Some((vec!["s".into()], false)));
}

#[test]
fn names_say_whose_a_pod_is() {
    let parsed = ["web-0", "my-web-12", "web", "web-", "web-a", "web-00", "web-01", "web-99999999999"];
    let parsed = parsed.map(identity::parse);
    assert_eq!(parsed, [Some(("web", 0)), Some(("my-web", 12)), None, None, None, None, None, None]);
    let set = stage(1, json!({})).set;
    let named = ["data-web-0", "data-web-x", "data-other-0", "other-web-0", "data-web"].map(|claim| names(&set, claim));
    assert_eq!(named, [true, false, false, false, false]);
}

#[test]
fn a_template_of_before_is_taken_again() {
    let revision = |number: i64, image: &str| {
        let data = revisions::data(&json!({"image": image}));
        Object::from_value(&json!({"apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": {"name": image}, "revision": number, "data": data}))
        .unwrap()
    };
    let history = [revision(1, "a"), revision(2, "b")];
    let choose = |image: &str| choose(&history, &revisions::data(&json!({"image": image})));
    assert_eq!([choose("b"), choose("a"), choose("c")], [Choice::Newest, Choice::Again(0), Choice::New]);
    assert_eq!(template(&history[0]), json!({"image": "a"}));
}
