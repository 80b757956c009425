//! Counting, combining and throttling, and what goes over the wire.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;
use crate::script::{Script, ok, refused, silent};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn said(message: &str, second: i64) -> Said {
    let regarding = ObjectReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: "default".into(),
        name: "web".into(),
        uid: "u1".into(),
        ..ObjectReference::default()
    };
    Said {
        regarding,
        class: Type::Normal,
        reason: "Pulled".into(),
        message: message.into(),
        at: at(second),
        annotations: Default::default(),
    }
}

fn judge(correlator: &mut Correlator, said: &Said, name: &str) -> Verdict {
    correlator.judge("kubelet", "n1", said, name)
}

#[test]
fn the_same_event_again_is_counted() {
    let mut correlator = Correlator::default();
    assert_eq!(judge(&mut correlator, &said("x", 0), "first"), Verdict::Create { message: "x".into() });
    let expected = |count| Verdict::Count { name: "first".into(), message: "x".into(), count, first: at(0) };
    assert_eq!(judge(&mut correlator, &said("x", 5), "second"), expected(2));
    assert_eq!(judge(&mut correlator, &said("x", 9), "third"), expected(3));
    assert_eq!(judge(&mut correlator, &said("y", 9), "other"), Verdict::Create { message: "y".into() });
}

#[test]
fn ten_similar_events_are_combined() {
    let mut correlator = Correlator::default();
    for n in 0..9 {
        let message = format!("m{n}");
        assert_eq!(judge(&mut correlator, &said(&message, n), &message), Verdict::Create { message });
    }
    let combined = |n| format!("(combined from similar events): m{n}");
    assert_eq!(judge(&mut correlator, &said("m9", 9), "many"), Verdict::Create { message: combined(9) });
    let counted = Verdict::Count { name: "many".into(), message: combined(10), count: 2, first: at(9) };
    assert_eq!(judge(&mut correlator, &said("m10", 10), "more"), counted);
    // Ten minutes of silence and it begins anew.
    assert_eq!(judge(&mut correlator, &said("m11", 700), "new"), Verdict::Create { message: "m11".into() });
}

#[test]
fn an_object_gets_25_and_then_one_every_five_minutes() {
    let mut correlator = Correlator::default();
    let mut passed = 0;
    for _ in 0..40 {
        passed += usize::from(judge(&mut correlator, &said("x", 0), "n") != Verdict::Skip);
    }
    assert_eq!(passed, 25);
    assert_eq!(judge(&mut correlator, &said("x", 299), "n"), Verdict::Skip);
    assert!(matches!(judge(&mut correlator, &said("x", 301), "n"), Verdict::Count { .. }));
    assert_eq!(judge(&mut correlator, &said("x", 302), "n"), Verdict::Skip);
    let mut other = said("x", 0);
    other.regarding.uid = "u2".into();
    assert!(matches!(judge(&mut correlator, &other, "n"), Verdict::Create { .. }));
}

struct Bench {
    recorder: Recorder,
    asked: Arc<Mutex<Vec<crate::script::Asked>>>,
}

impl Bench {
    fn new(answer: impl Fn(&crate::script::Asked) -> Result<crate::Reply, Status> + Send + Sync + 'static) -> Bench {
        let (client, asked) = Script::client(answer);
        let clock: Clock = Arc::new(|| at(0));
        let recorder = Recorder::new(client, "kubelet", "n1", clock, Arc::new(|bytes| bytes.fill(128)));
        Bench { recorder, asked }
    }

    async fn sent(&self, count: usize) -> Vec<(String, Value)> {
        while self.asked.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.asked.lock().unwrap().iter().map(|a| (a.line.clone(), a.body.clone())).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_stands_for_several_says_nothing_of_who_reports() {
    let bench = Bench::new(|_| ok(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}})));
    for number in 0..10 {
        bench.recorder.event(said("", 0).regarding, "", Type::Normal, "Scaled", format!("to {number}"));
    }
    let sent = bench.sent(10).await;
    let told = |at: usize| ["message", "reportingComponent", "reportingInstance"].map(|name| sent[at].1[name].clone());
    assert_eq!(told(8), ["to 8", "kubelet", "n1"]);
    assert_eq!(told(9), ["(combined from similar events): to 9", "", ""]);
    assert_eq!(sent[9].1["source"], json!({"component": "kubelet", "host": "n1"}));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_created_and_then_patched() {
    let bench = Bench::new(|_| ok(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}})));
    for _ in 0..2 {
        let regarding = said("", 0).regarding;
        bench.recorder.event(regarding, "spec.containers{web}", Type::Normal, "Started", "Container started");
    }
    let sent = bench.sent(2).await;
    let name = format!("web.{:x}", at(0).as_nanosecond());
    assert_eq!(sent[0].0, "POST /api/v1/namespaces/default/events");
    assert_eq!(
        sent[0].1,
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": "u1",
                "fieldPath": "spec.containers{web}"},
            "reason": "Started", "message": "Container started", "type": "Normal", "count": 1,
            "firstTimestamp": "2023-11-14T22:13:20Z", "lastTimestamp": "2023-11-14T22:13:20Z",
            "source": {"component": "kubelet", "host": "n1"},
            "reportingComponent": "kubelet", "reportingInstance": "n1",
        })
    );
    assert_eq!(sent[1].0, format!("PATCH /api/v1/namespaces/default/events/{name}"));
    let patch = json!({"count": 2, "lastTimestamp": "2023-11-14T22:13:20Z", "message": "Container started"});
    assert_eq!(sent[1].1, patch);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_expired_is_created_anew_and_silence_is_tried_again() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let bench = Bench::new(move |asked| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => silent(),
        _ if asked.line.starts_with("PATCH") => refused(Status::not_found("", "events", "x")),
        _ => ok(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}})),
    });
    for _ in 0..2 {
        bench.recorder.event(said("", 0).regarding, "", Type::Warning, "Failed", "no");
    }
    let sent = bench.sent(4).await;
    let verbs: Vec<&str> = sent.iter().map(|(line, _)| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["POST", "POST", "PATCH", "POST"]);
    assert_eq!(sent[3].1["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn the_v1_form_makes_repeats_a_series() {
    let bench = Bench::new(|_| ok(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}})));
    for _ in 0..4 {
        let regarding = said("", 0).regarding;
        bench.recorder.event_v1(regarding, None, Type::Warning, "FailedScheduling", "Scheduling", "0/0 nodes");
    }
    // Created, the first repeat at once, the last count when the series was silent for six minutes.
    let sent = bench.sent(3).await;
    assert_eq!(sent[0].1["eventTime"], "2023-11-14T22:13:20.000000Z");
    assert_eq!(sent[0].1["reportingInstance"], "kubelet-n1");
    assert_eq!(sent[0].1["action"], "Scheduling");
    assert!(sent[0].1.get("count").is_none());
    assert_eq!(sent[1].1["series"]["count"], 2);
    assert_eq!(sent[2].1["series"]["count"], 4);
    assert_eq!(sent.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_new_event_does_not_wait_for_the_one_before() {
    let tries = std::sync::atomic::AtomicU32::new(0);
    let bench = Bench::new(move |_| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => silent(),
        _ => ok(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"}})),
    });
    for reason in ["Pulled", "Created"] {
        bench.recorder.event(said("", 0).regarding, "", Type::Normal, reason, "");
    }
    let sent = bench.sent(3).await;
    let reasons: Vec<&str> = sent.iter().map(|(_, body)| body["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["Pulled", "Created", "Pulled"]);
}
