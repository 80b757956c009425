//! Answers of the node's API and their bodies.

use std::io;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{HeaderValue, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;

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
    with(StatusCode::OK, content_type, StreamBody::new(stream.map_ok(Frame::data)).boxed_unsync())
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
