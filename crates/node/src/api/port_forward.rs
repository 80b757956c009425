//! Port-forward: connections to ports of a pod's own loopback.
//!
//! SPDY streams, bare or inside a websocket: for each connection an error and a data stream with the same
//! `requestID` (kubelet cri/streaming/portforward/httpstream.go). Or a websocket's channels: one connection to each
//! port of the request (websocket.go). A refused connection is told on its error stream; the session and its other
//! connections go on. How a connection ends is wire's business (`wire::ports`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use runtime::engine::Duplex;
use runtime::{Engine, SandboxId};
use tokio::task::JoinSet;
use wire::ports::{self, PORTS_MAX};
use wire::query::Query;
use wire::spdy::{Session, Stream};
use wire::streams::{self, IDLE_MAX, over_spdy};
use wire::websocket::{self, Tunnel};

use super::answer::{self, Response, text};
use crate::Control;

const PROTOCOL: &str = "portforward.k8s.io";
const TUNNELED: &str = "SPDY/3.1+portforward.k8s.io";
/// How long one stream of a pair may wait for the other.
const PAIR_MAX: Duration = Duration::from_secs(30);
/// Streams without their other half, at most.
const HALVES_MAX: usize = 1000;

/// Whose ports.
#[derive(Clone)]
struct Target {
    engine: Arc<dyn Engine>,
    sandbox: SandboxId,
    pod: String,
    uid: String,
}

pub async fn serve(control: &Control, request: Request<Incoming>, namespace: &str, name: &str) -> Response {
    let found = match control.pod(namespace, name).await {
        Ok(Some(found)) => found,
        Ok(None) => return text(StatusCode::NOT_FOUND, "pod does not exist"),
        Err(why) => return text(StatusCode::INTERNAL_SERVER_ERROR, why),
    };
    let Some(sandbox) = found.sandbox() else {
        let why = format!("pod not found ({:?})", format!("{name}_{namespace}"));
        return text(StatusCode::NOT_FOUND, why);
    };
    let pod = format!("{name}_{namespace}");
    let target = Target { engine: control.engine().clone(), sandbox, pod, uid: found.uid };
    if over_spdy::is_asked(request.headers()) {
        let (headers, _) = match over_spdy::accept(request.headers(), &[PROTOCOL]) {
            Ok(accepted) => accepted,
            Err(headers) => return answer::refused_protocol(headers),
        };
        answer::upgraded(request, async move |stream| forward(Session::server(stream), target).await);
        return answer::switched(headers);
    }
    if !websocket::is_asked(request.headers()) {
        return text(StatusCode::BAD_REQUEST, "Upgrade request required");
    }
    let served: Vec<&str> = [&[TUNNELED], ports::PROTOCOLS].concat();
    let accepted = match websocket::accept(request.headers(), &served) {
        Ok(accepted) => accepted,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    if accepted.protocol == TUNNELED {
        answer::upgraded(request, async move |stream| {
            forward(Session::server(Tunnel::server(stream).await), target).await;
        });
        return answer::switched(accepted.headers);
    }
    let protocol = streams::protocol_of(accepted.protocol).expect("exec speaks them too");
    let ports = match ports_of(&Query::parse(wire::heads::query(request.uri(), request.extensions()))) {
        Ok(ports) => ports,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    answer::upgraded(request, async move |stream| {
        let socket = websocket::server(stream).await;
        let connect = |port| {
            let target = target.clone();
            async move { target.connect(port).await }
        };
        ports::over_websocket(socket, protocol, &ports, connect).await;
    });
    answer::switched(accepted.headers)
}

/// What is asked for over the channels of a websocket (NewV4Options).
fn ports_of(query: &Query) -> Result<Vec<u16>, String> {
    let all: Vec<&str> = query.all("port").flat_map(|words| words.split(',')).collect();
    if all.is_empty() {
        return Err("query parameter \"port\" is required".into());
    }
    if all.len() > PORTS_MAX {
        return Err(format!("{} ports are more than the {PORTS_MAX} that a websocket has channels for", all.len()));
    }
    let port = |text: &str| match text.parse::<u16>() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) if text.is_empty() => Err("query parameter \"port\" cannot be empty".into()),
        Err(error) => Err(format!("unable to parse {text:?} as a port: {error}")),
    };
    all.into_iter().map(port).collect()
}

impl Target {
    /// Err: in the words that clients show.
    async fn connect(&self, port: u16) -> Result<Box<dyn Duplex>, String> {
        let failed = |why| format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod, self.uid);
        self.engine.connect(&self.sandbox, port).await.map_err(failed)
    }
}

/// One session: pairs of streams, each a connection, until the client has left.
async fn forward(mut session: Session, target: Target) {
    let mut connections = JoinSet::new();
    let mut halves: HashMap<String, (Stream, tokio::time::Instant)> = HashMap::new();
    loop {
        let accepted = tokio::select! {
            accepted = session.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = tokio::time::sleep(IDLE_MAX), if connections.is_empty() => return,
        };
        let Some(stream) = accepted else { return };
        halves.retain(|_, (_, since)| since.elapsed() < PAIR_MAX);
        let id = stream.header("requestid").unwrap_or("").to_owned();
        let kind = stream.header("streamtype").unwrap_or("").to_owned();
        let port = stream.header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
        let (true, Some(port)) = (kind == "data" || kind == "error", port) else {
            stream.reset();
            continue;
        };
        if halves.len() >= HALVES_MAX || stream.reply().await.is_err() {
            continue;
        }
        match halves.remove(&id) {
            Some((other, _)) if kind == "data" => drop(connections.spawn(connect(target.clone(), port, stream, other))),
            Some((other, _)) => drop(connections.spawn(connect(target.clone(), port, other, stream))),
            None => drop(halves.insert(id, (stream, tokio::time::Instant::now()))),
        }
    }
}

async fn connect(target: Target, port: u16, data: Stream, error: Stream) {
    // Either end may break off: that is no failure of the forwarding, and clients end their whole session once
    // they read of one. Nor is it where a client has left before it is told.
    let told = match target.connect(port).await {
        Ok(pod) => {
            ports::over_spdy(data, pod).await;
            error.finish(Bytes::new()).await
        }
        Err(why) => {
            let told = error.finish(why.into()).await;
            told.and(data.finish(Bytes::new()).await)
        }
    };
    if let Err(error) = told {
        tracing::debug!(%error, port, "a client left its forwarded connection");
    }
}

#[cfg(test)]
mod tests;
