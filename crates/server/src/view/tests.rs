//! Views over a store in memory: fresh after every write, whichever way they catch up.

use std::collections::BTreeMap;
use std::time::Duration;

use store::{Backend, Expect, Key, Options, Room, Step, Sync};

use super::*;

async fn store(watch_queue: usize) -> Arc<Store> {
    let options = Options { watch_queue, ..Options::new(Arc::new(|| Duration::from_secs(1))) };
    Arc::new(Store::open(Backend::Memory, options).unwrap())
}

async fn put(store: &Store, key: &str, text: &str) {
    let value = store::Value { head: text.to_owned().into(), tail: "".into() };
    let (key, expect, ttl) = (Key::from(key), Expect::Any, None);
    store.write(vec![Step::Put { key, expect, value, ttl, sync: Sync::First, room: Room::Free }]).await.unwrap();
}

async fn delete(store: &Store, key: &str) {
    let last = store::Value { head: "".into(), tail: "".into() };
    store.write(vec![Step::Delete { key: Key::from(key), expect: Expect::Any, last }]).await.unwrap();
}

/// How many there are in each namespace, as a quota counts.
fn count(counts: &mut BTreeMap<String, i64>, change: &Change) {
    let namespace = change.entry.key.as_str().split('/').nth(1).unwrap_or_default().to_owned();
    *counts.entry(namespace).or_default() += i64::from(!change.deleted) - i64::from(change.previous.is_some());
}

/// The last key written.
fn last(last: &mut String, change: &Change) {
    *last = change.entry.key.as_str().to_owned();
}

#[tokio::test]
async fn a_view_shows_every_write_and_stays_as_it_is_without_one() {
    let store = store(100).await;
    put(&store, "pods/a/one", "x").await;
    let counts = View::new(&store, "pods/", count);
    let newest = View::new(&store, "", last);
    let shown = |view: &View<BTreeMap<String, i64>>| format!("{:?}", view.now());
    assert_eq!(shown(&counts), r#"{"a": 1}"#);
    put(&store, "pods/b/two", "x").await;
    put(&store, "pods/b/two", "y").await;
    put(&store, "nodes/n", "x").await;
    assert_eq!((shown(&counts).as_str(), newest.now().as_str()), (r#"{"a": 1, "b": 1}"#, "pods/b/two"));
    delete(&store, "pods/a/one").await;
    assert_eq!((shown(&counts).as_str(), newest.now().as_str()), (r#"{"a": 0, "b": 1}"#, "pods/a/one"));
    let before = counts.now();
    put(&store, "nodes/n", "y").await;
    assert!(Arc::ptr_eq(&before, &counts.now()), "another kind's write changes nothing");
}

#[tokio::test]
async fn a_view_that_nobody_asked_for_long_begins_anew() {
    let store = store(3).await;
    let counts = View::new(&store, "pods/", count);
    put(&store, "pods/a/first", "x").await;
    assert_eq!(counts.now()["a"], 1);
    for number in 0..20 {
        put(&store, &format!("pods/a/{number}"), "x").await;
    }
    delete(&store, "pods/a/7").await;
    assert_eq!(counts.now()["a"], 20, "its watch was cut off");
    put(&store, "pods/a/another", "x").await;
    assert_eq!(counts.now()["a"], 21);
}

/// The newest number under each key, of two kinds.
fn numbers(numbers: &mut BTreeMap<String, u64>, change: &Change) {
    let number = std::str::from_utf8(&change.entry.bytes).unwrap().split('-').next().unwrap().parse().unwrap();
    numbers.insert(change.entry.key.as_str().to_owned(), number);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_several_kinds_shows_them_as_they_were_together() {
    let store = store(10_000).await;
    put(&store, "a/x", "0-").await;
    put(&store, "b/x", "0-").await;
    let view = Arc::new(View::of(&store, vec!["a/".into(), "b/".into()], numbers));
    let (writer, shown) = (store.clone(), view.clone());
    let writes = tokio::spawn(async move {
        for number in 1..=300 {
            put(&writer, "a/x", &format!("{number}-")).await;
            put(&writer, "b/x", &format!("{number}-")).await;
        }
    });
    let mut seen = 0;
    while seen < 300 {
        let now = shown.now();
        assert!(now["a/x"] == now["b/x"] || now["a/x"] == now["b/x"] + 1, "{now:?}");
        seen = now["b/x"];
        tokio::task::yield_now().await;
    }
    writes.await.unwrap();
}

#[tokio::test]
async fn what_is_later_than_the_moment_that_is_shown_waits() {
    let store = store(100).await;
    let mut source = Source { watch: store.watch("a/", Revision(0)).unwrap(), next: None };
    for number in 1..=3 {
        put(&store, "a/x", &format!("{number}-")).await;
    }
    let mut taken = Vec::new();
    let mut to = |revision| {
        source.take_to(Revision(revision), &mut |change| taken.push(change.entry.revision.0)).unwrap();
        std::mem::take(&mut taken)
    };
    assert_eq!((to(2), to(2), to(3), to(9)), (vec![1, 2], vec![], vec![3], vec![]));
}
