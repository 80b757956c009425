//! The server's side of one connection: TLS, then HTTP/1.1 or 2, every wait with an end.
//!
//! Handshakes and heads of requests have a time. HTTP/2 has none of its own and answers pings for ever:
//! a peer without a certificate may idle as long as with HTTP/1.1, one with a certificate as long as it
//! likes after its first request. What one request may take is the service's affair.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the next request's head, so also how long a connection may idle (apiserver pkg/server/secure_serving.go
/// IdleTimeout).
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// A peer that was told to go takes no longer than this.
const FAREWELL: Duration = Duration::from_secs(10);

/// The TLS handshake. An error also when it takes too long.
pub async fn shake<S>(acceptor: &TlsAcceptor, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
    shaken.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))?
}

/// User and groups of the client's certificate, if it showed one.
pub fn caller<S>(stream: &TlsStream<S>) -> Option<(String, Vec<String>)> {
    stream.get_ref().1.peer_certificates().and_then(|chain| crate::tls::subject(chain.first()?))
}

/// Answers requests until the peer ends, idles too long, or until `stop`: then those under way are finished.
pub async fn http<S, A, F, B>(stream: TlsStream<S>, answer: A, stop: impl Future<Output = ()>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = stream.get_ref().1.peer_certificates().is_some();
    // Settled by the handshake: nothing is waited for to tell the versions apart.
    let builder = Builder::new(TokioExecutor::new());
    let mut builder = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        _ => builder.http1_only(),
    };
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_concurrent_streams(250)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(256 << 10);
    let streams = Arc::new(Streams::new());
    let counted = streams.clone();
    let service = service_fn(move |request| {
        let open = counted.open();
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await.map(|body| Held { body, _open: open })) }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        done = &mut connection => return done.map_err(io::Error::other),
        () = streams.idle(known) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(FAREWELL, connection).await;
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came"));
        }
        () = stop => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

/// The requests of one connection whose answers are not through yet.
struct Streams {
    begun: Instant,
    open: AtomicUsize,
    /// When the last one ended, in milliseconds after `begun`; 0 before.
    ended: AtomicU64,
    quiet: Notify,
}

impl Streams {
    fn new() -> Streams {
        let (open, ended, quiet) = Default::default();
        Streams { begun: Instant::now(), open, ended, quiet }
    }

    fn open(self: &Arc<Streams>) -> Open {
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(self.clone())
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
}

/// One of them.
struct Open(Arc<Streams>);

impl Drop for Open {
    fn drop(&mut self) {
        let after = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.store(after.max(1), Ordering::Release);
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.quiet.notify_one();
        }
    }
}

/// The body of an answer; with it its stream ends.
struct Held<B> {
    body: B,
    _open: Open,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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
