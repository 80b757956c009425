//! A TCP probe: whether somebody accepts.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::Outcome;

const NO_ADDRESS: &str = "the pod has no address yet";

pub(super) async fn connect(host: &str, port: u16, limit: Duration) -> Outcome {
    if host.is_empty() {
        return Outcome::Error(NO_ADDRESS.into());
    }
    match tokio::time::timeout(limit, dial(host, port)).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(text)) => Outcome::Failure(text),
        Err(_) if host.contains(':') => Outcome::Failure(format!("dial tcp [{host}]:{port}: i/o timeout")),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
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
