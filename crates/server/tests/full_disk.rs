//! A full disk: what is new is refused with 507, what leads to less goes on, and freed room is used.
//!
//! On a small tmpfs of its own, in a mount namespace of its own.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::{Method, Request};
use serde_json::{Value, json};
use server::{Component, Config, Limits, Server};

const TEST: &str = "a_full_disk_takes_what_leads_to_less";
const PODS: &str = "/api/v1/namespaces/default/pods";

struct Full {
    server: Server,
    hog: std::fs::File,
}

impl Full {
    async fn open(dir: &Path) -> Full {
        let random = ring::rand::SystemRandom::new();
        #[allow(clippy::disallowed_methods)]
        let clock: api::Clock = Arc::new(jiff::Timestamp::now);
        let config = Config {
            data_dir: dir.into(),
            backend: None,
            advertise: "127.0.0.1:6443".parse().unwrap(),
            names: vec![],
            service_cidr: "10.96.0.0/16".into(),
            node_ports: server::PortRange::default(),
            allow_privileged: true,
            admission: server::Admission::default(),
            limits: Limits::default(),
            clock,
            entropy: Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).unwrap()),
        };
        let hog = std::fs::File::options().create(true).append(true).open(dir.join("hog")).unwrap();
        Full { server: Server::open(config).await.unwrap(), hog }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let kind = match method == Method::PATCH {
            true => "application/strategic-merge-patch+json",
            false => "application/json",
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body.into());
        let answer = self.server.handle(&self.server.internal(Component::Admin), request.unwrap()).await;
        let server::Body::Bytes(bytes) = answer.body else { panic!("no bytes") };
        (answer.status.as_u16(), serde_json::from_slice(&bytes).unwrap())
    }

    async fn expect(&self, code: u16, method: Method, path: &str, body: Value) -> Value {
        let what = format!("{method} {path}");
        let (got, answer) = self.ask(method, path, body).await;
        assert_eq!(got, code, "{what}: {answer}");
        answer
    }

    fn take_all_room(&mut self) {
        while self.hog.write_all(&[1; 4096]).is_ok() {}
    }
}

fn pod(name: &str) -> Value {
    let container = json!({"name": "c", "image": "busybox"});
    json!({"metadata": {"name": name}, "spec": {"nodeName": "n1", "containers": [container]}})
}

fn map(name: &str, size: usize) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v".repeat(size)}})
}

#[test]
fn a_full_disk_takes_what_leads_to_less() {
    let Some(dir) = std::env::var_os("SERVER_TMPFS") else {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=80m tmpfs \"$SERVER_TMPFS\" && exec \"$0\" \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env("SERVER_TMPFS", dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        if std::env::var_os("CI").is_none() && text.contains("not permitted") {
            writeln!(std::io::stderr(), "skipped {TEST}: it needs root").unwrap();
            return;
        }
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(story(Path::new(&dir)));
}

async fn story(dir: &Path) {
    let maps = "/api/v1/namespaces/default/configmaps";
    let mut full = Full::open(dir).await;
    full.expect(201, Method::POST, "/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    let account = json!({"metadata": {"name": "default"}});
    full.expect(201, Method::POST, "/api/v1/namespaces/default/serviceaccounts", account).await;
    for name in ["graceful", "forced", "evicted", "ended", "runs", "held"] {
        full.expect(201, Method::POST, PODS, pod(name)).await;
    }
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    full.expect(201, Method::POST, leases, lease).await;
    full.expect(201, Method::POST, maps, map("small", 10)).await;
    full.take_all_room();

    // Nothing new, nothing larger.
    let refused = full.expect(507, Method::POST, maps, map("new", 10)).await;
    assert!(refused["message"].as_str().unwrap().contains("the disk is full"), "{refused}");
    full.expect(507, Method::PATCH, &format!("{maps}/small"), json!({"data": {"k": "w".repeat(100)}})).await;
    full.expect(200, Method::PATCH, &format!("{maps}/small"), json!({"data": {"k": "w"}})).await;
    full.expect(507, Method::PATCH, &format!("{PODS}/runs"), json!({"metadata": {"labels": {"a": "b"}}})).await;

    // A deletion with all that its end needs.
    full.expect(200, Method::DELETE, &format!("{PODS}/graceful"), Value::Null).await;
    let status = json!({"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "PodFailed"}],
        "phase": "Failed", "message": "ends"}});
    full.expect(200, Method::PATCH, &format!("{PODS}/graceful/status"), status.clone()).await;
    let uid = full.expect(200, Method::GET, &format!("{PODS}/graceful"), Value::Null).await["metadata"]["uid"].clone();
    let event = |name: &str, of: &str, uid: &Value| {
        json!({"metadata": {"name": name}, "reason": "Killing", "message": "m", "type": "Normal",
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": of, "uid": uid}})
    };
    let events = "/api/v1/namespaces/default/events";
    full.expect(201, Method::POST, events, event("e1", "graceful", &uid)).await;
    // Nobody makes room for an event by naming a pod that goes.
    full.expect(507, Method::POST, events, event("e2", "graceful", &json!("another"))).await;
    full.expect(507, Method::POST, events, event("e3", "runs", &uid)).await;
    full.expect(200, Method::DELETE, &format!("{PODS}/graceful?gracePeriodSeconds=0"), Value::Null).await;
    full.expect(404, Method::GET, &format!("{PODS}/graceful"), Value::Null).await;

    full.expect(200, Method::DELETE, &format!("{PODS}/forced?gracePeriodSeconds=0"), Value::Null).await;
    full.expect(404, Method::GET, &format!("{PODS}/forced"), Value::Null).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted"}});
    full.expect(201, Method::POST, &format!("{PODS}/evicted/eviction"), eviction).await;
    full.expect(200, Method::PATCH, &format!("{PODS}/ended/status"), status).await;
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]}});
    full.expect(200, Method::PATCH, "/api/v1/nodes/n1/status", ready).await;
    full.expect(200, Method::PATCH, &format!("{leases}/l"), json!({"spec": {"holderIdentity": "another one"}})).await;

    // Room comes back with who took it, and nobody starts anything again.
    full.expect(507, Method::POST, maps, map("new", 10)).await;
    full.hog.set_len(0).unwrap();
    full.expect(201, Method::POST, maps, map("new", 10)).await;

    // Filled through the API, and emptied through it.
    let mut made = 0;
    while full.ask(Method::POST, maps, map(&format!("m{made}"), 700_000)).await.0 == 201 {
        made += 1;
    }
    assert!(made > 20, "{made}");
    for n in 0..made {
        full.expect(200, Method::DELETE, &format!("{maps}/m{n}"), Value::Null).await;
    }
    // But for two parts of the journal at most.
    for n in 0..made * 3 / 4 {
        full.expect(201, Method::POST, maps, map(&format!("m{n}"), 700_000)).await;
    }
}
