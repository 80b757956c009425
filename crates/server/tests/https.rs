//! The server over its real HTTPS on loopback, with a node played by a few lines of TLS.
//!
//! What only exists on the wire: certificates, tokens, limits, upgrades spliced to a node.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use server::Limits;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use wire::upgrade::Answer;
use wire::{Pair, Trust};

/// What nodes say of what is used.
#[path = "https/figures.rs"]
mod figures;
/// Heads of requests, large ones.
#[path = "https/heads.rs"]
mod heads;
/// Nodes that join.
#[path = "https/joins.rs"]
mod joins;
/// The server, and who asks it.
#[path = "https/running.rs"]
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod running;
/// Watches over websockets.
#[path = "https/sockets.rs"]
mod sockets;

use running::{Running, running_with};

async fn running() -> Running {
    running_with(Limits::default()).await
}

#[tokio::test]
async fn anonymous_sees_health_only_and_a_bad_token_is_nobody() {
    let r = running().await;
    assert_eq!(r.ask(None, Request::get("/livez"), vec![]).await, (StatusCode::OK, "ok".into()));
    let (code, body) = r.ask(None, Request::get("/api/v1/pods"), vec![]).await;
    assert_eq!(code, 403);
    assert!(String::from_utf8_lossy(&body).contains("system:anonymous"));
    let bearer = Request::get("/livez").header("authorization", "Bearer a.b.c");
    let (code, body) = r.ask(None, bearer, vec![]).await;
    assert_eq!(
        (code.as_u16(), serde_json::from_slice::<Value>(&body).unwrap()["message"].clone()),
        (401, json!("Unauthorized"))
    );
    let (code, _) = r.ask(Some(&r.admin()), Request::get("/api/v1/pods"), vec![]).await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn an_answer_names_its_request() {
    let r = running().await;
    let named = async |request: http::request::Builder| {
        let Answer::Ordinary(response) = r.send(None, request, vec![]).await else { panic!("switched") };
        response.headers()["audit-id"].to_str().unwrap().to_owned()
    };
    let first = named(Request::get("/livez")).await;
    assert_eq!(first.len(), 36);
    assert_ne!(named(Request::get("/livez")).await, first);
    assert_eq!(named(Request::get("/livez").header("audit-id", "mine")).await, "mine");
}

#[tokio::test]
async fn a_head_has_no_body_over_http2_either() {
    let r = running().await;
    let tls = wire::tls::client(Trust::Authorities(r.server.authority()), None, &["h2"]).unwrap();
    let connection = wire::dial("localhost", r.port, Some(tls)).await.unwrap();
    let io = TokioIo::new(connection.stream);
    let (mut sender, driver) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(driver);
    let uri = format!("https://localhost:{}/api/v1/pods", r.port);
    let request = Request::head(uri).body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    // Nobody in particular is told no more than that they may not (routes come after authorization).
    assert_eq!(response.status(), 403);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let r = running().await;
    let request = Request::post("/api/v1/namespaces/default/configmaps");
    let (code, body) = r.ask(Some(&r.admin()), request, vec![b' '; (3 << 20) + 1]).await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code.as_u16(), &status["reason"]), (413, &json!("RequestEntityTooLarge")));
}

/// Compressing takes longer than loopback; from elsewhere, a large answer is compressed for who accepts it.
#[tokio::test]
async fn only_who_is_on_another_machine_gets_compressed_answers() {
    let r = running().await;
    for name in ["a", "b"] {
        let object = json!({"metadata": {"name": name}, "data": {"x": "y".repeat(100_000)}});
        r.create("/api/v1/namespaces/default/configmaps", object).await;
    }
    let ask = async |from: &str| {
        let tcp = tokio::net::TcpSocket::new_v4().unwrap();
        tcp.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let tcp = tcp.connect(([127, 0, 0, 1], r.port).into()).await.unwrap();
        let who = Some(wire::tls::Presented::new(&r.admin()).unwrap());
        let tls = wire::tls::client(Trust::Authorities(r.server.authority()), who, &["http/1.1"]).unwrap();
        let name = "localhost".try_into().unwrap();
        let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await.unwrap();
        let request = Request::get("/api/v1/namespaces/default/configmaps").header("accept-encoding", "gzip");
        let request = request.header("host", "localhost").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let Answer::Ordinary(answer) = wire::upgrade::send(Box::new(stream), request).await.unwrap() else { panic!() };
        let encoding = answer.headers().get("content-encoding").map(|name| name.to_str().unwrap().to_owned());
        (encoding, answer.into_body().collect().await.unwrap().to_bytes())
    };
    let (plain, (gzip, packed)) = (ask("127.0.0.1").await, ask("127.0.0.2").await);
    assert_eq!((plain.0, gzip.as_deref()), (None, Some("gzip")));
    assert!(packed.len() < plain.1.len() / 10, "{}", packed.len());
    let unpacked = std::io::read_to_string(flate2::read::GzDecoder::new(&packed[..])).unwrap();
    assert_eq!(unpacked.as_bytes(), plain.1);
}

/// Most clients look for the answer when they have sent all: they got a reset before they had read it.
#[tokio::test]
async fn who_sends_all_of_a_too_large_body_reads_why_it_is_refused() {
    let r = running().await;
    let who = Some(wire::tls::Presented::new(&r.admin()).unwrap());
    for size in [(3 << 20) + 1, 8 << 20] {
        let tls = wire::tls::client(Trust::Authorities(r.server.authority()), who.clone(), &[]).unwrap();
        let mut stream = wire::dial("localhost", r.port, Some(tls)).await.unwrap().stream;
        let path = "/api/v1/namespaces/default/configmaps";
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; size]).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{size}");
    }
}

/// Requests that are under way are bounded, and who waits is told for how long.
#[tokio::test]
async fn too_many_requests_are_refused_with_a_time_to_come_back() {
    let r = running_with(Limits { writes: 2, share: 50, ..Limits::default() }).await;
    let pair = r.node_pair("n1");
    let tls = || {
        let who = Some(wire::tls::Presented::new(&pair).unwrap());
        wire::tls::client(Trust::Authorities(r.server.authority()), who, &[]).unwrap()
    };
    // One under way: its body does not come.
    let head = "POST /api/v1/namespaces/default/events HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    let mut slow = wire::dial("localhost", r.port, Some(tls())).await.unwrap().stream;
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    let events = || Request::post("/api/v1/namespaces/default/events");
    let Answer::Ordinary(refused) = r.send(Some(&pair), events(), b"{}".to_vec()).await else { panic!() };
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let status: Value = serde_json::from_slice(&refused.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!((&status["reason"], &status["details"]["retryAfterSeconds"]), (&json!("TooManyRequests"), &json!(1)));
    // Reading goes on, others go on, and with the first one's end so does the node.
    let (code, _) = r.ask(Some(&pair), Request::get("/api/v1/nodes/n1"), vec![]).await;
    assert_eq!(code, 404);
    let other = r.node_pair("n2");
    assert_ne!(r.ask(Some(&other), events(), b"{}".to_vec()).await.0, 429);
    slow.write_all(b"{       }").await.unwrap();
    slow.read_exact(&mut [0; 64]).await.unwrap();
    assert_ne!(r.ask(Some(&pair), events(), b"{}".to_vec()).await.0, 429);
}

/// A connection that is kept, and the start of the answer to a request on it.
async fn kept(r: &Running, who: Option<&Pair>, head: &str) -> (wire::Duplex, String) {
    let who = who.map(|pair| wire::tls::Presented::new(pair).unwrap());
    let tls = wire::tls::client(Trust::Authorities(r.server.authority()), who, &[]).unwrap();
    let mut stream = wire::dial("localhost", r.port, Some(tls)).await.unwrap().stream;
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, String::from_utf8_lossy(&answer).into())
}

/// Two pods, no credentials, and nobody else got a connection any more.
#[tokio::test]
async fn who_has_no_credentials_keeps_nobody_out() {
    let r = running_with(Limits { connections: 8, ..Limits::default() }).await;
    let watch = "GET /api/v1/namespaces?watch=true HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let (mut watches, answer) = kept(&r, Some(&r.admin()), watch).await;
    assert_eq!(answer, "HTTP/1.1 200");
    let version = "GET /version HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let (mut first, answer) = kept(&r, None, version).await;
    assert_eq!(answer, "HTTP/1.1 200");
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(kept(&r, None, version).await);
    }
    // Only those of their like lose their places, the oldest first.
    let mut rest = Vec::new();
    while first.read_buf(&mut rest).await.is_ok_and(|n| n > 0) {}
    for _ in 0..10 {
        assert_eq!(r.ask(Some(&r.admin()), Request::get("/api/v1/pods"), vec![]).await.0, 200);
    }
    r.create("/api/v1/namespaces", json!({"metadata": {"name": "seen"}})).await;
    let mut text = String::new();
    while !text.contains("\"seen\"") {
        let mut piece = [0; 4096];
        let n = watches.read(&mut piece).await.unwrap();
        assert_ne!(n, 0, "{text}");
        text += &String::from_utf8_lossy(&piece[..n]);
    }
}

/// They held their bytes as long as the watch went on.
#[tokio::test]
async fn nobody_waits_for_the_body_of_what_only_reads() {
    let r = running().await;
    for path in ["/api/v1/namespaces?watch=true", "/api/v1/namespaces", "/api/v1/namespaces/default"] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n");
        assert_eq!(kept(&r, Some(&r.admin()), &head).await.1, "HTTP/1.1 200", "{path}");
    }
}

#[tokio::test]
async fn who_is_unknown_is_refused_before_a_body_is_read() {
    let r = running().await;
    let tls = wire::tls::client(Trust::Authorities(r.server.authority()), None, &[]).unwrap();
    let mut stream = wire::dial("localhost", r.port, Some(tls)).await.unwrap().stream;
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn connections_to_a_node_wait_for_the_next_request() {
    let r = running().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let certificate = wire::tls::Presented::new(&r.server.node_pair("n1", vec!["127.0.0.1".into()]).unwrap()).unwrap();
    let tls = wire::tls::server(certificate, Some(r.server.authority()), &[]).unwrap();
    let addresses = json!([{"type": "InternalIP", "address": "127.0.0.1"}]);
    let endpoints = json!({"kubeletEndpoint": {"Port": port}});
    let status = json!({"addresses": addresses, "daemonEndpoints": endpoints});
    r.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}, "status": status})).await;
    // Answers two requests on its first connection and one on its second.
    let node = tokio::spawn(async move {
        for requests in [2, 1] {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = tokio_rustls::TlsAcceptor::from(tls.clone()).accept(stream).await.unwrap();
            let mut stream = BufReader::new(stream);
            for _ in 0..requests {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    });
    for _ in 0..3 {
        let (code, body) = r.ask(Some(&r.admin()), Request::get("/api/v1/nodes/n1/proxy/x"), vec![]).await;
        assert_eq!((code.as_u16(), body), (200, "hi".into()));
    }
    node.await.unwrap();
}

/// A node that answers one request with what it is told and then echoes.
async fn node(r: &Running, answer: &'static str) -> tokio::task::JoinHandle<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let certificate = wire::tls::Presented::new(&r.server.node_pair("n1", vec!["127.0.0.1".into()]).unwrap()).unwrap();
    let tls = wire::tls::server(certificate, Some(r.server.authority()), &[]).unwrap();
    r.create(
        "/api/v1/nodes",
        json!({"metadata": {"name": "n1"}, "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}}),
    )
    .await;
    r.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    r.create("/api/v1/namespaces/default/pods", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await.unwrap();
        assert!(stream.get_ref().1.peer_certificates().is_some());
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut echo = [0; 4];
        if stream.read_exact(&mut echo).await.is_ok() {
            stream.write_all(&echo).await.unwrap();
            stream.flush().await.unwrap();
        }
        head
    })
}

#[tokio::test]
async fn an_upgrade_is_spliced_to_the_node_byte_for_byte() {
    let r = running().await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-protocol: v5.channel.k8s.io\r\n\r\n";
    let node = node(&r, switch).await;
    let request = Request::get(
        "/api/v1/namespaces/default/pods/p/exec?command=sh&command=-c&command=a%20b&stdout=true&tty=false",
    )
    .header("connection", "Upgrade")
    .header("upgrade", "websocket")
    .header("sec-websocket-protocol", "v5.channel.k8s.io");
    let Answer::Switched(head, mut stream) = r.send(Some(&r.admin()), request, vec![]).await else { panic!("refused") };
    assert_eq!(head.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    drop(stream);
    let asked = node.await.unwrap();
    let line = "GET /exec/default/p/c?output=1&command=sh&command=-c&command=a%20b HTTP/1.1\r\n";
    assert!(asked.starts_with(line), "{asked}");
    assert!(asked.contains("upgrade: websocket") && asked.contains("sec-websocket-protocol: v5.channel.k8s.io"));
}

#[tokio::test]
async fn a_nodes_refusal_reaches_the_client_in_the_apis_words() {
    let r = running().await;
    let text = "container \"c\" in pod \"p\" is waiting to start: ContainerCreating";
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 63\r\n\r\ncontainer \"c\" in pod \"p\" is waiting to start: ContainerCreating";
    assert_eq!(text.len(), 63);
    let node = node(&r, answer).await;
    let request = Request::get("/api/v1/namespaces/default/pods/p/log?tailLines=5&follow=true");
    let (code, body) = r.ask(Some(&r.admin()), request, vec![]).await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code.as_u16(), &status["reason"], &status["message"]), (400, &json!("BadRequest"), &json!(text)));
    node.abort();
}

const POD: &str = "192.0.2.9";

/// Runs the named test again in a network namespace of its own, in which a pod's address is one of this
/// machine's. Without root it says so on the raw stderr, and fails under CI.
fn inside_own_network(test: &str) -> bool {
    use std::io::Write;
    use std::process::Command;
    const INSIDE: &str = "GOUSSE_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        for words in ["link set lo up", &format!("addr add {POD}/32 dev lo")] {
            assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        }
        return true;
    }
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    if !text.lines().any(|line| line.starts_with("Uid:\t0\t")) {
        let mut stderr = std::fs::File::options().write(true).open("/dev/stderr").unwrap();
        let _ = writeln!(stderr, "SKIPPED {test}: needs root");
        assert!(std::env::var_os("CI").is_none(), "{test} needs root under CI");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap());
    let done = command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(done.success(), "{test} failed inside its network");
    false
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work);
}

/// A pod whose status names an address, and what answers there: what it was asked.
async fn pod(r: &Running, address: &str, answer: String) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let answer = answer.replace("HERE", &at.to_string());
    let web = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        head.to_ascii_lowercase()
    });
    r.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    r.create("/api/v1/namespaces/default/pods", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    let patch = Request::patch("/api/v1/namespaces/default/pods/p/status")
        .header("content-type", "application/merge-patch+json");
    let (code, body) = r.ask(Some(&r.admin()), patch, status.to_string().into_bytes()).await;
    assert_eq!(code, 200, "{body:?}");
    (at.port(), web)
}

/// Whoever writes a pod's status would else reach what listens on the server's own loopback.
#[tokio::test]
async fn no_proxy_leads_to_the_servers_own_addresses() {
    let r = running().await;
    let (port, web) = pod(&r, "127.0.0.1", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()).await;
    let path = format!("/api/v1/namespaces/default/pods/p:{port}/proxy/x");
    let (code, body) = r.ask(Some(&r.admin()), Request::get(path), vec![]).await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code.as_u16(), &status["message"]), (400, &json!("address not allowed")));
    web.abort();
}

#[test]
fn a_proxied_pod_learns_nothing_of_who_asks() {
    if !inside_own_network("a_proxied_pod_learns_nothing_of_who_asks") {
        return;
    }
    block_on(async {
        let r = running().await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        let (port, web) = pod(&r, POD, answer.into()).await;
        let request = Request::get(format!("/api/v1/namespaces/default/pods/p:{port}/proxy/x"))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, chat")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "kubernetes-admin")
            .header("impersonate-group", "system:masters")
            .header("x-remote-user", "root")
            .header("cookie", "a=b");
        let Answer::Switched(..) = r.send(Some(&r.admin()), request, vec![]).await else { panic!("refused") };
        let head = web.await.unwrap();
        for secret in ["bearer", "c2vjcmv0", "secret", "authorization", "impersonate", "x-remote"] {
            assert!(!head.contains(secret), "{secret} in {head}");
        }
        assert!(head.contains("sec-websocket-protocol: chat\r\n") && head.contains("cookie: a=b"), "{head}");
    });
}

/// A Node that says that it lives there.
async fn claims(r: &Running, address: &str, port: u16) {
    let addresses = json!([{"type": "InternalIP", "address": address}]);
    let status = json!({"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}});
    r.create("/api/v1/nodes", json!({"metadata": {"name": "n1"}, "status": status})).await;
}

/// A node writes its own address. With that of the server it had the server ask itself, as an administrator.
#[tokio::test]
async fn only_the_node_itself_answers_for_it() {
    let r = running().await;
    // A node of this process, which may live on its loopback.
    let _certificate = r.node_pair("n1");
    claims(&r, "127.0.0.1", r.port).await;
    for path in ["api/v1/secrets", "metrics"] {
        let (code, body) =
            r.ask(Some(&r.admin()), Request::get(format!("/api/v1/nodes/n1/proxy/{path}")), vec![]).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(code, 500, "{body}");
        assert!(body.contains("at the address of node \\\"n1\\\" answers \\\"kube-apiserver\\\""), "{body}");
    }
}

/// It was dialled, shown the server's certificate, and only then held against the node's name; of a log
/// whose client asked for no check not even that.
#[tokio::test]
async fn a_node_does_not_live_on_the_servers_loopback() {
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost", "169.254.169.254", "0.0.0.0"] {
        let r = running().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        claims(&r, address, listener.local_addr().unwrap().port()).await;
        r.create("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}})).await;
        let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
        r.create("/api/v1/namespaces/default/pods", json!({"metadata": {"name": "p"}, "spec": spec})).await;
        let log = "/api/v1/namespaces/default/pods/p/log?insecureSkipTLSVerifyBackend=";
        for path in ["/api/v1/nodes/n1/proxy/pods", &format!("{log}true"), &format!("{log}false")] {
            let (code, body) = r.ask(Some(&r.admin()), Request::get(path), vec![]).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(code == 500 && body.contains("address not allowed"), "{address} {path}: {code} {body}");
        }
        tokio::select! {
            biased;
            _ = listener.accept() => panic!("{address} was dialled"),
            () = std::future::ready(()) => {}
        }
    }
}

#[test]
fn a_pod_is_reached_through_its_proxy_with_redirects_that_stay_inside() {
    if !inside_own_network("a_pod_is_reached_through_its_proxy_with_redirects_that_stay_inside") {
        return;
    }
    block_on(a_pod_is_reached());
}

async fn a_pod_is_reached() {
    let r = running().await;
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://HERE/there\r\ncontent-length: 2\r\n\r\nhi";
    let (port, web) = pod(&r, POD, answer.into()).await;
    let base = format!("/api/v1/namespaces/default/pods/p:{port}/proxy");
    let Answer::Ordinary(response) = r.send(Some(&r.admin()), Request::get(format!("{base}/a%20b?c=d")), vec![]).await
    else {
        panic!("switched")
    };
    assert_eq!(response.headers()["location"], format!("{base}/there").as_str());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hi");
    let head = web.await.unwrap();
    assert!(
        head.starts_with("get /a%20b?c=d http/1.1")
            && head.contains("x-forwarded-uri: /api/v1/namespaces/default/pods"),
        "{head}"
    );
}

#[tokio::test]
async fn the_end_of_the_server_ends_its_watches() {
    let mut r = running().await;
    let admin = r.admin();
    let request = Request::builder().method(Method::GET).uri("/api/v1/namespaces?watch=true");
    let Answer::Ordinary(response) = r.send(Some(&admin), request, vec![]).await else { panic!("switched") };
    let _ = r.stop.take().unwrap().send(());
    // Ends, however much was still to come.
    response.into_body().collect().await.unwrap();
}
