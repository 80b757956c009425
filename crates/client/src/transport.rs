//! The one seam between a client and the server: HTTPS, or the server in the same process.
//!
//! A request is an ordinary API request (method, path, query, headers, body). Over HTTPS the reply's
//! body is bytes; in the same process lists and watches hand over Objects that share the store's bytes.

use std::pin::Pin;

use api::{Object, Status, WatchEvent};
use bytes::Bytes;
use futures::Stream;

pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What came back.
pub struct Reply {
    pub status: http::StatusCode,
    pub headers: http::HeaderMap,
    pub body: Body,
}

/// The body of a reply, whole or as it comes.
pub enum Body {
    Bytes(Bytes),
    /// A list, handed over: its objects, revision and continue token.
    List {
        objects: Vec<Object>,
        revision: u64,
        continue_token: String,
    },
    /// A watch, handed over; ends when the server ends it.
    Events(Pin<Box<dyn Stream<Item = WatchEvent> + Send>>),
    /// Bytes as they come (a watch over HTTPS, a followed log).
    Stream(Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>),
}

/// Engines: `Https`, and the in-process one that the binary assembles.
pub trait Transport: Send + Sync + 'static {
    /// Sends one request. `Err` means that no answer came (`ServiceUnavailable`); an answer that
    /// refuses is an `Ok` with its code.
    fn call(&self, request: http::Request<Bytes>) -> Boxed<'_, Result<Reply, Status>>;
}
