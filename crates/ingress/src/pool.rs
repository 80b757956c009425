//! Connections to endpoints, kept for the next request while their endpoint is one.
//!
//! HTTP/1.1 connections are lent to one request at a time and come back when its answer has been read to the end;
//! one of HTTP/2 is shared by all. Those to an endpoint that is gone end with what is under way on them. Nothing
//! is kept for longer than a minute.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::proxy::bodies::Sent;

/// Endpoints are pods: near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE: Duration = Duration::from_secs(60);
/// Of one endpoint.
const IDLE_MAX: usize = 64;

#[derive(Default)]
pub struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    /// Connections to others are not kept.
    live: HashSet<SocketAddr>,
    /// The longest idle first.
    idle: HashMap<SocketAddr, Vec<(Instant, http1::SendRequest<Sent>)>>,
    shared: HashMap<SocketAddr, http2::SendRequest<Sent>>,
    /// Somebody waits for the first of them to be idle for too long.
    watched: bool,
}

/// A connection that a request has; dropped before the end of its answer it is closed.
pub struct Lent {
    pool: Arc<Pool>,
    endpoint: SocketAddr,
    pub sender: http1::SendRequest<Sent>,
    /// It has served before: its peer may have closed it just now.
    pub again: bool,
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only connections to these are kept from now on.
    pub fn keep(&self, endpoints: impl Iterator<Item = SocketAddr>) {
        let mut state = self.state();
        state.live = endpoints.collect();
        let State { live, idle, shared, .. } = &mut *state;
        idle.retain(|endpoint, _| live.contains(endpoint));
        // What is under way on it holds it.
        shared.retain(|endpoint, _| live.contains(endpoint));
    }

    /// One that waits for a request.
    pub fn take(self: &Arc<Pool>, endpoint: SocketAddr) -> Option<Lent> {
        let mut state = self.state();
        let idle = state.idle.get_mut(&endpoint)?;
        while let Some((_, sender)) = idle.pop() {
            if sender.is_ready() {
                return Some(Lent { pool: self.clone(), endpoint, sender, again: true });
            }
        }
        None
    }

    pub async fn connect(self: &Arc<Pool>, endpoint: SocketAddr) -> io::Result<Lent> {
        let stream = dial(endpoint).await?;
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%endpoint, %error, "a connection to an endpoint ended");
            }
        });
        Ok(Lent { pool: self.clone(), endpoint, sender, again: false })
    }

    /// The HTTP/2 connection to an endpoint. Of two that are dialled at once the later is kept.
    pub async fn shared(self: &Arc<Pool>, endpoint: SocketAddr) -> io::Result<http2::SendRequest<Sent>> {
        let known = self.state().shared.get(&endpoint).filter(|sender| !sender.is_closed()).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let stream = dial(endpoint).await?;
        let builder = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .max_header_list_size(64 << 10)
            .clone();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%endpoint, %error, "a connection to an endpoint ended");
            }
            if let Some(pool) = pool.upgrade() {
                pool.forget_closed(endpoint);
            }
        });
        let mut state = self.state();
        if state.live.contains(&endpoint) {
            state.shared.insert(endpoint, sender.clone());
        }
        Ok(sender)
    }

    fn forget_closed(&self, endpoint: SocketAddr) {
        let mut state = self.state();
        if state.shared.get(&endpoint).is_some_and(http2::SendRequest::is_closed) {
            state.shared.remove(&endpoint);
        }
    }

    fn put(self: &Arc<Pool>, endpoint: SocketAddr, sender: http1::SendRequest<Sent>) {
        let mut state = self.state();
        if !state.live.contains(&endpoint) || sender.is_closed() {
            return;
        }
        let idle = state.idle.entry(endpoint).or_default();
        if idle.len() < IDLE_MAX {
            idle.push((Instant::now(), sender));
        }
        if !std::mem::replace(&mut state.watched, true) {
            tokio::spawn(expire(Arc::downgrade(self)));
        }
    }

    /// Closes what has been idle for too long; when the next one will have been.
    fn close_old(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        state.idle.retain(|_, idle| {
            idle.retain(|(since, sender)| *since + IDLE > now && !sender.is_closed());
            !idle.is_empty()
        });
        let next = state.idle.values().filter_map(|idle| idle.first()).map(|(since, _)| *since + IDLE).min();
        state.watched = next.is_some();
        next
    }

    #[cfg(test)]
    pub fn idle(&self) -> usize {
        self.state().idle.values().map(Vec::len).sum()
    }
}

impl Lent {
    /// The answer has been read to its end.
    pub fn give_back(self) {
        let Lent { pool, endpoint, mut sender, .. } = self;
        if sender.is_ready() {
            return pool.put(endpoint, sender);
        }
        // Its task has to see the end first, or the rest of the request is still on its way.
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                pool.put(endpoint, sender);
            }
        });
    }
}

/// As long as there is something idle.
async fn expire(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_old()) {
        sleep_until(next).await;
    }
}

async fn dial(endpoint: SocketAddr) -> io::Result<TcpStream> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer");
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(endpoint)).await.map_err(late)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}
