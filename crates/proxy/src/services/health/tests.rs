//! What is answered, held against upstream's words.

use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

fn node(more: serde_json::Value) -> Object {
    let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {}});
    node["spec"]["taints"] = more;
    Object::from_value(&node).unwrap()
}

async fn get(health: &Arc<Health>, path: &str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let serving = tokio::spawn(health.clone().serve(listener));
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    serving.abort();
    let lines = text.split("\r\n").filter(|line| !line.starts_with("date:"));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[tokio::test]
async fn the_proxy_tells_how_it_is() {
    let now = Arc::new(AtomicI64::new(0));
    let told = now.clone();
    let health = Health::new(Arc::new(move || at(told.load(Ordering::Relaxed))));
    health.node(Some(&node(json!([]))));
    health.updated();
    now.store(5, Ordering::Relaxed);
    let answer = get(&health, "/healthz").await;
    let (head, body) = answer.split_once("\n\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    assert!(head.contains("\ncontent-type: application/json\nx-content-type-options: nosniff\n"), "{head}");
    let wanted = json!({
        "lastUpdated": "2026-01-01T00:00:05Z", "currentTime": "2026-01-01T00:00:05Z", "nodeEligible": true,
        "healthy": true, "status": {"IPv4": {"lastUpdated": "2026-01-01T00:00:00Z", "healthy": true}},
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), wanted);
    // An autoscaler takes the node away: balancers send nothing more, what is served goes on.
    health.node(Some(&node(json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]))));
    assert!(get(&health, "/healthz").await.starts_with("HTTP/1.0 503 "));
    assert!(get(&health, "/livez").await.starts_with("HTTP/1.0 200 "));
    health.node(None);
    assert!(get(&health, "/healthz").await.starts_with("HTTP/1.0 503 "));
    health.node(Some(&node(json!([]))));
    // A change waits, and for too long.
    health.pending();
    now.store(60, Ordering::Relaxed);
    assert!(get(&health, "/healthz").await.starts_with("HTTP/1.0 200 "));
    now.store(65, Ordering::Relaxed);
    assert!(get(&health, "/livez").await.starts_with("HTTP/1.0 503 "));
    health.updated();
    assert!(get(&health, "/healthz").await.starts_with("HTTP/1.0 200 "));
    assert!(get(&health, "/metrics").await.starts_with("HTTP/1.0 404 "));
}

#[tokio::test]
async fn a_balancer_is_told_how_many_endpoints_are_here() {
    let health = Health::new(Arc::new(|| at(0)));
    let key = Key::new("default", "web");
    health.asked(&key, Some(Asked { port: 0, local: 2 }));
    let answer = health.of_service(&key);
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["X-Load-Balancing-Endpoint-Weight"], "2");
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
    let upstream = "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}";
    assert_eq!(body, upstream);
    health.asked(&key, Some(Asked { port: 0, local: 0 }));
    assert_eq!(health.of_service(&key).status(), StatusCode::SERVICE_UNAVAILABLE);
    health.asked(&key, None);
    assert!(health.state().asked.is_empty());
}
