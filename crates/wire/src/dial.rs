//! Names to addresses, addresses to connections, plain or TLS.
//!
//! Names never go through getaddrinfo: a static glibc cannot load its NSS modules. Addresses are
//! taken literally, `localhost` and /etc/hosts come next, then the machine's DNS servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A two-way stream of bytes, whatever carries it.
pub type Duplex = Box<dyn Stream>;

/// What a `Duplex` can do.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A fresh connection.
pub struct Connection {
    pub stream: Duplex,
    /// The peer agreed on HTTP/2 (ALPN).
    pub http2: bool,
    pub peer: SocketAddr,
    /// What the peer proved to be, over TLS.
    pub certificate: Option<CertificateDer<'static>>,
}

/// How long a TCP connect or a TLS handshake may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to `host:port`; every address is tried in turn. With `tls` the peer must prove that it
/// is `host`.
pub async fn dial(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> io::Result<Connection> {
    dial_as(host, port, host, tls).await
}

/// Like `dial`, but the peer must prove that it is `name` (a kubeconfig's `tls-server-name`).
pub async fn dial_as(host: &str, port: u16, name: &str, tls: Option<Arc<ClientConfig>>) -> io::Result<Connection> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host}: no address"));
    for address in resolve(host).await? {
        match connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return finish(stream, name, tls).await,
            Err(e) => last = io::Error::new(e.kind(), format!("dial tcp {address}:{port}: {e}")),
        }
    }
    Err(last)
}

/// The addresses of a host name.
pub async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse() {
        return Ok(vec![address]);
    }
    if bare == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let listed = hosts_of(&hosts, bare);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let failed = |e: &dyn std::fmt::Display| io::Error::other(format!("lookup {bare}: {e}"));
    let resolver = hickory_resolver::TokioResolver::builder_tokio().map_err(|e| failed(&e))?;
    let resolver = resolver.build().map_err(|e| failed(&e))?;
    let found = resolver.lookup_ip(bare).await.map_err(|e| match e.is_nx_domain() || e.is_no_records_found() {
        true => failed(&"no such host"),
        false => failed(&e),
    })?;
    Ok(found.iter().collect())
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(TcpStream::connect(address)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn finish(stream: TcpStream, host: &str, tls: Option<Arc<ClientConfig>>) -> io::Result<Connection> {
    let peer = stream.peer_addr()?;
    let Some(config) = tls else {
        return Ok(Connection { stream: Box::new(stream), http2: false, peer, certificate: None });
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_string();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    let stream = timeout(TlsConnector::from(config).connect(name, stream)).await?;
    let session = stream.get_ref().1;
    let http2 = session.alpn_protocol() == Some(b"h2");
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(|one| one.clone().into_owned());
    Ok(Connection { stream: Box::new(stream), http2, peer, certificate })
}

async fn timeout<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")),
    }
}

/// What a hosts file says of a name.
fn hosts_of(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_by_name_without_comments() {
        let text = "127.0.0.1 localhost\n# 10.0.0.9 web\n10.0.0.1 db web # the front\n::1 Web\n";
        assert_eq!(hosts_of(text, "web"), ["10.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(hosts_of(text, "front").is_empty());
    }
}
