//! What disks and crashes do: torn tails, flipped bits, kill -9, full disks.
//!
//! Every acknowledged write is there afterwards, or the store says that it is damaged.

#![allow(clippy::unwrap_used, reason = "helpers of tests carry no attribute")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::{Backend, Error, Expect, Key, Options, Revision, Step, Store, Sync, Value};

/// fjall's journal ends a batch with these bytes (see src/journal.rs).
const TRAILER: &[u8] = b"FJL\x03";

/// A store begins so far after what its disk holds: revisions that a crash may have undone are never
/// given out again.
const STRIDE: u64 = 1000;

fn open(dir: &Path) -> Result<Store, Error> {
    let options = Options { reserve: 0, ..Options::new(Arc::new(|| Duration::from_secs(1_000))) };
    Store::open(Backend::Embedded { dir: dir.into() }, options)
}

fn put(key: &str, size: usize) -> Step {
    let value = Value { head: Bytes::from(vec![b'x'; size]), tail: Bytes::new() };
    Step::Put { key: Key::from(key), expect: Expect::Any, value, ttl: None, sync: Sync::First }
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

fn journal(dir: &Path) -> PathBuf {
    dir.join("entries/0.jnl")
}

/// The ends of the batches in the journal.
fn ends(dir: &Path) -> Vec<u64> {
    let bytes = std::fs::read(journal(dir)).unwrap();
    let found = bytes.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
    found.map(|(at, _)| (at + TRAILER.len()) as u64).collect()
}

#[tokio::test]
async fn a_torn_tail_loses_only_the_write_that_nobody_was_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let past = written(dir.path()).await;
    let ends = ends(dir.path());
    let (before, last) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for cut in [before + 1, before + 13, before + 200, (before + last) / 2, last - 14, last - 1] {
        let copy = copied(dir.path());
        let file = std::fs::File::options().write(true).open(journal(copy.path())).unwrap();
        file.set_len(cut).unwrap();
        let store = open(copy.path()).unwrap();
        assert_eq!(store.revision(), Revision(11 + STRIDE), "cut at {cut} of {before}..{last}");
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
    let past = written(dir.path()).await;
    let ends = ends(dir.path());
    let (before, last) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for sector in [before / 512 + 1, (before + last) / 1024] {
        let copy = copied(dir.path());
        let file = std::fs::File::options().write(true).open(journal(copy.path())).unwrap();
        file.write_all_at(&[0; 512], sector * 512).unwrap();
        let store = open(copy.path()).unwrap();
        assert_eq!(store.revision(), Revision(11 + STRIDE));
        assert_eq!(all(&store), past[11]);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_refused_and_stays_refused() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path()).await;
    let ends = ends(dir.path());
    let mut forgettable = 0;
    for (batch, offset) in [(3, 0), (3, 1), (3, 14), (3, 20), (3, 300), (8, 2000), (10, 0), (11, 30), (11, 3000)] {
        let copy = copied(dir.path());
        let file = std::fs::File::options().read(true).write(true).open(journal(copy.path())).unwrap();
        let at = ends[batch - 1] + offset;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
        let what = format!("batch {batch} offset {offset}");
        for attempt in ["first", "second"] {
            let Err(Error::Refused(why)) = open(copy.path()) else { panic!("{what}: opened at the {attempt} attempt") };
            assert!(why.contains("damaged"), "{what}: {why}");
        }
        // Killed after the engine cut the journal and before the damage was on record: only what the
        // opening had found before is left (see src/embedded.rs), and it suffices.
        if !copy.path().join("DAMAGED").exists() {
            // The engine itself refuses this one, and goes on to.
            continue;
        }
        forgettable += 1;
        let name = journal(copy.path()).file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::write(copy.path().join("OPENING"), format!("{} {name}\n", ends[11])).unwrap();
        std::fs::remove_file(copy.path().join("DAMAGED")).unwrap();
        let Err(Error::Refused(why)) = open(copy.path()) else { panic!("{what}: the damage was forgotten") };
        assert!(why.contains("damaged"), "{what}: {why}");
        // Somebody decides to go on without the rest.
        std::fs::remove_file(copy.path().join("DAMAGED")).unwrap();
        open(copy.path()).unwrap();
        assert!(!copy.path().join("OPENING").exists());
    }
    assert!(forgettable > 0);
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
        Step::Put { key, expect, value, ttl, .. } => Step::Put { key, expect, value, ttl, sync: Sync::Later },
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
    store.write(vec![Step::Put { key, expect, value, ttl, sync: Sync::Later }]).await.unwrap();
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
                        let step =
                            Step::Put { key: Key::from(key), expect: Expect::Any, value, ttl: None, sync: Sync::First };
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

/// On a small tmpfs of its own, in a mount namespace of its own.
#[test]
fn a_full_disk_refuses_puts_and_still_takes_deletions() {
    const TEST: &str = "a_full_disk_refuses_puts_and_still_takes_deletions";
    let Some(dir) = std::env::var_os("STORE_TMPFS") else {
        let dir = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=64m tmpfs \"$STORE_TMPFS\" && exec \"$0\" \"$@\"";
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env("STORE_TMPFS", dir.path())
            .output();
        match status {
            Ok(output) if output.status.success() => {}
            Ok(output)
                if std::env::var_os("CI").is_none()
                    && String::from_utf8_lossy(&output.stderr).contains("not permitted") =>
            {
                writeln!(std::io::stderr(), "skipped {TEST}: it needs root").unwrap();
            }
            other => panic!("{other:?}"),
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(full_disk(Path::new(&dir)));
}

/// Somebody else takes the very last of the disk. A journal whose entries have become a table goes
/// whenever the engine's thread gets to it, after a restart too: that room is taken as well.
async fn taken_by_others(mount: &Path, store: &Store) {
    let mut hog = File::options().create(true).append(true).open(mount.join("hog")).unwrap();
    for _ in 0..10 {
        while hog.write_all(&[1; 64 << 10]).is_ok() {}
        match store.write(vec![put("a/x", 1)]).await {
            Err(Error::Refused(_)) => return,
            taken => taken.unwrap(),
        };
    }
    panic!("a full disk takes puts");
}

async fn full_disk(mount: &Path) {
    let dir = mount.join("data");
    let open = || {
        let options = Options { reserve: 8 << 20, ..Options::new(Arc::new(|| Duration::from_secs(1_000))) };
        Store::open(Backend::Embedded { dir: dir.clone() }, options).unwrap()
    };
    let mut store = open();
    let mut n = 0;
    let why = loop {
        match store.write(vec![put(&format!("a/{n}"), 20_000)]).await {
            Ok(_) => n += 1,
            Err(Error::Refused(why)) => break why,
            Err(other) => panic!("{other}"),
        }
    };
    assert!(why.contains("disk is full"), "{why}");
    assert!(n > 100);
    taken_by_others(mount, &store).await;
    n = all(&store).len();
    assert_eq!(store.list("a/", None, 0, None).unwrap().remaining, n, "reads go on");
    for gone in 0..20 {
        let key = Key::from(format!("a/{gone}"));
        let last = Value { head: Bytes::from_static(b"gone"), tail: Bytes::new() };
        store.write(vec![Step::Delete { key, expect: Expect::Any, last }]).await.unwrap();
    }
    let before = all(&store);
    drop(store);
    store = open();
    assert_eq!(all(&store), before, "a restart on the full disk keeps everything");
    taken_by_others(mount, &store).await;
    std::fs::remove_file(mount.join("hog")).unwrap();
    // What the deletions freed comes back with compaction; a larger disk is the simple way out here.
    let status = Command::new("mount").args(["-o", "remount,size=160m"]).arg(mount).status().unwrap();
    assert!(status.success());
    store.write(vec![put("a/x", 1)]).await.unwrap();
    let after = all(&store);
    drop(store);
    assert_eq!(all(&open()), after);
}
