//! What disks and crashes do: torn tails, damage, kill -9, full disks.
//!
//! Every acknowledged write is there afterwards, or the store says that it is damaged.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

/// Bits, lengths, files.
mod damage;
/// No room.
mod full;
/// The store of an earlier version.
mod import;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Backend, Error, Expect, Key, Options, Revision, Room, Step, Store, Sync, Value};

/// A store begins so far after what its disk holds: revisions that a crash may have undone are never
/// given out again.
const STRIDE: u64 = 1000;
/// Small, so that a few writes fill some.
const SEGMENT: u64 = 16 << 10;

fn options() -> Options {
    Options { reserve: 0, segment: SEGMENT, ..Options::new(Arc::new(|| Duration::from_secs(1_000))) }
}

/// The store in a folder of a folder: its mark stands beside it.
fn folder(dir: &Path) -> PathBuf {
    dir.join("store")
}

fn open(dir: &Path) -> Result<Store, Error> {
    Store::open(Backend::Embedded { dir: folder(dir), accept_loss: false }, options())
}

fn put(key: &str, size: usize) -> Step {
    let value = Value { head: Bytes::from(vec![b'x'; size]), tail: Bytes::new() };
    Step::Put { key: Key::from(key), expect: Expect::Any, value, ttl: None, sync: Sync::First, room: Room::Free }
}

fn delete(key: &str) -> Step {
    let last = Value { head: Bytes::from_static(b"gone"), tail: Bytes::new() };
    Step::Delete { key: Key::from(key), expect: Expect::Any, last }
}

fn all(store: &Store) -> BTreeMap<String, Bytes> {
    let entries = store.list("", None, usize::MAX, None).unwrap().entries;
    entries.into_iter().map(|e| (e.key.as_str().to_string(), e.bytes)).collect()
}

/// Twelve writes, some of them large, and what each left behind.
async fn written(dir: &Path) -> Vec<BTreeMap<String, Bytes>> {
    let store = open(dir).unwrap();
    let mut past = vec![all(&store)];
    for n in 0..12usize {
        store.write(vec![put(&format!("a/{}", n % 5), 40 + n * 700)]).await.unwrap();
        past.push(all(&store));
    }
    past
}

fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let status = Command::new("cp").args(["-a", "--sparse=always"]).arg(from.join(".")).arg(to.path()).status();
    assert!(status.unwrap().success());
    to
}

/// In order; the last one is written to.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = folder(dir).read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "jnl")).collect();
    paths.sort();
    paths
}

/// Where the frames of a segment begin, and the end of the last one.
fn frames(segment: &Path) -> Vec<u64> {
    let bytes = std::fs::read(segment).unwrap();
    let mut at = vec![0];
    while let Some(header) = bytes.get(at[at.len() - 1]..).filter(|rest| rest.starts_with(b"GJ\xf1\x01")) {
        let length = u32::from_be_bytes(header[4..8].try_into().unwrap()) as usize;
        at.push(at[at.len() - 1] + (32 + length + 8).next_multiple_of(32));
    }
    at.into_iter().map(|at| at as u64).collect()
}

/// As a power loss leaves it: nothing of what was written since `mark` was read is marked.
fn lose_the_mark(dir: &Path, mark: &[u8]) {
    std::fs::write(dir.join("store.mark"), mark).unwrap();
}

/// Twelve writes of which the last was not acknowledged, as far as the mark knows; its segment, and
/// where it begins and ends there.
async fn with_a_last_write_in_doubt(dir: &Path) -> (Vec<BTreeMap<String, Bytes>>, PathBuf, u64, u64) {
    let store = open(dir).unwrap();
    let mut past = vec![all(&store)];
    for n in 0..12usize {
        let mark = std::fs::read(dir.join("store.mark")).unwrap();
        store.write(vec![put(&format!("a/{}", n % 5), 40 + n * 200)]).await.unwrap();
        past.push(all(&store));
        if n == 11 {
            drop(store);
            lose_the_mark(dir, &mark);
            break;
        }
    }
    let segment = segments(dir).pop().unwrap();
    let frames = frames(&segment);
    (past, segment, frames[frames.len() - 2], frames[frames.len() - 1])
}

/// The same place in a copy.
fn place(copy: &tempfile::TempDir, path: &Path) -> PathBuf {
    folder(copy.path()).join(path.file_name().unwrap())
}

fn zero(path: &Path, from: u64, to: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![0; (to - from) as usize], from).unwrap();
}

#[tokio::test]
async fn a_torn_tail_loses_only_the_write_that_nobody_was_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let (past, segment, begin, end) = with_a_last_write_in_doubt(dir.path()).await;
    // A segment is zeros where nothing was written; sectors are written or not.
    let sectors = (begin / 512 + 1..=(end - 1) / 512).map(|sector| sector * 512);
    for from in [begin].into_iter().chain(sectors) {
        let copy = copied(dir.path());
        zero(&place(&copy, &segment), from, end);
        let store = open(copy.path()).unwrap();
        assert_eq!(store.revision(), Revision(11 + STRIDE), "torn at {from} of {begin}..{end}");
        assert_eq!(all(&store), past[11]);
        // It goes on from there, and that is kept.
        store.write(vec![put("b/1", 10)]).await.unwrap();
        let now = all(&store);
        drop(store);
        assert_eq!(all(&open(copy.path()).unwrap()), now);
    }
}

#[tokio::test]
async fn a_sector_left_out_by_a_power_loss_is_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (past, segment, begin, end) = with_a_last_write_in_doubt(dir.path()).await;
    assert!(end - begin > 2048);
    for sector in [begin / 512 + 1, (begin + end) / 1024] {
        let copy = copied(dir.path());
        zero(&place(&copy, &segment), sector * 512, sector * 512 + 512);
        let store = open(copy.path()).unwrap();
        assert_eq!(store.revision(), Revision(11 + STRIDE));
        assert_eq!(all(&store), past[11]);
    }
}

/// The same tears, but the mark knows that the write was acknowledged.
#[tokio::test]
async fn a_torn_write_that_was_acknowledged_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    with_a_last_write_in_doubt(dir.path()).await;
    drop(open(dir.path()).unwrap());
    let segment = segments(dir.path()).pop().unwrap();
    let frames = frames(&segment);
    let (begin, end) = (frames[frames.len() - 2], frames[frames.len() - 1]);
    for from in [begin, begin / 512 * 512 + 512, end / 512 * 512] {
        let copy = copied(dir.path());
        zero(&place(&copy, &segment), from, end);
        let Err(Error::Refused(why)) = open(copy.path()) else { panic!("opened, zeros from {from}") };
        assert!(why.contains("damaged") && why.contains("--accept-loss"), "{why}");
    }
}

#[tokio::test]
async fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let Err(Error::Refused(why)) = open(dir.path()) else { panic!("opened twice") };
    assert!(why.contains("another process has it open"), "{why}");
    drop(first);
    open(dir.path()).unwrap();
}

#[tokio::test]
async fn a_restart_keeps_everything_but_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let past = written(dir.path()).await;
    let store = open(dir.path()).unwrap();
    assert_eq!(all(&store), past[12]);
    assert_eq!(store.revision(), Revision(12 + STRIDE));
    let Err(Error::Compacted { horizon }) = store.watch("a/", Revision(12)) else { panic!("history came back") };
    assert_eq!(horizon, Revision(12 + STRIDE));
    let mut watch = store.watch("a/", Revision(12 + STRIDE)).unwrap();
    store.write(vec![put("a/9", 1)]).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().entry.revision, Revision(13 + STRIDE));
    // A deletion is the newest revision, though no entry carries it.
    let last = Value { head: Bytes::new(), tail: Bytes::new() };
    store.write(vec![Step::Delete { key: Key::from("a/9"), expect: Expect::Any, last }]).await.unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!((store.revision(), store.get("a/9")), (Revision(14 + 2 * STRIDE), None));
}

/// A heartbeat waits for the next sync; a close makes it durable, a crash undoes it and its revision.
#[tokio::test]
async fn a_heartbeat_waits_for_the_next_sync() {
    let heartbeat = |key: &str, size| match put(key, size) {
        Step::Put { key, expect, value, ttl, .. } => {
            Step::Put { key, expect, value, ttl, sync: Sync::Later, room: Room::Free }
        }
        other => other,
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write(vec![put("a/1", 1)]).await.unwrap();
    let written = store.write(vec![heartbeat("a/1", 2)]).await.unwrap();
    assert_eq!((written.revision, all(&store)["a/1"].len()), (Revision(2), store.get("a/1").unwrap().bytes.len()));
    let crashed = copied(dir.path());
    let closed = {
        drop(store);
        copied(dir.path())
    };
    let (crashed, closed) = (open(crashed.path()).unwrap(), open(closed.path()).unwrap());
    assert_eq!(crashed.get("a/1").unwrap().revision, Revision(1));
    assert_eq!(closed.get("a/1").unwrap().revision, Revision(2));
    // The first write of a process is synced whatever it is: a second crash begins further on.
    let again = crashed.write(vec![heartbeat("a/1", 3)]).await.unwrap();
    assert_eq!(again.revision, Revision(2 + STRIDE));
    // Written along with whatever comes next.
    crashed.write(vec![heartbeat("a/1", 4)]).await.unwrap();
    crashed.write(vec![put("a/2", 1)]).await.unwrap();
}

#[tokio::test]
async fn what_waited_is_written_along() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.write(vec![put("a/1", 1)]).await.unwrap();
    let Step::Put { key, expect, value, ttl, .. } = put("a/1", 2) else { panic!("a put") };
    store.write(vec![Step::Put { key, expect, value, ttl, sync: Sync::Later, room: Room::Free }]).await.unwrap();
    store.write(vec![put("a/2", 1)]).await.unwrap();
    let copy = copied(dir.path());
    let copy = open(copy.path()).unwrap();
    assert_eq!(all(&copy), all(&store));
    assert_eq!(copy.get("a/1").unwrap().revision, Revision(2));
}

/// The child's part of the next test; alone it does nothing.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os("STORE_CHILD_DIR") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let store = open(Path::new(&dir)).unwrap();
        let tasks: Vec<_> = (0..16)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in 0u64.. {
                        let key = format!("k/{writer}/{}", n % 50);
                        let head = Bytes::from(format!("{writer}-{n}-{}", "x".repeat(n as usize * 37 % 3000)));
                        let value = Value { head, tail: Bytes::new() };
                        let step = Step::Put {
                            key: Key::from(key),
                            expect: Expect::Any,
                            value,
                            ttl: None,
                            sync: Sync::First,
                            room: Room::Free,
                        };
                        let written = store.write(vec![step]).await.unwrap();
                        let mut out = std::io::stdout().lock();
                        writeln!(out, "acknowledged {writer} {n} {}", written.revision.0).unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[tokio::test]
async fn kill_9_under_load_loses_no_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
            .env("STORE_CHILD_DIR", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acknowledged: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut newest = [0u64; 16];
        let mut count = 0;
        // Killed in full flight; what it still managed to say counts too.
        let mut killed = false;
        for line in lines {
            let Some(words) = line.split("acknowledged ").nth(1) else { continue };
            let numbers: Vec<u64> = words.split(' ').map_while(|word| word.parse().ok()).collect();
            let [writer, n, revision] = numbers[..] else { continue };
            acknowledged.insert((writer, n % 50), n);
            newest[writer as usize] = newest[writer as usize].max(revision);
            count += 1;
            if !killed && count > 400 * round {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        let store = open(dir.path()).unwrap();
        assert!(store.revision().0 >= *newest.iter().max().unwrap());
        for ((writer, slot), n) in acknowledged {
            let entry = store.get(&format!("k/{writer}/{slot}")).unwrap();
            let text = String::from_utf8(entry.bytes.to_vec()).unwrap();
            let kept: u64 = text.split('-').nth(1).unwrap().parse().unwrap();
            assert!(kept >= n, "round {round}: writer {writer} was told of {n}, the store has {kept}");
        }
    }
}
