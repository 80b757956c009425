//! Ingresses on this node: the flags into what `ingress` runs with, and under whose name.
//!
//! In the server's process it is a component of its own. On a node that joined it has the node's credentials, which
//! serve for it only where an administrator has made that node an edge (docs/decisions/ingress.md).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use client::Client;
use ingress::follow::{Ports, Scheme};
use server::{Component, Server};

use super::{Local, Seams};
use crate::cli::NodeFlags;

const AGENT: &str = "gousse-ingress";
/// Of clients.
const CONNECTIONS_MAX: usize = 8192;
const CONNECTIONS_MIN: usize = 64;

/// Who it is at the server.
pub enum Asks<'a> {
    /// A part beside the server.
    Within(&'a Server),
    /// The node that it runs on.
    AsNode(&'a Client),
}

/// For a node. None where it is one that joined, and no port is wanted.
pub fn part(
    flags: &NodeFlags,
    node: &str,
    asks: Asks<'_>,
    seams: &Seams,
) -> Option<impl Future<Output = ()> + Send + use<>> {
    let flags = &flags.ingress;
    let wanted = [(Scheme::Http, flags.ingress_http_port), (Scheme::Https, flags.ingress_https_port)];
    let wanted: BTreeMap<Scheme, u16> = wanted.into_iter().filter(|(_, port)| *port != 0).collect();
    let (client, is_edge) = match asks {
        Asks::Within(server) => (within(server), false),
        Asks::AsNode(_) if wanted.is_empty() => return None,
        Asks::AsNode(client) => (client.clone().named(AGENT), true),
    };
    let config = config(client, node, is_edge, wanted, seams);
    let config = ingress::Config { trusted: flags.ingress_trusted_proxies.clone(), ..config };
    Some(ingress::run(config, |scheme, address| tracing::info!(?scheme, %address, "Ingresses are served")))
}

/// For a server without a node: it keeps statuses right and tells of troubles, edges serve.
pub fn without_node(server: &Server, seams: &Seams) -> impl Future<Output = ()> + Send + use<> {
    ingress::run(config(within(server), "", false, BTreeMap::new(), seams), |_, _| {})
}

fn within(server: &Server) -> Client {
    Local::client(server, Component::Ingress, AGENT)
}

fn config(client: Client, node: &str, is_edge: bool, wanted: BTreeMap<Scheme, u16>, seams: &Seams) -> ingress::Config {
    ingress::Config {
        client,
        node: node.to_owned(),
        is_edge,
        ports: Ports { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), wanted },
        trusted: Vec::new(),
        connections: connections(),
        clock: seams.clock.clone(),
        entropy: seams.entropy.clone(),
    }
}

/// A quarter of what this process may open, as each may have one to an endpoint beside it; as many as the machine allows
/// are asked for.
fn connections() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return CONNECTIONS_MIN };
    let files = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    usize::try_from(files / 4).unwrap_or(usize::MAX).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}
