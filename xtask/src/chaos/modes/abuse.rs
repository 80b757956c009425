//! Connections and requests that no client means well with, while another one asks.
//!
//! The abuser has the administrator's certificate, whom flow control never holds up, or none at all. What is judged: the
//! other one's answers, the memory at its peak and after, and that nothing is left.

use std::time::Duration;

use anyhow::{Context, Result};
use client::kubeconfig;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use wire::{Duplex, dial};

use self::frames::Frames;
use super::Round;
use super::writes::MAPS;
use crate::chaos::history::{Memory, Part, Record};
use crate::chaos::instance::{Answer, Api, Instance, Over};
use crate::chaos::left;

/// HTTP/2, byte by byte: what no library would send.
mod frames;

/// An answer that is later than this is too late, however busy the machine.
const LATE: Duration = Duration::from_secs(5);
/// For memory to be given back.
const SETTLE: Duration = Duration::from_secs(15);

struct Abuse {
    name: &'static str,
    /// How many connections do it at once.
    connections: usize,
    /// Known by a certificate, or unknown.
    known: bool,
    http2: bool,
    run: for<'a> fn(Duplex, &'a Over) -> futures::future::BoxFuture<'a, std::io::Result<()>>,
}

const ABUSES: &[Abuse] = &[
    Abuse {
        name: "idle",
        connections: 200,
        known: false,
        http2: false,
        run: |s, over| Box::pin(hold(s, over, Vec::new())),
    },
    Abuse {
        name: "half a head",
        connections: 100,
        known: true,
        http2: false,
        run: |s, over| Box::pin(hold(s, over, b"GET /api HTTP/1.1\r\nHost: x\r\nX".to_vec())),
    },
    Abuse {
        name: "half a body",
        connections: 100,
        known: true,
        http2: false,
        run: |s, over| Box::pin(hold(s, over, half_a_body())),
    },
    Abuse {
        name: "watches that never read",
        connections: 60,
        known: true,
        http2: false,
        run: |s, over| Box::pin(hold(s, over, watch())),
    },
    Abuse {
        name: "lists that are never read",
        connections: 60,
        known: true,
        http2: false,
        run: |s, over| Box::pin(hold(s, over, list())),
    },
    Abuse {
        name: "streams that are reset",
        connections: 2,
        known: true,
        http2: true,
        run: |s, over| Box::pin(frames::reset(s, over)),
    },
    Abuse {
        name: "streams without a window",
        connections: 10,
        known: true,
        http2: true,
        run: |s, over| Box::pin(frames::no_window(s, over)),
    },
    Abuse {
        name: "pings and settings",
        connections: 2,
        known: true,
        http2: true,
        run: |s, over| Box::pin(frames::pings(s, over)),
    },
    Abuse {
        name: "a head without an end",
        connections: 4,
        known: true,
        http2: true,
        run: |s, over| Box::pin(frames::endless_head(s, over)),
    },
    Abuse {
        name: "bodies that stand still",
        connections: 10,
        known: true,
        http2: true,
        run: |s, over| Box::pin(frames::half_bodies(s, over)),
    },
    Abuse {
        name: "resets by strangers",
        connections: 2,
        known: false,
        http2: true,
        run: |s, over| Box::pin(frames::reset(s, over)),
    },
    Abuse {
        name: "noise",
        connections: 20,
        known: false,
        http2: true,
        run: |s, over| Box::pin(hold(s, over, Frames::noise())),
    },
];

pub async fn run(round: &Round<'_>) -> Result<()> {
    let mut instance = Instance::new(round.gousse, &round.name, &round.home, round.record.clone())?;
    instance.start().await?;
    let api = instance.api()?;
    let mut chance = round.chance("content");
    for number in 0..40 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m-{number}")}, "data": {"v": chance.noise(200_000)}});
        api.insist("POST", MAPS, Some(&map)).await?;
    }
    sleep(Duration::from_secs(2)).await;
    let pid = instance.pid(Part::Up).context("`up` runs")?;
    let mut order: Vec<&Abuse> = ABUSES.iter().collect();
    chance.shuffle(&mut order);
    // As many at once as the span has room for.
    let groups = order.chunks(ABUSES.len().div_ceil((round.span.as_secs() / 6).max(1) as usize));
    let share = round.span / groups.len() as u32;
    for group in groups {
        abuse(round, &instance, &api, pid, group, share).await?;
    }
    for number in 0..40 {
        api.insist("DELETE", &format!("{MAPS}/m-{number}"), None).await?;
    }
    instance.down().await?;
    round.record.lock().left.extend(left::of_all(&instance));
    Ok(())
}

/// Some of them for a while; what it did to the others.
async fn abuse(
    round: &Round<'_>,
    instance: &Instance,
    api: &Api,
    pid: i32,
    group: &[&Abuse],
    share: Duration,
) -> Result<()> {
    let over = Over::default();
    let names: Vec<&str> = group.iter().map(|abuse| abuse.name).collect();
    let mut memory = Memory { what: names.join(", "), before: resident(pid), ..Memory::default() };
    let mut tasks = JoinSet::new();
    let loaded = kubeconfig::load(Some(&instance.data.join("admin.kubeconfig")), None)?.https;
    let uri: http::Uri = loaded.server.parse()?;
    let (host, port) = (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(443));
    for abuse in group {
        let identity = loaded.identity.as_ref().filter(|_| abuse.known).map(wire::tls::Presented::new).transpose()?;
        let alpn = if abuse.http2 { "h2" } else { "http/1.1" };
        let tls = wire::tls::client(wire::Trust::Anybody, identity, &[alpn])?;
        for _ in 0..abuse.connections {
            let (host, tls, over, run) = (host.clone(), tls.clone(), over.clone(), abuse.run);
            tasks.spawn(async move {
                let connection = dial(&host, port, Some(tls)).await?;
                run(connection.stream, &over).await
            });
        }
    }
    let prober = tokio::spawn(probe(api.clone(), round.record.clone(), memory.what.clone(), over.clone()));
    let mut chance = round.chance(&memory.what);
    let end = Instant::now() + share;
    while Instant::now() < end {
        let name = format!("m-{}", chance.within(0..=39));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": chance.noise(200_000)}});
        let written = timeout(LATE, api.ask("PUT", &format!("{MAPS}/{name}"), Some(&map))).await;
        judge(&round.record, &memory.what, written);
        memory.peak = memory.peak.max(resident(pid));
    }
    over.set();
    tasks.shutdown().await;
    prober.await?;
    let end = Instant::now() + SETTLE;
    loop {
        memory.after = resident(pid);
        if Instant::now() > end || memory.given_back() {
            break;
        }
        sleep(Duration::from_millis(500)).await;
    }
    round.record.lock().memory.push(memory);
    Ok(())
}

async fn probe(api: Api, record: Record, during: String, over: Over) {
    while !over.is_set() {
        let read = timeout(LATE, api.ask("GET", &format!("{MAPS}/m-0"), None)).await;
        judge(&record, &during, read);
        sleep(Duration::from_millis(20)).await;
    }
}

fn judge(record: &Record, during: &str, answer: Result<Answer, tokio::time::error::Elapsed>) {
    match answer {
        Ok(Answer::Told(200 | 201, _)) => {}
        Ok(Answer::Told(code, answer)) => {
            record.lock().refused.push(format!("during {during}: {code} {}", answer["message"]))
        }
        Ok(Answer::Unknown(why)) => record.lock().refused.push(format!("during {during}: no answer: {why}")),
        Err(_) => record.lock().late.push(format!("an answer took more than {} s during {during}", LATE.as_secs())),
    }
}

/// MiB of a process.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// Sends, and then neither reads nor ends.
async fn hold(mut stream: Duplex, over: &Over, sent: Vec<u8>) -> std::io::Result<()> {
    stream.write_all(&sent).await?;
    stream.flush().await?;
    while !over.is_set() {
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

fn half_a_body() -> Vec<u8> {
    let length = 3 << 20;
    let mut text = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    text.extend(vec![b' '; length - 5000]);
    text
}

fn watch() -> Vec<u8> {
    format!("GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// One after the other on one connection, and none is read.
fn list() -> Vec<u8> {
    format!("GET {MAPS} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(20).into_bytes()
}

/// Reads what is there, so that the peer does not wait for us.
async fn drain(stream: &mut Duplex) -> std::io::Result<()> {
    let mut buffer = [0; 16384];
    while let Ok(read) = timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
        if read? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
