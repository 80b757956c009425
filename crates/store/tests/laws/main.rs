//! One suite, every engine: what the store promises, whatever orders its writes and keeps them.
//!
//! Each law is an async function over a `Store`; `laws!` runs it on memory, on the journal in a
//! directory of its own, and on an engine that numbers by itself and that others write to as well.

#![allow(clippy::unwrap_used, reason = "a law is a test, though its function carries no attribute")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use store::{Backend, Error, Expect, Fault, Key, Options, Revision, Room, Sieve, Step, Store, Sync, Value, Wanted};

use elsewhere::{Cluster, Hold};

/// The engine that stands for etcd, and what holds of several stores over it.
mod elsewhere;

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
        mod over_another {
            $(#[tokio::test(start_paused = true)]
            async fn $law() { super::$law(super::Bench::elsewhere()).await; })*
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
    history_is_as_large_as_what_is_stored
    a_watch_is_complete_ordered_and_without_duplicates
    a_watch_sees_only_its_prefix
    a_watch_of_a_value_sees_all_that_have_or_had_it
    a_change_finds_its_watches_among_many
    a_slow_watch_is_cut_off
    what_waits_for_watches_is_bounded_by_bytes
    a_bookmark_never_overtakes_a_change
    concurrent_writers_never_both_win
    an_entry_expires_as_a_deletion
    an_entry_written_again_does_not_expire
    a_refused_commit_changes_nothing
    a_failed_commit_is_settled_before_the_next_write
    what_was_acknowledged_is_there_when_the_store_is_opened_again
}

struct Bench {
    engine: Under,
    options: Options,
    now: Arc<AtomicU64>,
    _dir: Option<tempfile::TempDir>,
}

/// What is beneath the store.
#[derive(Clone)]
enum Under {
    Own(Backend),
    Elsewhere(Cluster),
}

impl Bench {
    fn memory() -> Bench {
        let now = Arc::new(AtomicU64::new(1_000));
        let clock = now.clone();
        let options = Options::new(Arc::new(move || Duration::from_secs(clock.load(Ordering::SeqCst))));
        Bench { engine: Under::Own(Backend::Memory), options, now, _dir: None }
    }

    fn embedded() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let mut bench = Bench::memory();
        bench.options.reserve = 0;
        bench.engine = Under::Own(Backend::Embedded { dir: dir.path().join("data"), accept_loss: false });
        Bench { _dir: Some(dir), ..bench }
    }

    fn elsewhere() -> Bench {
        Bench { engine: Under::Elsewhere(Cluster::default()), ..Bench::memory() }
    }

    async fn open(&self) -> Store {
        self.engine.open(self.options.clone()).await
    }

    fn numbers_itself(&self) -> bool {
        matches!(self.engine, Under::Own(_))
    }
}

impl Under {
    async fn open(&self, options: Options) -> Store {
        match self {
            Under::Own(backend) => Store::open(backend.clone(), options).unwrap(),
            Under::Elsewhere(cluster) => cluster.open(options, Hold::default()).await,
        }
    }

    /// An empty one of the same kind.
    fn another(&self, index: usize) -> Under {
        match self {
            Under::Own(Backend::Embedded { dir, .. }) => {
                Under::Own(Backend::Embedded { dir: dir.join(index.to_string()), accept_loss: false })
            }
            Under::Own(_) => Under::Own(Backend::Memory),
            Under::Elsewhere(_) => Under::Elsewhere(Cluster::default()),
        }
    }

    fn is_kept(&self) -> bool {
        !matches!(self, Under::Own(Backend::Memory))
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

/// The entry's text at a revision.
fn served(text: &str, revision: Revision) -> String {
    format!("{text}@{};", revision.0)
}

async fn a_write_is_one_revision_and_revisions_increase(bench: Bench) {
    let store = bench.open().await;
    assert_eq!(store.revision(), Revision(0));
    let two = vec![put("a/1", Expect::Absent, "x"), put("b/1", Expect::Absent, "y")];
    let first = store.write(two).await.unwrap().revision;
    assert!(first > Revision(0));
    assert_eq!(store.get("a/1").unwrap().revision, first);
    assert_eq!(store.get("b/1").unwrap().revision, first);
    let second = set(&store, "a/1", "z").await;
    assert!(second > first);
    let entry = store.get("a/1").unwrap();
    assert_eq!((entry.created, entry.revision), (first, second));
    let deleted = store.write(vec![delete("a/1", Expect::Any)]).await.unwrap().revision;
    let again = set(&store, "a/1", "again").await;
    assert!(again > deleted && deleted > second);
    assert_eq!(store.get("a/1").unwrap().created, again);
    if bench.numbers_itself() {
        assert_eq!([first, second, deleted, again].map(|revision| revision.0), [1, 2, 3, 4]);
    }
}

async fn the_revision_is_spliced_between_head_and_tail(bench: Bench) {
    let store = bench.open().await;
    for _ in 0..9 {
        set(&store, "a/other", "x").await;
    }
    let written = store.write(vec![put("a/1", Expect::Absent, "x")]).await.unwrap();
    assert!(written.revision >= Revision(10));
    assert_eq!(written.entries[0].as_ref().unwrap().bytes, served("x", written.revision));
    let written = store.write(vec![delete("a/1", Expect::At(written.revision))]).await.unwrap();
    assert_eq!(written.entries[0].as_ref().unwrap().bytes, served("gone", written.revision));
}

async fn an_expectation_that_does_not_hold_writes_nothing(bench: Bench) {
    let store = bench.open().await;
    let at = set(&store, "a/1", "x").await;
    let other = Revision(at.0 + 1000);
    let wrong = [
        put("a/1", Expect::Absent, "y"),
        put("a/1", Expect::At(other), "y"),
        put("a/2", Expect::At(at), "y"),
        delete("a/2", Expect::Any),
        delete("a/1", Expect::At(other)),
        Step::Check { key: Key::from("a/1"), expect: Expect::Absent },
    ];
    let watch = store.watch("", at).unwrap();
    for step in wrong {
        let about = format!("{step:?}");
        let Err(Error::Conflict { key, found }) = store.write(vec![step]).await else { panic!("{about}") };
        assert_eq!(found, store.get(key.as_str()), "{about}");
    }
    assert_eq!(store.get("a/1").unwrap().bytes, served("x", at));
    is_first(watch, set(&store, "a/1", "y").await).await;
    assert!(!bench.numbers_itself() || store.revision() == Revision(at.0 + 1));
}

/// Nothing was changed before that revision.
async fn is_first(mut watch: store::Watch, revision: Revision) {
    assert_eq!(watch.next().await.unwrap().unwrap().entry.revision, revision);
}

async fn a_write_is_all_or_nothing(bench: Bench) {
    let store = bench.open().await;
    let steps = vec![put("a/1", Expect::Absent, "x"), put("a/2", Expect::At(Revision(7)), "y")];
    assert!(matches!(store.write(steps).await, Err(Error::Conflict { .. })));
    assert_eq!(store.get("a/1"), None);
    let watch = store.watch("", Revision(0)).unwrap();
    is_first(watch, set(&store, "a/1", "y").await).await;
}

async fn a_check_alone_makes_no_revision(bench: Bench) {
    let store = bench.open().await;
    let check = Step::Check { key: Key::from("a/1"), expect: Expect::Absent };
    let written = store.write(vec![check.clone()]).await.unwrap();
    assert_eq!(written.entries, vec![None]);
    assert!(!bench.numbers_itself() || written.revision == Revision(0));
    let watch = store.watch("", Revision(0)).unwrap();
    let written = store.write(vec![check, put("a/2", Expect::Absent, "x")]).await.unwrap();
    assert!(written.entries[0].is_none() && written.entries[1].is_some());
    is_first(watch, written.revision).await;
}

async fn one_write_changes_a_key_once(bench: Bench) {
    let store = bench.open().await;
    let twice = vec![put("a/1", Expect::Absent, "x"), put("a/1", Expect::Any, "y")];
    assert!(matches!(store.write(twice).await, Err(Error::Refused(_))));
    assert_eq!(store.get("a/1"), None);
}

async fn list_pages_are_one_snapshot(bench: Bench) {
    let store = bench.open().await;
    let mut made = BTreeMap::new();
    for key in ["p/a", "p/b", "p/c", "p/d", "q/a"] {
        made.insert(key, set(&store, key, "x").await);
    }
    let first = store.list("p/", None, 2, None).unwrap();
    assert_eq!((keys(&first.entries), first.remaining), (vec!["p/a", "p/b"], 2));
    store.write(vec![delete("p/c", Expect::Any)]).await.unwrap();
    set(&store, "p/bb", "new").await;
    set(&store, "p/d", "changed").await;
    let next = store.list("p/", Some("p/b\0"), 10, Some(first.revision)).unwrap();
    assert_eq!((keys(&next.entries), next.remaining), (vec!["p/c", "p/d"], 0));
    assert_eq!(next.revision, first.revision);
    assert_eq!(next.entries[1].bytes, served("x", made["p/d"]));
    let now = store.list("p/", None, 10, None).unwrap();
    assert_eq!(keys(&now.entries), ["p/a", "p/b", "p/bb", "p/d"]);
    assert_eq!(store.list("", None, 2, None).unwrap().remaining, 3);
    assert_eq!(store.list("p/", None, 0, None).unwrap().remaining, 4);
}

/// Against a model: after every write, every revision still lists as it was.
async fn list_shows_an_older_revision(bench: Bench) {
    let store = bench.open().await;
    let mut model: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut past = vec![(Revision(0), model.clone())];
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
        // Until just before a write all is as the write before left it.
        past.push((Revision(written.revision.0 - 1), past.last().unwrap().1.clone()));
        past.push((written.revision, model.clone()));
    }
    for (revision, model) in past {
        let listing = store.list("k/", None, usize::MAX, Some(revision)).unwrap();
        let seen: BTreeMap<String, Bytes> =
            listing.entries.iter().map(|e| (e.key.as_str().to_string(), e.bytes.clone())).collect();
        assert_eq!(seen, model, "at {revision:?}");
        assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
        let half = store.list("k/", Some("k/4"), 2, Some(revision)).unwrap();
        let expected: Vec<&str> = model.keys().map(String::as_str).filter(|k| *k >= "k/4").collect();
        assert_eq!(keys(&half.entries), expected[..expected.len().min(2)]);
        assert_eq!(half.remaining, expected.len().saturating_sub(2));
    }
}

async fn history_ends_at_the_horizon(bench: Bench) {
    let store = bench.open().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(set(&store, "a/1", "x").await);
    }
    store.compact(made[2]);
    let compacted = |result| matches!(result, Err(Error::Compacted { horizon }) if horizon == made[2]);
    assert!(compacted(store.list("a/", None, 1, Some(made[1])).map(|_| ())));
    assert!(compacted(store.watch("a/", made[1]).map(|_| ())));
    assert_eq!(store.list("a/", None, 1, Some(made[2])).unwrap().entries[0].revision, made[2]);
    is_first(store.watch("a/", made[2]).unwrap(), made[3]).await;
    let now = store.revision();
    assert!(matches!(store.watch("a/", Revision(now.0 + 1)), Err(Error::Future { current }) if current == now));
    // By age, at the next write.
    bench.now.fetch_add(bench.options.history.as_secs() + 1, Ordering::SeqCst);
    set(&store, "a/1", "x").await;
    assert!(matches!(store.watch("a/", made[3]), Err(Error::Compacted { horizon }) if horizon == made[4]));
    assert!(store.watch("a/", made[4]).is_ok());
    store.compact(Revision(1));
    assert!(store.watch("a/", made[4]).is_ok());
}

async fn history_is_bounded_by_bytes(mut bench: Bench) {
    bench.options.history_bytes = 10_000;
    let store = bench.open().await;
    let mut made = Vec::new();
    for _ in 0..50 {
        made.push(set(&store, "a/1", &"x".repeat(1_000)).await);
    }
    assert!(matches!(store.watch("a/", made[29]), Err(Error::Compacted { .. })));
    assert!(store.watch("a/", made[46]).is_ok());
}

/// A storm in a large cluster does not cut its watches off at once.
async fn history_is_as_large_as_what_is_stored(mut bench: Bench) {
    bench.options.history_bytes = 10_000;
    let store = bench.open().await;
    for n in 0..60 {
        set(&store, &format!("b/{n}"), &"x".repeat(1_000)).await;
    }
    let mut made = Vec::new();
    for _ in 0..50 {
        made.push(set(&store, "a/1", &"x".repeat(1_000)).await);
    }
    assert!(store.watch("a/", made[29]).is_ok());
    for n in 0..60 {
        store.write(vec![delete(&format!("b/{n}"), Expect::Any)]).await.unwrap();
    }
    assert!(matches!(store.watch("a/", made[46]), Err(Error::Compacted { .. })));
}

async fn a_watch_is_complete_ordered_and_without_duplicates(bench: Bench) {
    let store = bench.open().await;
    let mut made = vec![set(&store, "a/0", "before").await];
    let mut watches = vec![store.watch("a/", Revision(0)).unwrap()];
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut made = Vec::new();
            for n in 0..40 {
                made.push(set(&store, &format!("a/{writer}"), &n.to_string()).await);
                tokio::task::yield_now().await;
            }
            made
        }));
    }
    // Watches that begin in the midst of it must join the backlog to the live changes.
    while tasks.iter().any(|task| !task.is_finished()) {
        if watches.len() < 500 {
            watches.push(store.watch("a/", Revision(0)).unwrap());
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        made.extend(task.await.unwrap());
    }
    made.sort();
    assert!(made.len() == 321 && made.is_sorted_by(|a, b| a < b));
    for mut watch in watches {
        for revision in &made {
            let change = watch.next().await.unwrap().unwrap();
            assert_eq!(change.entry.revision, *revision);
            assert_eq!(change.previous.is_some(), change.entry.created != change.entry.revision);
        }
        assert!(watch.progress() >= made[320]);
        assert!(watch.try_next().is_none());
    }
}

async fn a_watch_sees_only_its_prefix(bench: Bench) {
    let store = bench.open().await;
    let mut watch = store.watch("a/n/", Revision(0)).unwrap();
    for key in ["a/m/1", "a/n/1", "a/n2/1", "b/n/1"] {
        set(&store, key, "x").await;
    }
    let gone = store.write(vec![delete("a/n/1", Expect::Any)]).await.unwrap().revision;
    let created = watch.next().await.unwrap().unwrap();
    assert_eq!((created.entry.key.as_str(), created.deleted), ("a/n/1", false));
    let deleted = watch.next().await.unwrap().unwrap();
    assert!(deleted.deleted);
    assert_eq!(deleted.entry.bytes, served("gone", gone));
    assert_eq!(deleted.previous, Some(created.entry.clone()));
    assert!(watch.progress() >= gone);
    drop(store);
    assert!(watch.next().await.is_none());
}

/// What stands before the first `-`.
const FIRST: Sieve = Sieve { name: "first", of: first };

fn first(bytes: &[u8]) -> Option<String> {
    Some(std::str::from_utf8(bytes).ok()?.split_once('-')?.0.to_owned())
}

async fn a_watch_of_a_value_sees_all_that_have_or_had_it(bench: Bench) {
    let store = bench.open().await;
    let wanted = |value: &str| Some(Wanted { sieve: FIRST, value: value.into() });
    let mut red = store.watch_wanted("a/", Revision(0), wanted("red")).unwrap();
    let mut blue = store.watch_wanted("a/", Revision(0), wanted("blue")).unwrap();
    let mut all = store.watch("a/", Revision(0)).unwrap();
    let writes =
        [("a/1", "red-"), ("a/2", "green-"), ("b/1", "red-"), ("a/1", "red-"), ("a/1", "blue-"), ("a/1", "none")];
    let mut made = Vec::new();
    for (key, text) in writes {
        made.push(set(&store, key, text).await);
    }
    let told = |watch: &mut store::Watch| -> Vec<Revision> {
        std::iter::from_fn(|| watch.try_next()).map(|change| change.unwrap().entry.revision).collect()
    };
    assert_eq!(told(&mut red), [made[0], made[3], made[4]]);
    assert_eq!(told(&mut blue), [made[4], made[5]]);
    assert_eq!(told(&mut all), [made[0], made[1], made[3], made[4], made[5]]);
    assert!(red.progress() >= made[5], "what it does not want holds up no bookmark");
    // Whoever comes later has no fewer of them, and those who went leave nothing behind.
    drop((red, blue));
    let mut late = store.watch_wanted("a/", made[2], wanted("red")).unwrap();
    set(&store, "a/3", "red-").await;
    let late: Vec<Revision> = told(&mut late);
    assert!(late.contains(&made[3]) && late.contains(&made[4]) && late.last() > made.last(), "{late:?}");
}

/// However many others there are, whatever their prefixes.
async fn a_change_finds_its_watches_among_many(bench: Bench) {
    let store = bench.open().await;
    let mut watches = BTreeMap::new();
    for n in 0..400 {
        for prefix in [String::new(), "a/".into(), format!("a/{n}"), format!("a/{n}/"), format!("{n}")] {
            watches.entry(prefix.clone()).or_insert_with(|| store.watch(&prefix, store.revision()).unwrap());
        }
        // Every third goes before anything comes.
        if n % 3 == 0 {
            watches.remove(&format!("a/{n}"));
        }
    }
    let made = set(&store, "a/23/x", "y").await;
    for (prefix, watch) in &mut watches {
        let told = std::iter::from_fn(|| watch.try_next()).map(|change| change.unwrap().entry.revision);
        let expected: Vec<Revision> = "a/23/x".starts_with(&**prefix).then_some(made).into_iter().collect();
        assert_eq!(told.collect::<Vec<_>>(), expected, "{prefix}");
    }
}

async fn a_slow_watch_is_cut_off(mut bench: Bench) {
    bench.options.watch_queue = 4;
    let store = bench.open().await;
    let mut slow = store.watch("a/", Revision(0)).unwrap();
    let mut other = store.watch("b/", Revision(0)).unwrap();
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(set(&store, "a/1", "x").await);
    }
    for revision in &made[..4] {
        assert_eq!(slow.next().await.unwrap().unwrap().entry.revision, *revision);
    }
    assert!(slow.progress() < made[4]);
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
    let store = bench.open().await;
    let mut reader = store.watch("a/", Revision(0)).unwrap();
    let (mut unread, mut made, mut revisions) = (Vec::new(), Vec::new(), vec![Revision(0)]);
    for n in 0..100 {
        // Some with a backlog, all of it still in history; others under another prefix.
        unread.push(store.watch("a/", revisions[revisions.len().saturating_sub(6)]).unwrap());
        unread.push(store.watch(if n % 2 == 0 { "a/1" } else { "a/2" }, store.revision()).unwrap());
        let text = "x".repeat(SIZE);
        revisions.push(set(&store, &format!("a/{}", n % 7), &text).await);
        made.push(Arc::downgrade(&reader.next().await.unwrap().unwrap()));
    }
    let held = made.iter().filter(|change| change.strong_count() > 0).count();
    assert!(held <= 11, "{held} of 100 changes are held");
    // Whoever is too far behind is told so, once; who is not gets all of it.
    assert!(matches!(unread[0].next().await, Some(Err(Error::Lagged))));
    assert!(unread[0].next().await.is_none());
    let newest = unread.len() - 2;
    let first = unread[newest].next().await.unwrap().unwrap();
    assert_eq!(first.entry.revision, revisions[95]);
}

async fn a_bookmark_never_overtakes_a_change(bench: Bench) {
    let store = bench.open().await;
    let mut watch = store.watch("a/", Revision(0)).unwrap();
    let beside = set(&store, "b/1", "x").await;
    assert!(watch.progress() >= beside);
    watch.moved(Revision(0)).await;
    let both = store.write(vec![put("a/1", Expect::Any, "x"), put("a/2", Expect::Any, "x")]).await.unwrap().revision;
    assert!(watch.progress() < both);
    watch.next().await.unwrap().unwrap();
    assert!(watch.progress() < both, "half of the write was returned");
    watch.next().await.unwrap().unwrap();
    assert!(watch.progress() >= both);
}

async fn concurrent_writers_never_both_win(bench: Bench) {
    let store = bench.open().await;
    let mut at = set(&store, "a/1", "x").await;
    let mut watch = store.watch("a/", Revision(0)).unwrap();
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
    let mut changes = 0;
    while watch.try_next().is_some() {
        changes += 1;
    }
    assert_eq!(changes, 21);
}

/// Waiting is tokio's and paused here; the writer's thread is waited for through the watch.
async fn an_entry_expires_as_a_deletion(bench: Bench) {
    let store = bench.open().await;
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
    let store = bench.open().await;
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
    let store = bench.open().await;
    let first = set(&store, "a/1", "x").await;
    let mut watch = store.watch("a/", store.revision()).unwrap();
    let refused = store.write(vec![put("a/1", Expect::Any, "y")]).await;
    assert!(matches!(refused, Err(Error::Refused(_))));
    assert_eq!(store.get("a/1").unwrap().bytes, served("x", first));
    let second = set(&store, "a/1", "z").await;
    assert!(!bench.numbers_itself() || second == Revision(2));
    assert_eq!(watch.next().await.unwrap().unwrap().entry.bytes, served("z", second));
}

/// Fails the N-th commit for every N, once lost and once kept: the store goes on from what is there.
async fn a_failed_commit_is_settled_before_the_next_write(bench: Bench) {
    for (index, fault) in [Fault::Lose, Fault::Keep].into_iter().cycle().take(6).enumerate() {
        let mut options = bench.options.clone();
        let failing = index as u64 + 1;
        options.fault = Some(Arc::new(move |n| (n == failing).then_some(fault)));
        let engine = bench.engine.another(index);
        let store = engine.open(options).await;
        let mut watch = store.watch("a/", Revision(0)).unwrap();
        let expected = Mutex::new(Vec::new());
        for n in 1..=8u64 {
            let key = format!("a/{n}");
            match store.write(vec![put(&key, Expect::Absent, "x")]).await {
                Ok(_) => expected.lock().unwrap().push(key),
                Err(Error::Poisoned(_)) => {
                    assert_eq!(n, failing);
                    let is_unseen = store.get(&key).is_none();
                    assert!(is_unseen || (fault == Fault::Keep && !bench.numbers_itself()), "seen while in doubt");
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
        assert!(!bench.numbers_itself() || listing.revision == Revision(expected.len() as u64));
        let mut before = Revision(0);
        for key in &expected {
            let change = watch.next().await.unwrap().unwrap();
            assert_eq!(change.entry.key.as_str(), key);
            assert!(change.entry.revision > before);
            before = change.entry.revision;
        }
        drop(store);
        if engine.is_kept() {
            let again = engine.open(bench.options.clone()).await;
            assert_eq!(again.list("a/", None, 100, None).unwrap().entries, listing.entries);
        }
    }
}

async fn what_was_acknowledged_is_there_when_the_store_is_opened_again(bench: Bench) {
    let store = bench.open().await;
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        async move {
            for n in 0..10 {
                set(&store, &format!("a/{writer}/{n}"), "x").await;
                let moved = vec![
                    put(&format!("b/{writer}"), Expect::Any, "y"),
                    delete(&format!("a/{writer}/{n}"), Expect::Any),
                ];
                store.write(moved).await.unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
    let (listing, newest) = (store.list("", None, 100, None).unwrap(), store.revision());
    assert_eq!(listing.entries.len(), 8);
    drop(store);
    if bench.engine.is_kept() {
        let again = bench.open().await;
        assert!(again.revision() >= newest);
        assert_eq!(again.list("", None, 100, None).unwrap().entries, listing.entries);
        assert!(set(&again, "a/1", "x").await > newest);
    }
}
