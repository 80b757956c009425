//! GET with `watch`: every change after a revision, in order, once; or Expired.
//!
//! A watch without a revision starts with what is there. What it tells, and when it ends: `watching`.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::{Reason, Status};
use http::StatusCode;
use store::{Error, Revision};
use wire::websocket;

use crate::answer::{Payload, Reply};
use crate::verbs::Call;
use crate::verbs::options::ListOptions;
use crate::verbs::read::{reached, revision_of};
use crate::watching::{self, Watching};

/// Upstream's --min-request-timeout; a client's own timeoutSeconds comes first.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);
/// Further ahead no clock looks.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

pub async fn watch(call: Call<'_>) -> Result<Reply, Status> {
    let options = ListOptions::of(&call, true)?;
    let filter = call.filter()?;
    let timeout = timeout(options.seconds.unwrap_or(0));
    let prefix = filter.prefix(call.namespace());
    let version = options.revision;
    let asked = revision_of(version)?;
    let initial_events = options.initial_events == Some(true);
    let socket = websocket::is_asked(call.headers).then(|| websocket::accept_any(call.headers));
    let socket = socket.transpose().map_err(Status::bad_request)?;
    let store = &call.server.0.store;
    let (mut initial, mut start, mut ahead) = (VecDeque::new(), asked.unwrap_or_default(), None);
    let listed = initial_events || (asked.is_none() && options.initial_events.is_none());
    if asked.is_none() {
        reached(&call, version).await?;
    }
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
    let watch = match store.watch_wanted(&prefix, start, filter.wanted().cloned()) {
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
            // storage/cacher/cacher.go setInitialEventsEndBookmarkIfRequested.
            initial_end: initial_events && call.query.flag("allowWatchBookmarks"),
            watch,
            ahead,
            start,
            // Where it started is known to who named it, or was told so.
            bookmarked: if asked.is_some() || initial_events { start } else { Revision(0) },
            end: watching::end(timeout, call.server.0.stopped.subscribe()),
            bookmarks: call.query.flag("allowWatchBookmarks").then(|| watching::Bookmarks::until(timeout)).flatten(),
            socket,
        })),
    ))
}

/// How long a watch lasts; none or zero: upstream's usual time.
fn timeout(seconds: i64) -> Duration {
    match u64::try_from(seconds) {
        Ok(0) => DEFAULT_TIMEOUT,
        Ok(seconds) => Duration::from_secs(seconds).min(LONGEST),
        Err(_) => Duration::ZERO,
    }
}

fn too_old(asked: Revision, horizon: Revision) -> Status {
    Status::new(Reason::Expired, format!("too old resource version: {} ({})", asked.0, horizon.0))
}
