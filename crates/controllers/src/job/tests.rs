use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::decide::{Outcome, Step, plan};
use super::*;

/// A Job with its pods, in which what is decided is done, as the effects do it.
struct Stage {
    job: Value,
    pods: Vec<Value>,
    now: Timestamp,
    record: Record,
    made: usize,
    /// Every end that any pod had, by uid.
    ends: BTreeMap<String, &'static str>,
}

fn stage(spec: Value) -> Stage {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "n", "uid": "j"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    for (field, value) in spec.as_object().unwrap() {
        job["spec"][field] = value.clone();
    }
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    Stage { job, pods: Vec::new(), now, record: Record::default(), made: 0, ends: BTreeMap::new() }
}

impl Stage {
    /// One look, done. `lose`: the controller is killed before the finalizers go.
    fn look(&mut self, lose: bool) -> Vec<String> {
        let object = Object::from_value(&self.job).unwrap();
        let job = Job::of(&object).unwrap();
        if job.status.finished().is_some() {
            return vec!["finished".into()];
        }
        let pods: Vec<JobPod> = self.pods.iter().map(|pod| JobPod::of(Object::from_value(pod).unwrap())).collect();
        let mut plan = plan(&job, &pods, self.record, self.now);
        let mut done = Vec::new();
        let mut outcome = Outcome::default();
        match plan.step.clone() {
            Step::Nothing => {}
            Step::End(which) | Step::Remove(which) => {
                let is_removal = matches!(plan.step, Step::Remove(_));
                if !which.is_empty() {
                    done.push(format!("{} {}", if is_removal { "remove" } else { "end" }, which.len()));
                }
                for at in &which {
                    self.pods[*at]["metadata"]["deletionTimestamp"] = json!(api::seconds(self.now));
                    if is_removal {
                        self.pods[*at]["metadata"]["finalizers"] = json!([]);
                    }
                }
                outcome.ended = which;
            }
            Step::Create(new) => {
                outcome.created = new.len() as i64;
                for new in new {
                    let mut pod = act::made(&object, &job, new.index, new.replaced.map(|at| &pods[at]));
                    self.made += 1;
                    pod["metadata"]["uid"] = json!(format!("p{}", self.made));
                    pod["metadata"]["creationTimestamp"] = json!(api::seconds(self.now));
                    done.push(pod["metadata"]["generateName"].as_str().unwrap().to_owned());
                    self.pods.push(pod);
                }
            }
        }
        plan.conclude(&outcome);
        done.extend(plan.told.iter().map(|(reason, _)| (*reason).to_owned()));
        let track::Tracked { mut status, release, last } = track::track(&plan);
        self.record = plan.record;
        self.job["status"] = serde_json::to_value(&status).unwrap();
        if lose {
            return done;
        }
        for at in &release {
            self.pods[*at]["metadata"]["finalizers"] = json!([]);
        }
        let held = |uid: &str| {
            pods.iter().enumerate().any(|(at, pod)| pod.uid() == uid && pod.is_held && !release.contains(&at))
        };
        track::clean(&mut status, held);
        if let Some(last) = &last
            && track::finish(&mut status, last, self.now)
        {
            done.push(format!("{} {}", last.r#type, last.reason));
        }
        self.job["status"] = serde_json::to_value(&status).unwrap();
        // What was asked to go and is not held any more, goes.
        self.pods.retain(|pod| {
            let is_held = pod["metadata"]["finalizers"] != json!([]);
            is_held || pod["metadata"]["deletionTimestamp"].is_null()
        });
        done
    }

    /// The pod ends so.
    fn end(&mut self, at: usize, phase: &'static str, code: i64) {
        let finished = json!({"exitCode": code, "finishedAt": api::seconds(self.now)});
        self.pods[at]["status"] = json!({"phase": phase,
            "containerStatuses": [{"name": "c", "state": {"terminated": finished}}]});
        self.ends.insert(self.pods[at]["metadata"]["uid"].as_str().unwrap().into(), phase);
    }

    fn end_all(&mut self, phase: &'static str) {
        for at in self.running() {
            self.end(at, phase, i64::from(phase == "Failed"));
        }
    }

    fn running(&self) -> Vec<usize> {
        let is_running = |at: &usize| {
            self.pods[*at]["status"]["phase"].is_null() && self.pods[*at]["metadata"]["deletionTimestamp"].is_null()
        };
        (0..self.pods.len()).filter(is_running).collect()
    }

    fn pass(&mut self, seconds: i64) {
        self.now = api::later(self.now, seconds);
    }

    fn number(&self, field: &str) -> i64 {
        self.job["status"][field].as_i64().unwrap_or(0)
    }

    fn conditions(&self) -> Vec<String> {
        let all = api::tree::list(&self.job, "status.conditions").iter();
        all.map(|c| format!("{}={}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap())).collect()
    }
}

#[test]
fn a_job_makes_what_is_missing_and_completes() {
    let mut stage = stage(json!({"parallelism": 2, "completions": 3}));
    assert_eq!(stage.look(false), ["j-", "j-"]);
    assert_eq!(stage.pods[0]["metadata"]["finalizers"], json!([pod::FINALIZER]));
    assert_eq!((stage.number("active"), stage.look(false)), (2, vec![]));
    stage.end(0, "Succeeded", 0);
    assert_eq!(stage.look(false), ["j-"]);
    assert_eq!((stage.number("active"), stage.number("succeeded")), (2, 1));
    stage.end_all("Succeeded");
    assert_eq!(stage.look(false), ["Complete CompletionsReached"]);
    assert_eq!(stage.conditions(), ["SuccessCriteriaMet=CompletionsReached", "Complete=CompletionsReached"]);
    assert_eq!(stage.number("succeeded"), 3);
    assert_eq!(stage.job["status"]["uncountedTerminatedPods"], json!({}));
    assert_eq!(stage.job["status"]["completionTime"], "2026-01-01T00:00:00Z");
}

#[test]
fn no_pod_counts_twice_and_none_not_at_all_whenever_it_is_killed() {
    for seed in 0..200_u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % sides
        };
        let indexed = roll(2) == 0;
        let (completions, parallelism) = (1 + roll(6) as i64, 1 + roll(4) as i64);
        let mut stage = stage(json!({"parallelism": parallelism, "completions": completions, "backoffLimit": 1000,
            "completionMode": if indexed { "Indexed" } else { "NonIndexed" }}));
        for turn in 0.. {
            assert!(turn < 500, "seed {seed} never ends: {}", stage.job["status"]);
            if stage.look(roll(3) == 0) == ["finished"] {
                break;
            }
            let active = stage.running().len() as i64;
            assert!(active <= parallelism && active <= completions, "seed {seed}: {active} run");
            let indexes: Vec<&Value> =
                stage.running().iter().map(|at| &stage.pods[*at]["metadata"]["annotations"]).collect();
            let mut distinct: Vec<&Value> = indexes.iter().map(|of| &of[pod::INDEX]).collect();
            distinct.dedup();
            assert!(!indexed || distinct.len() == indexes.len(), "seed {seed}: two of an index: {indexes:?}");
            for at in stage.running() {
                match roll(4) {
                    0 => stage.end(at, "Failed", 1),
                    1 => stage.end(at, "Succeeded", 0),
                    _ => {}
                }
            }
            stage.pass(roll(700) as i64);
        }
        let of = |phase| stage.ends.values().filter(|end| **end == phase).count() as i64;
        assert_eq!(stage.number("succeeded"), completions, "seed {seed}");
        assert_eq!((of("Succeeded"), of("Failed")), (completions, stage.number("failed")), "seed {seed}");
        assert!(stage.pods.iter().all(|pod| pod["metadata"]["finalizers"] == json!([])), "seed {seed}");
    }
}

#[test]
fn failures_pause_and_then_end_it() {
    let mut stage = stage(json!({"backoffLimit": 1}));
    stage.look(false);
    stage.end(0, "Failed", 1);
    assert_eq!((stage.look(false), stage.number("failed")), (vec![], 1));
    stage.pass(9);
    assert_eq!(stage.look(false), [""; 0]);
    stage.pass(1);
    assert_eq!(stage.look(false), ["j-"]);
    stage.end(1, "Failed", 1);
    assert_eq!(stage.look(false), ["Failed BackoffLimitExceeded"]);
    assert_eq!(stage.conditions(), ["FailureTarget=BackoffLimitExceeded", "Failed=BackoffLimitExceeded"]);
    assert_eq!(stage.number("failed"), 2);
}

#[test]
fn what_still_runs_ends_before_it_has_failed() {
    let mut stage = stage(json!({"parallelism": 2, "completions": 2, "activeDeadlineSeconds": 10}));
    stage.look(false);
    stage.pass(10);
    // They are let go, and the status says that they end.
    assert_eq!(stage.look(false), ["end 2"]);
    assert_eq!(stage.conditions(), ["FailureTarget=DeadlineExceeded"]);
    assert_eq!((stage.number("active"), stage.number("terminating"), stage.number("failed")), (0, 2, 2));
    assert_eq!(stage.look(false), ["Failed DeadlineExceeded"]);
    assert_eq!(stage.number("failed"), 2);
}

#[test]
fn suspended_it_has_no_pods_and_goes_on_from_there() {
    let mut stage = stage(json!({"suspend": true, "parallelism": 2, "completions": 2, "activeDeadlineSeconds": 10}));
    assert_eq!(stage.look(false), ["Suspended"]);
    assert_eq!(
        (stage.conditions(), &stage.job["status"]["startTime"]),
        (vec!["Suspended=JobSuspended".into()], &Value::Null)
    );
    stage.pass(100);
    assert_eq!(stage.look(false), [""; 0]);
    stage.job["spec"]["suspend"] = json!(false);
    assert_eq!(stage.look(false), ["j-", "j-", "Resumed"]);
    assert_eq!(stage.job["status"]["startTime"], "2026-01-01T00:01:40Z");
    stage.job["spec"]["suspend"] = json!(true);
    assert_eq!(stage.look(false), ["remove 2", "Suspended"]);
    assert_eq!((stage.number("failed"), stage.number("active")), (0, 0));
}

#[test]
fn an_index_fails_by_itself() {
    let mut stage = stage(json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3,
        "backoffLimit": 2147483647_i64, "backoffLimitPerIndex": 1, "maxFailedIndexes": 2}));
    assert_eq!(stage.look(false), ["j-0-", "j-1-", "j-2-"]);
    assert_eq!(stage.pods[1]["spec"]["hostname"], "j-1");
    assert_eq!(stage.pods[1]["metadata"]["labels"], json!({"a": "b", (pod::INDEX): "1"}));
    stage.end(0, "Failed", 1);
    stage.end(1, "Succeeded", 0);
    assert_eq!(stage.look(false), [""; 0]);
    assert_ne!(stage.pods[0]["metadata"]["finalizers"], json!([]), "until its count is carried on");
    stage.pass(10);
    assert_eq!(stage.look(false), ["j-0-"]);
    assert_eq!(stage.pods[3]["metadata"]["annotations"][pod::FAILURES], "1");
    stage.end(3, "Failed", 1);
    stage.look(false);
    assert_eq!(stage.job["status"]["failedIndexes"], "0");
    assert_eq!(stage.job["status"]["completedIndexes"], "1");
    stage.end(2, "Succeeded", 0);
    assert_eq!(stage.look(false), ["Failed FailedIndexes"]);
    assert_eq!((stage.number("failed"), stage.number("succeeded")), (2, 2));
}

#[test]
fn policies_decide_what_an_end_means() {
    let rules = json!({"rules": [
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [7]}},
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [1]}}]});
    let mut stage = stage(json!({"backoffLimit": 0, "podFailurePolicy": rules}));
    stage.look(false);
    stage.end(0, "Failed", 7);
    stage.look(false);
    assert_eq!(stage.number("failed"), 0);
    stage.pass(10);
    assert_eq!(stage.look(false), ["j-"]);
    stage.pods[1]["metadata"]["name"] = json!("j-x");
    stage.pods[1]["metadata"]["namespace"] = json!("n");
    stage.end(1, "Failed", 42);
    assert_eq!(stage.look(false), ["Failed PodFailurePolicy"]);
    assert_eq!(
        stage.job["status"]["conditions"][0]["message"],
        "Container c for pod n/j-x failed with exit code 42 matching FailJob rule at index 1"
    );
    assert_eq!(stage.number("failed"), 1);
}

#[test]
fn enough_successes_are_enough() {
    let rules = json!({"rules": [{"succeededIndexes": "0,2", "succeededCount": 1}]});
    let mut stage = self::stage(json!({"completionMode": "Indexed", "parallelism": 3, "completions": 3,
        "successPolicy": rules}));
    stage.look(false);
    stage.end(1, "Succeeded", 0);
    assert_eq!(stage.look(false), [""; 0]);
    stage.end(2, "Succeeded", 0);
    assert_eq!(stage.look(false), ["end 1"]);
    assert_eq!(stage.conditions(), ["SuccessCriteriaMet=SuccessPolicy"]);
    assert_eq!(stage.look(false), ["Complete SuccessPolicy"]);
    assert_eq!((stage.number("failed"), &stage.job["status"]["completedIndexes"]), (0, &json!("1,2")));
}

#[test]
fn where_only_failed_pods_are_replaced_one_that_ends_is_waited_for() {
    for (policy, made) in [("Failed", 0), ("TerminatingOrFailed", 1)] {
        let mut stage = stage(json!({"podReplacementPolicy": policy}));
        stage.look(false);
        stage.pods[0]["metadata"]["deletionTimestamp"] = json!(api::seconds(stage.now));
        stage.pass(10);
        assert_eq!(stage.look(false).len(), made, "{policy}");
    }
}
