//! GET with `watch`: every change after a revision, in order, once; or Expired.
//!
//! A watch without a revision starts with what is there. Objects that begin or cease to match the
//! selectors appear as ADDED or DELETED (storage/cacher/cache_watcher.go). Bookmarks tell how far a
//! quiet watch has come. A reader that is too slow is cut off by the store; it lists again.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use api::{Reason, Status};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use store::{Change, Error, Revision, Watch};
use tokio::time::{Instant, Sleep};
use wire::websocket::{self, Accepted};

use crate::answer::{Payload, Reply};
use crate::rendition::{Happened, Rendition};
use crate::verbs::Call;
use crate::verbs::filter::Filter;
use crate::verbs::read::revision_of;
use crate::{Server, encode};
use kinds::Served;

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Upstream's --min-request-timeout; a client's own timeoutSeconds comes first.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// Further ahead no clock looks.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A watch under way.
pub struct Watching {
    server: Server,
    pub served: Served,
    filter: Filter,
    initial: VecDeque<Arc<Rendition>>,
    /// A bookmark with the annotation that ends the initial events is due.
    initial_end: bool,
    bookmarks: bool,
    watch: Result<Watch, Option<Status>>,
    /// A revision that the watch waits for before it starts: not yet written.
    ahead: Option<(String, Revision)>,
    start: Revision,
    bookmarked: Revision,
    end: End,
    next_bookmark: Pin<Box<Sleep>>,
    /// The client asked for messages of a websocket (endpoints/handlers/watch.go HandleWS).
    pub socket: Option<Accepted>,
}

/// When a watch is over: its time, or the server's. It stays registered from event to event, as a timer made
/// for each would cost more than the event.
type End = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

fn end(timeout: Duration, mut stopped: tokio::sync::watch::Receiver<bool>) -> End {
    let deadline = tokio::time::sleep(timeout);
    Box::pin(async move {
        tokio::select! {
            () = deadline => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    })
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

pub async fn watch(call: Call<'_>) -> Result<Reply, Status> {
    let filter = Filter::of(&call)?;
    let timeout = timeout(call.query.get("timeoutSeconds"))?;
    let prefix = filter.prefix(call.namespace());
    let version = call.query.get("resourceVersion");
    let asked = revision_of(version)?;
    let initial_events = send_initial_events(&call)?;
    let socket = websocket::is_asked(call.headers).then(|| websocket::accept_any(call.headers));
    let socket = socket.transpose().map_err(Status::bad_request)?;
    let store = &call.server.0.store;
    let (mut initial, mut start, mut ahead) = (VecDeque::new(), asked.unwrap_or_default(), None);
    let listed = initial_events || (asked.is_none() && !call.query.all("sendInitialEvents").any(|v| v == "false"));
    if listed {
        if let Some(asked) = asked {
            let _ = tokio::time::timeout(Duration::from_secs(3), store.reached(asked)).await;
        }
        let page = store.list(&prefix, None, usize::MAX, None).map_err(|e| crate::write::failed(&e))?;
        start = page.revision;
        let all = page.entries.iter().map(|entry| call.server.0.renditions.of(entry));
        initial = all.filter(|item| filter.passes(item)).collect();
    } else if asked.is_none() {
        start = store.revision();
    }
    let watch = match store.watch(&prefix, start) {
        Ok(watch) => Ok(watch),
        // Somebody saw a revision that is not written here yet: it will be.
        Err(Error::Future { .. }) => {
            ahead = Some((prefix, start));
            Err(None)
        }
        Err(Error::Compacted { horizon }) => Err(Some(too_old(start, horizon))),
        Err(other) => return Err(crate::write::failed(&other)),
    };
    call.server.0.metrics.watches.fetch_add(1, Ordering::Relaxed);
    Ok(Reply::new(
        StatusCode::OK,
        Payload::Watch(Box::new(Watching {
            server: call.server.clone(),
            served: call.served.clone(),
            filter,
            initial,
            initial_end: initial_events,
            bookmarks: call.query.flag("allowWatchBookmarks"),
            watch,
            ahead,
            start,
            bookmarked: start,
            end: end(timeout, call.server.0.stopped.subscribe()),
            next_bookmark: Box::pin(tokio::time::sleep(BOOKMARK_EVERY)),
            socket,
        })),
    ))
}

/// How long a watch lasts; none or zero: upstream's usual time.
fn timeout(text: &str) -> Result<Duration, Status> {
    let seconds = match text {
        "" => 0,
        text => text
            .parse::<i64>()
            .map_err(|error| Status::bad_request(format!("timeoutSeconds: parsing {text:?}: {error}")))?,
    };
    Ok(match u64::try_from(seconds) {
        Ok(0) => DEFAULT_TIMEOUT,
        Ok(seconds) => Duration::from_secs(seconds).min(LONGEST),
        Err(_) => Duration::ZERO,
    })
}

/// `sendInitialEvents`, and what must come with it (apis/meta/internalversion/validation).
fn send_initial_events(call: &Call<'_>) -> Result<bool, Status> {
    let given = call.query.all("sendInitialEvents").next().is_some();
    let matching = call.query.get("resourceVersionMatch");
    let forbidden = |detail: &str| {
        let error = api::FieldError::forbidden("resourceVersionMatch", detail);
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[error]))
    };
    if given && matching != "NotOlderThan" {
        return forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if !given && !matching.is_empty() {
        return forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    Ok(call.query.flag("sendInitialEvents"))
}

fn too_old(asked: Revision, horizon: Revision) -> Status {
    Status::new(Reason::Expired, format!("too old resource version: {} ({})", asked.0, horizon.0))
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
            self.watch = self.server.0.store.watch(prefix, *revision).map_err(|e| Some(crate::write::failed(&e)));
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
            if self.bookmarks && self.next_bookmark.as_mut().poll(cx).is_ready() {
                self.next_bookmark.as_mut().reset(Instant::now() + BOOKMARK_EVERY);
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
            "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}});
        if initial_events_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        object
    }
}
