//! The node's HTTPS API: what the API server asks a node on behalf of its clients.
//!
//! Clients show a certificate of the cluster's authority; only administrators and the API server
//! itself (`system:masters`) may ask. Paths are kubelet's (pkg/kubelet/server/server.go).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Control;

/// A container's log: which lines, from which files, as they come.
mod logs;

/// What the node's API is made of.
pub struct ApiConfig {
    pub control: Control,
    /// What it serves with.
    pub pair: wire::Pair,
    /// Whose certificates clients must have, PEM.
    pub authority: String,
}

/// A body: whole, or as it comes.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Only members of this group may ask.
const MASTERS: &str = "system:masters";

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, config: ApiConfig) -> io::Result<()> {
    let serving = wire::tls::Serving::new(&config.pair)?;
    let tls = wire::tls::server(serving, Some(&config.authority), &["h2", "http/1.1"])?;
    let acceptor = TlsAcceptor::from(tls);
    let control = Arc::new(config.control);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, control) = (acceptor.clone(), control.clone());
        tokio::spawn(async move {
            // A client that breaks off has changed its mind; who it was is in its own log.
            if let Err(error) = connection(acceptor, stream, control).await {
                tracing::debug!(%error, "a connection to the node's API ended");
            }
        });
    }
}

async fn connection(acceptor: TlsAcceptor, stream: TcpStream, control: Arc<Control>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let limit = std::time::Duration::from_secs(10);
    let stream = tokio::time::timeout(limit, acceptor.accept(stream)).await??;
    let groups = stream.get_ref().1.peer_certificates().and_then(|chain| wire::tls::organizations(chain.first()?));
    let allowed = groups.map(|groups| groups.iter().any(|group| group == MASTERS));
    let service = service_fn(move |request| answer(request, control.clone(), allowed));
    Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await
        .map_err(io::Error::other)
}

/// `allowed` is None for a client without a certificate.
async fn answer(
    request: Request<Incoming>,
    control: Arc<Control>,
    allowed: Option<bool>,
) -> Result<Response<Body>, Infallible> {
    match allowed {
        Some(true) => {}
        Some(false) => return Ok(text(StatusCode::FORBIDDEN, "Forbidden: only the API server may ask a node")),
        None => return Ok(text(StatusCode::UNAUTHORIZED, "Unauthorized")),
    }
    let path = request.uri().path().to_string();
    let query = request.uri().query().unwrap_or_default().to_string();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Ok(match (request.method(), &parts[..]) {
        (&Method::GET, ["healthz"]) => text(StatusCode::OK, "ok"),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::answer(&control, namespace, pod, container, &query).await
        }
        _ => text(StatusCode::NOT_FOUND, &format!("{path}: this node does not serve that yet")),
    })
}

/// A plain text, with the line end that Go's http.Error adds.
pub(crate) fn text(code: StatusCode, message: &str) -> Response<Body> {
    let end = if code.is_success() { "" } else { "\n" };
    let body = Full::new(Bytes::from(format!("{message}{end}"))).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}

/// A body as it comes.
pub(crate) fn stream(pieces: BoxStream<'static, io::Result<Bytes>>) -> Response<Body> {
    use futures::TryStreamExt;
    let mut response = Response::new(StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync());
    let plain = http::HeaderValue::from_static("text/plain");
    response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
    response
}
