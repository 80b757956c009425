//! The server in the same process, as a transport: the one adapter between the two walls.
//!
//! No crate knows both sides but those that assemble; the tests of others that do take this very file.

use std::sync::Arc;

use api::Status;
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Client, Reply, Transport};
use server::{Component, Identity, Server};

/// The server under one identity.
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
