//! Port-forward: connections to ports of a pod's own loopback.
//!
//! SPDY streams, bare or inside a websocket: for each connection an error and a data stream with the same
//! `requestID` (pkg/kubelet .../portforward/httpstream.go). A refused connection is told on its error
//! stream; the session and its other connections go on, and each half of a connection ends alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use runtime::{Engine, SandboxId};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use wire::spdy::{Session, Stream};
use wire::streams::{IDLE_MAX, over_spdy};
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
    let accepted = match websocket::accept(request.headers(), &[TUNNELED]) {
        Ok(accepted) => accepted,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    answer::upgraded(request, async move |stream| {
        forward(Session::server(Tunnel::server(stream).await), target).await;
    });
    answer::switched(accepted.headers)
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

async fn connect(target: Target, port: u16, mut data: Stream, mut error: Stream) {
    let Target { engine, sandbox, pod, uid } = target;
    match engine.connect(&sandbox, port).await {
        // Either end may break off: that is no failure of the forwarding, and clients end their whole
        // session once they read of one.
        Ok(mut connection) => drop(tokio::io::copy_bidirectional(&mut data, &mut connection).await),
        Err(why) => {
            let text = format!("error forwarding port {port} to pod {pod}, uid {uid}: {why}");
            // Fails where the client has left.
            let _ = error.write_all(text.as_bytes()).await;
        }
    }
    let _ = error.shutdown().await;
    let _ = data.shutdown().await;
}
