//! Connections, TLS and HTTP: what a request is before it is served, and its answer on the wire.
//!
//! HTTP/1.1 and 2 over TLS 1.2 and 1.3. Everything has a bound: connections and answers that wait a number
//! (`wire::places`), handshakes, heads and the taking of answers a time (`wire::serve`), bodies a time and a
//! size (`request`); a panic costs one request. Certificates are renewed while connections go on.

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
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use wire::places::{Place, Proof, Untaken};
use wire::{heads, serve};

use crate::Server;
use crate::answer::{Body, Response};
use crate::flow::Permit;
use crate::identity::MASTERS;
use crate::node_keys::Certificate;
use crate::{request, route, seed, tokens, verbs};
use wire::query::Query;

/// An answer goes out in pieces of this size, the last when the client has taken those before.
const PIECE: usize = 128 << 10;
/// Seconds.
const DAY: i64 = 24 * 3600;
/// How long requests may take to finish once the server ends.
const DRAIN: Duration = Duration::from_secs(5);

pub async fn listen(server: &Server, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let authority = server.authority();
    let tls = wire::tls::server(server.0.serving.clone(), Some(authority), &["h2", "http/1.1"])?;
    let acceptor = TlsAcceptor::from(tls);
    let upkeep = [
        tokio::spawn(renew(server.clone())),
        tokio::spawn(seed::flows::keep(server.clone())),
        tokio::spawn(tokens::used::label(server.clone())),
    ];
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let place = server.0.places.enter(peer.ip());
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Err(error) = connection(server, acceptor, stream, place).await {
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
    upkeep.iter().for_each(|task| task.abort());
    let _ = tokio::time::timeout(DRAIN, drained(server)).await;
    Ok(())
}

/// Waits until no request is under way.
async fn drained(server: &Server) {
    while server.0.metrics.inflight.load(Ordering::Acquire) > 0 {
        server.0.metrics.quiet.notified().await;
    }
}

/// Keeps the certificates in use fresh.
async fn renew(server: Server) {
    loop {
        let mut wait = DAY;
        for one in &server.0.kept {
            wait = wait.min(match server.0.authority.renew(one) {
                Ok(at) => at.as_second() - (server.0.config.clock)().as_second(),
                Err(error) => {
                    tracing::error!(%error, "the certificate {} cannot be renewed", one.file);
                    3600
                }
            });
        }
        // In steps of a day: a clock that was set wrong is noticed.
        tokio::time::sleep(Duration::from_secs(wait.max(60).unsigned_abs())).await;
    }
}

async fn connection(server: Server, acceptor: TlsAcceptor, stream: TcpStream, place: Arc<Place>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    tokio::select! {
        served = serve(server, acceptor, stream, &place) => served,
        () = place.closed() => Err(io::Error::other("closed: there is no room for it, or for the answers that it does not take")),
    }
}

async fn serve(server: Server, acceptor: TlsAcceptor, stream: TcpStream, place: &Arc<Place>) -> io::Result<()> {
    let near = stream.local_addr()?.ip() == stream.peer_addr()?.ip();
    let stream = serve::shake(&acceptor, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate =
        shown.zip(serve::caller(&stream)).map(|(der, (name, groups))| Certificate::new(der, name, groups));
    if let Some(certificate) = certificate.as_ref().filter(|certificate| certificate.holds(&server.0.snapshot)) {
        let identity = &certificate.identity;
        place.known(identity.name(), Proof::Certificate, identity.is_in(MASTERS));
    }
    let mut stopped = server.0.stopped.subscribe();
    let peer = Arc::new(Peer { place: place.clone(), certificate, near });
    let answer = move |request: Request<Incoming>| guarded(server.clone(), peer.clone(), request);
    serve::http(stream, answer, too_large(), async { drop(stopped.wait_for(|stopped| *stopped).await) }).await
}

/// What no part of the server has seen is refused in its words all the same.
fn too_large() -> serve::TooLarge {
    let message = format!("the head of the request, its URL included, is larger than {} bytes", serve::HEAD_MAX);
    let status = Status { code: 431, ..Status::new(Reason::RequestEntityTooLarge, message) };
    serve::TooLarge { content_type: "application/json", body: format!("{}\n", status.to_value()) }
}

/// Who is at the other end of a connection.
struct Peer {
    place: Arc<Place>,
    certificate: Option<Certificate>,
    /// On this machine: bytes cost less than to compress them.
    near: bool,
}

/// A request that panics is answered with 500; the connection and the server go on.
async fn guarded(server: Server, peer: Arc<Peer>, request: Request<Incoming>) -> http::Response<Outgoing> {
    let _under_way = server.0.metrics.under_way();
    let (verb, resource) = labels(&server, &request);
    let (audit, bare) = (audit_id(&server, request.headers()), request.method() == Method::HEAD);
    let served = AssertUnwindSafe(respond(&server, &peer, request)).catch_unwind().await;
    let answer = served.unwrap_or_else(|_| {
        tracing::error!(verb, resource, "a request panicked");
        let why = Status::internal("the server panicked while it served this request");
        Answer { response: Response::refused(&why), permit: None, lasts: false }
    });
    server.0.metrics.count(verb, resource, answer.response.status.as_u16());
    let mut answer = answer.on_the_wire(&peer.place);
    answer.headers_mut().insert(AUDIT_ID, audit);
    // Over HTTP/2 a body that nobody asked for breaks the stream.
    if bare {
        *answer.body_mut() = Outgoing(Content::Whole(Bytes::new()));
    }
    answer
}

/// What a request is called wherever it is told of: as its sender says, or by a name of its own
/// (apiserver pkg/endpoints/filters/audit_init.go).
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

fn audit_id(server: &Server, headers: &HeaderMap) -> HeaderValue {
    match headers.get(AUDIT_ID).filter(|given| !given.is_empty()) {
        Some(given) => given.clone(),
        None => {
            let uuid = tokens::uuid(&server.0.config.entropy);
            let mut value = HeaderValue::try_from(uuid).expect("a UUID is plain text");
            // It never comes again: HTTP/2 need not remember it, and what does come again stays remembered.
            value.set_sensitive(true);
            value
        }
    }
}

/// What goes out.
struct Answer {
    response: Response,
    permit: Option<Permit>,
    lasts: bool,
}

async fn respond(server: &Server, peer: &Peer, request: Request<Incoming>) -> Answer {
    let Peer { place, certificate, near } = peer;
    let (mut head, body) = request.into_parts();
    let upgrade = match wire::upgrade::is_asked(&head.headers) {
        true => head.extensions.remove::<hyper::upgrade::OnUpgrade>(),
        false => None,
    };
    let (mut outcome, mut permit) = request::from_outside(server, place, certificate.as_ref(), &mut head, body).await;
    outcome.gzip &= !near;
    let lasts = outcome.lasts();
    let mut response = outcome.over_http(server);
    if let (Some(permit), Body::Bytes(bytes)) = (&mut permit, &response.body)
        && let Err(refused) = permit.answer(bytes.len())
    {
        response = Response::refused(&refused);
    }
    if response.status == StatusCode::SWITCHING_PROTOCOLS
        && let Body::Upgrade(_) = response.body
    {
        let Body::Upgrade(backend) = std::mem::replace(&mut response.body, Body::Bytes(Bytes::new())) else {
            return Answer { response, permit, lasts };
        };
        let Some(upgrade) = upgrade else {
            let response = Response::refused(&Status::bad_request("this connection cannot be upgraded"));
            return Answer { response, permit, lasts };
        };
        // The connection goes on as another thing, and has its place until then.
        let place = place.clone();
        tokio::spawn(async move {
            match upgrade.await {
                Ok(client) => tokio::select! {
                    _ = wire::upgrade::splice(Box::new(TokioIo::new(client)), backend) => {}
                    () = place.closed() => {}
                },
                Err(error) => tracing::debug!(%error, "an upgrade was given up"),
            }
        });
    }
    Answer { response, permit, lasts }
}

/// Verb and resource, from fixed words only.
pub(crate) fn labels<B>(server: &Server, request: &Request<B>) -> (&'static str, String) {
    let path = request.uri().path();
    if let Some(target) = route::parse(path) {
        let query = Query::parse(heads::query(request.uri(), request.extensions()));
        let served = server.kinds().served(&target.group, &target.version, &target.resource);
        let resource = served.map_or_else(String::new, |served| served.kind.plural.clone());
        return (verbs::verb_of(request.method(), &target, &query), resource);
    }
    let verb = if request.method() == Method::GET { "get" } else { "other" };
    (verb, String::new())
}

impl Answer {
    fn on_the_wire(self, place: &Arc<Place>) -> http::Response<Outgoing> {
        let Answer { response, permit, lasts } = self;
        let held = Held { _permit: permit, _untaken: (!lasts).then(|| place.answered()) };
        let content = match response.body {
            Body::Bytes(bytes) => Content::Whole(Bytes::from_owner(Whole { bytes, _held: held })),
            Body::Stream(stream) => Content::Stream { stream, _held: held },
            // Inside the process only.
            Body::List { .. } | Body::Events(_) | Body::Upgrade(_) => Content::Whole(Bytes::new()),
        };
        let mut answer = http::Response::new(Outgoing(content));
        *answer.status_mut() = response.status;
        *answer.headers_mut() = response.headers;
        answer.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        if lasts {
            answer.extensions_mut().insert(serve::Lasting);
        }
        answer
    }
}

/// The body of an answer on the wire. The request is under way until it is taken.
pub struct Outgoing(Content);

enum Content {
    /// What is left of it.
    Whole(Bytes),
    Stream {
        stream: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
        _held: Held,
    },
}

/// What an answer has until it is taken.
struct Held {
    _permit: Option<Permit>,
    _untaken: Option<Untaken>,
}

/// Bytes that have it until the last of them has gone out, from wherever they wait for that.
struct Whole {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Content::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Content::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Content::Stream { stream, .. } => {
                stream.as_mut().poll_next(cx).map(|next| next.map(|b| b.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream { .. } => SizeHint::default(),
        }
    }
}
