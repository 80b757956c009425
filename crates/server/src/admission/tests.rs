use http::Method;
use serde_json::{Value, json};

use crate::identity::Component;
use crate::tests::cluster;

#[tokio::test]
async fn a_priority_class_gives_the_number() {
    let c = cluster().await;
    c.account("default").await;
    let pod = |spec: Value| {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        pod
    };
    let path = "/api/v1/namespaces/default/pods";
    let (code, made) = c.post(path, pod(json!({"priorityClassName": "system-node-critical"}))).await;
    assert_eq!((code, &made["spec"]["priority"]), (201, &json!(2_000_001_000)), "{made}");
    let (code, status) = c.post(path, pod(json!({"priorityClassName": "none"}))).await;
    let text = "pods \"p\" is forbidden: no PriorityClass with name none was found";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
    let (code, status) = c.post(path, pod(json!({"serviceAccountName": "x"}))).await;
    let text = "pods \"p\" is forbidden: error looking up service account default/x: serviceaccount \"x\" not found";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, text));
}

#[tokio::test]
async fn a_node_begins_tainted_and_writes_only_itself() {
    let c = cluster().await;
    let agent = c.server.internal(Component::Node("n1".into()));
    let node = json!({"metadata": {"name": "n1"}}).to_string();
    let response = c.raw(&agent, Method::POST, "/api/v1/nodes", "application/json", node).await;
    assert_eq!(response.status.as_u16(), 201);
    let (_, node) = c.get("/api/v1/nodes/n1").await;
    assert_eq!(node["spec"]["taints"], json!([{"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"}]));
    let patch = json!({"spec": {"taints": null}}).to_string();
    let media = "application/merge-patch+json";
    let response = c.raw(&agent, Method::PATCH, "/api/v1/nodes/n1", media, patch).await;
    assert_eq!(response.status.as_u16(), 403);
    let other = json!({"metadata": {"name": "n2"}}).to_string();
    let response = c.raw(&agent, Method::POST, "/api/v1/nodes", "application/json", other).await;
    assert_eq!(response.status.as_u16(), 403);
}
