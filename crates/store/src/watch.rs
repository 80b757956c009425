//! Changes after a revision, to any number of readers, each with a bounded queue.
//!
//! A watch is complete, ordered and without duplicates. One that is read too slowly is cut off
//! with `Lagged`; nobody waits for it. Registration takes the backlog and the place in the queue
//! under one lock; a change that the backlog already holds is not sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::{Notify, mpsc};

use crate::{Change, Error, Revision};

/// A stream of changes under a prefix.
#[derive(Debug)]
pub struct Watch {
    backlog: VecDeque<Arc<Change>>,
    live: mpsc::Receiver<Arc<Change>>,
    lagged: Arc<AtomicBool>,
    published: Arc<Published>,
    /// The revision up to which everything was returned.
    complete: Revision,
    ended: bool,
}

/// The registered readers; locked after the state, never the other way round.
#[derive(Debug)]
pub(crate) struct Watchers {
    readers: Mutex<Vec<Reader>>,
    published: Arc<Published>,
}

/// The newest revision whose changes are all queued.
#[derive(Debug)]
pub(crate) struct Published {
    revision: AtomicU64,
    /// Wakes in the order of coming, so that a simulated run replays (a `watch` channel would not).
    moved: Notify,
}

#[derive(Debug)]
struct Reader {
    prefix: Box<str>,
    queue: mpsc::Sender<Arc<Change>>,
    lagged: Arc<AtomicBool>,
    /// Everything up to here is in the backlog.
    seen: Revision,
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
        let idle = self.backlog.is_empty() && self.live.is_empty() && !self.lagged.load(Ordering::Acquire);
        if idle { self.complete.max(published) } else { self.complete }
    }

    /// Waits until `progress` may have moved past `revision`.
    pub async fn moved(&mut self, revision: Revision) {
        self.published.reached(Revision(revision.0 + 1)).await;
    }

    pub fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arc<Change>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let change = match self.backlog.pop_front() {
            Some(change) => Some(change),
            None => std::task::ready!(self.live.poll_recv(cx)),
        };
        let Some(change) = change else {
            self.ended = true;
            return Poll::Ready(self.lagged.load(Ordering::Acquire).then_some(Err(Error::Lagged)));
        };
        // A write may have more than one change: only the revision before is surely complete.
        self.complete = self.complete.max(Revision(change.entry.revision.0 - 1));
        Poll::Ready(Some(Ok(change)))
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
        backlog: VecDeque<Arc<Change>>,
        after: Revision,
        seen: Revision,
        limit: usize,
    ) -> Watch {
        let (queue, live) = mpsc::channel(limit);
        let lagged = Arc::new(AtomicBool::new(false));
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|reader| !reader.queue.is_closed());
        readers.push(Reader { prefix: prefix.into(), queue, lagged: lagged.clone(), seen });
        let published = self.published.clone();
        Watch { backlog, live, lagged, published, complete: after, ended: false }
    }

    /// Hands changes that are applied to whoever watches them, then publishes the revision.
    pub fn send<'a>(&self, changes: impl Iterator<Item = &'a Arc<Change>>, revision: Revision) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            let mut cut_off = false;
            for reader in readers.iter() {
                if change.entry.revision <= reader.seen || !change.entry.key.0.starts_with(&*reader.prefix) {
                    continue;
                }
                match reader.queue.try_send(change.clone()) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        reader.lagged.store(true, Ordering::Release);
                        cut_off = true;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => cut_off = true,
                }
            }
            if cut_off {
                readers.retain(|r| !r.lagged.load(Ordering::Acquire) && !r.queue.is_closed());
            }
        }
        drop(readers);
        self.published.revision.store(revision.0, Ordering::Release);
        self.published.moved.notify_waiters();
    }

    pub fn published(&self) -> &Published {
        &self.published
    }
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
