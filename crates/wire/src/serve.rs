//! The server's side of one connection: TLS, then HTTP/1.1 or 2, every wait with an end.
//!
//! Handshakes and heads of requests have a time; HTTP/2, which has none of its own for the first
//! head, is given up when no request ever came. What one request may take is the service's affair.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the next request's head, so also how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);

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

/// Answers requests until the peer ends, or until `stop`: then those under way are finished.
pub async fn http<S, A, F, B>(stream: TlsStream<S>, answer: A, stop: impl Future<Output = ()>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: hyper::body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
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
    let used = Arc::new(AtomicBool::new(false));
    let seen = used.clone();
    let service = service_fn(move |request| {
        seen.store(true, Ordering::Relaxed);
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let unused = async {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        if used.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        done = &mut connection => return done.map_err(io::Error::other),
        () = unused => return Err(io::Error::new(io::ErrorKind::TimedOut, "no request came")),
        () = stop => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
