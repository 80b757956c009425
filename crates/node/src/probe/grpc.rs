//! A gRPC probe: `grpc.health.v1.Health/Check` over plain HTTP/2, its two messages by hand.
//!
//! The request is field 1 (service, a string), the answer field 1 (status, an enum: 1 is SERVING);
//! a code generator for these two would be larger than they are.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::Probe;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::SignedDuration;
use tokio::net::TcpStream;

use super::{Answer, Target};
use crate::plan::backoff::go_duration;

/// Between two tries to reach a server, growing by three fifths (grpc/backoff).
const PAUSE: Duration = Duration::from_secs(1);
const SERVING: u64 = 1;
const STATUSES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Why there is no status.
enum Refusal {
    /// Nobody there, or nobody who speaks HTTP/2.
    Unreachable(String),
    Answer(String),
}

pub(super) fn probe<'a>(probe: &'a Probe, target: &'a Target<'a>, limit: Duration) -> Option<Boxed<'a, Answer>> {
    let action = probe.grpc.as_ref()?;
    let service = action.service.as_deref().unwrap_or_default();
    Some(Box::pin(async move {
        match u16::try_from(action.port) {
            Ok(port) => check(target.pod_ip, port, service, limit).await,
            Err(_) => Answer::Error(format!("invalid port number: {}", action.port)),
        }
    }))
}

pub(super) async fn check(host: &str, port: u16, service: &str, limit: Duration) -> Answer {
    let Ok(address) = host.parse().map(|ip: IpAddr| SocketAddr::new(ip, port)) else {
        return Answer::Error("the pod has no address yet".into());
    };
    // Who cannot be reached is tried again until the time is over, as grpc.WithBlock does.
    let asked = tokio::time::timeout(limit, async {
        let mut pause = PAUSE;
        loop {
            match ask(address, service).await {
                Err(Refusal::Unreachable(why)) => tracing::debug!("{address}: {why}"),
                Err(Refusal::Answer(text)) => return Err(text),
                Ok(status) => return Ok(status),
            }
            tokio::time::sleep(pause).await;
            pause = pause * 8 / 5;
        }
    });
    match asked.await {
        Err(_) => {
            let (server, limit) =
                (address.to_string(), go_duration(SignedDuration::try_from(limit).unwrap_or_default()));
            let why = "context deadline exceeded";
            Answer::Failure(format!("timeout: failed to connect service {server:?} within {limit}: {why}"))
        }
        Ok(Err(text)) => Answer::Failure(text),
        Ok(Ok(SERVING)) => Answer::Success,
        Ok(Ok(status)) => {
            let name = STATUSES.get(status as usize).copied().unwrap_or("UNKNOWN");
            Answer::Failure(format!("service unhealthy (responded with {name:?})"))
        }
    }
}

async fn ask(address: SocketAddr, service: &str) -> Result<u64, Refusal> {
    let unreachable = |why: &dyn std::fmt::Display| Refusal::Unreachable(why.to_string());
    let stream = TcpStream::connect(address).await.map_err(|e| unreachable(&e))?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|e| unreachable(&e))?;
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(0x80 | (length & 0x7f) as u8);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(Bytes::from(frame)))
        .map_err(|e| Refusal::Answer(e.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| unreachable(&e))?;
        let status_of = |headers: &http::HeaderMap| {
            headers.get("grpc-status").and_then(|s| s.to_str().ok()).and_then(|s| s.parse::<u32>().ok())
        };
        let head = status_of(response.headers());
        let whole = Limited::new(response.into_body(), 4096).collect().await.map_err(|e| unreachable(&e))?;
        match whole.trailers().and_then(status_of).or(head) {
            Some(0) => Ok(status_in(&whole.to_bytes())),
            Some(12) => {
                let why = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)";
                Err(Refusal::Answer(why.into()))
            }
            Some(5) => Ok(3),
            other => Err(Refusal::Answer(format!("error: health rpc failed with code {}", other.unwrap_or(2)))),
        }
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => Err(match ended {
            Ok(()) => unreachable(&"the connection was closed"),
            Err(why) => unreachable(&why),
        }),
    }
}

/// The status field of a HealthCheckResponse in its frame; absent means 0.
fn status_in(frame: &[u8]) -> u64 {
    match frame.get(5..) {
        Some([0x08, status, ..]) => u64::from(*status),
        _ => 0,
    }
}
