//! Answers of the node's API and their bodies.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{HeaderValue, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use wire::places::{Place, Untaken};
use wire::serve::Lasting;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Response = http::Response<Body>;

/// Plain text; refusals too, as upstream's `response.WriteError`.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response {
    bytes(status, "text/plain; charset=utf-8", text.into())
}

/// In Prometheus' text form.
pub fn metrics(text: String) -> Response {
    bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

pub fn json(value: &Value) -> Response {
    bytes(StatusCode::OK, "application/json", value.to_string())
}

pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    with(status, content_type, Full::new(body.into()).map_err(|never| match never {}).boxed_unsync())
}

/// Bytes as they come; the head goes out before the first of them.
pub fn stream(content_type: &'static str, stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Response {
    let mut response = with(StatusCode::OK, content_type, StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync());
    response.extensions_mut().insert(Lasting);
    response
}

/// The answer, counted among those that its reader has not taken yet, unless it lasts.
pub fn until_taken(response: Response, place: &Arc<Place>) -> Response {
    if response.extensions().get::<Lasting>().is_some() {
        return response;
    }
    let untaken = Arc::new(place.answered());
    response.map(|body| {
        body.map_frame(move |frame| {
            frame.map_data(|bytes| Bytes::from_owner(Whole { bytes, _untaken: untaken.clone() }))
        })
        .boxed_unsync()
    })
}

/// Bytes of it, from wherever they wait to go out.
struct Whole {
    bytes: Bytes,
    _untaken: Arc<Untaken>,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// 101: what follows is no longer HTTP.
pub fn switched(headers: http::HeaderMap) -> Response {
    let mut response = http::Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// 403: none of the versions that the client speaks is served.
pub fn refused_protocol(headers: http::HeaderMap) -> Response {
    let mut response = text(StatusCode::FORBIDDEN, "unable to upgrade: none of the client's protocols is served");
    response.headers_mut().extend(headers);
    response
}

/// What follows once the connection has left HTTP.
pub fn upgraded<F: Future<Output = ()> + Send>(
    mut request: http::Request<Incoming>,
    work: impl FnOnce(wire::Duplex) -> F + Send + 'static,
) {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(stream) => work(Box::new(TokioIo::new(stream))).await,
            Err(error) => tracing::debug!(%error, "an upgrade was given up"),
        }
    });
}

fn with(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use wire::places::Places;

    use super::*;

    /// They were kept for whoever asked on many streams, without credentials.
    #[tokio::test]
    async fn who_takes_no_answers_loses_the_connection() {
        let places = Places::new(40, 25);
        let place = places.enter([192, 0, 2, 1].into());
        let mut left = Vec::new();
        for _ in 0..10 {
            let mut answer = until_taken(text(StatusCode::UNAUTHORIZED, "Unauthorized"), &place);
            // The body is done with, and its bytes wait to go out.
            left.push(answer.body_mut().frame().await.expect("a frame").expect("no error"));
        }
        assert!(place.closed().now_or_never().is_none());
        drop(left);
        for _ in 0..100 {
            drop(until_taken(text(StatusCode::OK, "ok"), &place));
        }
        let logs: Vec<_> = (0..100).map(|_| until_taken(stream("x", futures::stream::pending()), &place)).collect();
        assert!(place.closed().now_or_never().is_none());
        let _left: Vec<_> = (0..11).map(|_| until_taken(text(StatusCode::OK, "ok"), &place)).collect();
        assert!(place.closed().now_or_never().is_some());
        drop(logs);
    }
}
