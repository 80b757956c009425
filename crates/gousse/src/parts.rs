//! The parts of a running instance, put together: server, scheduler, controllers, node.
//!
//! Each part is started here and nowhere else. In one process the parts speak to the server through
//! `Local`: the same routing, authorization and admission as over HTTPS, under an identity that only
//! the server can make.

use std::sync::Arc;

use api::{Clock, Entropy, Status};
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Client, Reply, Transport};
use server::{Component, Identity, Server};

pub mod join;
pub mod node;
pub mod serve;

/// The wall clock and the system's random source; every part takes them from here.
#[derive(Clone)]
pub struct Seams {
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Seams {
    #[allow(clippy::disallowed_methods, reason = "this is where the seam is filled in production")]
    pub fn real() -> Seams {
        let entropy = |mut buffer: &mut [u8]| {
            while !buffer.is_empty() {
                // Blocks only before the kernel's pool is ready, once after boot.
                let filled = rustix::rand::getrandom(&mut *buffer, rustix::rand::GetRandomFlags::empty());
                let filled = filled.expect("getrandom works on every kernel that we run on");
                buffer = &mut buffer[filled..];
            }
        };
        Seams { clock: Arc::new(jiff::Timestamp::now), entropy: Arc::new(entropy) }
    }
}

/// The server in the same process, as a transport.
pub struct Local {
    server: Server,
    identity: Identity,
}

impl Local {
    /// A client of this server under the identity of one of our parts.
    pub fn client(server: &Server, component: Component, agent: &str) -> Client {
        let identity = server.internal(component);
        Client::new(Arc::new(Local { server: server.clone(), identity })).named(agent)
    }
}

impl Transport for Local {
    fn call(&self, request: http::Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        Box::pin(async move {
            let response = self.server.handle(&self.identity, request).await;
            let body = match response.body {
                server::Body::Bytes(bytes) => Body::Bytes(bytes),
                server::Body::List { objects, revision, continue_token } => {
                    Body::List { objects, revision, continue_token }
                }
                server::Body::Events(events) => Body::Events(events),
                server::Body::Stream(stream) => Body::Stream(stream),
                server::Body::Upgrade(_) => {
                    return Err(Status::internal("an upgraded connection cannot be handed over inside the process"));
                }
            };
            Ok(Reply { status: response.status, headers: response.headers, body })
        })
    }
}
