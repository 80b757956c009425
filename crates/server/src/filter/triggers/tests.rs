//! Values in bytes, and watches that demand them.

use api::WatchEvent;
use api::resource::PODS;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::answer::Body;
use crate::tests::{Cluster, cluster};

#[test]
fn a_pods_node_is_found_in_its_bytes() {
    let node = |text: &str| node_name(text.as_bytes());
    assert_eq!(node(r#"{"metadata":{"name":"a"},"spec":{"containers":[{}],"nodeName":"n1"}}"#), Some("n1".into()));
    assert_eq!(node(r#"{"spec":{"nodeName":"\u006e2","x":{"nodeName":"other"}}}"#), Some("n2".into()));
    for none in [r#"{"spec":{"nodeName":null}}"#, r#"{"spec":{}}"#, "{}", "{"] {
        assert_eq!(node(none), None, "{none}");
    }
    assert!(TRIGGERS.iter().all(|(kind, _)| *kind == PODS.qualified()));
}

/// What a watch of pods has told: the type and the name of each.
async fn told(c: &Cluster, selector: &str, count: usize) -> Vec<String> {
    let path = format!("/api/v1/pods?watch=1&resourceVersion=1&fieldSelector={selector}");
    let Body::Events(events) = c.raw(&c.admin, Method::GET, &path, "", "").await.body else { panic!("no events") };
    let lines = events.take(count).map(|event| match event {
        WatchEvent::Added(pod) => format!("ADDED {}", pod.meta().name),
        WatchEvent::Modified(pod) => format!("MODIFIED {}", pod.meta().name),
        WatchEvent::Deleted(pod) => format!("DELETED {}", pod.meta().name),
        other => panic!("{other:?}"),
    });
    lines.collect().await
}

#[tokio::test]
async fn a_watch_of_a_nodes_pods_tells_them_and_no_others() {
    let c = cluster().await;
    c.account("default").await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, node: Value| {
        json!({"metadata": {"name": name, "labels": {"app": name}},
            "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}})
    };
    let path = "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1";
    let Body::Events(mut live) = c.raw(&c.admin, Method::GET, path, "", "").await.body else { panic!() };
    for (name, node) in [("a", json!("n1")), ("b", json!("n2")), ("c", Value::Null)] {
        assert_eq!(c.post(pods, pod(name, node)).await.0, 201);
    }
    let binding = json!({"metadata": {"name": "c"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(c.post(&format!("{pods}/c/binding"), binding).await.0, 201);
    let labels = json!({"metadata": {"labels": {"app": null}}});
    for name in ["b", "a"] {
        c.patch(&format!("{pods}/{name}"), "application/merge-patch+json", labels.clone()).await;
    }
    c.delete(&format!("{pods}/c"), json!({"gracePeriodSeconds": 0})).await;
    let expected = ["ADDED a", "ADDED c", "MODIFIED a", "MODIFIED c", "DELETED c"];
    assert_eq!(told(&c, "spec.nodeName%3Dn1", expected.len()).await, expected, "what was");
    for line in expected {
        let told = match live.next().await.unwrap() {
            WatchEvent::Added(pod) => format!("ADDED {}", pod.meta().name),
            WatchEvent::Modified(pod) => format!("MODIFIED {}", pod.meta().name),
            WatchEvent::Deleted(pod) => format!("DELETED {}", pod.meta().name),
            other => panic!("{other:?}"),
        };
        assert_eq!(told, line, "what comes");
    }
    // Other demands hold beside it; the empty value is none that an index has.
    let with_phase = "spec.nodeName%3Dn2,status.phase%3DPending,spec.nodeName!%3Dn1";
    assert_eq!(told(&c, with_phase, 2).await, ["ADDED b", "MODIFIED b"]);
    assert_eq!(told(&c, "spec.nodeName%3D", 2).await, ["ADDED c", "DELETED c"]);
    assert_eq!(wanted(&filter(&c, "spec.nodeName%3D")).map(|wanted| wanted.value), None);
    assert_eq!(wanted(&filter(&c, "spec.nodeName!%3Dn1")).map(|wanted| wanted.value), None);
    assert_eq!(wanted(&filter(&c, "spec.nodeName%3Dn1")).map(|wanted| wanted.value), Some("n1".into()));
}

fn filter(c: &Cluster, selector: &str) -> Filter {
    let served = c.server.kinds().served("", "v1", "pods").expect("pods are served");
    Filter::of(&served, "", &wire::query::Query::parse(&format!("fieldSelector={selector}"))).unwrap()
}
