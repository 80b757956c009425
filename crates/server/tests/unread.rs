//! Clients who ask and do not take the answers: what they cost is bounded, and others do not notice.
//!
//! HTTP/2 by hand, frame by frame, so that the client does what no library would and costs no memory of
//! its own. A process of its own: what is measured is the memory of all of it.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::Request;
use serde_json::json;
use server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::{Pair, Trust};

/// The server, and who asks it.
#[path = "https/running.rs"]
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod running;

use running::{Running, resident, running_with};

const CONNECTIONS: usize = 150;
const STREAMS: u32 = 200;
/// Of all memory by which the attacks make the process grow.
const GROWTH_MAX: usize = 30 << 20;
/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
/// END_HEADERS, END_STREAM.
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The preface, and windows of this size for what the server sends.
fn preface(window: u32) -> Vec<u8> {
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
    out
}

/// A GET, its fields not compressed.
fn get(path: &str, bearer: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x41\x09localhost");
    if !bearer.is_empty() {
        let value = format!("Bearer {bearer}");
        // `authorization`, never indexed; its length in seven bits and more (RFC 7541, 5.1).
        block.extend_from_slice(&[0x1f, 23 - 15, 127]);
        let mut left = value.len() - 127;
        while left >= 128 {
            block.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        block.push(u8::try_from(left).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

async fn connect(r: &Running, who: Option<&Pair>) -> wire::Duplex {
    let who = who.map(|pair| wire::tls::Presented::new(pair).unwrap());
    let tls = wire::tls::client(Trust::Authorities(r.server.authority()), who, &["h2"]).unwrap();
    wire::dial("localhost", r.port, Some(tls)).await.unwrap().stream
}

/// Asks on many streams, and reads the heads of as many answers. How many came before the server hung up.
async fn ask_and_take_nothing(stream: &mut wire::Duplex, path: &str, bearer: &str, streams: u32) -> u32 {
    let mut out = preface(0);
    for id in 0..streams {
        frame(&mut out, HEADERS, END_HEADERS | END_STREAM, 2 * id + 1, &get(path, bearer));
    }
    let mut answers = 0;
    if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
        return answers;
    }
    let mut refused = 0;
    while answers + refused < streams {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            break;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        answers += u32::from(head[3] == HEADERS);
        refused += u32::from(head[3] == RESET);
    }
    answers
}

/// Connections that ask and take nothing, kept.
async fn taking_nothing(r: &Running, who: Option<&Pair>, path: &str, bearer: &str) -> Vec<wire::Duplex> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(r, who).await;
        ask_and_take_nothing(&mut stream, path, bearer, STREAMS).await;
        held.push(stream);
    }
    held
}

/// An administrator, a node and somebody without credentials get their answers.
async fn others_are_served(r: &Running) {
    for (who, path) in [(Some(r.admin()), "/api/v1/pods"), (Some(r.node_pair("n9")), "/version"), (None, "/healthz")] {
        for _ in 0..10 {
            let answer = r.ask(who.as_ref(), Request::get(path), vec![]);
            let (code, body) = tokio::time::timeout(Duration::from_secs(10), answer).await.expect(path);
            assert_eq!(code, 200, "{path}: {body:?}");
        }
    }
}

/// What one connection sends in a flood, from its so-manieth frame on.
type Flood = fn(&mut Vec<u8>, u32);

const FLOODS: [(&str, Flood); 7] = [
    ("ping", |out, _| frame(out, PING, 0, 0, &[7; 8])),
    ("settings", |out, _| frame(out, SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff])),
    ("continuation", |out, n| match n {
        0 => frame(out, HEADERS, END_STREAM, 1, &get("/version", "")),
        _ => frame(out, CONTINUATION, 0, 1, &[0x00, 0x01, b'a', 0x01, b'b'].repeat(200)),
    }),
    ("rapid reset", |out, n| {
        frame(out, HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get("/version", ""));
        frame(out, RESET, 0, 2 * n + 1, &8u32.to_be_bytes());
    }),
    ("made you reset", |out, n| {
        frame(out, HEADERS, END_HEADERS, 2 * n + 1, &get("/version", ""));
        frame(out, WINDOW, 0, 2 * n + 1, &[0; 4]);
    }),
    ("empty data", |out, n| match n {
        0 => frame(out, HEADERS, END_HEADERS, 1, &get("/version", "")),
        _ => frame(out, DATA, 0, 1, &[]),
    }),
    // One field of the dynamic table, named again and again: small on the wire, large where it is read.
    ("compressed heads", |out, n| {
        let mut block = get("/version", "");
        block.extend_from_slice(&[0x40, 0x01, b'x', 0x7f, 0xa1, 0x1e]);
        block.extend_from_slice(&[b'y'; 4000]);
        block.extend_from_slice(&[0xbe; 4000]);
        frame(out, HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block);
    }),
];

/// Sends frames until there are enough, or the server hangs up, and reads whatever comes.
async fn flood(r: &Running, next: Flood) {
    let (mut reader, mut writer) = tokio::io::split(connect(r, None).await);
    let send = async {
        let mut out = preface(1 << 20);
        for n in 0..20_000 {
            next(&mut out, n);
            if out.len() > 8 << 10 {
                if writer.write_all(&out).await.is_err() || writer.flush().await.is_err() {
                    return;
                }
                out.clear();
            }
        }
    };
    let read = async {
        let mut piece = [0; 4096];
        while reader.read(&mut piece).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        () = send => {}
        () = read => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_no_answers_costs_little_and_keeps_nobody_out() {
    let r = running_with(Limits::default()).await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    r.create(accounts, json!({"metadata": {"name": "nobody"}})).await;
    let token = r.create(&format!("{accounts}/nobody/token"), json!({})).await;
    let token = token["status"]["token"].as_str().unwrap().to_string();
    others_are_served(&r).await;
    let before = resident();
    let check = |what: &str| {
        let grown = resident().saturating_sub(before);
        println!("{what}: grown by {} kB", grown >> 10);
        assert!(grown < GROWTH_MAX, "{what}: grown by {} MB", grown >> 20);
    };
    // Nobody, what is no token, a token without rights, a node; each on many connections.
    let node = r.node_pair("n1");
    let (refused, watch) = ("/api/v1/pods", "/api/v1/pods?watch=true");
    let odd = "x".repeat(200);
    for (what, who, path, bearer) in [
        ("nobody", None, "/version", ""),
        ("nobody, refused", None, refused, ""),
        ("no token", None, refused, odd.as_str()),
        ("token", None, watch, token.as_str()),
        ("node", Some(&node), watch, ""),
    ] {
        let held = taking_nothing(&r, who, path, bearer).await;
        others_are_served(&r).await;
        check(what);
        drop(held);
    }
    for (what, next) in FLOODS {
        futures::future::join_all((0..8).map(|_| flood(&r, next))).await;
        others_are_served(&r).await;
        check(what);
    }
}
