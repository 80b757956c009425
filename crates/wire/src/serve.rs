//! The server's side of one connection: TLS or none, then HTTP/1.1 or 2, every wait with an end.
//!
//! Handshakes and heads of requests have a time. HTTP/2 has none of its own and answers pings for ever:
//! a peer without a certificate may idle as long as with HTTP/1.1, one with a certificate as long as it
//! likes after its first request; who takes nothing of the answers that wait is given up. What one request
//! may take is the service's affair.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::heads::{self, Begun};
use crate::patience::{Endless, Patient};
use crate::turns::{Head, Turns};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the next request's head, so also how long a connection may idle (apiserver pkg/server/secure_serving.go
/// IdleTimeout).
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// How long a peer may take nothing of the answers that are there for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Requests under way on one connection: with a certificate (net/http's own number), and without (apiserver
/// pkg/server/options/serving.go has as many for all since CVE-2023-44487).
const STREAMS: [u32; 2] = [250, 100];
/// Streams that the peer has taken back before we saw them, and that it broke by errors of its own: of these
/// a connection ends (rapid reset, CVE-2025-8671).
const RESETS: usize = 20;
const ERRORS: usize = 100;
/// Of a request's head: from peers with a certificate (net/http DefaultMaxHeaderBytes), and from others, whom it
/// costs nothing to have very many of them under way. Over HTTP/2 with CONTINUATION and after decompression.
pub const HEAD_MAX: usize = 1 << 20;
const HEAD_MAX_UNKNOWN: usize = 256 << 10;
const FIELDS_MAX_UNKNOWN: usize = 32 << 10;
/// hyper counts what it reads at once.
const SLACK: usize = 64 << 10;
/// Of what a refused head still has to come so much is read, lest its sender misses the answer.
const UNWANTED_MAX: u64 = 4 << 20;
/// A peer that was told to go takes no longer than this.
const FAREWELL: Duration = Duration::from_secs(10);

/// The answer to a head that is too large.
#[derive(Clone, Debug)]
pub struct TooLarge {
    pub content_type: &'static str,
    pub body: String,
}

/// In an answer's extensions: it lasts (a watch, a log), and its reader may take their time. What waits is little.
#[derive(Clone, Copy, Debug)]
pub struct Lasting;

/// The TLS handshake. An error also when it takes too long.
pub async fn shake<S>(acceptor: &TlsAcceptor, stream: S) -> io::Result<TlsStream<Patient<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Patient::new(stream, PATIENCE);
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    shaken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))?
}

/// User and groups of the client's certificate, if it showed one.
pub fn caller<S>(stream: &TlsStream<S>) -> Option<(String, Vec<String>)> {
    stream.get_ref().1.peer_certificates().and_then(|chain| crate::tls::subject(chain.first()?))
}

/// Answers requests until the peer ends, idles too long, or until `stop`: then those under way are finished.
pub async fn http<S, A, F, B>(
    mut stream: TlsStream<Patient<S>>,
    answer: A,
    too_large: TooLarge,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = stream.get_ref().1.peer_certificates().is_some();
    let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let streams = Arc::new(Streams::new());
    // Of many streams one that waits holds up nobody.
    let endless = (!multiplexed).then(|| stream.get_ref().0.endless());
    // Over HTTP/2 a stranger's fields are few anyway.
    if !known && !multiplexed {
        stream.get_mut().0.take_turns(Turns::new(streams.head.clone()));
    }
    spoken(stream, Spoken { known, endless, streams }, answer, too_large, stop).await
}

/// The same without TLS: HTTP/1.1, and nobody is known.
pub async fn plain<S, A, F, B>(
    stream: S,
    answer: A,
    too_large: TooLarge,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut stream, streams) = (Patient::new(stream, PATIENCE), Arc::new(Streams::new()));
    stream.take_turns(Turns::new(streams.head.clone()));
    let endless = Some(stream.endless());
    spoken(stream, Spoken { known: false, endless, streams }, answer, too_large, stop).await
}

/// What is settled before the first request.
struct Spoken {
    known: bool,
    /// Of HTTP/1.1; None: HTTP/2.
    endless: Option<Endless>,
    streams: Arc<Streams>,
}

async fn spoken<S, A, F, B>(
    stream: S,
    Spoken { known, endless, streams }: Spoken,
    answer: A,
    too_large: TooLarge,
    stop: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let multiplexed = endless.is_none();
    let head_max = if known { HEAD_MAX } else { HEAD_MAX_UNKNOWN };
    let mut stop = pin!(stop);
    let (stream, long) = match multiplexed {
        true => (Begun::unread(stream), None),
        false => tokio::select! {
            first = tokio::time::timeout(HEADER_TIMEOUT, heads::first(stream, head_max)) => match first {
                Ok(Ok(Ok(begun))) => begun,
                Ok(Ok(Err(stream))) => return refuse(stream, &too_large).await,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")),
            },
            () = &mut stop => return Ok(()),
        },
    };
    let long = Mutex::new(long);
    let counted = streams.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Of the first request, no other.
        if let Some(query) = long.lock().unwrap_or_else(PoisonError::into_inner).take() {
            request.extensions_mut().insert(query);
        }
        let open = counted.open();
        // In a box, so that an answer which waits is without what its making took.
        let (answered, endless) = (Box::pin(answer(request)), endless.clone());
        async move { Ok::<_, Infallible>(Held::new(answered.await, open, endless.as_ref())) }
    });
    let (stream, life) = (TokioIo::new(stream), Life { streams, known, multiplexed });
    // What was settled is spoken: a builder of both versions would look for itself.
    if !multiplexed {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(head_max + SLACK);
        let connection = builder.serve_connection(stream, service).with_upgrades();
        return live(connection, |connection| connection.graceful_shutdown(), life, stop).await;
    }
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(STREAMS[usize::from(!known)])
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .max_header_list_size(if known { HEAD_MAX } else { FIELDS_MAX_UNKNOWN } as u32)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10);
    live(builder.serve_connection(stream, service), |connection| connection.graceful_shutdown(), life, stop).await
}

/// What ends a connection beside its peer.
struct Life {
    streams: Arc<Streams>,
    known: bool,
    multiplexed: bool,
}

async fn live<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    end: impl Fn(Pin<&mut C>),
    Life { streams, known, multiplexed }: Life,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> io::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        done = &mut connection => return done.map_err(io::Error::other),
        () = streams.idle(known) => {
            end(connection.as_mut());
            let _ = tokio::time::timeout(FAREWELL, connection).await;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came"));
        }
        // Over HTTP/1.1 the connection itself waits then (`Patient`).
        () = streams.untaken(), if multiplexed => {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes none of its answers"));
        }
        () = &mut stop => {}
    }
    end(connection.as_mut());
    connection.await.map_err(io::Error::other)
}

/// Says that the head is too large, and reads what is on its way.
async fn refuse(mut stream: impl AsyncRead + AsyncWrite + Unpin, why: &TooLarge) -> io::Result<()> {
    let TooLarge { content_type, body } = why;
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answered = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(UNWANTED_MAX), &mut tokio::io::sink()).await
    };
    // Whoever has not read it by then has had their time.
    let _ = tokio::time::timeout(FAREWELL, answered).await;
    Err(io::Error::new(io::ErrorKind::InvalidData, "the request's head is too large"))
}

/// The requests of one connection whose answers are not through yet.
struct Streams {
    begun: Instant,
    head: Head,
    open: AtomicUsize,
    /// When the last one ended, in milliseconds after `begun`; 0 before.
    ended: AtomicU64,
    quiet: Notify,
    /// Of how many a piece is there that the peer does not take.
    untaken: AtomicUsize,
    /// When it last took one, or the first was there to take; as `ended`.
    taken: AtomicU64,
    waits: Notify,
}

impl Streams {
    fn new() -> Streams {
        let (head, open, ended, quiet, untaken, taken, waits) = Default::default();
        Streams { begun: Instant::now(), head, open, ended, quiet, untaken, taken, waits }
    }

    fn open(self: &Arc<Streams>) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        self.head.ends();
        Open { streams: self.clone(), last: false }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Ends when nothing was open for too long. A peer that is `known` idles as it likes once it has asked.
    async fn idle(&self, known: bool) {
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            let idles = self.open.load(Ordering::Acquire) == 0;
            if known && (ended > 0 || !idles) {
                return std::future::pending().await;
            }
            let until = self.begun + Duration::from_millis(ended) + HEADER_TIMEOUT;
            if !idles {
                self.quiet.notified().await;
            } else if until <= Instant::now() {
                return;
            } else {
                tokio::time::sleep_until(until).await;
            }
        }
    }

    /// Ends when something was there to take for too long, and nothing was taken.
    async fn untaken(&self) {
        loop {
            let until = self.begun + Duration::from_millis(self.taken.load(Ordering::Acquire)) + PATIENCE;
            if self.untaken.load(Ordering::Acquire) == 0 {
                self.waits.notified().await;
            } else if until <= Instant::now() {
                return;
            } else {
                tokio::time::sleep_until(until).await;
            }
        }
    }

    fn offer(&self) {
        if self.untaken.fetch_add(1, Ordering::AcqRel) == 0 {
            self.taken.store(self.now(), Ordering::Release);
            self.waits.notify_one();
        }
    }

    fn take(&self) {
        self.taken.store(self.now(), Ordering::Release);
        self.untaken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One of them.
struct Open {
    streams: Arc<Streams>,
    /// Its connection becomes another's: no further request comes.
    last: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        let streams = &self.streams;
        streams.ended.store(streams.now(), Ordering::Release);
        if streams.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            if !self.last {
                streams.head.begins();
            }
            streams.quiet.notify_one();
        }
    }
}

/// The body of an answer; with it its stream ends.
struct Held<B> {
    body: B,
    lasting: bool,
    /// The peer has not taken the last piece. hyper asks for the next one, or drops the body, when it has.
    offered: bool,
    open: Open,
}

impl<B> Held<B> {
    fn new(answer: Response<B>, mut open: Open, endless: Option<&Endless>) -> Response<Held<B>> {
        let upgrades = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        open.last = upgrades;
        let lasting = upgrades || answer.extensions().get::<Lasting>().is_some();
        if let Some(endless) = endless {
            endless.set(lasting);
        }
        answer.map(|body| Held { body, lasting, offered: false, open })
    }

    fn take(&mut self) {
        if std::mem::take(&mut self.offered) {
            self.open.streams.take();
        }
    }
}

impl<B> Drop for Held<B> {
    fn drop(&mut self) {
        self.take();
    }
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.take();
        let next = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(next, Poll::Ready(Some(Ok(_)))) && !self.lasting {
            self.offered = true;
            self.open.streams.offer();
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
