//! What a decision costs among 1,000 roles and 2,000 bindings, held against 2 µs.
//!
//! Also what a start costs, which writes the roles that every cluster has, on the disk below the temporary folder.
//!
//! `cargo run --release -p server --example access`
//!
//! Half of the bindings are the cluster's, half lie in 100 namespaces; each names one user and one group.
//! Worked out before: two scopes, a user and three groups, eight look-ups of 30 ns, and the rules of the bindings
//! that are found.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use server::{Attributes, Backend, Component, Config, Server};

const ROLES: usize = 1_000;
const NAMESPACES: usize = 100;
const DECISIONS: u32 = 200_000;
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> std::io::Result<()> {
    let dir = tempfile::tempdir()?;
    let random = ring::rand::SystemRandom::new();
    #[allow(clippy::disallowed_methods)]
    let clock: api::Clock = Arc::new(jiff::Timestamp::now);
    let config = Config {
        data_dir: dir.path().into(),
        backend: None,
        advertise: "127.0.0.1:6443".parse().map_err(std::io::Error::other)?,
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits: server::Limits::default(),
        clock,
        entropy: Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).expect("the system has entropy")),
    };
    for which in ["the first start", "a later start"] {
        let begun = Instant::now();
        Server::open(config.clone()).await?;
        println!("{which:<30} {:>6} µs", begun.elapsed().as_micros());
    }
    let server = Server::open(Config { backend: Some(Backend::Memory), ..config }).await?;
    for number in 0..NAMESPACES {
        post(&server, "/api/v1/namespaces", json!({"metadata": {"name": format!("n{number}")}})).await;
    }
    for number in 0..ROLES {
        let namespace = format!("n{}", number % NAMESPACES);
        let name = json!({"name": format!("bench-{number}")});
        let rule = |resource: &str| json!({"verbs": ["get", "list", "watch"], "apiGroups": ["", "apps"], "resources": [resource]});
        let rules = ["pods", "services", "deployments", "replicasets", "secrets"].map(rule);
        post(&server, &format!("{RBAC}/clusterroles"), json!({"metadata": name, "rules": rules})).await;
        let user =
            if number == 0 { "system:serviceaccount:kube-system:bench".into() } else { format!("user-{number}") };
        let subjects = json!([{"kind": "User", "name": user}, {"kind": "Group", "name": format!("group-{number}")}]);
        let role = json!({"kind": "ClusterRole", "name": name["name"]});
        let binding = json!({"metadata": name, "roleRef": role, "subjects": subjects});
        post(&server, &format!("{RBAC}/clusterrolebindings"), binding.clone()).await;
        post(&server, &format!("{RBAC}/namespaces/{namespace}/rolebindings"), binding).await;
    }
    let who = server.internal(Component::Controller("bench".into()));
    for (what, verb, resource, namespace) in [
        ("allowed by the first rule", "get", "pods", "n0"),
        ("allowed by the last rule", "watch", "secrets", "n0"),
        ("refused", "delete", "pods", "n0"),
        ("refused over all namespaces", "delete", "pods", ""),
    ] {
        let asked = Attributes {
            verb: verb.into(),
            version: "v1".into(),
            resource: resource.into(),
            namespace: namespace.into(),
            ..Attributes::default()
        };
        let allowed = server.may(&who, &asked);
        let begun = Instant::now();
        for _ in 0..DECISIONS {
            assert_eq!(server.may(std::hint::black_box(&who), std::hint::black_box(&asked)), allowed);
        }
        println!("{what:<30} {:>6} ns  (limit 2000)", (begun.elapsed() / DECISIONS).as_nanos());
    }
    // What a change of them costs the next to ask.
    let mut spent = std::time::Duration::ZERO;
    for number in 0..100 {
        let name = json!({"name": format!("more-{number}")});
        post(&server, &format!("{RBAC}/clusterroles"), json!({"metadata": name, "rules": null})).await;
        let begun = Instant::now();
        server.may(&who, &Attributes::default());
        spent += begun.elapsed();
    }
    println!("{:<30} {:>6} µs", "the first after a change", (spent / 100).as_micros());
    Ok(())
}

async fn post(server: &Server, path: &str, object: Value) {
    let request = Request::builder().method(Method::POST).uri(path).body(Bytes::from(object.to_string()));
    let request = request.expect("a path and a body make a request");
    let response = server.handle(&server.internal(Component::Admin), request).await;
    assert!(response.status.is_success(), "{path}: {}", response.status);
}
