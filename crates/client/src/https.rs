//! The transport over the network: HTTP/2 where the server agrees to it, else HTTP/1.1.
//!
//! One HTTP/2 connection carries everything at once; HTTP/1.1 connections are kept and used again.
//! A request that surely never left, or only reads, is sent once more on a new connection; any
//! other failure is the caller's to judge. Pings go out only while a request or a watch is open.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{Reason, Status};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::answer::{unconnected, unreachable_server};
use crate::transport::Boxed;
use crate::{Body, Reply, Transport};
use wire::tls::Presented;

/// While something is open, a peer that stays silent for this long is asked, and then given up.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(15);
/// A token's file is read again after this long (projected tokens are replaced under us).
const TOKEN_AGE: Duration = Duration::from_secs(60);

/// Where a server is, how it proves itself and how we do. PEM texts.
#[derive(Clone, Default)]
pub struct HttpsConfig {
    /// `https://host:port`, a path in front of the API is kept; `http://` speaks plainly.
    pub server: String,
    /// None: the machine's own authorities.
    pub ca: Option<String>,
    /// Our certificate and its key.
    pub identity: Option<wire::Pair>,
    pub bearer: Option<Bearer>,
    /// Does not ask who the server is.
    pub insecure: bool,
    /// Whom the server must prove to be, where it is not the URL's host.
    pub tls_server_name: Option<String>,
}

#[derive(Clone)]
pub enum Bearer {
    Token(String),
    File(PathBuf),
}

pub struct Https {
    host: String,
    port: u16,
    /// In front of every path; without a slash at its end.
    prefix: String,
    authority: HeaderValue,
    name: String,
    tls: Option<Arc<ClientConfig>>,
    /// The certificate that we show.
    presented: Option<Arc<Presented>>,
    bearer: Option<Bearer>,
    token: Mutex<Option<(HeaderValue, Instant)>>,
    shared: Mutex<Shared>,
    /// Only one connection is dialled at a time, so that a burst shares it.
    dialling: tokio::sync::Mutex<()>,
}

type Outgoing = Full<Bytes>;

#[derive(Default)]
struct Shared {
    dialled: u64,
    /// Connections up to this one showed a certificate that is shown no more.
    stale: u64,
    http2: Option<Numbered<http2::SendRequest<Outgoing>>>,
    /// Idle ones, and ones whose answer is still being read.
    http1: Vec<Numbered<http1::SendRequest<Outgoing>>>,
}

/// A connection and its place in the order of dialling, from 1.
#[derive(Clone)]
struct Numbered<T> {
    number: u64,
    sender: T,
}

enum Sender {
    Http2(Numbered<http2::SendRequest<Outgoing>>),
    Http1(Numbered<http1::SendRequest<Outgoing>>),
}

impl Https {
    /// Errors when the configuration makes no sense; the server need not be there yet.
    pub fn new(config: HttpsConfig) -> io::Result<Https> {
        let uri: Uri = config.server.parse().map_err(|why| bad(&config.server, &why))?;
        let host = uri.host().ok_or_else(|| bad(&config.server, &"no host"))?;
        let plain = match uri.scheme_str() {
            Some("https") | None => false,
            Some("http") => true,
            Some(other) => return Err(bad(&config.server, &format!("unknown scheme {other}"))),
        };
        let presented = config.identity.as_ref().map(Presented::new).transpose()?;
        let tls = match plain {
            true => None,
            false => {
                let trust = match (&config.ca, config.insecure) {
                    (_, true) => wire::Trust::Anybody,
                    (Some(ca), false) => wire::Trust::Authorities(ca),
                    (None, false) => wire::Trust::Machine(None),
                };
                Some(wire::tls::client(trust, presented.clone(), &["h2", "http/1.1"])?)
            }
        };
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        Ok(Https {
            host: host.to_string(),
            port: uri.port_u16().unwrap_or(if plain { 80 } else { 443 }),
            prefix: uri.path().trim_end_matches('/').to_string(),
            authority: HeaderValue::from_str(authority).map_err(|why| bad(&config.server, &why))?,
            name: config.tls_server_name.unwrap_or_else(|| host.to_string()),
            tls,
            presented,
            bearer: config.bearer,
            token: Mutex::default(),
            shared: Mutex::default(),
            dialling: tokio::sync::Mutex::default(),
        })
    }

    /// Shows this certificate in place of the one before, from the next request on: connections that showed that one
    /// end with what is under way on them.
    pub fn present(&self, pair: &wire::Pair) -> io::Result<()> {
        let Some(presented) = &self.presented else { return Ok(()) };
        presented.replace(pair)?;
        let mut shared = self.lock();
        shared.stale = shared.dialled;
        shared.http2 = None;
        shared.http1.clear();
        Ok(())
    }

    /// A connection of its own for one request that is to leave HTTP behind, and that request as it is sent.
    pub async fn dial(&self, mut request: Request<Bytes>) -> Result<(wire::Duplex, Request<()>), Status> {
        self.prefixed(&mut request)?;
        self.authorize(&mut request).await?;
        request.headers_mut().insert(header::HOST, self.authority.clone());
        let tls = self.tls.as_ref().map(|tls| {
            let mut tls = ClientConfig::clone(tls);
            // Only HTTP/1.1 can be left.
            tls.alpn_protocols = vec![b"http/1.1".to_vec()];
            Arc::new(tls)
        });
        let connection = wire::dial_as(&self.host, self.port, &self.name, tls).await;
        Ok((connection.map_err(|why| self.unconnected(&why))?.stream, request.map(drop)))
    }

    fn unconnected(&self, why: &io::Error) -> Status {
        unconnected(self.authority.to_str().unwrap_or_default(), why)
    }

    fn prefixed(&self, request: &mut Request<Bytes>) -> Result<(), Status> {
        if !self.prefix.is_empty() {
            let path = request.uri().path_and_query().map(|p| p.as_str()).unwrap_or("/");
            let uri = format!("{}{path}", self.prefix).parse();
            *request.uri_mut() = uri.map_err(|_| Status::bad_request("the path is no URI"))?;
        }
        Ok(())
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Status> {
        let mut request = request.map(Full::new);
        // A kept connection may be closed by the server at the very moment that we use it.
        let again = request.method().is_safe().then(|| request.clone());
        let mut after = 0;
        loop {
            let sender = self.sender(after).await.map_err(|why| self.unconnected(&why))?;
            let retried = std::mem::replace(&mut after, sender.number()) > 0;
            match self.try_send(sender, request).await {
                Ok(response) => return Ok(response),
                Err(mut failed) => match failed.take_message().or_else(|| again.clone()) {
                    Some(unsent) if !retried => request = unsent,
                    _ => return Err(unreachable_server(&chain(&failed.into_error()))),
                },
            }
        }
    }

    async fn try_send(
        &self,
        sender: Sender,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match sender {
            Sender::Http2(mut connection) => {
                *request.uri_mut() = self.absolute(request.uri());
                connection.sender.try_send_request(request).await
            }
            Sender::Http1(mut connection) => {
                *request.uri_mut() = relative(request.uri());
                request.headers_mut().insert(header::HOST, self.authority.clone());
                let response = connection.sender.try_send_request(request).await?;
                self.lock().http1.push(connection);
                Ok(response)
            }
        }
    }

    /// A connection that can take a request and was dialled after `after`: one that is there, or a new one.
    async fn sender(&self, after: u64) -> io::Result<Sender> {
        if let Some(sender) = self.existing(after) {
            return Ok(sender);
        }
        let _one_at_a_time = self.dialling.lock().await;
        // Somebody may have dialled while we waited.
        if let Some(sender) = self.existing(after) {
            return Ok(sender);
        }
        let connection = wire::dial_as(&self.host, self.port, &self.name, self.tls.clone()).await?;
        let stream = TokioIo::new(connection.stream);
        if !connection.http2 {
            let (sender, driver) = http1::handshake(stream).await.map_err(io::Error::other)?;
            drive(driver);
            return Ok(Sender::Http1(Numbered { number: self.lock().count(), sender }));
        }
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_PATIENCE)
            .keep_alive_while_idle(false)
            .handshake(stream)
            .await
            .map_err(io::Error::other)?;
        drive(driver);
        let mut shared = self.lock();
        let connection = Numbered { number: shared.count(), sender };
        shared.http2 = Some(connection.clone());
        Ok(Sender::Http2(connection))
    }

    fn existing(&self, after: u64) -> Option<Sender> {
        let mut shared = self.lock();
        let after = after.max(shared.stale);
        shared.http2.take_if(|connection| connection.sender.is_closed());
        shared.http1.retain(|connection| !connection.sender.is_closed());
        if let Some(connection) = shared.http2.as_ref().filter(|connection| connection.number > after) {
            return Some(Sender::Http2(connection.clone()));
        }
        let idle = shared.http1.iter().position(|c| c.number > after && c.sender.is_ready())?;
        Some(Sender::Http1(shared.http1.swap_remove(idle)))
    }

    async fn authorize(&self, request: &mut Request<Bytes>) -> Result<(), Status> {
        let Some(bearer) = &self.bearer else { return Ok(()) };
        let kept = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let value = match (bearer, kept) {
            (Bearer::Token(_), Some((value, _))) => value,
            (Bearer::File(_), Some((value, read))) if read.elapsed() < TOKEN_AGE => value,
            (bearer, _) => {
                let text = match bearer {
                    Bearer::Token(token) => token.clone(),
                    Bearer::File(path) => tokio::fs::read_to_string(path).await.map_err(|why| {
                        Status::new(Reason::Unauthorized, format!("the token in {}: {why}", path.display()))
                    })?,
                };
                let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim())).map_err(|_| {
                    Status::new(Reason::Unauthorized, "the token has characters that no header can carry")
                })?;
                value.set_sensitive(true);
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some((value.clone(), Instant::now()));
                value
            }
        };
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Ok(())
    }

    fn absolute(&self, uri: &Uri) -> Uri {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let path = uri.path_and_query().cloned();
        let mut parts = http::uri::Parts::default();
        parts.scheme = scheme.parse().ok();
        parts.authority = self.authority.to_str().ok().and_then(|text| text.parse().ok());
        parts.path_and_query = path;
        Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Https {
    fn call(&self, mut request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        Box::pin(async move {
            self.prefixed(&mut request)?;
            self.authorize(&mut request).await?;
            let (parts, body) = self.exchange(request).await?.into_parts();
            let chunks = body.into_data_stream();
            let chunks = futures::StreamExt::map(chunks, |chunk| chunk.map_err(io::Error::other));
            Ok(Reply { status: parts.status, headers: parts.headers, body: Body::Stream(Box::pin(chunks)) })
        })
    }
}

impl Shared {
    fn count(&mut self) -> u64 {
        self.dialled += 1;
        self.dialled
    }
}

impl Sender {
    fn number(&self) -> u64 {
        match self {
            Sender::Http2(connection) => connection.number,
            Sender::Http1(connection) => connection.number,
        }
    }
}

fn drive(driver: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(why) = driver.await {
            tracing::debug!("a connection to the server ended: {why}");
        }
    });
}

/// HTTP/1.1 names the path only; the host is a header.
fn relative(uri: &Uri) -> Uri {
    uri.path_and_query().map(|path| Uri::from(path.clone())).unwrap_or_else(|| uri.clone())
}

/// Where distributions keep the authorities that the machine trusts.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn bad(server: &str, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the server's address {server:?}: {why}"))
}

#[cfg(test)]
mod tests;
