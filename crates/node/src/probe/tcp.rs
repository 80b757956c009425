//! A TCP probe: whether somebody accepts.

use std::net::SocketAddr;
use std::time::Duration;

use runtime::engine::Boxed;

use crate::view::Probe;
use tokio::net::TcpStream;

use super::{Answer, Target, address};

const NO_ADDRESS: &str = "the pod has no address yet";

pub(super) fn probe<'a>(probe: &'a Probe, target: &'a Target<'a>, limit: Duration) -> Option<Boxed<'a, Answer>> {
    let action = probe.tcp_socket.as_ref()?;
    Some(Box::pin(async move {
        match address(action.host.as_deref(), &action.port, target) {
            Ok((host, port)) => connect(host, port, limit).await,
            Err(error) => Answer::Error(error),
        }
    }))
}

pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Answer {
    if host.is_empty() {
        return Answer::Error(NO_ADDRESS.into());
    }
    match tokio::time::timeout(limit, dial(host, port)).await {
        Ok(Ok(_)) => Answer::Success,
        Ok(Err(text)) => Answer::Failure(text),
        Err(_) if host.contains(':') => Answer::Failure(format!("dial tcp [{host}]:{port}: i/o timeout")),
        Err(_) => Answer::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// A connection to the first address of a host that accepts; else why the first one did not.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut refused = None;
    for address in addresses(host, port).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(why) => refused = refused.or(Some(format!("dial tcp {address}: connect: {}", reason(&why)))),
        }
    }
    Err(refused.unwrap_or_else(|| format!("dial tcp: lookup {host}: no such host")))
}

/// Names are looked up as the node does it for itself, as upstream's dialers do.
async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if host.is_empty() {
        return Err(NO_ADDRESS.into());
    }
    let found = wire::dial::resolve(host).await.map_err(|why| format!("dial tcp: {why}"))?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}

/// As Go words it.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "no route to host".into(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".into(),
        _ => error.to_string(),
    }
}
