//! The checkers themselves: a history that breaks a law is found, and one that does not passes.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{AttachSpec, Attachment};
use runtime::{Network, Sandbox, SandboxId, SandboxSpec};
use serde_json::{Value, json};
use sim::laws::Laws;
use sim::link::Acknowledged;
use store::{Backend, Expect, Key, Options, Room, Step, Store, Sync};

/// `PATCH`es one after the other onto an object; `null` in the last deletes it.
async fn history(key: &str, first: Value, changes: &[Value]) -> Vec<String> {
    let store = Store::open(Backend::Memory, Options::new(Arc::new(|| Duration::from_secs(1)))).unwrap();
    let mut laws = Laws::new(&store);
    write(&store, "namespaces/default", json!({"metadata": {"uid": "ns"}})).await;
    let mut object = first;
    write(&store, key, object.clone()).await;
    for change in changes {
        if change.is_null() {
            delete(&store, key, object.clone()).await;
            continue;
        }
        merge(&mut object, change);
        write(&store, key, object.clone()).await;
    }
    laws.catch_up(&store).await;
    laws.violations().to_vec()
}

fn split(object: Value) -> store::Value {
    let mut object = object;
    object["metadata"]["resourceVersion"] = json!("@");
    let text = object.to_string();
    let (head, tail) = text.split_once('@').unwrap();
    store::Value { head: Bytes::copy_from_slice(head.as_bytes()), tail: Bytes::copy_from_slice(tail.as_bytes()) }
}

async fn write(store: &Store, key: &str, object: Value) {
    let step = Step::Put {
        key: Key::from(key),
        expect: Expect::Any,
        value: split(object),
        ttl: None,
        sync: Sync::First,
        room: Room::Free,
    };
    store.write(vec![step]).await.unwrap();
}

async fn delete(store: &Store, key: &str, object: Value) {
    store.write(vec![Step::Delete { key: Key::from(key), expect: Expect::Any, last: split(object) }]).await.unwrap();
}

fn merge(into: &mut Value, change: &Value) {
    match change {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| merge(&mut into[name], value)),
        other => *into = other.clone(),
    }
}

fn pod() -> Value {
    json!({"metadata": {"uid": "u1", "name": "p", "namespace": "default", "generation": 1},
        "spec": {"nodeName": "n1", "x": 1}, "status": {"phase": "Running", "qosClass": "BestEffort",
        "containerStatuses": [{"name": "c", "restartCount": 2}]}})
}

#[tokio::test]
async fn each_law_is_checked() {
    let ending = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30}});
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("law 4", vec![json!({"metadata": {"generation": 2}, "spec": {"nodeName": "n2"}})]),
        ("law 3", vec![json!({"metadata": {"generation": 2}, "spec": {"x": 2}, "status": {"phase": "Pending"}})]),
        ("spec changed without a new generation", vec![json!({"spec": {"x": 2}})]),
        ("generation went back", vec![json!({"metadata": {"generation": 0}})]),
        ("/metadata/uid changed", vec![json!({"metadata": {"uid": "u2"}})]),
        (
            "phase went from Failed",
            vec![json!({"status": {"phase": "Failed"}}), json!({"status": {"phase": "Running"}})],
        ),
        ("QoS class", vec![json!({"status": {"qosClass": "Burstable"}})]),
        ("restarted fewer", vec![json!({"status": {"containerStatuses": [{"name": "c", "restartCount": 1}]}})]),
        ("law 9", vec![json!({"metadata": {"finalizers": ["a/b"]}}), Value::Null]),
        ("its deletion went", vec![ending.clone(), json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:31Z"}})]),
        ("its grace went", vec![ending.clone(), json!({"metadata": {"deletionGracePeriodSeconds": 31}})]),
        ("with a grace of Some(30) left", vec![ending.clone(), Value::Null]),
    ];
    for (expected, changes) in cases {
        let violations = history("pods/default/p", pod(), &changes).await;
        assert!(violations.iter().any(|text| text.contains(expected)), "{expected}: {violations:?}");
    }
    let sound = [
        json!({"status": {"phase": "Pending"}}),
        ending,
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}}),
        Value::Null,
    ];
    assert_eq!(history("pods/default/p", pod(), &sound).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_namespace_that_goes_takes_everything_with_it() {
    let lost = history("pods/lost/p", pod(), &[]).await;
    assert!(lost.is_empty(), "its metadata says default: {lost:?}");
    let mut stray = pod();
    stray["metadata"]["namespace"] = json!("lost");
    let stray = history("pods/lost/p", stray, &[]).await;
    assert!(stray[0].contains("a namespace that is not there"), "{stray:?}");
    let store = Store::open(Backend::Memory, Options::new(Arc::new(|| Duration::from_secs(1)))).unwrap();
    let mut laws = Laws::new(&store);
    write(&store, "namespaces/default", json!({"metadata": {"uid": "ns"}})).await;
    write(&store, "pods/default/p", pod()).await;
    delete(&store, "namespaces/default", json!({"metadata": {"uid": "ns"}})).await;
    laws.catch_up(&store).await;
    assert!(laws.violations()[0].contains("and left"), "{:?}", laws.violations());
}

#[tokio::test]
async fn machines_and_acknowledgements_are_checked() {
    let store = Store::open(Backend::Memory, Options::new(Arc::new(|| Duration::from_secs(1)))).unwrap();
    let mut laws = Laws::new(&store);
    write(&store, "namespaces/default", json!({"metadata": {"uid": "ns"}})).await;
    laws.catch_up(&store).await;
    let sandbox = |id: &str, ready| Sandbox {
        id: SandboxId(id.into()),
        spec: SandboxSpec { network: Network::Namespace(format!("/net/{id}").into()), ..SandboxSpec::default() },
        ready,
        created_at: 0,
        containers: vec![],
        addresses: vec![],
    };
    let attachment = |id: &str, address: &str| Attachment {
        spec: AttachSpec { id: id.into(), ..AttachSpec::default() },
        namespace: format!("/net/{id}").into(),
        addresses: vec![address.parse().unwrap()],
    };
    laws.compare_networks(&[sandbox("a", true), sandbox("b", false)], &[attachment("a", "10.0.0.1")]);
    assert!(laws.violations().is_empty(), "a stopped sandbox needs none: {:?}", laws.violations());
    laws.compare_networks(&[sandbox("a", true)], &[]);
    laws.compare_networks(&[], &[attachment("a", "10.0.0.1"), attachment("b", "10.0.0.1")]);
    let told = |revision| Acknowledged { line: "POST".into(), uid: "ns".into(), revision };
    laws.remember(vec![told(1), told(9)]);
    let mut pair = [sandbox("a", true), sandbox("b", true)];
    pair[0].spec.labels.insert("io.kubernetes.pod.uid".into(), "u1".into());
    laws.one_sandbox_each(&pair);
    assert_eq!(laws.violations().len(), 3, "two pods, one sandbox each: {:?}", laws.violations());
    pair[1].spec.labels = pair[0].spec.labels.clone();
    laws.one_sandbox_each(&pair);
    laws.rest(&[("u1".into(), vec![]), ("u2".into(), vec![node::plan::Action::PrepareVolumes])]);
    let violations = laws.violations();
    assert_eq!(violations.len(), 5, "{violations:?}");
    assert!(violations[0].starts_with("law 7") && violations[1].starts_with("law 7"), "{violations:?}");
    assert!(violations[2].starts_with("law 11") && violations[3].starts_with("law 5"), "{violations:?}");
    assert!(violations[4].starts_with("law 8"), "{violations:?}");
}
