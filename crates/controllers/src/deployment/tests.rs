use jiff::Timestamp;
use serde_json::{Value, json};

use super::rollout::{HASH, decide};
use super::*;

const NOW: &str = "2026-01-01T00:00:00Z";

/// A Deployment with its sets, in which what is decided is done and pods come up as they are told to.
struct Stage {
    deployment: Value,
    sets: Vec<Value>,
    now: Timestamp,
    made: usize,
}

fn stage(replicas: i64, strategy: Value) -> Stage {
    let labels = json!({"app": "web"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "n",
        "uid": "d", "resourceVersion": "1", "generation": 1, "annotations": {"mine": "x"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "strategy": strategy,
            "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:0"}]}}}});
    Stage { deployment, sets: Vec::new(), now: NOW.parse().unwrap(), made: 0 }
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

impl Stage {
    /// One look, done: what of it people are told.
    fn look(&mut self) -> Vec<String> {
        let owner = Object::from_value(&self.deployment).unwrap();
        let sets = self.sets.iter().map(|set| Set::of(Object::from_value(set).unwrap())).collect();
        let decision = decide(&owner, sets, &|set| set.actual() > 0, self.now).unwrap();
        self.deployment = decision.deployment;
        let mut told = Vec::new();
        for write in decision.writes {
            match write {
                Write::Create(mut set) => {
                    self.made += 1;
                    set["metadata"]["uid"] = json!(format!("s{}", self.made));
                    set["metadata"]["resourceVersion"] = json!("1");
                    set["metadata"]["generation"] = json!(1);
                    set["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:{:02}Z", self.made));
                    told.push(format!("make {}", set["spec"]["replicas"]));
                    self.sets.push(set);
                }
                Write::Update { set, told: text } => {
                    told.extend(text.map(|text| text.split_once(" replica set ").unwrap().0.to_owned()));
                    let at = self.sets.iter().position(|old| old["metadata"]["uid"] == set["metadata"]["uid"]).unwrap();
                    self.sets[at] = set;
                }
                Write::Delete(set) => {
                    told.push("delete".into());
                    self.sets.retain(|old| old["metadata"]["uid"] != set.meta().uid.as_str());
                }
            }
        }
        told
    }

    /// Its sets have the pods that they shall have, of each at most so many more available than before.
    fn run(&mut self, coming: i64) {
        for set in &mut self.sets {
            let replicas = set["spec"]["replicas"].as_i64().unwrap();
            let available = set["status"]["availableReplicas"].as_i64().unwrap_or(0);
            let available = (available + coming).min(replicas);
            let generation = set["metadata"]["generation"].clone();
            set["status"] = json!({"replicas": replicas, "readyReplicas": available, "availableReplicas": available,
                "observedGeneration": generation, "terminatingReplicas": 0});
        }
    }

    fn image(&mut self, image: &str) {
        self.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        let generation = self.deployment["metadata"]["generation"].as_i64().unwrap();
        self.deployment["metadata"]["generation"] = json!(generation + 1);
    }

    fn sizes(&self) -> Vec<i64> {
        self.sets.iter().map(|set| set["spec"]["replicas"].as_i64().unwrap()).collect()
    }

    fn sum(&self, path: &str) -> i64 {
        self.sets.iter().map(|set| tree::int(set, path).unwrap_or(0)).sum()
    }

    fn condition(&self, class: &str) -> String {
        let all = tree::list(&self.deployment, "status.conditions");
        let said = all.iter().find(|condition| condition["type"] == class);
        said.map_or(String::new(), |said| format!("{} {}", tree::text(said, "status"), tree::text(said, "reason")))
    }

    /// Until nothing is decided any more.
    fn settle(&mut self) {
        for _ in 0..100 {
            let before = (self.deployment.clone(), self.sets.clone());
            self.look();
            self.run(1000);
            if before == (self.deployment.clone(), self.sets.clone()) {
                return;
            }
        }
        panic!("it never rests: {:#}", self.deployment);
    }
}

#[test]
fn a_rollout_never_has_more_than_it_may_nor_fewer_than_it_must() {
    for replicas in [0, 1, 2, 3, 5, 10, 17] {
        for (surge, unavailable) in [(1, 0), (0, 1), (1, 1), (3, 2), (20, 0), (0, 20)] {
            check_rollout(replicas, json!(surge), json!(unavailable));
        }
        for (surge, unavailable) in [("25%", "25%"), ("0%", "10%"), ("100%", "0%"), ("34%", "50%"), ("0%", "1%")] {
            check_rollout(replicas, json!(surge), json!(unavailable));
        }
    }
}

#[test]
fn what_an_old_set_gave_up_and_does_not_tell_yet_is_not_given_up_twice() {
    let mut stage = stage(4, rolling(json!(1), json!(1)));
    stage.settle();
    stage.image("i:1");
    for _ in 0..20 {
        stage.look();
        let silent = stage.sets[0]["status"].clone();
        stage.run(1);
        stage.sets[0]["status"] = silent;
        let available = stage.sets.iter().map(|set| {
            let available = tree::int(set, "status.availableReplicas").unwrap_or(0);
            available.min(set["spec"]["replicas"].as_i64().unwrap())
        });
        assert!(available.sum::<i64>() >= 3, "{:?}", stage.sizes());
    }
    assert_eq!(stage.sizes(), [0, 4]);
}

fn check_rollout(replicas: i64, surge: Value, unavailable: Value) {
    for coming in [1, 2, 1000] {
        let mut stage = stage(replicas, rolling(surge.clone(), unavailable.clone()));
        stage.settle();
        let numbers = numbers::Numbers::of(&stage.deployment).unwrap();
        stage.image("i:1");
        // In the middle of it another one begins.
        for round in 0..200 {
            if round == 3 {
                stage.image("i:2");
            }
            let told = stage.look();
            let total = stage.sum("spec.replicas");
            assert!(total <= replicas + numbers.surge, "{replicas} {surge} {unavailable}: {total} after {told:?}");
            // Of those that a set gives up, those go last that are available.
            let available = stage.sets.iter().map(|set| {
                let available = tree::int(set, "status.availableReplicas").unwrap_or(0);
                available.min(set["spec"]["replicas"].as_i64().unwrap())
            });
            let available: i64 = available.sum();
            let least = replicas - numbers.unavailable;
            assert!(available >= least, "{replicas} {surge} {unavailable}: {available} after {told:?}");
            stage.run(coming);
            if round > 3 && told.is_empty() && stage.condition("Progressing") == "True NewReplicaSetAvailable" {
                break;
            }
        }
        stage.settle();
        assert_eq!(stage.sum("spec.replicas"), replicas);
        assert_eq!(stage.condition("Progressing"), "True NewReplicaSetAvailable", "{:#}", stage.deployment);
        assert_eq!(stage.condition("Available"), "True MinimumReplicasAvailable");
        let newest = stage.sets.last().unwrap();
        assert_eq!(newest["spec"]["template"]["spec"]["containers"][0]["image"], "i:2");
        assert_eq!(newest["spec"]["replicas"], replicas);
    }
}

#[test]
fn a_first_set_is_made_whole_and_says_whose_it_is() {
    let mut stage = stage(3, rolling(json!("25%"), json!("25%")));
    assert_eq!(stage.look(), ["make 3"]);
    let set = stage.sets[0].clone();
    let hash = set["metadata"]["labels"][HASH].as_str().unwrap().to_owned();
    assert_eq!(set["metadata"]["name"], format!("web-{hash}"));
    assert_eq!(set["spec"]["selector"]["matchLabels"], json!({"app": "web", HASH: hash}));
    assert_eq!(set["spec"]["template"]["metadata"]["labels"], json!({"app": "web", HASH: hash}));
    assert_eq!(
        set["metadata"]["annotations"],
        json!({"mine": "x", "deployment.kubernetes.io/revision": "1", "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4"})
    );
    assert_eq!(stage.condition("Progressing"), "True NewReplicaSetCreated");
    assert_eq!(stage.condition("Available"), "False MinimumReplicasUnavailable");
    assert_eq!(stage.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert!(stage.look().is_empty(), "it is found again");
    stage.run(1);
    stage.look();
    assert_eq!(stage.condition("Progressing"), "True ReplicaSetUpdated");
    stage.run(1000);
    stage.look();
    assert_eq!(stage.condition("Progressing"), "True NewReplicaSetAvailable");
    let status = &stage.deployment["status"];
    assert_eq!(status["replicas"], 3, "{status}");
    assert!(status.get("unavailableReplicas").is_none(), "{status}");
}

#[test]
fn a_template_that_comes_back_takes_its_set_again_and_history_is_bounded() {
    let mut stage = stage(2, rolling(json!(1), json!(0)));
    stage.settle();
    for image in ["i:1", "i:2", "i:3", "i:4"] {
        stage.image(image);
        stage.settle();
    }
    let revisions =
        |stage: &Stage| stage.sets.iter().map(|set| annotations::revision(set).unwrap()).collect::<Vec<_>>();
    assert_eq!(revisions(&stage), [3, 4, 5], "two old ones are kept");
    stage.image("i:2");
    stage.settle();
    assert_eq!(revisions(&stage), [6, 4, 5]);
    assert_eq!(stage.sizes(), [2, 0, 0]);
    let history = &stage.sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"];
    assert_eq!(history, "3");
    assert_eq!(stage.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "6");
}

#[test]
fn recreating_makes_nothing_new_while_something_old_is_there() {
    let mut stage = stage(3, json!({"type": "Recreate"}));
    stage.settle();
    stage.image("i:1");
    assert_eq!(stage.look(), ["Scaled down"]);
    assert!(stage.look().is_empty(), "its pods are still there");
    stage.run(1000);
    assert_eq!(stage.look(), ["make 3"]);
    stage.settle();
    assert_eq!(stage.sizes(), [0, 3]);
}

#[test]
fn scaling_in_the_middle_of_a_rollout_is_in_proportion() {
    let mut stage = stage(10, rolling(json!(3), json!(2)));
    stage.settle();
    stage.image("bad");
    stage.look();
    stage.look();
    // Nothing of the new one comes up.
    assert_eq!(stage.sizes(), [8, 5]);
    stage.deployment["spec"]["replicas"] = json!(15);
    let set = &mut stage.sets[1];
    set["status"] = json!({"replicas": 5, "observedGeneration": 1});
    stage.look();
    // proportional scaling of upstream's own documentation: 18 in all, by 8 to 5.
    assert_eq!(stage.sizes(), [11, 7]);
    stage.deployment["spec"]["replicas"] = json!(0);
    stage.look();
    assert_eq!(stage.sizes(), [0, 0]);
}

#[test]
fn a_paused_one_is_scaled_and_not_rolled_and_says_so() {
    let mut stage = stage(2, rolling(json!(1), json!(0)));
    stage.settle();
    stage.deployment["spec"]["paused"] = json!(true);
    stage.image("i:1");
    assert!(stage.look().is_empty());
    assert_eq!(stage.condition("Progressing"), "Unknown DeploymentPaused");
    stage.deployment["spec"]["replicas"] = json!(4);
    assert_eq!(stage.look(), ["Scaled up"]);
    assert_eq!(stage.sizes(), [4]);
    stage.run(1000);
    stage.deployment["spec"]["paused"] = json!(false);
    assert_eq!(stage.look(), ["make 1"]);
    stage.settle();
    assert_eq!(stage.sizes(), [0, 4]);
}

#[test]
fn what_stands_still_is_late_and_its_failure_is_told() {
    let mut stage = stage(1, rolling(json!(1), json!(0)));
    stage.look();
    let owner = Object::from_value(&stage.deployment).unwrap();
    let sets = |stage: &Stage| stage.sets.iter().map(|set| Set::of(Object::from_value(set).unwrap())).collect();
    let decision = decide(&owner, sets(&stage), &|_| false, stage.now).unwrap();
    assert_eq!(decision.recheck.map(|rest| rest.as_secs()), Some(601));
    stage.now = "2026-01-01T00:10:01Z".parse().unwrap();
    stage.sets[0]["status"]["conditions"] = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "no"}]);
    stage.look();
    assert_eq!(stage.condition("Progressing"), "False ProgressDeadlineExceeded");
    assert_eq!(stage.condition("ReplicaFailure"), "True FailedCreate");
    stage.sets[0]["status"]["conditions"] = Value::Null;
    stage.run(1000);
    stage.look();
    assert_eq!(stage.condition("Progressing"), "True NewReplicaSetAvailable");
    assert_eq!(stage.condition("ReplicaFailure"), "");
}
