//! Heads of requests: as large as Go's server takes them, and no larger.

use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::Trust;
use wire::heads::target;
use wire::upgrade::Answer;

use crate::{node, running, running::Running};

/// A connection of the administrator's, or of somebody unknown.
async fn connection(r: &Running, known: bool, alpn: &str) -> wire::Duplex {
    let who = known.then(|| wire::tls::Presented::new(&r.admin()).unwrap());
    let tls = wire::tls::client(Trust::Authorities(r.server.authority()), who, &[alpn]).unwrap();
    wire::dial("localhost", r.port, Some(tls)).await.unwrap().stream
}

/// The code and body of an answer over HTTP/1.1 by hand.
async fn raw(r: &Running, known: bool, head: &str) -> (String, Value) {
    let (mut from, mut to) = tokio::io::split(connection(r, known, "http/1.1").await);
    let head = head.to_owned();
    // Fails where it is refused before its end.
    let sent = tokio::spawn(async move { to.write_all(head.as_bytes()).await.map(|()| to) });
    let mut answer = String::new();
    let _ = from.read_to_string(&mut answer).await;
    sent.abort();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn a_selector_of_a_hundred_thousand_characters_selects() {
    let r = running().await;
    let selector = (10_000..27_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let path = format!("/api/v1/namespaces/default/configmaps?labelSelector=a%20in%20({selector})");
    let (short, long) = target(&path);
    let request = Request::get(short).extension(long.expect("it is long"));
    let (code, body) = r.ask(Some(&r.admin()), request, vec![]).await;
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code.as_u16(), &list["items"]), (200, &Value::Array(vec![])), "{list}");
    // The selector was read: without it there would be some.
    let (_, body) = r.ask(Some(&r.admin()), Request::get("/api/v1/namespaces?labelSelector=x"), vec![]).await;
    assert!(String::from_utf8_lossy(&body).contains("\"items\":[]"));
}

#[tokio::test]
async fn long_arguments_of_an_exec_reach_the_node_as_they_came() {
    let r = running().await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    let asked = node(&r, switch).await;
    let script = "%27z".repeat(100_000);
    let path = format!("/api/v1/namespaces/default/pods/p/exec?stdout=true&command=sh&command={script}");
    let (short, long) = target(&path);
    let request = Request::get(short).extension(long.expect("it is long"));
    let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
    let Answer::Switched(_, mut stream) = r.send(Some(&r.admin()), request, vec![]).await else { panic!("refused") };
    stream.write_all(b"echo").await.unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"echo");
    drop(stream);
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET /exec/default/p/c?output=1&command=sh&command=%27z%27z"), "{}", &asked[..100]);
    assert!(asked.lines().next().unwrap().len() > script.len());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_a_status() {
    let r = running().await;
    let long = |length: usize| "z".repeat(length);
    let head = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\r\nhost: x\r\nx-token: {token}\r\nconnection: close\r\n\r\n")
    };
    assert_eq!(raw(&r, true, &head("/livez", &long(900_000))).await.0, "200");
    assert_eq!(raw(&r, true, &head(&format!("/livez?{}", long(900_000)), "")).await.0, "200");
    assert_eq!(raw(&r, false, &head(&format!("/livez?{}", long(100_000)), &long(100_000))).await.0, "200");
    for (known, head) in [
        (true, head("/livez", &long(1_100_000))),
        (true, head(&format!("/livez?{}", long(1_100_000)), "")),
        (true, head(&format!("/{}", long(70_000)), "")),
        (false, head("/livez", &long(300_000))),
    ] {
        let (code, status) = raw(&r, known, &head).await;
        assert_eq!(
            (code.as_str(), &status["kind"], &status["code"]),
            ("431", &"Status".into(), &431.into()),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_head_over_http2_may_have_a_mebibyte_from_who_is_known() {
    let r = running().await;
    for (known, length, goes) in
        [(true, 900_000, true), (true, 1_100_000, false), (false, 20_000, true), (false, 60_000, false)]
    {
        let stream = TokioIo::new(connection(&r, known, "h2").await);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        // What the server says of its bound is for the client to keep; this one does not.
        builder.max_header_list_size(4 << 20);
        let (mut sender, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("https://localhost/livez").header("x-token", "z".repeat(length));
        let answered = sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await;
        let ok = match answered {
            Ok(answer) => answer.status() == 200 && answer.into_body().collect().await.is_ok(),
            Err(_) => false,
        };
        assert_eq!(ok, goes, "{length}, known: {known}");
    }
}
