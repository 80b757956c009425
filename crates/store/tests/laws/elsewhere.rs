//! An engine that stands for etcd: it orders the writes of several stores and of others, numbers all
//! of them together, and tells each store of them late, and of some twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use store::{
    Answer, Engine, Error, Expect, Fault, FaultHook, Feed, Kept, Key, Mutation, Options, Replica, Revision, Step,
    Store, Written,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::{Bench, keys, put, set, value};

/// What all stores share.
#[derive(Clone, Default)]
pub struct Cluster(Arc<Shared>);

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    moved: Notify,
}

#[derive(Default)]
struct Log {
    entries: BTreeMap<Key, Kept>,
    writes: Vec<(Revision, Vec<Mutation>)>,
    revision: Revision,
    /// Writes up to here are told to nobody any more.
    forgotten: Revision,
    attempts: u64,
    chance: u64,
}

/// One store's connection to it.
struct Connection {
    cluster: Cluster,
    replica: Replica,
    fault: Option<FaultHook>,
    telling: JoinHandle<()>,
}

/// Held, a store is told of nothing.
#[derive(Clone, Default)]
pub struct Hold(Arc<AtomicBool>);

impl Cluster {
    pub async fn open(&self, options: Options, hold: Hold) -> Store {
        let fault = options.fault.clone();
        let start = async |mut feed: Feed| {
            let at = {
                let log = self.log();
                feed.reload(log.entries.values().cloned().collect(), log.revision)?;
                log.revision
            };
            let replica = feed.replica();
            let telling = tokio::spawn(tell(self.clone(), feed, at, hold));
            let engine: Box<dyn Engine> = Box::new(Connection { cluster: self.clone(), replica, fault, telling });
            Ok(engine)
        };
        Store::over(options, start).await.unwrap()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.log.lock().unwrap()
    }

    pub fn revision(&self) -> Revision {
        self.log().revision
    }

    /// Somebody writes what no store shows.
    pub fn write_beside(&self) -> Revision {
        let mut log = self.log();
        log.revision.0 += 1;
        self.0.moved.notify_waiters();
        log.revision
    }

    /// Somebody deletes a key and says no more.
    pub fn delete(&self, key: &str) -> Revision {
        let mut log = self.log();
        log.entries.remove(key);
        log.kept(vec![Mutation::Delete { key: Key::from(key), last: None }]);
        self.0.moved.notify_waiters();
        log.revision
    }

    pub fn forget(&self) {
        let mut log = self.log();
        log.forgotten = log.revision;
        log.writes.clear();
        self.0.moved.notify_waiters();
    }

    pub fn release(&self, hold: &Hold) {
        hold.0.store(false, Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Turns of others, of a number that is not foreseen.
    async fn delay(&self) {
        let turns = self.log().next_chance() % 5;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    /// A transaction: the revision at which it was kept, or the key in the way and when it was judged.
    fn write(&self, steps: &[Step], now: Duration) -> Result<Revision, (Key, Revision)> {
        let mut log = self.log();
        // Others have been at work.
        log.revision.0 += log.next_chance() % 3;
        self.0.moved.notify_waiters();
        let present = |step: &Step| log.entries.get(step.key()).map(|kept| kept.revision);
        if let Some(step) = steps.iter().find(|step| !step.holds(present(step))) {
            return Err((step.key().clone(), log.revision));
        }
        let revision = Revision(log.revision.0 + 1);
        let mut mutations = Vec::new();
        for step in steps {
            match step.clone() {
                Step::Check { .. } => {}
                Step::Put { key, value, ttl, .. } => {
                    let (created, expires) =
                        (log.entries.get(&key).map_or(revision, |k| k.created), ttl.map(|t| now + t));
                    let kept = Kept { key: key.clone(), value: value.clone(), created, revision, expires };
                    log.entries.insert(key.clone(), kept);
                    mutations.push(Mutation::Put { key, value, expires });
                }
                Step::Delete { key, last, .. } => {
                    log.entries.remove(&key);
                    mutations.push(Mutation::Delete { key, last: Some(last) });
                }
            }
        }
        if !mutations.is_empty() {
            log.kept(mutations);
        }
        Ok(log.revision)
    }
}

impl Log {
    fn kept(&mut self, mutations: Vec<Mutation>) {
        self.revision.0 += 1;
        self.writes.push((self.revision, mutations));
    }

    fn next_chance(&mut self) -> u64 {
        self.chance = self.chance.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.chance >> 33
    }
}

impl Hold {
    pub fn held() -> Hold {
        Hold(Arc::new(AtomicBool::new(true)))
    }
}

/// Tells one store: late, a few writes at a time, and now and then of what it knows.
async fn tell(cluster: Cluster, mut feed: Feed, mut told: Revision, hold: Hold) {
    loop {
        cluster.delay().await;
        let mut moved = std::pin::pin!(cluster.0.moved.notified());
        moved.as_mut().enable();
        if hold.0.load(Ordering::SeqCst) || cluster.revision() == told {
            moved.await;
            continue;
        }
        let mut log = cluster.log();
        if told < log.forgotten {
            feed.reload(log.entries.values().cloned().collect(), log.revision).unwrap();
            told = log.revision;
            continue;
        }
        let (again, several) = (log.next_chance().is_multiple_of(4), 1 + log.next_chance() as usize % 3);
        let from = log.writes.partition_point(|(revision, _)| *revision <= told);
        let begin = if again { from.saturating_sub(2) } else { from };
        let mut news = log.writes[begin..(from + several).min(log.writes.len())].to_vec();
        if from + several >= log.writes.len() {
            news.push((log.revision, Vec::new()));
        }
        told = news.last().unwrap().0.max(told);
        drop(log);
        feed.take(news);
    }
}

impl Engine for Connection {
    fn write(&self, steps: Vec<Step>) -> Answer<'_, Written> {
        Box::pin(async move {
            self.cluster.delay().await;
            let attempt = {
                let mut log = self.cluster.log();
                log.attempts += 1;
                log.attempts
            };
            match self.fault.as_ref().and_then(|hook| hook(attempt)) {
                Some(Fault::Refuse) => return Err(Error::Refused("injected".into())),
                Some(Fault::Lose) => return Err(Error::Poisoned("injected, lost".into())),
                Some(Fault::Keep) => {
                    let kept = self.cluster.write(&steps, self.replica.now()?);
                    return Err(Error::Poisoned(format!("injected, {kept:?}")));
                }
                None => {}
            }
            let kept = self.cluster.write(&steps, self.replica.now()?);
            self.cluster.delay().await;
            match kept {
                Ok(revision) => self.replica.written(&steps, revision).await,
                Err((key, judged)) => Err(self.replica.conflict(&key, judged).await),
            }
        })
    }

    fn newest(&self) -> Option<Answer<'_, Revision>> {
        Some(Box::pin(async move {
            self.cluster.delay().await;
            Ok(self.cluster.revision())
        }))
    }

    fn is_writable(&self) -> bool {
        true
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

/// Two stores of one cluster; the second one is told of nothing while it is held.
async fn two(hold: Hold) -> (Cluster, Store, Store) {
    let (cluster, options) = (Cluster::default(), Bench::memory().options);
    let first = cluster.open(options.clone(), Hold::default()).await;
    (cluster.clone(), first, cluster.open(options, hold).await)
}

#[tokio::test(start_paused = true)]
async fn a_current_read_waits_for_what_another_store_wrote() {
    let hold = Hold::held();
    let (cluster, one, other) = two(hold.clone()).await;
    let written = one.write(vec![put("a/1", Expect::Absent, "x")]).await.unwrap();
    let mut current = std::pin::pin!(other.current());
    for _ in 0..100 {
        assert!(futures::poll!(&mut current).is_pending());
        tokio::task::yield_now().await;
    }
    assert_eq!(other.get("a/1"), None);
    cluster.release(&hold);
    current.await.unwrap();
    assert_eq!(other.get("a/1"), written.entries[0]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_another_store_shows_what_was_in_the_way() {
    let hold = Hold::held();
    let (cluster, one, other) = two(hold.clone()).await;
    let written = one.write(vec![put("a/1", Expect::Absent, "x")]).await.unwrap();
    let mut refused = std::pin::pin!(other.write(vec![put("a/1", Expect::Absent, "y")]));
    assert!(futures::poll!(&mut refused).is_pending());
    cluster.release(&hold);
    let Err(Error::Conflict { found, .. }) = refused.await else { panic!("both created it") };
    assert_eq!(found, written.entries[0]);
    assert_eq!(other.get("a/1"), found);
}

/// Every increment counts, and both watch the same history.
#[tokio::test(start_paused = true)]
async fn two_stores_lose_no_update_of_each_other() {
    const EACH: usize = 60;
    let (_cluster, one, other) = two(Hold::default()).await;
    let at = set(&one, "a/count", "0").await;
    let watches = [&one, &other].map(|store| {
        let store = store.clone();
        async move {
            store.current().await.unwrap();
            store.watch("a/", at).unwrap()
        }
    });
    let mut watches = futures::future::join_all(watches).await;
    let counters = [&one, &other, &one, &other].map(|store| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut made = 0;
            while made < EACH {
                let entry = store.get("a/count").unwrap();
                let text = std::str::from_utf8(&entry.bytes).unwrap().split('@').next().unwrap();
                let next = (text.parse::<usize>().unwrap() + 1).to_string();
                match store.write(vec![put("a/count", Expect::At(entry.revision), &next)]).await {
                    Ok(_) => made += 1,
                    Err(Error::Conflict { .. }) => {}
                    Err(why) => panic!("{why}"),
                }
            }
        })
    });
    for counter in counters {
        counter.await.unwrap();
    }
    let mut last = at;
    for n in 1..=4 * EACH {
        let (a, b) = (watches[0].next().await.unwrap().unwrap(), watches[1].next().await.unwrap().unwrap());
        assert_eq!(a, b);
        assert!(a.entry.revision > last);
        last = a.entry.revision;
        assert_eq!(a.entry.bytes, format!("{n}@{};", last.0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_has_forgotten_is_read_anew_and_watches_are_cut_off() {
    let hold = Hold::default();
    let (cluster, one, other) = two(hold.clone()).await;
    let before = set(&one, "a/0", "x").await;
    other.current().await.unwrap();
    let mut watch = other.watch("a/", before).unwrap();
    hold.0.store(true, Ordering::SeqCst);
    for n in 1..6 {
        set(&one, &format!("a/{n}"), "x").await;
    }
    one.write(vec![Step::Delete { key: Key::from("a/0"), expect: Expect::Any, last: value("gone") }]).await.unwrap();
    cluster.forget();
    cluster.release(&hold);
    other.current().await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(Error::Lagged))));
    assert!(watch.next().await.is_none());
    assert!(matches!(other.watch("a/", before), Err(Error::Compacted { .. })));
    let listing = other.list("a/", None, 10, None).unwrap();
    assert_eq!(listing.entries, one.list("a/", None, 10, None).unwrap().entries);
    let mut again = other.watch("a/", listing.revision).unwrap();
    let next = set(&one, "a/9", "x").await;
    assert_eq!(again.next().await.unwrap().unwrap().entry.revision, next);
}

#[tokio::test(start_paused = true)]
async fn revisions_of_what_is_not_shown_move_bookmarks() {
    let (cluster, one, other) = two(Hold::default()).await;
    let watch = other.watch("a/", Revision(0)).unwrap();
    set(&one, "b/1", "x").await;
    let beside = cluster.write_beside();
    other.current().await.unwrap();
    assert!(watch.progress() >= beside && other.revision() >= beside);
    assert_eq!(keys(&other.list("", None, 9, Some(beside)).unwrap().entries), ["b/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_says_no_more_shows_what_was_there() {
    let (cluster, one, other) = two(Hold::default()).await;
    let made = set(&one, "a/1", "x").await;
    other.current().await.unwrap();
    let mut watch = other.watch("a/", made).unwrap();
    let deleted = cluster.delete("a/1");
    let change = watch.next().await.unwrap().unwrap();
    assert!(change.deleted);
    assert_eq!((change.entry.revision, change.entry.created), (deleted, made));
    assert_eq!(change.entry.bytes, format!("x@{};", deleted.0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_went_back_is_refused() {
    let (refused, told) = tokio::sync::oneshot::channel();
    let cluster = Cluster::default();
    let start = async |mut feed: Feed| {
        feed.reload(Vec::new(), Revision(9)).unwrap();
        refused.send(feed.reload(Vec::new(), Revision(8))).unwrap();
        let (replica, telling) = (feed.replica(), tokio::spawn(async {}));
        let engine: Box<dyn Engine> = Box::new(Connection { cluster, replica, fault: None, telling });
        Ok(engine)
    };
    let store = Store::over(Bench::memory().options, start).await.unwrap();
    assert!(matches!(told.await.unwrap(), Err(Error::Refused(_))));
    assert_eq!(store.revision(), Revision(9));
}
