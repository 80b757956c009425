//! What comes back from the server: objects, lists, watch events and errors, from bytes.
//!
//! Only the envelope is read; each item's bytes are taken out whole. A line of a watch has a limit,
//! so that a broken peer cannot fill the memory.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use api::{Cause, Object, Reason, Status, WatchEvent};
use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Body, Reply};

/// A watch; ends when the connection does.
pub type WatchStream = Pin<Box<dyn Stream<Item = WatchEvent> + Send>>;

/// One page.
#[derive(Clone, Debug, Default)]
pub struct List {
    pub objects: Vec<Object>,
    pub revision: u64,
    /// Empty on the last page.
    pub continue_token: String,
}

/// An object is at most 3 MiB; a watch event is one with a short envelope.
const LINE_MAX: usize = 8 << 20;
/// A whole answer; a list beyond this must be paged.
const WHOLE_MAX: usize = 1 << 30;

#[derive(Deserialize)]
struct ListDocument<'a> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[derive(Deserialize)]
struct EventDocument<'a> {
    #[serde(rename = "type")]
    class: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct StatusDocument {
    kind: String,
    message: String,
    reason: String,
    code: u16,
    details: Option<DetailsDocument>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DetailsDocument {
    name: String,
    group: String,
    kind: String,
    uid: String,
    causes: Option<Vec<CauseDocument>>,
    retry_after_seconds: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CauseDocument {
    reason: String,
    message: String,
    field: String,
}

#[derive(Deserialize)]
struct BookmarkDocument {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMetadata {
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

/// A reply that succeeded, or the error inside it.
pub(crate) async fn checked(reply: Reply) -> Result<Reply, Status> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let retry_after = reply.headers.get(http::header::RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
    let code = reply.status.as_u16();
    let mut status = refusal(&whole(reply.body).await?, code);
    status.retry_after_seconds = status.retry_after_seconds.or(retry_after);
    Err(status)
}

/// The texts of `Warning: 299 - "text"` headers, each once (RFC 7234, 5.5; apimachinery util/net).
pub(crate) fn warnings(headers: &http::HeaderMap) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for value in headers.get_all(http::header::WARNING) {
        let value = String::from_utf8_lossy(value.as_bytes());
        let quoted = value.strip_prefix("299 ").and_then(|rest| rest.split_once(" \"")?.1.strip_suffix('"'));
        let Some(quoted) = quoted else { continue };
        let mut text = String::new();
        let mut letters = quoted.chars();
        while let Some(letter) = letters.next() {
            text.extend(if letter == '\\' { letters.next() } else { Some(letter) });
        }
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The whole body as bytes.
pub(crate) async fn whole(body: Body) -> Result<Bytes, Status> {
    match body {
        Body::Bytes(bytes) => Ok(bytes),
        Body::Stream(mut stream) => {
            let mut all = BytesMut::new();
            while let Some(chunk) = stream.next().await {
                all.extend_from_slice(&chunk.map_err(|why| unreachable_server(&why))?);
                if all.len() > WHOLE_MAX {
                    return Err(Status::internal("the server's answer is too large"));
                }
            }
            Ok(all.freeze())
        }
        Body::List { .. } | Body::Events(_) => Err(unexpected("a list or a watch")),
    }
}

pub(crate) async fn object(reply: Reply) -> Result<Object, Status> {
    let bytes = whole(reply.body).await?;
    Object::parse(bytes).map_err(|why| unexpected(&format!("no object ({why})")))
}

pub(crate) async fn list(reply: Reply) -> Result<List, Status> {
    if let Body::List { objects, revision, continue_token } = reply.body {
        return Ok(List { objects, revision, continue_token });
    }
    let bytes = whole(reply.body).await?;
    let document: ListDocument =
        serde_json::from_slice(&bytes).map_err(|why| unexpected(&format!("no list ({why})")))?;
    let objects = document.items.unwrap_or_default().into_iter().map(|item| {
        // A copy of its own: one object in a cache must not keep the whole answer in memory.
        Object::parse(Bytes::copy_from_slice(item.get().as_bytes()))
    });
    let objects = objects.collect::<Result<_, _>>().map_err(|why| unexpected(&format!("a broken item ({why})")))?;
    let revision = document.metadata.resource_version.parse().unwrap_or(0);
    Ok(List { objects, revision, continue_token: document.metadata.continue_token.unwrap_or_default() })
}

pub(crate) fn watch(reply: Reply) -> Result<WatchStream, Status> {
    match reply.body {
        Body::Events(events) => Ok(events),
        Body::Stream(chunks) => Ok(Box::pin(Lines { chunks, buffer: BytesMut::new(), searched: 0, ended: false })),
        Body::Bytes(bytes) => {
            let chunks = futures::stream::once(async move { Ok(bytes) });
            Ok(Box::pin(Lines { chunks: Box::pin(chunks), buffer: BytesMut::new(), searched: 0, ended: false }))
        }
        Body::List { .. } => Err(unexpected("a list")),
    }
}

/// No answer came at all. In kubectl's words (pkg/cmd/util/helpers.go, StandardErrorMessage).
pub(crate) fn unreachable_server(why: &dyn std::fmt::Display) -> Status {
    unanswered(format!("Unable to connect to the server: {why}"))
}

/// Nobody listens there, or something else went wrong on the way.
pub(crate) fn unconnected(authority: &str, why: &std::io::Error) -> Status {
    match why.kind() {
        std::io::ErrorKind::ConnectionRefused => unanswered(format!(
            "The connection to the server {authority} was refused - did you specify the right host or port?"
        )),
        _ => unreachable_server(why),
    }
}

fn unanswered(message: String) -> Status {
    Status { code: 0, ..Status::new(Reason::ServiceUnavailable, message) }
}

fn unexpected(what: &str) -> Status {
    Status::internal(format!("the server answered with {what}"))
}

/// An error body: a `Status` object, or whatever a proxy in between said.
fn refusal(body: &[u8], code: u16) -> Status {
    match serde_json::from_slice::<StatusDocument>(body) {
        Ok(document) if document.kind == "Status" => document.status(code),
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(2048)]).trim().to_string();
            let text = if text.is_empty() { format!("the server answered with code {code}") } else { text };
            Status { code, ..Status::new(reason_of("", code), text) }
        }
    }
}

impl StatusDocument {
    fn status(self, code: u16) -> Status {
        let code = if self.code == 0 { code } else { self.code };
        let details = self.details.unwrap_or_default();
        let cause = |c: CauseDocument| Cause { reason: c.reason, message: c.message, field: c.field };
        Status {
            reason: reason_of(&self.reason, code),
            code,
            message: self.message,
            name: details.name,
            group: details.group,
            kind: details.kind,
            uid: details.uid,
            causes: details.causes.unwrap_or_default().into_iter().map(cause).collect(),
            retry_after_seconds: details.retry_after_seconds,
            generic: false,
            warnings: Vec::new(),
            nosniff: false,
        }
    }
}

/// By name; a server with reasons that we do not know is understood by its code.
fn reason_of(name: &str, code: u16) -> Reason {
    use Reason::*;
    let all = [
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        NotAcceptable,
        Conflict,
        AlreadyExists,
        Expired,
        Gone,
        RequestEntityTooLarge,
        UnsupportedMediaType,
        Invalid,
        TooManyRequests,
        InternalError,
        ServerTimeout,
        NotImplemented,
        ServiceUnavailable,
        Timeout,
    ];
    let named = all.into_iter().find(|reason| reason.as_str() == name);
    named.or_else(|| all.into_iter().find(|reason| reason.code() == code)).unwrap_or(match code {
        400..500 => BadRequest,
        _ => InternalError,
    })
}

/// A watch over bytes: one JSON document a line.
struct Lines {
    chunks: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line end.
    searched: usize,
    ended: bool,
}

impl Lines {
    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|at| at + self.searched) else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        self.searched = 0;
        Some(line)
    }
}

impl Stream for Lines {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(line) = self.take_line() {
                if line.is_empty() {
                    continue;
                }
                let event = event(&line);
                self.ended = matches!(event, WatchEvent::Error(_));
                return Poll::Ready(Some(event));
            }
            if self.buffer.len() > LINE_MAX {
                self.ended = true;
                return Poll::Ready(Some(WatchEvent::Error(unexpected("an endless watch event"))));
            }
            match std::task::ready!(self.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
                // A connection that breaks ends the watch; whoever reads it begins again where it was.
                Some(Err(why)) => {
                    tracing::debug!("a watch broke off: {why}");
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
    }
}

fn event(line: &[u8]) -> WatchEvent {
    let parsed = (|| {
        let document: EventDocument = serde_json::from_slice(line)?;
        // A copy: the line's buffer may be larger than the line.
        let object = || Object::parse(Bytes::copy_from_slice(document.object.get().as_bytes()));
        Ok(match document.class.as_str() {
            "ADDED" => WatchEvent::Added(object()?),
            "MODIFIED" => WatchEvent::Modified(object()?),
            "DELETED" => WatchEvent::Deleted(object()?),
            "BOOKMARK" => {
                let BookmarkDocument { metadata } = serde_json::from_str(document.object.get())?;
                WatchEvent::Bookmark {
                    revision: metadata.resource_version.parse().unwrap_or(0),
                    initial_events_end: metadata
                        .annotations
                        .get("k8s.io/initial-events-end")
                        .is_some_and(|v| v == "true"),
                }
            }
            "ERROR" => WatchEvent::Error(refusal(document.object.get().as_bytes(), 500)),
            other => WatchEvent::Error(unexpected(&format!("a watch event of type {other:?}"))),
        })
    })();
    parsed.unwrap_or_else(|why: serde_json::Error| WatchEvent::Error(unexpected(&format!("no watch event ({why})"))))
}

#[cfg(test)]
mod tests;
