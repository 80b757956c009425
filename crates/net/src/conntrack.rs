//! Connections that the kernel remembers (ctnetlink), and forgets when a host port comes or goes.
//!
//! What a connection was first translated to holds for all its packets: a client that keeps its port would
//! never reach the pod that a port leads to now (upstream: containernetworking/plugins, portmap,
//! deletePortmapStaleConnections). Numbers are those of linux/netfilter/nfnetlink_conntrack.h.

use std::net::{IpAddr, Ipv4Addr};

use crate::nft::{Attributes, Netfilter};
use crate::rules::protocol_number;
use crate::spec::{Attachment, Error, HostPort};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const UDP: u8 = 17;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tuple {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: u8,
    destination_port: u16,
}

/// A connection, and the attributes by which the kernel knows it again.
struct Connection {
    sent: Tuple,
    /// Of what comes back.
    replied: Tuple,
    name: Vec<(u16, Vec<u8>)>,
}

/// Host ports now lead to a pod: datagrams that led elsewhere until now follow. Streams stay where they began.
pub(crate) fn mapped(netfilter: &Netfilter, attachment: &Attachment) -> Result<(), Error> {
    let ports: Vec<&HostPort> = attachment.spec.host_ports.iter().filter(|port| number(port) == UDP).collect();
    forget(netfilter, &ports, |_| true)
}

/// Host ports no longer lead to a pod: whatever was on the way to it through them.
pub(crate) fn unmapped(netfilter: &Netfilter, attachment: &Attachment) -> Result<(), Error> {
    let ports: Vec<&HostPort> = attachment.spec.host_ports.iter().collect();
    let to_pod = |found: &Connection| {
        let there = found.replied.source.map(IpAddr::V4);
        there.is_some_and(|address| attachment.addresses.contains(&address))
    };
    forget(netfilter, &ports, to_pod)
}

fn number(port: &HostPort) -> u8 {
    protocol_number(&port.protocol).unwrap_or(0)
}

/// Forgets those connections of these ports that are meant.
fn forget(netfilter: &Netfilter, ports: &[&HostPort], meant: impl Fn(&Connection) -> bool) -> Result<(), Error> {
    if ports.is_empty() {
        return Ok(());
    }
    let mut stale = Vec::new();
    netfilter.ask(GET, true, &[], |body| {
        let found = read(&Attributes(body));
        if ports.iter().any(|port| leads_through(port, &found.sent)) && meant(&found) {
            stale.push(found.name);
        }
    })?;
    // One that has ended meanwhile is no error.
    stale.iter().try_for_each(|name| netfilter.ask(DELETE, false, name, |_| {}))
}

fn leads_through(port: &HostPort, sent: &Tuple) -> bool {
    let at = match port.host_ip {
        Some(IpAddr::V4(address)) if !address.is_unspecified() => sent.destination == Some(address),
        _ => true,
    };
    at && sent.protocol == number(port) && sent.destination_port == port.host_port
}

fn read(body: &Attributes<'_>) -> Connection {
    const SENT: u16 = 1;
    const REPLIED: u16 = 2;
    const ID: u16 = 12;
    const ZONE: u16 = 18;
    const NESTED: u16 = 0x8000;
    let kept =
        [SENT | NESTED, ID, ZONE].into_iter().filter_map(|kind| Some((kind, body.find(kind & !NESTED)?.to_vec())));
    Connection { sent: tuple(body.find(SENT)), replied: tuple(body.find(REPLIED)), name: kept.collect() }
}

fn tuple(body: Option<&[u8]>) -> Tuple {
    let body = Attributes(body.unwrap_or_default());
    let (addresses, ports) = (body.inner(1), body.inner(2));
    let address = |kind: u16| Some(Ipv4Addr::from(<[u8; 4]>::try_from(addresses.find(kind)?).ok()?));
    let port = ports.find(3).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)));
    Tuple {
        source: address(1),
        destination: address(2),
        protocol: ports.find(1).and_then(|bytes| bytes.first().copied()).unwrap_or(0),
        destination_port: port.unwrap_or(0),
    }
}
