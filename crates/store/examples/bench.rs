//! Durable writes per second, and what one writer waits.
//!
//! The limit here is the disk's sync: 0.14 to 0.33 ms, 110 k records/s in groups of 64. Held against:
//! one writer below 0.5 ms at the median, 64 writers above 15 k/s, 1 KB values.
//! `cargo run --profile bench-quick -p store --example bench -- DIR [SECONDS [idle]]`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store::{Backend, Expect, Key, Options, Step, Store, Sync, Value};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().expect("a directory"));
    let seconds = arguments.next().map_or(5, |text| text.parse().expect("a number of seconds"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let begin = Instant::now();
        let options = Options::new(Arc::new(move || begin.elapsed()));
        let opened = Instant::now();
        let store = Store::open(Backend::Embedded { dir, accept_loss: false }, options).expect("the store opens");
        println!(
            "open {:?}, {} entries, {} KB",
            opened.elapsed(),
            store.list("", None, 0, None).expect("now").remaining,
            rss()
        );
        for writers in [1, 8, 64, 256] {
            measure(&store, writers, Duration::from_secs(seconds)).await;
        }
        println!("{} entries, {} KB", store.list("", None, 0, None).expect("now").remaining, rss());
        let begin = Instant::now();
        let listing = store.list("pods/", None, 10_000, None).expect("now");
        println!("list of {}: {:?}", listing.entries.len(), begin.elapsed());
        if std::env::args().nth(3).is_some() {
            // Compaction comes to rest first.
            std::thread::sleep(Duration::from_secs(3));
            let (wakes, bytes) = (wakeups(), written());
            std::thread::sleep(Duration::from_secs(10));
            println!("idle for 10 s: {} wake-ups, {} bytes written", wakeups() - wakes, written() - bytes);
        }
    });
}

async fn measure(store: &Store, writers: usize, time: Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let body = Bytes::from(vec![b'x'; 1000]);
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (store, stop, body) = (store.clone(), stop.clone(), body.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let key = Key::new(format!("pods/default/{writers}-{writer}-{}", waits.len()));
                    let value = Value { head: body.clone(), tail: Bytes::new() };
                    let begin = Instant::now();
                    let step = Step::Put {
                        key,
                        expect: Expect::Any,
                        value,
                        ttl: None,
                        sync: Sync::First,
                        room: store::Room::Free,
                    };
                    store.write(vec![step]).await.expect("the write succeeds");
                    waits.push(begin.elapsed());
                }
                waits
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await.expect("a writer"));
    }
    waits.sort();
    let at = |part: usize| waits[(waits.len() - 1) * part / 100];
    let rate = waits.len() as f64 / time.as_secs_f64();
    println!(
        "{writers:>4} writers: {rate:>8.0}/s  min {:?}  p50 {:?}  p99 {:?}  max {:?}",
        at(0),
        at(50),
        at(99),
        at(100)
    );
}

/// Resident memory in KB.
fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// How often any thread of this process went to sleep and came back.
fn wakeups() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is there");
    let counts = tasks.flatten().map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0)
    });
    counts.sum()
}

/// Bytes that this process caused to be written to the disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("/proc is there");
    let line = io.lines().find(|line| line.starts_with("write_bytes")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
