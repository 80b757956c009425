//! One suite, every backend: what the store promises, whatever makes its writes durable.
//!
//! Each law is an async function over a `Store`; `laws!` runs it on memory and on the embedded
//! engine in a directory of its own.

#![allow(clippy::unwrap_used, reason = "a law is a test, though its function carries no attribute")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use store::{Backend, Error, Expect, Fault, Key, Options, Revision, Room, Step, Store, Sync, Value};

macro_rules! laws {
    ($($law:ident)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $law() { super::$law(super::Bench::memory()).await; })*
        }
        mod embedded {
            $(#[tokio::test(start_paused = true)]
            async fn $law() { super::$law(super::Bench::embedded()).await; })*
        }
    };
}

laws! {
    a_write_is_one_revision_and_revisions_increase
    the_revision_is_spliced_between_head_and_tail
    an_expectation_that_does_not_hold_writes_nothing
    a_write_is_all_or_nothing
    a_check_alone_makes_no_revision
    one_write_changes_a_key_once
    list_pages_are_one_snapshot
    list_shows_an_older_revision
    history_ends_at_the_horizon
    history_is_bounded_by_bytes
    a_watch_is_complete_ordered_and_without_duplicates
    a_watch_sees_only_its_prefix
    a_slow_watch_is_cut_off
    what_waits_for_watches_is_bounded_by_bytes
    a_bookmark_never_overtakes_a_change
    concurrent_writers_never_both_win
    an_entry_expires_as_a_deletion
    an_entry_written_again_does_not_expire
    a_refused_commit_changes_nothing
    a_failed_commit_is_settled_before_the_next_write
}

struct Bench {
    backend: Backend,
    options: Options,
    now: Arc<AtomicU64>,
    _dir: Option<tempfile::TempDir>,
}

impl Bench {
    fn memory() -> Bench {
        let now = Arc::new(AtomicU64::new(1_000));
        let clock = now.clone();
        let options = Options::new(Arc::new(move || Duration::from_secs(clock.load(Ordering::SeqCst))));
        Bench { backend: Backend::Memory, options, now, _dir: None }
    }

    fn embedded() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::memory();
        bench.options.reserve = 0;
        bench.backend = Backend::Embedded { dir: dir.path().join("data"), accept_loss: false };
        Bench { _dir: Some(dir), ..bench }
    }

    fn open(&self) -> Store {
        Store::open(self.backend.clone(), self.options.clone()).unwrap()
    }
}

fn value(text: &str) -> Value {
    Value { head: Bytes::from(format!("{text}@")), tail: Bytes::from_static(b";") }
}

fn put(key: &str, expect: Expect, text: &str) -> Step {
    Step::Put { key: Key::from(key), expect, value: value(text), ttl: None, sync: Sync::First, room: Room::Free }
}

fn expiring(key: &str, ttl: Duration) -> Vec<Step> {
    vec![Step::Put {
        key: Key::from(key),
        expect: Expect::Any,
        value: value("e"),
        ttl: Some(ttl),
        sync: Sync::First,
        room: Room::Free,
    }]
}

fn delete(key: &str, expect: Expect) -> Step {
    Step::Delete { key: Key::from(key), expect, last: value("gone") }
}

async fn set(store: &Store, key: &str, text: &str) -> Revision {
    store.write(vec![put(key, Expect::Any, text)]).await.unwrap().revision
}

fn keys(entries: &[store::Entry]) -> Vec<&str> {
    entries.iter().map(|e| e.key.as_str()).collect()
}

async fn a_write_is_one_revision_and_revisions_increase(bench: Bench) {
    let store = bench.open();
    assert_eq!(store.revision(), Revision(0));
    let two = vec![put("a/1", Expect::Absent, "x"), put("b/1", Expect::Absent, "y")];
    let written = store.write(two).await.unwrap();
    assert_eq!(written.revision, Revision(1));
    assert_eq!(store.get("a/1").unwrap().revision, Revision(1));
    assert_eq!(store.get("b/1").unwrap().revision, Revision(1));
    assert_eq!(set(&store, "a/1", "z").await, Revision(2));
    let entry = store.get("a/1").unwrap();
    assert_eq!((entry.created, entry.revision), (Revision(1), Revision(2)));
    store.write(vec![delete("a/1", Expect::Any)]).await.unwrap();
    assert_eq!(set(&store, "a/1", "again").await, Revision(4));
    assert_eq!(store.get("a/1").unwrap().created, Revision(4));
}

async fn the_revision_is_spliced_between_head_and_tail(bench: Bench) {
    let store = bench.open();
    for _ in 0..9 {
        set(&store, "a/other", "x").await;
    }
    let written = store.write(vec![put("a/1", Expect::Absent, "x")]).await.unwrap();
    assert_eq!(written.entries[0].as_ref().unwrap().bytes, "x@10;");
    let written = store.write(vec![delete("a/1", Expect::At(Revision(10)))]).await.unwrap();
    assert_eq!(written.entries[0].as_ref().unwrap().bytes, "gone@11;");
}

async fn an_expectation_that_does_not_hold_writes_nothing(bench: Bench) {
    let store = bench.open();
    let at = set(&store, "a/1", "x").await;
    let wrong = [
        put("a/1", Expect::Absent, "y"),
        put("a/1", Expect::At(Revision(99)), "y"),
        put("a/2", Expect::At(at), "y"),
        delete("a/2", Expect::Any),
        delete("a/1", Expect::At(Revision(99))),
        Step::Check { key: Key::from("a/1"), expect: Expect::Absent },
    ];
    for step in wrong {
        let about = format!("{step:?}");
        let Err(Error::Conflict { key, found }) = store.write(vec![step]).await else { panic!("{about}") };
        assert_eq!(found, store.get(key.as_str()), "{about}");
    }
    assert_eq!(store.revision(), at);
    assert_eq!(store.get("a/1").unwrap().bytes, "x@1;");
}

async fn a_write_is_all_or_nothing(bench: Bench) {
    let store = bench.open();
    let steps = vec![put("a/1", Expect::Absent, "x"), put("a/2", Expect::At(Revision(7)), "y")];
    assert!(matches!(store.write(steps).await, Err(Error::Conflict { .. })));
    assert_eq!(store.get("a/1"), None);
    assert_eq!(store.revision(), Revision(0));
}

async fn a_check_alone_makes_no_revision(bench: Bench) {
    let store = bench.open();
    let check = Step::Check { key: Key::from("a/1"), expect: Expect::Absent };
    let written = store.write(vec![check.clone()]).await.unwrap();
    assert_eq!((written.revision, written.entries), (Revision(0), vec![None]));
    let written = store.write(vec![check, put("a/2", Expect::Absent, "x")]).await.unwrap();
    assert!(written.entries[0].is_none() && written.entries[1].is_some());
}

async fn one_write_changes_a_key_once(bench: Bench) {
    let store = bench.open();
    let twice = vec![put("a/1", Expect::Absent, "x"), put("a/1", Expect::Any, "y")];
    assert!(matches!(store.write(twice).await, Err(Error::Refused(_))));
    assert_eq!(store.get("a/1"), None);
}

async fn list_pages_are_one_snapshot(bench: Bench) {
    let store = bench.open();
    for key in ["p/a", "p/b", "p/c", "p/d", "q/a"] {
        set(&store, key, "x").await;
    }
    let first = store.list("p/", None, 2, None).unwrap();
    assert_eq!((keys(&first.entries), first.remaining), (vec!["p/a", "p/b"], 2));
    store.write(vec![delete("p/c", Expect::Any)]).await.unwrap();
    set(&store, "p/bb", "new").await;
    set(&store, "p/d", "changed").await;
    let next = store.list("p/", Some("p/b\0"), 10, Some(first.revision)).unwrap();
    assert_eq!((keys(&next.entries), next.remaining), (vec!["p/c", "p/d"], 0));
    assert_eq!(next.revision, first.revision);
    assert_eq!(next.entries[1].bytes, "x@4;");
    let now = store.list("p/", None, 10, None).unwrap();
    assert_eq!(keys(&now.entries), ["p/a", "p/b", "p/bb", "p/d"]);
    assert_eq!(store.list("", None, 2, None).unwrap().remaining, 3);
    assert_eq!(store.list("p/", None, 0, None).unwrap().remaining, 4);
}

/// Against a model: after every write, every revision still lists as it was.
async fn list_shows_an_older_revision(bench: Bench) {
    let store = bench.open();
    let mut model: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut past = vec![model.clone()];
    let mut seed = 7u64;
    for _ in 0..120 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let key = format!("k/{}", (seed >> 33) % 9);
        let there = model.contains_key(&key);
        let step = match there && (seed >> 40).is_multiple_of(3) {
            true => delete(&key, Expect::Any),
            false => put(&key, Expect::Any, "v"),
        };
        let gone = matches!(step, Step::Delete { .. });
        let written = store.write(vec![step]).await.unwrap();
        match gone {
            true => model.remove(&key),
            false => model.insert(key, written.entries[0].as_ref().unwrap().bytes.clone()),
        };
        past.push(model.clone());
    }
    for (revision, model) in past.iter().enumerate() {
        let listing = store.list("k/", None, usize::MAX, Some(Revision(revision as u64))).unwrap();
        let seen: BTreeMap<String, Bytes> =
            listing.entries.iter().map(|e| (e.key.as_str().to_string(), e.bytes.clone())).collect();
        assert_eq!(&seen, model, "at {revision}");
        assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
        let half = store.list("k/", Some("k/4"), 2, Some(Revision(revision as u64))).unwrap();
        let expected: Vec<&str> = model.keys().map(String::as_str).filter(|k| *k >= "k/4").collect();
        assert_eq!(keys(&half.entries), expected[..expected.len().min(2)]);
        assert_eq!(half.remaining, expected.len().saturating_sub(2));
    }
}

async fn history_ends_at_the_horizon(bench: Bench) {
    let store = bench.open();
    for _ in 0..5 {
        set(&store, "a/1", "x").await;
    }
    store.compact(Revision(3));
    let compacted = |result| matches!(result, Err(Error::Compacted { horizon: Revision(3) }));
    assert!(compacted(store.list("a/", None, 1, Some(Revision(2))).map(|_| ())));
    assert!(compacted(store.watch("a/", Revision(2)).map(|_| ())));
    assert_eq!(store.list("a/", None, 1, Some(Revision(3))).unwrap().entries[0].revision, Revision(3));
    assert_eq!(store.watch("a/", Revision(3)).unwrap().next().await.unwrap().unwrap().entry.revision, Revision(4));
    assert!(matches!(store.watch("a/", Revision(6)), Err(Error::Future { current: Revision(5) })));
    // By age, at the next write.
    bench.now.fetch_add(bench.options.history.as_secs() + 1, Ordering::SeqCst);
    set(&store, "a/1", "x").await;
    assert!(matches!(store.watch("a/", Revision(4)), Err(Error::Compacted { horizon: Revision(5) })));
    assert!(store.watch("a/", Revision(5)).is_ok());
    store.compact(Revision(1));
    assert!(store.watch("a/", Revision(5)).is_ok());
}

async fn history_is_bounded_by_bytes(mut bench: Bench) {
    bench.options.history_bytes = 10_000;
    let store = bench.open();
    for _ in 0..50 {
        set(&store, "a/1", &"x".repeat(1_000)).await;
    }
    assert!(matches!(store.watch("a/", Revision(30)), Err(Error::Compacted { .. })));
    assert!(store.watch("a/", Revision(47)).is_ok());
}

async fn a_watch_is_complete_ordered_and_without_duplicates(bench: Bench) {
    let store = bench.open();
    set(&store, "a/0", "before").await;
    let mut watches = vec![store.watch("a/", Revision(0)).unwrap()];
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..40 {
                set(&store, &format!("a/{writer}"), &n.to_string()).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    // Watches that begin in the midst of it must join the backlog to the live changes.
    while store.revision() < Revision(300) {
        watches.push(store.watch("a/", Revision(0)).unwrap());
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    for mut watch in watches {
        for revision in 1..=321 {
            let change = watch.next().await.unwrap().unwrap();
            assert_eq!(change.entry.revision, Revision(revision));
            assert_eq!(change.previous.is_some(), change.entry.created != change.entry.revision);
        }
        assert_eq!(watch.progress(), Revision(321));
    }
}

async fn a_watch_sees_only_its_prefix(bench: Bench) {
    let store = bench.open();
    let mut watch = store.watch("a/n/", Revision(0)).unwrap();
    for key in ["a/m/1", "a/n/1", "a/n2/1", "b/n/1"] {
        set(&store, key, "x").await;
    }
    store.write(vec![delete("a/n/1", Expect::Any)]).await.unwrap();
    let created = watch.next().await.unwrap().unwrap();
    assert_eq!((created.entry.key.as_str(), created.deleted), ("a/n/1", false));
    let deleted = watch.next().await.unwrap().unwrap();
    assert!(deleted.deleted);
    assert_eq!(deleted.entry.bytes, "gone@5;");
    assert_eq!(deleted.previous, Some(created.entry.clone()));
    assert_eq!(watch.progress(), Revision(5));
    drop(store);
    assert!(watch.next().await.is_none());
}

async fn a_slow_watch_is_cut_off(mut bench: Bench) {
    bench.options.watch_queue = 4;
    let store = bench.open();
    let mut slow = store.watch("a/", Revision(0)).unwrap();
    let mut other = store.watch("b/", Revision(0)).unwrap();
    for _ in 0..6 {
        set(&store, "a/1", "x").await;
    }
    for revision in 1..=4 {
        assert_eq!(slow.next().await.unwrap().unwrap().entry.revision, Revision(revision));
    }
    assert!(slow.progress() < Revision(5));
    assert!(matches!(slow.next().await, Some(Err(Error::Lagged))));
    assert!(slow.next().await.is_none());
    set(&store, "b/1", "x").await;
    assert!(other.next().await.unwrap().is_ok());
}

/// However many do not read, and since whenever: what they hold is in history.
async fn what_waits_for_watches_is_bounded_by_bytes(mut bench: Bench) {
    const SIZE: usize = 10_000;
    // A change holds what was there before, too.
    bench.options.history_bytes = 20 * SIZE;
    let store = bench.open();
    let mut reader = store.watch("a/", Revision(0)).unwrap();
    let (mut unread, mut made) = (Vec::new(), Vec::new());
    for n in 0..100 {
        // Some with a backlog, all of it still in history; others under another prefix.
        unread.push(store.watch("a/", Revision(store.revision().0.saturating_sub(5))).unwrap());
        unread.push(store.watch(if n % 2 == 0 { "a/1" } else { "a/2" }, store.revision()).unwrap());
        let text = "x".repeat(SIZE);
        store.write(vec![put(&format!("a/{}", n % 7), Expect::Any, &text)]).await.unwrap();
        made.push(Arc::downgrade(&reader.next().await.unwrap().unwrap()));
    }
    let held = made.iter().filter(|change| change.strong_count() > 0).count();
    assert!(held <= 11, "{held} of 100 changes are held");
    // Whoever is too far behind is told so, once; who is not gets all of it.
    assert!(matches!(unread[0].next().await, Some(Err(Error::Lagged))));
    assert!(unread[0].next().await.is_none());
    let newest = unread.len() - 2;
    let first = unread[newest].next().await.unwrap().unwrap();
    assert_eq!(first.entry.revision, Revision(95));
}

async fn a_bookmark_never_overtakes_a_change(bench: Bench) {
    let store = bench.open();
    let mut watch = store.watch("a/", Revision(0)).unwrap();
    set(&store, "b/1", "x").await;
    assert_eq!(watch.progress(), Revision(1));
    watch.moved(Revision(0)).await;
    store.write(vec![put("a/1", Expect::Any, "x"), put("a/2", Expect::Any, "x")]).await.unwrap();
    assert!(watch.progress() < Revision(2));
    watch.next().await.unwrap().unwrap();
    assert!(watch.progress() < Revision(2), "half of the write was returned");
    watch.next().await.unwrap().unwrap();
    assert_eq!(watch.progress(), Revision(2));
}

async fn concurrent_writers_never_both_win(bench: Bench) {
    let store = bench.open();
    let mut at = set(&store, "a/1", "x").await;
    for _ in 0..20 {
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.write(vec![put("a/1", Expect::At(at), &n.to_string())]).await })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(written) => winners.push(written.revision),
                Err(Error::Conflict { found, .. }) => assert!(found.unwrap().revision > at),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(winners.len(), 1);
        at = winners[0];
    }
    assert_eq!(store.revision(), Revision(21));
}

/// Waiting is tokio's and paused here; the writer's thread is waited for through the watch.
async fn an_entry_expires_as_a_deletion(bench: Bench) {
    let store = bench.open();
    let mut watch = store.watch("e/", Revision(0)).unwrap();
    store.write(expiring("e/late", Duration::from_secs(3600))).await.unwrap();
    store.write(expiring("e/soon", Duration::from_secs(10))).await.unwrap();
    watch.next().await.unwrap().unwrap();
    watch.next().await.unwrap().unwrap();
    bench.now.fetch_add(11, Ordering::SeqCst);
    // A later write with an earlier deadline wakes the task, which looks at the clock.
    store.write(expiring("e/now", Duration::ZERO)).await.unwrap();
    assert!(!watch.next().await.unwrap().unwrap().deleted);
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let change = watch.next().await.unwrap().unwrap();
        assert!(change.deleted);
        let text = format!("e@{};", change.entry.revision.0);
        assert_eq!(change.entry.bytes, text);
        gone.push(change.entry.key.as_str().to_string());
    }
    gone.sort();
    assert_eq!(gone, ["e/now", "e/soon"]);
    assert!(store.get("e/late").is_some());
}

async fn an_entry_written_again_does_not_expire(bench: Bench) {
    let store = bench.open();
    store.write(expiring("e/1", Duration::from_secs(10))).await.unwrap();
    store.write(expiring("e/1", Duration::from_secs(3600))).await.unwrap();
    store.write(expiring("e/2", Duration::from_secs(10))).await.unwrap();
    set(&store, "e/2", "for ever").await;
    bench.now.fetch_add(11, Ordering::SeqCst);
    let mut watch = store.watch("e/", store.revision()).unwrap();
    store.write(expiring("e/3", Duration::ZERO)).await.unwrap();
    assert!(!watch.next().await.unwrap().unwrap().deleted);
    assert_eq!(watch.next().await.unwrap().unwrap().entry.key.as_str(), "e/3");
    assert!(store.get("e/1").is_some() && store.get("e/2").is_some());
}

async fn a_refused_commit_changes_nothing(mut bench: Bench) {
    bench.options.fault = Some(Arc::new(|n| (n == 2).then_some(Fault::Refuse)));
    let store = bench.open();
    set(&store, "a/1", "x").await;
    let mut watch = store.watch("a/", store.revision()).unwrap();
    let refused = store.write(vec![put("a/1", Expect::Any, "y")]).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(store.get("a/1").unwrap().bytes, "x@1;");
    assert_eq!(set(&store, "a/1", "z").await, Revision(2));
    assert_eq!(watch.next().await.unwrap().unwrap().entry.bytes, "z@2;");
}

/// Fails the N-th commit for every N, once lost and once kept: the store goes on from what is there.
async fn a_failed_commit_is_settled_before_the_next_write(bench: Bench) {
    for (index, fault) in [Fault::Lose, Fault::Keep].into_iter().cycle().take(6).enumerate() {
        let mut options = bench.options.clone();
        let failing = index as u64 + 1;
        options.fault = Some(Arc::new(move |n| (n == failing).then_some(fault)));
        let backend = match &bench.backend {
            Backend::Memory | Backend::Shared(_) => Backend::Memory,
            Backend::Embedded { dir, .. } => Backend::Embedded { dir: dir.join(index.to_string()), accept_loss: false },
        };
        let store = Store::open(backend.clone(), options).unwrap();
        let mut watch = store.watch("a/", Revision(0)).unwrap();
        let expected = Mutex::new(Vec::new());
        for n in 1..=8u64 {
            let key = format!("a/{n}");
            match store.write(vec![put(&key, Expect::Absent, "x")]).await {
                Ok(_) => expected.lock().unwrap().push(key),
                Err(Error::Poisoned(_)) => {
                    assert_eq!(n, failing);
                    assert_eq!(store.get(&key), None, "not visible while it is in doubt");
                    if fault == Fault::Keep {
                        expected.lock().unwrap().push(key);
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
        let expected = expected.into_inner().unwrap();
        let listing = store.list("a/", None, 100, None).unwrap();
        assert_eq!(keys(&listing.entries), expected);
        assert_eq!(listing.revision, Revision(expected.len() as u64));
        for (n, key) in expected.iter().enumerate() {
            let change = watch.next().await.unwrap().unwrap();
            assert_eq!((change.entry.key.as_str(), change.entry.revision.0), (key.as_str(), n as u64 + 1));
        }
        drop(store);
        if !matches!(backend, Backend::Memory) {
            let again = Store::open(backend, bench.options.clone()).unwrap();
            assert_eq!(again.list("a/", None, 100, None).unwrap().entries, listing.entries);
        }
    }
}
