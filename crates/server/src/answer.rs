//! What the server answers, before it is known whether it goes over HTTPS or stays in the process.
//!
//! Verbs end in a `Reply`; `local` hands it over as Objects and events, `over_http` writes it as
//! JSON, YAML, a Table or metadata. Only here a `Status` becomes a code.

use std::pin::Pin;
use std::sync::Arc;

use api::{Object, Status, WatchEvent};
use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::rendition::Rendition;
use crate::watching::Watching;
use kinds::Served;

/// An answer to any request.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// The body of an answer.
pub enum Body {
    Bytes(Bytes),
    /// A list, handed over inside the process.
    List {
        objects: Vec<Object>,
        revision: u64,
        continue_token: String,
    },
    /// A watch, handed over inside the process; ends when the server ends it.
    Events(Pin<Box<dyn Stream<Item = WatchEvent> + Send>>),
    /// Bytes as they come.
    Stream(Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>),
    /// 101: what follows is no longer HTTP.
    Upgrade(wire::Duplex),
}

/// What a verb ends in.
pub(crate) struct Reply {
    pub code: StatusCode,
    /// `Warning` headers.
    pub warnings: Vec<String>,
    pub payload: Payload,
}

pub(crate) enum Payload {
    /// One object, in the bytes of the stored version.
    Object {
        served: Served,
        rendition: Arc<Rendition>,
    },
    /// A page of objects.
    List(Page),
    Watch(Box<Watching>),
    /// Anything else that is JSON: a Status, a review, a discovery document.
    Value(Value),
    /// An answer that is already written.
    Ready(Response),
}

/// A page of a list.
pub(crate) struct Page {
    pub served: Served,
    pub items: Vec<Arc<Rendition>>,
    pub revision: u64,
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl Reply {
    pub fn new(code: StatusCode, payload: Payload) -> Reply {
        Reply { code, warnings: Vec::new(), payload }
    }

    pub fn ok(value: Value) -> Reply {
        Reply::new(StatusCode::OK, Payload::Value(value))
    }

    pub fn ready(response: Response) -> Reply {
        Reply::new(response.status, Payload::Ready(response))
    }

    pub fn warned(mut self, warnings: Vec<String>) -> Reply {
        self.warnings = warnings;
        self
    }
}

/// The `Warning` headers, each `299 - "…"`.
pub(crate) fn warning_headers(warnings: &[String], headers: &mut HeaderMap) {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
}

impl Response {
    pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        Response { status, headers, body: Body::Bytes(body.into()) }
    }

    pub fn json(status: StatusCode, value: &Value) -> Response {
        let mut text = serde_json::to_vec(value).expect("a tree is written to memory");
        text.push(b'\n');
        Response::bytes(status, "application/json", text)
    }

    pub fn text(status: StatusCode, text: impl Into<String>) -> Response {
        Response::bytes(status, "text/plain; charset=utf-8", text.into())
    }

    /// No browser shall take it for anything else.
    pub fn unsniffed(mut self) -> Response {
        self.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self
    }

    /// A refused request.
    pub fn refused(status: &Status) -> Response {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::json(code, &status.to_value());
        if let Some(seconds) = status.retry_after_seconds {
            response.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.told(status)
    }

    /// With the headers of a refusal.
    pub fn told(mut self, status: &Status) -> Response {
        warning_headers(&status.warnings, &mut self.headers);
        match status.nosniff {
            true => self.unsniffed(),
            false => self,
        }
    }
}
