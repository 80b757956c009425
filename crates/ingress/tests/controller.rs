//! The controller against the real server in the process, under its own identity, with real connections.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use api::Object;
use base64::Engine;
use client::{Cache, Client, PatchKind, Scope};
use ingress::follow::{Ports, Scheme};
use serde_json::{Value, json};
use server::{Backend, Component, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use wire::tls::Trust;

/// The server in the same process.
#[path = "../../gousse/src/parts/local.rs"]
mod local;

use local::Local;

struct Cluster {
    server: Server,
    client: Client,
    clock: api::Clock,
    entropy: api::Entropy,
    _dir: tempfile::TempDir,
}

async fn cluster() -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    // No two looks at the clock are the same moment: events are named by it.
    let looks = AtomicI32::new(0);
    let clock: api::Clock =
        Arc::new(move || jiff::Timestamp::new(1_790_000_000, looks.fetch_add(1, Ordering::SeqCst)).unwrap());
    let counter = AtomicU64::new(1);
    let entropy: api::Entropy = Arc::new(move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            let next = counter.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
    });
    let server = Server::open(server::Config {
        data_dir: dir.path().into(),
        backend: Some(Backend::Memory),
        advertise: "127.0.0.1:6443".parse().unwrap(),
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits: server::Limits::default(),
        clock: clock.clone(),
        entropy: entropy.clone(),
    })
    .await
    .unwrap();
    let client = Local::client(&server, Component::Admin, "test");
    let cluster = Cluster { server, client, clock, entropy, _dir: dir };
    cluster.node("n1", json!({}), "10.1.0.1").await;
    cluster
}

fn kind(plural: &str) -> &'static api::Resource {
    kinds::built_in().iter().find(|kind| kind.plural == plural).unwrap()
}

type Opened = mpsc::UnboundedReceiver<(Scheme, SocketAddr)>;

impl Cluster {
    async fn create(&self, plural: &str, namespace: &str, object: Value) -> Object {
        self.client.create(kind(plural), namespace, &object).await.unwrap()
    }

    async fn merge(&self, plural: &str, namespace: &str, name: &str, sub: &str, patch: Value) {
        self.client.patch(kind(plural), namespace, name, sub, PatchKind::Merge, &patch).await.unwrap();
    }

    async fn node(&self, name: &str, labels: Value, address: &str) {
        self.create("nodes", "", json!({"metadata": {"name": name, "labels": labels}})).await;
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        self.merge("nodes", "", name, "status", json!({"status": {"addresses": addresses}})).await;
    }

    async fn class(&self, name: &str) {
        let spec = json!({"controller": "gousse.dev/ingress"});
        self.create("ingressclasses", "", json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// The ingress of a node; what it opens.
    fn start(&self, component: Component, node: &str, ports: [u16; 2]) -> Opened {
        let (tell, opened) = mpsc::unbounded_channel();
        let config = ingress::Config {
            is_edge: matches!(component, Component::Node(_)),
            client: Local::client(&self.server, component, "gousse-ingress"),
            node: node.into(),
            ports: Ports {
                address: "127.0.0.1".parse().unwrap(),
                wanted: BTreeMap::from([(Scheme::Http, ports[0]), (Scheme::Https, ports[1])]),
            },
            trusted: vec![],
            connections: 100,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        tokio::spawn(ingress::run(config, move |scheme, address| {
            let _ = tell.send((scheme, address));
        }));
        opened
    }

    /// Waits, by a watch, until an object is as it should be.
    async fn until(&self, plural: &str, namespace: &str, is_so: impl Fn(&Object) -> bool) -> Object {
        let scope = Scope { namespace: namespace.into(), ..Scope::default() };
        let cache = Cache::start(self.client.clone(), kind(plural), scope);
        let mut changes = cache.subscribe();
        loop {
            if let Some(object) = changes.next().await.unwrap().new
                && is_so(&object)
            {
                return object;
            }
        }
    }

    async fn told(&self, namespace: &str, reason: &str) -> String {
        let event = self.until("events", namespace, |event| event.value()["reason"] == reason).await;
        event.value()["message"].as_str().unwrap().into()
    }

    async fn has_addresses(&self, namespace: &str, wanted: Value) {
        self.until("ingresses", namespace, |ingress| {
            let entries = &ingress.value()["status"]["loadBalancer"]["ingress"];
            entries.as_array().cloned().unwrap_or_default().iter().map(|entry| entry["ip"].clone()).collect::<Value>()
                == wanted
        })
        .await;
    }
}

fn ingress(host: &str, service: &str, secret: Option<&str>) -> Value {
    let backend = json!({"service": {"name": service, "port": {"number": 80}}});
    let rule = json!({"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let mut ingress = json!({"metadata": {"name": host}, "spec": {"ingressClassName": "gousse", "rules": [rule]}});
    if let Some(secret) = secret {
        ingress["spec"]["tls"] = json!([{"hosts": [host], "secretName": secret}]);
    }
    ingress
}

fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"port": 80, "targetPort": 80}]}})
}

fn tls_secret(name: &str, host: &str) -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().self_signed(&key).unwrap();
    let encoded = |text: String| base64::prelude::BASE64_STANDARD.encode(text);
    json!({"metadata": {"name": name}, "type": "kubernetes.io/tls",
        "data": {"tls.crt": encoded(certificate.pem()), "tls.key": encoded(key.serialize_pem())}})
}

/// A connection over TLS that asks for a name.
async fn shaken(address: SocketAddr, name: &str) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tls = wire::tls::client(Trust::Anybody, None, &["http/1.1"]).unwrap();
    let name = name.to_string().try_into().unwrap();
    tokio_rustls::TlsConnector::from(tls).connect(name, TcpStream::connect(address).await?).await
}

/// The status of an answer.
async fn get(address: SocketAddr, host: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, host).await
}

async fn ask(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), host: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("none").into()
}

#[tokio::test]
async fn nothing_listens_without_a_class_and_all_ends_with_it() {
    let c = cluster().await;
    let mut opened = c.start(Component::Ingress, "n1", [0, 0]);
    c.create("services", "default", service("web")).await;
    c.create("ingresses", "default", ingress("a", "web", None)).await;
    assert!(opened.is_empty());
    c.class("gousse").await;
    let (scheme, address) = opened.recv().await.unwrap();
    assert_eq!(scheme, Scheme::Http);
    // No endpoint is there yet.
    assert_eq!(get(address, "a").await, "503");
    c.has_addresses("default", json!(["10.1.0.1"])).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let class = kind("ingressclasses");
    c.client.delete(class, "", "gousse", &client::DeleteOptions::default()).await.unwrap();
    c.has_addresses("default", json!([])).await;
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn certificates_come_from_secrets_as_they_change() {
    let c = cluster().await;
    c.class("gousse").await;
    c.create("services", "default", service("web")).await;
    c.create("secrets", "default", tls_secret("tls", "a.example")).await;
    c.create("ingresses", "default", ingress("a.example", "web", Some("tls"))).await;
    let mut opened = c.start(Component::Ingress, "n1", [0, 0]);
    opened.recv().await.unwrap();
    let (scheme, secure) = opened.recv().await.unwrap();
    assert_eq!(scheme, Scheme::Https);
    assert_eq!(ask(&mut shaken(secure, "a.example").await.unwrap(), "a.example").await, "503");
    let other = tls_secret("tls", "a.example")["data"]["tls.key"].clone();
    c.merge("secrets", "default", "tls", "", json!({"data": {"tls.key": other}})).await;
    let why = c.told("default", "BadCertificate").await;
    assert_eq!(why, "Secret default/tls: tls.key is not the key of the certificate in tls.crt");
    assert!(shaken(secure, "a.example").await.is_err());
    c.client.delete(kind("secrets"), "default", "tls", &client::DeleteOptions::default()).await.unwrap();
    assert_eq!(c.told("default", "SecretNotFound").await, "Secret default/tls is not there");
}

/// Whoever makes Ingresses in one namespace reaches nothing of another.
#[tokio::test]
async fn an_ingress_of_one_namespace_shows_nothing_of_another() {
    let c = cluster().await;
    c.class("gousse").await;
    for namespace in ["bank", "evil"] {
        c.create("namespaces", "", json!({"metadata": {"name": namespace}})).await;
    }
    c.create("services", "bank", service("web")).await;
    c.create("secrets", "bank", tls_secret("tls", "bank.example")).await;
    c.create("ingresses", "evil", ingress("bank.example", "web", Some("tls"))).await;
    let mut opened = c.start(Component::Ingress, "n1", [0, 0]);
    let (_, plain) = opened.recv().await.unwrap();
    let (_, secure) = opened.recv().await.unwrap();
    assert_eq!(c.told("evil", "SecretNotFound").await, "Secret evil/tls is not there");
    assert_eq!(c.told("evil", "ServiceNotFound").await, "Service evil/web is not there");
    assert_eq!(get(plain, "bank.example").await, "503");
    assert!(shaken(secure, "bank.example").await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_tried_again_with_the_next_ingress() {
    let c = cluster().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    c.class("gousse").await;
    c.create("services", "default", service("web")).await;
    let mut opened = c.start(Component::Ingress, "n1", [port, 0]);
    assert_eq!(opened.recv().await.unwrap().0, Scheme::Https, "the other one is opened");
    let why = c.told("default", "PortNotServed").await;
    assert!(why.starts_with(&format!("n1: no Ingress is served at port {port} (--ingress-http-port): ")), "{why}");
    drop(taken);
    c.create("ingresses", "default", ingress("a", "web", None)).await;
    let (scheme, address) = opened.recv().await.unwrap();
    assert_eq!((scheme, address.port()), (Scheme::Http, port));
    assert_eq!(get(address, "a").await, "503");
}

#[tokio::test]
async fn a_node_that_joined_serves_while_it_is_an_edge() {
    let c = cluster().await;
    c.class("gousse").await;
    c.node("n2", json!({}), "10.1.0.2").await;
    c.create("services", "default", service("web")).await;
    c.create("secrets", "default", tls_secret("tls", "a.example")).await;
    c.create("ingresses", "default", ingress("a.example", "web", Some("tls"))).await;
    let mut first = c.start(Component::Ingress, "n1", [0, 0]);
    first.recv().await.unwrap();
    c.has_addresses("default", json!(["10.1.0.1"])).await;
    let mut edge = c.start(Component::Node("n2".into()), "n2", [0, 0]);
    let label =
        |value: Value| json!({"metadata": {"labels": {"node-restriction.kubernetes.io/gousse-ingress": value}}});
    let node = Local::client(&c.server, Component::Node("n2".into()), "kubelet");
    let itself = node.patch(kind("nodes"), "", "n2", "", PatchKind::Merge, &label(json!(""))).await;
    assert!(itself.is_err(), "no node makes itself one");
    assert!(edge.is_empty());
    c.merge("nodes", "", "n2", "", label(json!(""))).await;
    let (_, plain) = edge.recv().await.unwrap();
    let (_, secure) = edge.recv().await.unwrap();
    c.has_addresses("default", json!(["10.1.0.1", "10.1.0.2"])).await;
    assert_eq!(get(plain, "a.example").await, "503");
    assert!(shaken(secure, "a.example").await.is_ok());
    c.merge("nodes", "", "n2", "", label(json!(null))).await;
    c.has_addresses("default", json!(["10.1.0.1"])).await;
}
