//! One kind, kept in memory by list and watch, shared by all its readers, and its changes.
//!
//! Objects share the bytes they came with. A subscriber gets what is there and then every change,
//! one pending change per key: a slow reader sees fewer steps, never fewer keys. A watch that ends
//! begins again where it was; a revision that is gone is a new list, whose difference to what was
//! known is told as changes. Objects are found by key, or by an index.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use api::{Object, Reason, Resource, Status, WatchEvent};
use futures::{Stream, StreamExt};
use tokio::sync::Notify;

use crate::backoff::{Backoff, seed_of};
use crate::{Client, ListOptions, WatchOptions, WatchStream};

/// Owner, node, label, service.
pub mod index;

pub use index::Index;

/// Objects of one list request; the rest follow in pages of the same snapshot.
const PAGE: usize = 5000;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// An object's place in its kind; the namespace is empty for cluster-scoped ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

/// Which objects of a kind; empty strings leave a restriction out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
}

/// Lives as long as somebody holds it.
pub struct Cache {
    kind: Resource,
    inner: RwLock<Inner>,
    synced: AtomicBool,
    /// Wakes who waits for the first list, in the order of their coming (a simulated run replays).
    listed: Notify,
    /// Wakes who waits for a revision.
    advanced: Notify,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Key, Object>,
    indexes: index::Indexes,
    revision: u64,
    subscribers: Vec<Weak<Pending>>,
}

/// What became of a key since the reader last took it: both None when it came and went meanwhile.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: Key,
    /// What the reader knew; its UID tells whether it is still the same object.
    pub old: Option<Object>,
    pub new: Option<Object>,
}

/// A subscription; ends with the cache.
pub struct Changes {
    pending: Arc<Pending>,
}

#[derive(Default)]
struct Pending(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    order: VecDeque<Key>,
    changes: HashMap<Key, (Option<Object>, Option<Object>)>,
    waker: Option<Waker>,
    ended: bool,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    pub fn of(object: &Object) -> Key {
        Key::new(&object.meta().namespace, &object.meta().name)
    }
}

impl std::fmt::Display for Key {
    /// `namespace/name`, or `name` alone.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            ns => write!(f, "{ns}/{}", self.name),
        }
    }
}

impl Cache {
    /// Begins to list and watch; `synced` tells when the first list is in.
    pub fn start(client: Client, kind: &Resource, scope: Scope) -> Arc<Cache> {
        let cache = Arc::new(Cache {
            kind: kind.clone(),
            inner: RwLock::default(),
            synced: AtomicBool::new(false),
            listed: Notify::new(),
            advanced: Notify::new(),
            task: Mutex::default(),
        });
        let follow = Follow { client, kind: kind.clone(), scope, cache: Arc::downgrade(&cache) };
        let task = tokio::spawn(follow.run()).abort_handle();
        *cache.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        cache
    }

    pub fn kind(&self) -> &Resource {
        &self.kind
    }

    pub fn get(&self, ns: &str, name: &str) -> Option<Object> {
        self.read().objects.get(&Key::new(ns, name)).cloned()
    }

    /// In key order.
    pub fn list(&self) -> Vec<Object> {
        self.read().objects.values().cloned().collect()
    }

    /// What is found among all, in key order, without taking hold of each; nothing changes meanwhile.
    pub fn visit<T>(&self, find: impl FnOnce(&mut dyn Iterator<Item = &Object>) -> T) -> T {
        find(&mut self.read().objects.values())
    }

    /// What stands under a value of an index, in key order.
    pub fn by(&self, index: &Index, value: &str) -> Vec<Object> {
        self.by_all(index, &[value])
    }

    /// What stands under each of these values of an index, in key order; nothing where there are none.
    pub fn by_all(&self, index: &Index, values: &[&str]) -> Vec<Object> {
        if let Some(found) = self.read().by(index, values) {
            return found;
        }
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { objects, indexes, .. } = &mut *inner;
        indexes.build(index, objects);
        inner.by(index, values).unwrap_or_default()
    }

    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything up to this revision is in.
    pub fn revision(&self) -> u64 {
        self.read().revision
    }

    /// Returns once everything up to this revision is in. Whoever wrote an object of this cache and waits for
    /// its revision, sees its own write afterwards: what it counted before, it does not make twice.
    pub async fn reached(&self, revision: u64) {
        until(&self.advanced, || self.revision() >= revision).await;
    }

    /// Returns once it is so of this cache.
    pub async fn until(&self, is_so: impl Fn(&Cache) -> bool) {
        until(&self.advanced, || is_so(self)).await;
    }

    /// Returns once the first list is in.
    pub async fn synced(&self) {
        until(&self.listed, || self.is_synced()).await;
    }

    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// What is there, as additions, and then every change.
    pub fn subscribe(&self) -> Changes {
        let pending = Arc::new(Pending::default());
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        for (key, object) in &inner.objects {
            pending.put(key, None, Some(object.clone()));
        }
        inner.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        inner.subscribers.push(Arc::downgrade(&pending));
        Changes { pending }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, object: Object) {
        let key = Key::of(&object);
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let revision = object.revision();
        inner.put(key, Some(object));
        self.advance(inner, revision);
    }

    fn remove(&self, object: &Object) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.put(Key::of(object), None);
        self.advance(inner, object.revision());
    }

    /// Everything up to `revision` is in.
    fn advance(&self, mut inner: RwLockWriteGuard<'_, Inner>, revision: u64) {
        inner.revision = inner.revision.max(revision);
        drop(inner);
        self.advanced.notify_waiters();
    }

    fn replace(&self, objects: Vec<Object>, revision: u64) {
        let mut fresh: BTreeMap<Key, Object> = objects.into_iter().map(|object| (Key::of(&object), object)).collect();
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Key> = inner.objects.keys().filter(|key| !fresh.contains_key(*key)).cloned().collect();
        for key in gone {
            inner.put(key, None);
        }
        fresh.retain(|key, object| {
            let known = inner.objects.get(key);
            known.is_none_or(|known| known.meta().resource_version != object.meta().resource_version)
        });
        for (key, object) in fresh {
            inner.put(key, Some(object));
        }
        inner.revision = revision;
        drop(inner);
        self.synced.store(true, Ordering::Release);
        self.listed.notify_waiters();
        self.advanced.notify_waiters();
    }
}

/// Waits until it is so, woken by whoever makes it so.
async fn until(told: &Notify, is_so: impl Fn() -> bool) {
    loop {
        let mut told = std::pin::pin!(told.notified());
        told.as_mut().enable();
        if is_so() {
            return;
        }
        told.await;
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
        for subscriber in &self.read().subscribers {
            if let Some(pending) = subscriber.upgrade() {
                pending.end();
            }
        }
    }
}

impl Inner {
    /// None where the index is not built.
    fn by(&self, index: &Index, values: &[&str]) -> Option<Vec<Object>> {
        let keys = self.indexes.keys(index, values)?;
        Some(keys.filter_map(|key| self.objects.get(key)).cloned().collect())
    }

    fn put(&mut self, key: Key, new: Option<Object>) {
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(&key),
        };
        if old.is_none() && new.is_none() {
            return;
        }
        self.indexes.change(&key, old.as_ref(), new.as_ref());
        for subscriber in &self.subscribers {
            if let Some(pending) = subscriber.upgrade() {
                pending.put(&key, old.clone(), new.clone());
            }
        }
    }
}

impl Changes {
    /// The next change; None when the cache is gone.
    pub async fn next(&mut self) -> Option<Change> {
        std::future::poll_fn(|cx| self.pending.poll(cx)).await
    }

    /// A change that is there already.
    pub fn try_next(&mut self) -> Option<Change> {
        self.pending.lock().take()
    }

    /// Only the keys, as `reconcile::run` takes them.
    pub fn keys(self) -> impl Stream<Item = Key> + Send + Unpin {
        StreamExt::map(self, |change| change.key)
    }
}

impl Stream for Changes {
    type Item = Change;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.pending.poll(cx)
    }
}

impl Pending {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: &Key, old: Option<Object>, new: Option<Object>) {
        let mut queue = self.lock();
        match queue.changes.get_mut(key) {
            Some(pending) => pending.1 = new,
            None => {
                queue.changes.insert(key.clone(), (old, new));
                queue.order.push_back(key.clone());
            }
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    fn end(&self) {
        let mut queue = self.lock();
        queue.ended = true;
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        let mut queue = self.lock();
        if let Some(change) = queue.take() {
            return Poll::Ready(Some(change));
        }
        if queue.ended {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Queue {
    fn take(&mut self) -> Option<Change> {
        let key = self.order.pop_front()?;
        let (old, new) = self.changes.remove(&key)?;
        Some(Change { key, old, new })
    }
}

/// The task that keeps a cache: it holds the cache only while it writes into it.
struct Follow {
    client: Client,
    kind: Resource,
    scope: Scope,
    cache: Weak<Cache>,
}

/// Why following stopped.
enum Stop {
    /// The cache is gone.
    Unused,
    /// The revision is gone: list again.
    Expired,
    /// Anything else: go on from where we were.
    Failed(Status),
}

impl Follow {
    async fn run(self) {
        let seed = self.client.seed() ^ seed_of(&self.kind.plural);
        let backoff = Backoff { min: PAUSE_MIN, max: PAUSE_MAX, seed };
        let mut failures = 0;
        let mut revision = None;
        loop {
            let stop = match revision {
                None => match self.list().await {
                    Ok((objects, at)) => {
                        let Some(cache) = self.cache.upgrade() else { return };
                        cache.replace(objects, at);
                        revision = Some(at);
                        continue;
                    }
                    Err(status) => Stop::Failed(status),
                },
                Some(at) => match self.watch(at).await {
                    Ok(watch) => {
                        let mut now = at;
                        let stop = self.follow(watch, &mut now).await;
                        revision = Some(now);
                        if now > at {
                            failures = 0;
                        }
                        stop
                    }
                    Err(status) => expired_or_failed(status),
                },
            };
            match stop {
                Stop::Unused => return,
                Stop::Expired => {
                    revision = None;
                    failures += 1;
                    // The first time at once; a server that forgets as fast as it lists is not hammered.
                    if failures > 1 {
                        tokio::time::sleep(backoff.after(failures)).await;
                    }
                }
                Stop::Failed(status) => {
                    failures += 1;
                    let asked = status.retry_after_seconds.map(|s| Duration::from_secs(s.into()));
                    let pause = backoff.after(failures).max(asked.unwrap_or_default());
                    tracing::debug!("{} are followed again in {pause:?}: {status}", self.kind.plural);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn list(&self) -> Result<(Vec<Object>, u64), Status> {
        let mut options = ListOptions {
            label_selector: self.scope.label_selector.clone(),
            field_selector: self.scope.field_selector.clone(),
            limit: PAGE,
            ..ListOptions::default()
        };
        let mut objects = Vec::new();
        loop {
            let page = self.client.list(&self.kind, &self.scope.namespace, &options).await?;
            objects.extend(page.objects);
            if page.continue_token.is_empty() {
                return Ok((objects, page.revision));
            }
            options.continue_token = page.continue_token;
        }
    }

    async fn watch(&self, revision: u64) -> Result<WatchStream, Status> {
        let options = WatchOptions {
            label_selector: self.scope.label_selector.clone(),
            field_selector: self.scope.field_selector.clone(),
            resource_version: revision.to_string(),
            bookmarks: true,
            ..WatchOptions::default()
        };
        self.client.watch(&self.kind, &self.scope.namespace, &options).await
    }

    /// Applies events until the watch ends; moves `revision` along.
    async fn follow(&self, mut watch: WatchStream, revision: &mut u64) -> Stop {
        while let Some(event) = watch.next().await {
            let Some(cache) = self.cache.upgrade() else { return Stop::Unused };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    tracing::trace!(target: "walk", verb = "watch", name = object.meta().name);
                    *revision = object.revision().max(*revision);
                    cache.set(object);
                }
                WatchEvent::Deleted(object) => {
                    *revision = object.revision().max(*revision);
                    cache.remove(&object);
                }
                WatchEvent::Bookmark { revision: at, .. } => {
                    *revision = at.max(*revision);
                    cache.advance(cache.inner.write().unwrap_or_else(PoisonError::into_inner), at);
                }
                WatchEvent::Error(status) => return expired_or_failed(status),
            }
        }
        Stop::Failed(Status::new(Reason::ServiceUnavailable, "the watch ended"))
    }
}

fn expired_or_failed(status: Status) -> Stop {
    match status.reason {
        Reason::Gone | Reason::Expired => Stop::Expired,
        _ if status.code == 410 => Stop::Expired,
        _ => Stop::Failed(status),
    }
}

#[cfg(test)]
mod tests;
