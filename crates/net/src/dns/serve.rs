//! The server: datagrams in batches, connections one by one, answers from memory or from others.
//!
//! Answered are this cluster's pods and this machine, nobody else: whoever can write another's address
//! on a packet gets no answer sent there. What is asked costs no memory until others must be asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::{Outcome, Scratch, answer, code, unasked};
use super::cache::Key;
use super::chase;
use super::forward::{Entropy, Forwarder};
use super::name::Name;
use super::query::*;
use super::table::Names;
use super::upstreams::Upstreams;

/// Datagrams in batches.
mod datagrams;
/// Connections.
mod streams;

/// The node's own addresses are looked at again after this at the soonest, when a stranger asks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Bytes of datagrams that wait: some five thousand.
const BURST_MAX: usize = 4 << 20;

/// Answers; shared by all sockets.
pub struct Service {
    names: Names,
    forwarder: Forwarder,
    clients: IpNet,
    own: Mutex<Own>,
    entropy: Entropy,
}

#[derive(Default)]
struct Own {
    addresses: Vec<IpAddr>,
    looked: Option<Instant>,
}

/// Sockets at one address.
pub struct Server {
    datagrams: UdpSocket,
    connections: TcpListener,
    address: SocketAddr,
}

/// A question for others.
struct Asked {
    packet: Vec<u8>,
    from: SocketAddr,
    limit: usize,
    /// The name leads to this one.
    chased: Option<Name>,
}

enum Next {
    /// The answer is in the buffer.
    Send,
    Drop,
    Ask(Asked),
}

impl Service {
    /// `clients`: the range of all pods.
    pub fn new(names: Names, upstreams: watch::Receiver<Upstreams>, clients: IpNet, entropy: Entropy) -> Service {
        let forwarder = Forwarder::new(upstreams, entropy.clone());
        Service { names, forwarder, clients, own: Mutex::default(), entropy }
    }

    /// Asks this machine's resolvers, whenever there are others, whether they ask us.
    pub async fn look_for_loops(&self, mut upstreams: watch::Receiver<Upstreams>) {
        loop {
            upstreams.borrow_and_update();
            self.forwarder.probe().await;
            if upstreams.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn scratch(&self) -> Scratch {
        let mut seed = [0; 8];
        (self.entropy)(&mut seed);
        Scratch::new(u64::from_be_bytes(seed))
    }

    /// Whether somebody is answered at all.
    pub(super) fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        if self.clients.contains(&client) || client.is_loopback() {
            return true;
        }
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if own.addresses.contains(&client) {
            return true;
        }
        let now = Instant::now();
        if own.looked.is_some_and(|looked| now < looked + LOOK_AGAIN) {
            return false;
        }
        own.looked = Some(now);
        own.addresses = crate::host_addresses().unwrap_or_default();
        own.addresses.contains(&client)
    }

    /// What memory has for a packet; `stream`: it came by TCP.
    fn answer(&self, packet: &[u8], from: SocketAddr, stream: bool, scratch: &mut Scratch, out: &mut Vec<u8>) -> Next {
        let query = match Query::parse(packet) {
            Ok(query) => query,
            Err(Unasked::Nothing) => return Next::Drop,
            Err(Unasked::Code { id, flags, code }) => {
                unasked(id, flags, code, out);
                return Next::Send;
            }
        };
        let limit = if stream { usize::from(u16::MAX) } else { query.limit() };
        let outcome = answer(&self.names.table(), &query, limit, scratch, out);
        let chased = match outcome {
            Outcome::Done => return Next::Send,
            Outcome::Forward => None,
            Outcome::Chase(name) => Some(name),
        };
        if chased.is_none() {
            let (key, now) = (Key::of(&query), Instant::now());
            if let Some(known) = self.forwarder.known(&key, now) {
                known.write(&query, limit, now, out);
                return Next::Send;
            }
            if self.forwarder.is_probe(&key) {
                code(&query, NO_SUCH_NAME, out);
                return Next::Send;
            }
        }
        Next::Ask(Asked { packet: packet.to_vec(), from, limit, chased })
    }

    /// Asks others.
    async fn ask(&self, asked: &Asked) -> Vec<u8> {
        let Asked { packet, from, limit, chased } = asked;
        let mut out = Vec::new();
        let Ok(query) = Query::parse(packet) else { return out };
        let Some(_place) = self.forwarder.place(from.ip().to_canonical()) else {
            // CoreDNS's forward plugin over max_concurrent.
            code(&query, REFUSED, &mut out);
            return out;
        };
        match chased {
            None => {
                let found = self.forwarder.ask(&Key::of(&query)).await;
                found.write(&query, *limit, Instant::now(), &mut out);
            }
            Some(name) => {
                let key = Key { name: name.bytes().into(), ..Key::of(&query) };
                let found = self.forwarder.ask(&key).await;
                let mut tail = Vec::new();
                let question = Query { name: name.bytes(), ..query };
                found.write(&Query { extended: None, ..question }, usize::MAX, Instant::now(), &mut tail);
                if let Err(error) = chase::joined(&self.names, &query, &tail, *limit, &mut out) {
                    tracing::debug!(%error, name = %name, "what others answered cannot be told on");
                    code(&query, SERVER_FAILURE, &mut out);
                }
            }
        }
        out
    }
}

impl Server {
    /// At the first of these ports that is free with both protocols; 0 is any.
    pub async fn bind(address: IpAddr, ports: &[u16]) -> io::Result<Server> {
        let mut failure = io::Error::other("there is no port to listen at");
        for port in ports {
            match Server::bind_at(SocketAddr::new(address, *port)).await {
                Ok(server) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn bind_at(address: SocketAddr) -> io::Result<Server> {
        let connections = TcpListener::bind(address).await?;
        let address = connections.local_addr()?;
        let datagrams = UdpSocket::bind(address).await?;
        // Where that is not allowed a burst waits in less room.
        if let Err(error) = setsockopt(&datagrams, sockopt::RcvBufForce, &BURST_MAX) {
            tracing::debug!(%error, "the DNS server has the machine's own room for datagrams");
        }
        Ok(Server { datagrams, connections, address })
    }

    /// Where it listens; never port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub async fn run(self, service: Arc<Service>) {
        let (mut parts, datagrams) = (JoinSet::new(), Arc::new(self.datagrams));
        parts.spawn(datagrams::serve(datagrams, service.clone()));
        parts.spawn(streams::serve(self.connections, service));
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the DNS server ended");
            }
        }
    }
}
