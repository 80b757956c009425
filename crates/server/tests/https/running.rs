//! The server over its real HTTPS on loopback, and who asks it.

use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use server::{Backend, Component, Config, Limits, Server};
use tokio::net::TcpListener;
use wire::upgrade::{Answer, send};
use wire::{Pair, Trust};

/// The memory of this process, in bytes.
pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

pub struct Running {
    pub server: Server,
    pub port: u16,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
    dir: tempfile::TempDir,
}

pub async fn running_with(limits: Limits) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertise = listener.local_addr().unwrap();
    let random = ring::rand::SystemRandom::new();
    #[allow(clippy::disallowed_methods)]
    let clock: api::Clock = Arc::new(jiff::Timestamp::now);
    let server = Server::open(Config {
        data_dir: dir.path().into(),
        backend: Some(Backend::Memory),
        advertise,
        names: vec![],
        service_cidr: "10.96.0.0/16".into(),
        node_ports: server::PortRange::default(),
        allow_privileged: true,
        admission: server::Admission::default(),
        limits,
        clock,
        entropy: Arc::new(move |bytes| ring::rand::SecureRandom::fill(&random, bytes).unwrap()),
    })
    .await
    .unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let serving = server.clone();
    tokio::spawn(async move {
        let ended = async {
            let _ = stopped.await;
        };
        serving.serve(listener, ended).await.unwrap();
    });
    Running { server, port: advertise.port(), stop: Some(stop), dir }
}

impl Running {
    /// The administrator's certificate, out of the kubeconfig.
    pub fn admin(&self) -> Pair {
        let text = self.server.kubeconfig("https://x", "x").unwrap();
        let pem = |name: &str| {
            let line = text.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap();
            String::from_utf8(base64::engine::general_purpose::STANDARD.decode(line.trim()).unwrap()).unwrap()
        };
        Pair { certificate: pem("client-certificate-data:"), key: pem("client-key-data:") }
    }

    pub fn node_pair(&self, node: &str) -> Pair {
        self.server.node_pair(node, vec![node.to_string()]).unwrap()
    }

    pub async fn send(&self, who: Option<&Pair>, request: http::request::Builder, body: Vec<u8>) -> Answer {
        let who = who.map(|pair| wire::tls::Presented::new(pair).unwrap());
        let tls = wire::tls::client(Trust::Authorities(self.server.authority()), who, &[]).unwrap();
        let connection = wire::dial("localhost", self.port, Some(tls)).await.unwrap();
        let request = request.header("host", "localhost").body(Full::new(Bytes::from(body))).unwrap();
        send(connection.stream, request).await.unwrap()
    }

    pub async fn ask(&self, who: Option<&Pair>, request: http::request::Builder, body: Vec<u8>) -> (StatusCode, Bytes) {
        let Answer::Ordinary(response) = self.send(who, request, body).await else { panic!("switched") };
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    /// The object as it was created, in the name of the administrator.
    pub async fn create(&self, path: &str, object: Value) -> Value {
        let request = Request::post(path).body(Bytes::from(object.to_string())).unwrap();
        let response = self.server.handle(&self.server.internal(Component::Admin), request).await;
        assert!(response.status.is_success(), "{path}");
        let server::Body::Bytes(bytes) = response.body else { panic!("{path}: no bytes") };
        serde_json::from_slice(&bytes).unwrap()
    }
}
