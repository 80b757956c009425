//! A watch under way: what it tells next, bookmarks, and when it ends.
//!
//! Objects that begin or cease to match the selectors appear as ADDED or DELETED
//! (storage/cacher/cache_watcher.go). Bookmarks tell how far a quiet watch has come. A reader that is too slow
//! is cut off by the store; it lists again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use api::Status;
use bytes::Bytes;
use kinds::Served;
use serde_json::json;
use store::{Change, Error, Revision, Watch};
use tokio::time::{Instant, Sleep};
use wire::websocket::Accepted;

use crate::filter::Filter;
use crate::rendition::{Happened, Rendition};
use crate::{Server, encode};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes so long before the end: who watches again begins where this watch was.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// A watch under way.
pub struct Watching {
    pub server: Server,
    pub served: Served,
    pub filter: Filter,
    pub initial: VecDeque<Arc<Rendition>>,
    /// A bookmark with the annotation that ends the initial events is due.
    pub initial_end: bool,
    pub watch: Result<Watch, Option<Status>>,
    /// A revision that the watch waits for before it starts: not yet written.
    pub ahead: Option<(String, Revision)>,
    pub start: Revision,
    pub bookmarked: Revision,
    pub end: End,
    /// None: no bookmarks, or no further ones.
    pub bookmarks: Option<Bookmarks>,
    /// The client asked for messages of a websocket (endpoints/handlers/watch.go HandleWS).
    pub socket: Option<Accepted>,
}

/// When a watch is over: its time, or the server's. It stays registered from event to event, as a timer made
/// for each would cost more than the event.
pub type End = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

pub fn end(timeout: Duration, mut stopped: tokio::sync::watch::Receiver<bool>) -> End {
    let deadline = tokio::time::sleep(timeout);
    Box::pin(async move {
        tokio::select! {
            () = deadline => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    })
}

/// When bookmarks come: every minute, and shortly before the end (storage/cacher/cache_watcher.go nextBookmarkTime).
pub struct Bookmarks {
    next: Pin<Box<Sleep>>,
    last: Instant,
}

impl Bookmarks {
    /// Those of a watch that lasts `timeout`; None where it is over before one is due.
    pub fn until(timeout: Duration) -> Option<Bookmarks> {
        let now = Instant::now();
        let last = now + timeout.saturating_sub(BOOKMARK_BEFORE_END);
        let next = Bookmarks::after(now, last)?;
        Some(Bookmarks { next: Box::pin(tokio::time::sleep_until(next)), last })
    }

    fn after(now: Instant, last: Instant) -> Option<Instant> {
        (last > now).then(|| last.min(now + BOOKMARK_EVERY))
    }

    /// Ready when one is due, and whether others follow.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        ready!(self.next.as_mut().poll(cx));
        let next = Bookmarks::after(Instant::now(), self.last);
        if let Some(next) = next {
            self.next.as_mut().reset(next);
        }
        Poll::Ready(next.is_some())
    }
}

/// What a watch tells.
pub enum Told {
    /// `spliced` holds the object's bytes where they are no stored version: the last that matched.
    Object {
        happened: Happened,
        rendition: Arc<Rendition>,
        spliced: Option<Bytes>,
    },
    Bookmark {
        revision: u64,
        initial_events_end: bool,
    },
    Error(Status),
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.server.0.metrics.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watching {
    pub fn now(&self) -> String {
        self.server.now()
    }

    /// What comes next; None ends the watch. Nothing is lost if the caller stops waiting.
    pub async fn next(&mut self) -> Option<Told> {
        if let Some((prefix, revision)) = &self.ahead {
            tokio::select! {
                biased;
                () = self.server.0.store.reached(*revision) => {}
                () = &mut self.end => return None,
            }
            let watch = self.server.0.store.watch_wanted(prefix, *revision, self.filter.wanted().cloned());
            self.watch = watch.map_err(|e| Some(crate::write::failed(&e)));
            self.ahead = None;
        }
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What follows without waiting; None: nothing does now, and `next` waits for it or tells the end.
    pub fn ready(&mut self) -> Option<Told> {
        match self.poll_told(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(told)) => Some(told),
            Poll::Ready(None) => {
                self.watch = Err(None);
                None
            }
            Poll::Pending => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        loop {
            if let Poll::Ready(told) = self.poll_told(cx) {
                return Poll::Ready(told);
            }
            if let Some(Poll::Ready(others)) = self.bookmarks.as_mut().map(|bookmarks| bookmarks.poll_due(cx)) {
                self.bookmarks.take_if(|_| !others);
                let revision = self.watch.as_ref().map_or(self.bookmarked, Watch::progress);
                if revision <= self.bookmarked {
                    // The timer is asked once more, or it would wake nobody.
                    continue;
                }
                self.bookmarked = revision;
                return Poll::Ready(Some(Told::Bookmark { revision: revision.0, initial_events_end: false }));
            }
            return self.end.as_mut().poll(cx).map(|()| None);
        }
    }

    /// What was there, then what changes; None ends the watch.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        if let Some(rendition) = self.initial.pop_front() {
            return Poll::Ready(Some(Told::Object { happened: Happened::Added, rendition, spliced: None }));
        }
        if std::mem::take(&mut self.initial_end) {
            return Poll::Ready(Some(Told::Bookmark { revision: self.start.0, initial_events_end: true }));
        }
        loop {
            let watch = match &mut self.watch {
                Ok(watch) => watch,
                Err(error) => return Poll::Ready(error.take().map(Told::Error)),
            };
            let told = match ready!(watch.poll_change(cx)) {
                Some(Ok(change)) => self.tell(&change),
                // Cut off: the client lists again.
                Some(Err(Error::Lagged)) | None => return Poll::Ready(None),
                Some(Err(error)) => Some(Told::Error(crate::write::failed(&error))),
            };
            if told.is_some() {
                return Poll::Ready(told);
            }
        }
    }

    fn tell(&self, change: &Change) -> Option<Told> {
        let renditions = &self.server.0.renditions;
        let rendition = renditions.of(&change.entry);
        if self.filter.is_open() {
            let happened = match (&change.previous, change.deleted) {
                (_, true) => Happened::Deleted,
                (None, false) => Happened::Added,
                (Some(_), false) => Happened::Modified,
            };
            return Some(Told::Object { happened, rendition, spliced: None });
        }
        let before = change.previous.as_ref().map(|previous| renditions.of(previous));
        let matched = before.as_ref().is_some_and(|before| self.filter.passes(before));
        let matches = !change.deleted && self.filter.passes(&rendition);
        let (happened, spliced) = match (matched, matches) {
            (false, true) => (Happened::Added, None),
            (true, true) => (Happened::Modified, None),
            (true, false) if change.deleted => (Happened::Deleted, None),
            (true, false) => {
                // The last version that matched, at the revision of the change.
                let last = before.and_then(|before| before.object().map(api::Object::value))?;
                (Happened::Deleted, Some(encode::joined(&last, &change.entry.revision.0.to_string())))
            }
            (false, false) => return None,
        };
        Some(Told::Object { happened, rendition, spliced })
    }

    /// The object of a bookmark.
    pub fn bookmark(served: &Served, revision: u64, initial_events_end: bool) -> serde_json::Value {
        let mut object = json!({"kind": served.kind.kind, "apiVersion": served.api_version(),
            "metadata": {"resourceVersion": revision.to_string()}});
        if initial_events_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        object
    }
}
