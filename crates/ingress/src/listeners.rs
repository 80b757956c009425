//! Where requests come in: a port for HTTP, one for HTTPS, each open or not.
//!
//! A port that somebody else has is told of, and tried again when it is asked for again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::proxy::Proxy;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
}

/// Where to listen; 0 is any free port.
#[derive(Clone, Debug)]
pub struct Ports {
    pub address: IpAddr,
    pub wanted: BTreeMap<Scheme, u16>,
}

/// Those that are open; dropped, all are closed at once.
pub struct Listeners {
    proxy: Arc<Proxy>,
    ports: Ports,
    open: BTreeMap<Scheme, SocketAddr>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Listeners {
    pub fn new(proxy: Arc<Proxy>, ports: Ports) -> Listeners {
        Listeners { proxy, ports, open: BTreeMap::new(), tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }

    /// Opens what is not open yet: what was opened, and why the rest could not be.
    pub async fn open(&mut self) -> (Vec<(Scheme, SocketAddr)>, Vec<String>) {
        let (mut opened, mut failed) = (Vec::new(), Vec::new());
        for (scheme, port) in self.ports.wanted.clone() {
            if self.open.contains_key(&scheme) {
                continue;
            }
            match self.one(scheme, port).await {
                Ok(address) => {
                    self.open.insert(scheme, address);
                    opened.push((scheme, address));
                }
                Err(error) => {
                    let flag = if scheme == Scheme::Http { "--ingress-http-port" } else { "--ingress-https-port" };
                    failed.push(format!("no Ingress is served at port {port} ({flag}): {error}"));
                }
            }
        }
        (opened, failed)
    }

    async fn one(&mut self, scheme: Scheme, port: u16) -> io::Result<SocketAddr> {
        let tls = if scheme == Scheme::Https { Some(self.proxy.tls()?) } else { None };
        let listener = bind(self.ports.address, port).await?;
        let address = listener.local_addr()?;
        self.tasks.spawn(self.proxy.clone().serve(listener, tls, self.stop.subscribe()));
        Ok(address)
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.open.values().copied()
    }

    /// Those under way may finish.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// For both families, or for IPv4 where the machine has no other.
async fn bind(address: IpAddr, port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind((address, port)).await {
        Err(error) if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        bound => bound,
    }
}
