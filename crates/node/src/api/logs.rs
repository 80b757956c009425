//! `/containerLogs`: which log is meant, and its lines, those of today or those to come.
//!
//! The refusals are upstream's (kubelet.go validateContainerLogStatus, server.go getContainerLogs). The
//! runtime says what runs; the pod's status is asked only for what the runtime has already forgotten.

use std::path::PathBuf;

use crate::view as core;
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use runtime::{Container, ContainerId, Hint};
use tokio::sync::broadcast;

use super::answer::{self, Response};
use super::notices::Notice;
use wire::query::Query;

use super::Api;
use crate::control::{Control, Found};
use crate::observe::{is_over, is_running};
use crate::pod;

/// A container's log over all its files.
mod file;
/// One record of it.
mod record;

use file::{Begun, Log, Read};
use record::{Format, Stream};

/// PodLogOptions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    pub follow: bool,
    pub previous: bool,
    pub tail: Option<usize>,
    pub format: Format,
}

pub async fn serve(api: &Api, query: &Query, namespace: &str, name: &str, container: &str) -> Response {
    let control = &api.control;
    let options = match options(query, control.config().now()) {
        Ok(options) => options,
        Err(refused) => return refused,
    };
    let found = match control.pod(namespace, name).await {
        Ok(Some(found)) => found,
        Ok(None) => return answer::text(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist")),
        Err(why) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, why),
    };
    if !found.container(container).in_spec {
        let text = format!("container {container:?} not found in pod {name:?}");
        return answer::text(StatusCode::NOT_FOUND, text);
    }
    let changes = control.engine().changes();
    let meant = match choose(control, &found, container, options.previous) {
        Ok(meant) => meant,
        Err(why) => return answer::text(StatusCode::BAD_REQUEST, why),
    };
    let notice = match (options.follow, meant.path.parent()) {
        (true, Some(folder)) => api.notices.of(folder).ok(),
        _ => None,
    };
    let (path, tail, format) = (meant.path, options.tail, options.format);
    let living = meant.living.filter(|_| options.follow);
    let whole = living.is_none();
    let opened = tokio::task::spawn_blocking(move || {
        let mut log = Log::open(path, tail, format)?;
        // A short log that nobody follows goes out in one piece.
        let begun = if whole { log.begin()? } else { Begun::Part(Bytes::new()) };
        Ok::<_, std::io::Error>((log, begun))
    });
    let (log, first) = match opened.await.map_err(std::io::Error::other).flatten() {
        Ok((_, Begun::Whole(bytes))) => return answer::bytes(StatusCode::OK, "text/plain", bytes),
        Ok((log, Begun::Part(first))) => (log, first),
        Err(why) => return answer::text(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    };
    let reading = Reading { control: control.clone(), log: Some(log), notice, changes, living };
    let first = futures::stream::iter((!first.is_empty()).then_some(Ok(first)));
    answer::stream("text/plain", first.chain(futures::stream::try_unfold(reading, Reading::next)))
}

/// Err: the refusal, as upstream words it before it looks for the pod.
fn options(query: &Query, now: jiff::Timestamp) -> Result<Options, Response> {
    let undecodable = || answer::text(StatusCode::BAD_REQUEST, r#"{"message": "Unable to decode query."}"#);
    let invalid = || answer::text(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
    let number = |name: &str| match query.get(name) {
        "" => Ok(None),
        text => text.parse::<i64>().map(Some).map_err(|_| undecodable()),
    };
    let (tail, limit, seconds) = (number("tailLines")?, number("limitBytes")?, number("sinceSeconds")?);
    let time = match query.get("sinceTime") {
        "" => None,
        text => Some(text.parse::<jiff::Timestamp>().map_err(|_| undecodable())?),
    };
    if tail.is_some_and(|n| n < 0) || limit.is_some_and(|n| n < 1) || seconds.is_some_and(|n| n < 1) {
        return Err(invalid());
    }
    let since = match (seconds, time) {
        (Some(_), Some(_)) => return Err(invalid()),
        (Some(seconds), None) => now.checked_sub(jiff::SignedDuration::from_secs(seconds)).ok(),
        (None, time) => time,
    };
    let stream = match query.get("stream") {
        "" | "All" => None,
        "Stdout" => Some(Stream::Stdout),
        "Stderr" => Some(Stream::Stderr),
        _ => return Err(invalid()),
    };
    Ok(Options {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        tail: tail.and_then(|n| usize::try_from(n).ok()),
        format: Format {
            since,
            stream,
            timestamps: query.flag("timestamps"),
            limit: limit.and_then(|n| u64::try_from(n).ok()),
        },
    })
}

/// The log that is meant.
struct Meant {
    path: PathBuf,
    /// The container that may still write to it.
    living: Option<ContainerId>,
}

fn choose(control: &Control, found: &Found, name: &str, previous: bool) -> Result<Meant, String> {
    let object = found.object.view::<core::Pod>().map_err(|error| error.to_string())?;
    let (pod_name, seen) = (pod::name(&object), found.container(name));
    let status = pod::old_status(&object, name);
    let state = status.and_then(|s| s.state.as_ref());
    let waiting = state.and_then(|s| s.waiting.as_ref());
    let of = |c: &Container| Meant {
        path: c.spec.log.as_ref().map(|log| log.path.clone()).unwrap_or_default(),
        living: is_running(c).then(|| c.id.clone()),
    };
    let kept = |attempt: i32| {
        let attempt = u32::try_from(attempt).ok()?;
        let path = control.log_path(found, name, attempt)?;
        path.exists().then_some(Meant { path, living: None })
    };
    if previous {
        let absent = || format!("previous terminated container {name:?} in pod {pod_name:?} not found");
        return match (&seen.current, &seen.previous) {
            // While the next one waits for its back-off, the latest is the one before it.
            (Some(latest), _) if is_over(latest) && waiting.is_some() => Ok(of(latest)),
            (_, Some(before)) => Ok(of(before)),
            (Some(latest), None) => kept(i32::try_from(latest.spec.attempt).unwrap_or(0) - 1).ok_or_else(absent),
            (None, None) => kept(status.map_or(0, |s| s.restart_count) - 1).ok_or_else(absent),
        };
    }
    match (&seen.current, &seen.previous) {
        (Some(latest), _) if is_running(latest) || is_over(latest) => return Ok(of(latest)),
        (_, Some(before)) => return Ok(of(before)),
        _ => {}
    }
    // The runtime has forgotten what is over for good; its log stays.
    let terminated = state.and_then(|s| s.terminated.as_ref());
    if waiting.is_none()
        && let Some(meant) = kept(status.map_or(0, |s| s.restart_count))
    {
        return Ok(meant);
    }
    let begun = format!("container {name:?} in pod {pod_name:?}");
    Err(match (status, waiting) {
        (None, _) => format!("{begun} is not available"),
        (_, Some(waiting)) => match waiting.reason.as_deref().unwrap_or("") {
            "ErrImagePull" => format!("{begun} is waiting to start: image can't be pulled"),
            "ImagePullBackOff" => format!("{begun} is waiting to start: trying and failing to pull image"),
            reason => format!("{begun} is waiting to start: {reason}"),
        },
        _ if terminated.is_some() => format!("{begun} is terminated"),
        _ => format!("{begun} is waiting to start - no logs yet"),
    })
}

/// A log that is being sent.
struct Reading {
    control: Control,
    /// None while a read is under way.
    log: Option<Log>,
    notice: Option<Notice>,
    changes: broadcast::Receiver<Hint>,
    /// The container to be followed, until its end was seen.
    living: Option<ContainerId>,
}

impl Reading {
    async fn next(mut self) -> std::io::Result<Option<(Bytes, Reading)>> {
        loop {
            // Asked before the read: what it wrote until its end is there by then.
            if let Some(id) = &self.living
                && !runs(&self.control, id).await
            {
                self.living = None;
            }
            let Some(mut log) = self.log.take() else { return Ok(None) };
            let read = tokio::task::spawn_blocking(move || log.read().map(|read| (read, log)));
            let (read, log) = read.await.map_err(std::io::Error::other)??;
            self.log = Some(log);
            match read {
                Read::Bytes(bytes) => return Ok(Some((bytes, self))),
                Read::Full => return Ok(None),
                Read::End => {}
            }
            if self.living.is_none() {
                return Ok(None);
            }
            self.news().await;
        }
    }

    /// Something was written, or the container's state has changed.
    async fn news(&mut self) {
        loop {
            let written = async {
                match &mut self.notice {
                    Some(notice) => notice.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = written => return,
                change = self.changes.recv() => match change {
                    Ok(Hint::Container(_, id)) if Some(&id) != self.living.as_ref() => {}
                    Ok(Hint::Sandbox(_)) => {}
                    _ => return,
                },
            }
        }
    }
}

async fn runs(control: &Control, id: &ContainerId) -> bool {
    let Ok(sandboxes) = control.engine().list().await else { return true };
    sandboxes.iter().flat_map(|s| &s.containers).any(|c| c.id == *id && is_running(c))
}
