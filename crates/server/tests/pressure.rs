//! The server under pressure from outside: what is refused costs no memory, what is allowed a bounded one.
//!
//! A process of its own: what is measured is the memory of all of it, clients included.
#![allow(clippy::unwrap_used)]

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Pair, Trust};

/// The server, and who asks it.
#[path = "https/running.rs"]
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod running;

use running::running_with;

const CONNECTIONS: usize = 150;
/// Just below the largest body.
const BODY: usize = (3 << 20) - 4096;
static ZEROES: [u8; 64 << 10] = [b' '; 64 << 10];
/// Half of what all bodies weigh. Both ends' buffers are in it, which a slow machine fills (110 MB were seen);
/// bodies that are kept come to the whole, and more.
const MOST: usize = CONNECTIONS * BODY / 2;

/// Sends a head and a body but for its last byte; the code of the answer, if there is one.
async fn attack(port: u16, authority: String, who: Option<Pair>, head: String) -> u16 {
    let who = who.map(|pair| wire::tls::Presented::new(&pair).unwrap());
    let tls = wire::tls::client(Trust::Authorities(&authority), who, &[]).unwrap();
    let mut stream = wire::dial("localhost", port, Some(tls)).await.unwrap().stream;
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        let mut left = BODY - 1;
        while left > 0 {
            let piece = left.min(ZEROES.len());
            if writer.write_all(&ZEROES[..piece]).await.is_err() || writer.flush().await.is_err() {
                break;
            }
            left -= piece;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    tokio::select! {
        read = reader.read_exact(&mut answer) => read.map_or(0, |_| {
            String::from_utf8_lossy(&answer[9..]).parse().unwrap()
        }),
        () = send => unreachable!("it waits for the answer"),
    }
}

/// The first `answers` codes that come, and by how much the memory has grown then.
async fn attacked(port: u16, authority: &str, who: Option<&Pair>, head: &str, answers: usize) -> (Vec<u16>, usize) {
    let before = running::resident();
    let mut all: FuturesUnordered<_> = (0..CONNECTIONS)
        .map(|_| tokio::spawn(attack(port, authority.to_string(), who.cloned(), head.to_string())))
        .collect();
    let mut codes = Vec::new();
    while codes.len() < answers {
        codes.push(all.next().await.unwrap().unwrap());
    }
    let grown = running::resident().saturating_sub(before);
    all.iter().for_each(|left| left.abort());
    (codes, grown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_the_refused_are_not_read_and_those_of_others_have_a_bound() {
    let r = running_with(Limits { writes: 10_000, ..Limits::default() }).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    r.create(accounts, json!({"metadata": {"name": "nobody"}})).await;
    let token = r.create(&format!("{accounts}/nobody/token"), json!({})).await;
    let token = token["status"]["token"].as_str().unwrap().to_string();
    let (port, authority) = (r.port, r.server.authority().to_string());
    let head = |path: &str, token: &str| {
        let bearer = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{bearer}content-length: {BODY}\r\n\r\n")
    };
    // A token without rights; then one that is no token; then nobody.
    for (bearer, refusal) in [(token.as_str(), 403), ("x.y.z", 401), ("", 403)] {
        let head = head("/api/v1/namespaces/default/configmaps", bearer);
        let (codes, grown) = attacked(port, &authority, None, &head, CONNECTIONS).await;
        assert!(codes.iter().all(|code| *code == refusal), "{codes:?}");
        assert!(grown < MOST, "grew by {} MB", grown >> 20);
    }
    // A node may write events: its bodies are read, as many as have room.
    let who = r.node_pair("n1");
    let head = head("/api/v1/namespaces/default/events", "");
    // A tenth of 32 MiB is room for one.
    let (codes, grown) = attacked(port, &authority, Some(&who), &head, CONNECTIONS - 1).await;
    assert!(codes.iter().all(|code| *code == 429), "{codes:?}");
    assert!(grown < MOST, "grew by {} MB", grown >> 20);
}
