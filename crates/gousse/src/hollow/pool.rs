//! Connections that many nodes share: a few for requests, and one for each two hundred watches.
//!
//! Every request goes out as its node (`Impersonate-User: system:node:NAME`): the server authorizes
//! and admits it as it does a real node's. So five thousand nodes need no five thousand keys, and cost the server
//! no five thousand handshakes; docs/decisions/hollow-nodes.md says what that leaves out.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use api::Status;
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Https, HttpsConfig, Reply, Transport};
use futures::StreamExt;
use http::{HeaderValue, Request};
use tokio::sync::Semaphore;

/// Watches on one connection: servers allow 250 streams with a certificate, 100 without.
const WATCHES: usize = 200;
const WATCHES_OF_TOKENS: usize = 80;
/// Connections for all other requests.
const LINES: usize = 4;
/// Requests under way beside watches: fewer than a server takes from all nodes together.
const TURNS: usize = 128;

/// The connections of one process.
pub struct Pool {
    config: HttpsConfig,
    lines: Vec<Https>,
    next: AtomicUsize,
    turns: Semaphore,
    watches: Mutex<Vec<Arc<Line>>>,
}

/// A connection for watches.
struct Line {
    https: Https,
    open: AtomicUsize,
}

/// One node's way to the server.
struct AsNode {
    pool: Arc<Pool>,
    user: HeaderValue,
}

/// Counted on its connection until it is dropped.
struct Open(Arc<Line>);

impl Pool {
    /// # Errors
    /// When the configuration makes no sense; the server need not be there yet.
    pub fn new(config: &HttpsConfig) -> io::Result<Arc<Pool>> {
        let lines = (0..LINES).map(|_| Https::new(config.clone())).collect::<io::Result<_>>()?;
        let (next, watches) = Default::default();
        Ok(Arc::new(Pool { config: config.clone(), lines, next, turns: Semaphore::new(TURNS), watches }))
    }

    /// The transport of a node of that name.
    pub fn node(self: &Arc<Pool>, name: &str) -> Result<Arc<dyn Transport>, Status> {
        let user = HeaderValue::from_str(&format!("system:node:{name}"));
        let user = user.map_err(|_| Status::bad_request(format!("{name:?} is no name of a node")))?;
        Ok(Arc::new(AsNode { pool: self.clone(), user }))
    }

    /// The first connection that has room for another watch.
    fn room(&self) -> Result<Open, Status> {
        let most = if self.config.identity.is_some() { WATCHES } else { WATCHES_OF_TOKENS };
        let mut lines = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match lines.iter().find(|line| line.open.load(Ordering::Relaxed) < most) {
            Some(line) => line.clone(),
            None => {
                let https = Https::new(self.config.clone()).map_err(|why| Status::internal(why.to_string()))?;
                lines.push(Arc::new(Line { https, open: AtomicUsize::new(0) }));
                lines.last().expect("it was just added").clone()
            }
        };
        line.open.fetch_add(1, Ordering::Relaxed);
        Ok(Open(line))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Transport for AsNode {
    fn call(&self, mut request: Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        let headers = request.headers_mut();
        headers.insert("impersonate-user", self.user.clone());
        headers.insert("impersonate-group", HeaderValue::from_static("system:nodes"));
        Box::pin(async move {
            let pool = &self.pool;
            if is_watch(&request) {
                let open = pool.room()?;
                let mut reply = open.0.https.call(request).await?;
                if let Body::Stream(stream) = reply.body {
                    let counted = stream.map(move |chunk| {
                        let _open = &open;
                        chunk
                    });
                    reply.body = Body::Stream(Box::pin(counted));
                }
                return Ok(reply);
            }
            let _turn = pool.turns.acquire().await.map_err(|why| Status::internal(why.to_string()))?;
            let line = pool.next.fetch_add(1, Ordering::Relaxed) % LINES;
            pool.lines[line].call(request).await
        })
    }
}

fn is_watch(request: &Request<Bytes>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted_on_their_connections() {
        let config = HttpsConfig { server: "http://127.0.0.1:1".into(), ..HttpsConfig::default() };
        let pool = Pool::new(&config).unwrap();
        let lines = || pool.watches.lock().unwrap().len();
        let mut open: Vec<Open> = (0..=WATCHES_OF_TOKENS).map(|_| pool.room().unwrap()).collect();
        assert_eq!(lines(), 2);
        open.remove(3);
        assert!(Arc::ptr_eq(&pool.room().unwrap().0, &open[0].0), "its place is another's");
        assert_eq!(lines(), 2);
        let asked = |uri: &str| is_watch(&Request::get(uri).body(Bytes::new()).unwrap());
        assert!(asked("/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Da"));
        assert!(!asked("/api/v1/pods?labelSelector=watch%3Dtrue") && !asked("/api/v1/pods"));
    }
}
