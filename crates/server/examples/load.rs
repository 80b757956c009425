//! Load on a running server: `load KUBECONFIG create|get|list SECONDS CONNECTIONS`.
//!
//! Limits on this kind of machine with the client on the same two cores: an empty hyper and rustls
//! server answers 30,900 GETs/s; a durable group of 64 records takes 0.2 to 0.4 ms to sync. Prints
//! requests per second and the times at 50 and 99 percent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&arguments[1]).expect("a kubeconfig");
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(&format!("{name}: "))).expect("a field of it");
        line.to_string()
    };
    let pem = |name: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(field(name)).expect("base64");
        String::from_utf8(bytes).expect("PEM is text")
    };
    let pair = wire::Pair { certificate: pem("client-certificate-data"), key: pem("client-key-data") };
    let authority = pem("certificate-authority-data");
    let tls = wire::tls::client(
        wire::Trust::Authorities(&authority),
        Some(wire::tls::Presented::new(&pair).expect("a certificate")),
        &[],
    )
    .expect("a TLS configuration");
    let server = field("server");
    let (host, port) = server.trim_start_matches("https://").rsplit_once(':').expect("host:port");
    let verb = arguments[2].clone();
    let seconds: u64 = arguments[3].parse().expect("seconds");
    let connections: usize = arguments[4].parse().expect("connections");
    let run = std::process::id();
    let (end, count) = (Instant::now() + Duration::from_secs(seconds), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (tls, host, port, verb, count) =
            (tls.clone(), host.to_string(), port.parse().expect("a port"), verb.clone(), count.clone());
        tasks.spawn(async move {
            let connection = wire::dial(&host, port, Some(tls)).await.expect("a connection");
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(connection.stream)).await.expect("a handshake");
            tokio::spawn(connection);
            let mut times = Vec::new();
            while Instant::now() < end {
                let n = count.fetch_add(1, Ordering::Relaxed);
                let maps = "/api/v1/namespaces/default/configmaps";
                let request = http::Request::builder().header("host", &host).header("user-agent", "load/1");
                let request = match verb.as_str() {
                    "create" => {
                        let body = format!(
                            "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"load-{run}-{n}\"}},\"data\":{{\"k\":\"{}\"}}}}",
                            "x".repeat(900)
                        );
                        request.method("POST").uri(maps).header("content-type", "application/json").body(Full::new(Bytes::from(body)))
                    }
                    "list" => request.uri(maps).body(Full::default()),
                    _ => request.uri("/api/v1/namespaces/default/configmaps/kube-root-ca.crt").body(Full::default()),
                };
                let start = Instant::now();
                let response = sender.send_request(request.expect("a request")).await.expect("an answer");
                assert!(response.status().is_success(), "{:?}", response.status());
                response.into_body().collect().await.expect("a body");
                times.push(start.elapsed());
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{verb}: {} /s, p50 {:?}, p99 {:?}", times.len() as u64 / seconds, at(50), at(99));
}
