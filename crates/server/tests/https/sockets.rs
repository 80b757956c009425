//! Watches as messages of a websocket: what consoles in browsers read.

use futures::StreamExt;
use http::Request;
use serde_json::{Value, json};
use wire::upgrade::Answer;
use wire::websocket::{Message, Socket};

use crate::running;
use crate::running::Running;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn watch(r: &Running, query: &str, accept: &str, protocols: &str) -> (Socket, Option<String>) {
    let path = format!("{MAPS}?watch=true{query}");
    let request = Request::get(path).header("accept", accept).header("origin", "https://console");
    let request = request.header("connection", "Upgrade").header("upgrade", "websocket");
    let request = request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = if protocols.is_empty() { request } else { request.header("sec-websocket-protocol", protocols) };
    let Answer::Switched(head, stream) = r.send(Some(&r.admin()), request, vec![]).await else { panic!("refused") };
    assert_eq!(head.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let chosen = head.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap().to_owned());
    (wire::websocket::client(stream).await, chosen)
}

async fn next(socket: &mut Socket) -> Message {
    let patience = std::time::Duration::from_secs(10);
    tokio::time::timeout(patience, socket.next()).await.expect("a message").expect("no end").unwrap()
}

#[tokio::test]
async fn a_watch_is_one_message_for_each_event_and_ends_in_order() {
    let r = running().await;
    for name in ["a", "b"] {
        r.create(MAPS, json!({"metadata": {"name": name}})).await;
    }
    let (mut socket, chosen) = watch(&r, "&timeoutSeconds=2", "application/json", "").await;
    assert_eq!(chosen, None);
    r.create(MAPS, json!({"metadata": {"name": "c"}})).await;
    for name in ["a", "b", "c"] {
        let Message::Text(text) = next(&mut socket).await else { panic!("no text") };
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    let Message::Close(Some(end)) = next(&mut socket).await else { panic!("not closed in order") };
    assert_eq!(u16::from(end.code), 1000);
}

#[tokio::test]
async fn a_watch_in_protobuf_is_binary_and_a_table_is_a_table() {
    let r = running().await;
    r.create(MAPS, json!({"metadata": {"name": "a"}})).await;
    // Whatever the client offers is taken; a bearer token is none of it.
    let offered = "chat, base64url.bearer.authorization.k8s.io.c2VjcmV0";
    let (mut socket, chosen) = watch(&r, "", "application/vnd.kubernetes.protobuf", offered).await;
    assert_eq!(chosen.as_deref(), Some("chat"));
    let Message::Binary(event) = next(&mut socket).await else { panic!("not binary") };
    // WatchEvent: field 1, a string (generated.proto).
    assert_eq!(&event[..7], b"\x0a\x05ADDED");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let (mut socket, _) = watch(&r, "", accept, "").await;
    let Message::Text(text) = next(&mut socket).await else { panic!("no text") };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["object"]["kind"], "Table");
}

/// Else every page that a browser closes would leave its watch behind.
#[tokio::test]
async fn who_leaves_ends_their_watch() {
    let r = running().await;
    let (socket, _) = watch(&r, "", "application/json", "").await;
    let watches = async || {
        let (_, text) = r.ask(Some(&r.admin()), Request::get("/metrics"), vec![]).await;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with("apiserver_registered_watchers"));
        line.and_then(|line| line.rsplit(' ').next().map(String::from))
    };
    let before = watches().await;
    drop(socket);
    let gone = async { while watches().await == before {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("the watch goes with its client");
}
