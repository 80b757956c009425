//! Connections, TLS and HTTP: what a request is before it is served, and its answer on the wire.
//!
//! HTTP/1.1 and 2 over TLS 1.2 and 1.3. Everything has a bound: handshakes and headers a time, bodies
//! a size; a panic costs one request. The serving certificate is renewed while connections go on.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use api::{Reason, Status};
use bytes::Bytes;
use futures::{FutureExt, Stream};
use http::{Method, Request, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::Server;
use crate::answer::{Body, Response};
use crate::authenticate::authenticate;
use crate::certificates::{Subject, subject_of};
use crate::identity::Identity;
use crate::patience::Patient;
use crate::render::Outcome;
use crate::rendition::Served;
use crate::route::{self, Query};
use crate::verbs;

/// The largest request body (config.go MaxRequestBodyBytes).
const BODY_MAX: usize = 3 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the next request's head, so also how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a client may take nothing of what it asked for.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// How long requests may take to finish once the server ends.
const DRAIN: Duration = Duration::from_secs(5);

pub async fn serve(server: &Server, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let authority = server.authority();
    let tls = wire::tls::server(server.0.serving.clone(), Some(authority), &["h2", "http/1.1"])?;
    let acceptor = TlsAcceptor::from(tls);
    let renewal = tokio::spawn(renew(server.clone()));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(server, acceptor, stream).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            // Out of descriptors, most likely: the next connection to close frees one.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    server.0.stopped.send_replace(true);
    renewal.abort();
    let _ = tokio::time::timeout(DRAIN, drained(server)).await;
    Ok(())
}

/// Waits until no request is under way.
async fn drained(server: &Server) {
    while server.0.metrics.inflight.load(Ordering::Acquire) > 0 {
        server.0.metrics.quiet.notified().await;
    }
}

/// Keeps the serving certificate fresh.
async fn renew(server: Server) {
    let hosts = crate::hosts(&server.0.config);
    loop {
        let subject = Subject { name: "kube-apiserver", groups: &[], hosts: &hosts };
        let pair = server.0.authority.keep("server", &subject);
        let renewed = pair.and_then(|pair| {
            server.0.serving.replace(&pair)?;
            server.0.authority.renewal(&pair.certificate)
        });
        let wait = match renewed {
            Ok(at) => at.as_second() - (server.0.config.clock)().as_second(),
            Err(error) => {
                tracing::error!(%error, "the serving certificate cannot be renewed");
                3600
            }
        };
        // In steps of a day: a clock that was set wrong is noticed.
        let wait = wait.clamp(60, 24 * 3600);
        tokio::time::sleep(Duration::from_secs(wait.unsigned_abs())).await;
    }
}

async fn connection(server: Server, acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Patient::new(stream, WRITE_PATIENCE);
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    let stream = stream.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake"))??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| subject_of(chain.first()?));
    let identity = certificate.map(|(name, groups)| Arc::new(Identity::authenticated(name, "", groups)));
    let mut stopped = server.0.stopped.subscribe();
    let service = service_fn(move |request| {
        let (server, identity) = (server.clone(), identity.clone());
        async move { Ok::<_, std::convert::Infallible>(guarded(server, identity, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(250)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        done = &mut connection => return done.map_err(io::Error::other),
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

/// A request that panics is answered with 500; the connection and the server go on.
async fn guarded(
    server: Server,
    certificate: Option<Arc<Identity>>,
    request: Request<Incoming>,
) -> http::Response<Outgoing> {
    server.0.metrics.inflight.fetch_add(1, Ordering::AcqRel);
    let (verb, resource) = labels(&request);
    let served = AssertUnwindSafe(respond(&server, certificate.as_deref(), request)).catch_unwind().await;
    let response = served.unwrap_or_else(|_| {
        tracing::error!(verb, resource, "a request panicked");
        Response::refused(&Status::internal("the server panicked while it served this request"))
    });
    if server.0.metrics.inflight.fetch_sub(1, Ordering::AcqRel) == 1 {
        server.0.metrics.quiet.notify_one();
    }
    server.0.metrics.count(verb, resource, response.status.as_u16());
    on_the_wire(response)
}

async fn respond(server: &Server, certificate: Option<&Identity>, request: Request<Incoming>) -> Response {
    let now = (server.0.config.clock)().as_second();
    let identity = authenticate(request.headers(), certificate, &server.0.tokens, &server.0.snapshot, now);
    let identity = match identity {
        Ok(identity) => identity,
        Err(status) => return Response::refused(&status),
    };
    let (mut head, body) = request.into_parts();
    let upgrade = match wire::upgrade::is_asked(&head.headers) {
        true => head.extensions.remove::<hyper::upgrade::OnUpgrade>(),
        false => None,
    };
    let body = match body.is_end_stream() {
        true => Bytes::new(),
        false => match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("Request entity too large: limit is {BODY_MAX}");
                return Response::refused(&Status::new(Reason::RequestEntityTooLarge, message));
            }
            Err(error) => return Response::refused(&Status::bad_request(error.to_string())),
        },
    };
    let outcome = Outcome::of(server, &identity, &head, body).await;
    let mut response = outcome.over_http(server);
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && let Body::Upgrade(_) = response.body
    {
        let Body::Upgrade(backend) = std::mem::replace(&mut response.body, Body::Bytes(Bytes::new())) else {
            return response;
        };
        let Some(upgrade) = upgrade else {
            return Response::refused(&Status::bad_request("this connection cannot be upgraded"));
        };
        tokio::spawn(async move {
            match upgrade.await {
                Ok(client) => {
                    let _ = wire::upgrade::splice(Box::new(TokioIo::new(client)), backend).await;
                }
                Err(error) => tracing::debug!(%error, "an upgrade was given up"),
            }
        });
    }
    response
}

/// Verb and resource, from fixed words only.
fn labels<B>(request: &Request<B>) -> (&'static str, &'static str) {
    let path = request.uri().path();
    if let Some(target) = route::parse(path) {
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let served = Served::find(&target.group, &target.version, &target.resource);
        return (verbs::verb_of(request.method(), &target, &query), served.map_or("", |s| s.kind.plural));
    }
    let verb = if request.method() == Method::GET { "get" } else { "other" };
    (verb, "")
}

fn on_the_wire(response: Response) -> http::Response<Outgoing> {
    let body = match response.body {
        Body::Bytes(bytes) => Outgoing::Whole(Some(bytes)),
        Body::Stream(stream) => Outgoing::Stream(stream),
        // Inside the process only.
        Body::List { .. } | Body::Events(_) | Body::Upgrade(_) => Outgoing::Whole(None),
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(http::HeaderValue::from_static("no-cache, private"));
    answer
}

/// The body of an answer on the wire.
pub enum Outgoing {
    Whole(Option<Bytes>),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Outgoing::Whole(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Outgoing::Stream(stream) => stream.as_mut().poll_next(cx).map(|next| next.map(|b| b.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Outgoing::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Outgoing::Stream(_) => SizeHint::default(),
        }
    }
}
