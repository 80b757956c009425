//! Changes after a revision, to any number of readers, each with a bounded queue.
//!
//! A watch is complete, ordered and without duplicates. One that is read too slowly is cut off
//! with `Lagged`; nobody waits for it. Too slowly is: too many changes wait for it, or the first
//! of them is no longer in history. So what waits for all readers together is in history, which is
//! bounded by bytes. Registration takes the backlog and the place among the readers under one lock;
//! a change that the backlog already holds is not sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tokio::sync::Notify;
use tokio::task::coop;

use crate::{Change, Error, Revision};

/// Who reads what.
mod readers;

use readers::{Reader, Readers};

/// A stream of changes under a prefix.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Mutex<Queue>>,
    published: Arc<Published>,
    /// The revision up to which everything was returned.
    complete: Revision,
    ended: bool,
}

/// What a reader may want of the entries under its prefix, found in their bytes without knowing what they are.
#[derive(Clone, Copy)]
pub struct Sieve {
    /// Two of one name are one.
    pub name: &'static str,
    /// The entry's value, if it has one.
    pub of: fn(&[u8]) -> Option<String>,
}

/// A value that a sieve must find in an entry, or have found in the version before.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub sieve: Sieve,
    pub value: Box<str>,
}

impl std::fmt::Debug for Sieve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The registered readers; locked after the state, never the other way round.
#[derive(Debug)]
pub(crate) struct Watchers {
    readers: Mutex<Readers>,
    published: Arc<Published>,
}

/// The newest revision whose changes are all queued.
#[derive(Debug)]
pub(crate) struct Published {
    revision: AtomicU64,
    /// Wakes in the order of coming, so that a simulated run replays (a `watch` channel would not).
    moved: Notify,
}

/// What waits for one reader.
#[derive(Debug, Default)]
struct Queue {
    changes: VecDeque<Arc<Change>>,
    reader: Option<Waker>,
    /// Nothing comes any more: the reader was too slow, or the store is gone.
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Lagged,
    Gone,
}

impl Watch {
    /// The next change; `None` when the store is gone, `Lagged` (once, last) when read too slowly.
    pub async fn next(&mut self) -> Option<Result<Arc<Change>, Error>> {
        std::future::poll_fn(|cx| self.poll_change(cx)).await
    }

    /// The newest revision of which it is certain that every change up to it was returned: what a
    /// bookmark may carry.
    pub fn progress(&self) -> Revision {
        // The order matters: a revision is published after its changes are queued, so an empty queue
        // seen after it holds none of them back.
        let published = self.published.revision();
        let queue = locked(&self.queue);
        let idle = queue.changes.is_empty() && queue.end != Some(End::Lagged);
        if idle { self.complete.max(published) } else { self.complete }
    }

    /// Waits until `progress` may have moved past `revision`.
    pub async fn moved(&mut self, revision: Revision) {
        self.published.reached(Revision(revision.0 + 1)).await;
    }

    /// A change that waits already; None where none does. `Lagged` once, last, as in `next`.
    pub fn try_next(&mut self) -> Option<Result<Arc<Change>, Error>> {
        if self.ended {
            return None;
        }
        let mut queue = locked(&self.queue);
        let (change, end) = (queue.changes.pop_front(), queue.end);
        drop(queue);
        match (change, end) {
            (Some(change), _) => Some(Ok(self.returned(change))),
            (None, end) => {
                self.ended = end.is_some();
                (end == Some(End::Lagged)).then_some(Err(Error::Lagged))
            }
        }
    }

    /// A write may have more than one change: only the revision before is surely complete.
    fn returned(&mut self, change: Arc<Change>) -> Arc<Change> {
        self.complete = self.complete.max(Revision(change.entry.revision.0 - 1));
        change
    }

    pub fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arc<Change>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let turn = std::task::ready!(coop::poll_proceed(cx));
        let mut queue = locked(&self.queue);
        let Some(change) = queue.changes.pop_front() else {
            let Some(end) = queue.end else {
                queue.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(queue);
            self.ended = true;
            return Poll::Ready((end == End::Lagged).then_some(Err(Error::Lagged)));
        };
        drop(queue);
        turn.made_progress();
        Poll::Ready(Some(Ok(self.returned(change))))
    }
}

impl Stream for Watch {
    type Item = Result<Arc<Change>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_change(cx)
    }
}

impl Watchers {
    pub fn new(revision: Revision) -> Watchers {
        let published = Published { revision: AtomicU64::new(revision.0), moved: Notify::new() };
        Watchers { readers: Mutex::default(), published: Arc::new(published) }
    }

    /// Registers a reader. The caller holds the state's read lock, from which `backlog` (all changes
    /// in `(after, seen]` under the prefix) was taken.
    pub fn register(
        &self,
        prefix: &str,
        wanted: Option<Wanted>,
        backlog: VecDeque<Arc<Change>>,
        after: Revision,
        seen: Revision,
        limit: usize,
    ) -> Watch {
        let queue = Arc::new(Mutex::new(Queue { changes: backlog, ..Queue::default() }));
        locked(&self.readers).add(Reader::new(prefix, wanted, queue.clone(), limit, seen));
        let published = self.published.clone();
        Watch { queue, published, complete: after, ended: false }
    }

    /// Hands changes that are applied to whoever watches them, then publishes the revision. History
    /// goes back to `horizon`.
    pub fn send<'a>(&self, changes: impl Iterator<Item = &'a Arc<Change>>, revision: Revision, horizon: Revision) {
        locked(&self.readers).send(changes, horizon);
        self.publish(revision);
    }

    /// What comes now does not follow on what came: everybody reads anew from a revision.
    pub fn cut_off(&self, revision: Revision) {
        locked(&self.readers).cut_off();
        self.publish(revision);
    }

    fn publish(&self, revision: Revision) {
        self.published.revision.store(revision.0, Ordering::Release);
        self.published.moved.notify_waiters();
    }

    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }
}

impl Queue {
    /// Nothing comes behind what waits.
    fn end(&mut self, end: End) {
        self.end = Some(end);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Published {
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    pub async fn reached(&self, revision: Revision) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.revision() >= revision {
                return;
            }
            moved.await;
        }
    }
}
