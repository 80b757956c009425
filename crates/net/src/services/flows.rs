//! Datagrams that go on to where nobody serves them any more are forgotten by the kernel.
//!
//! What a flow's first packet was sent on to holds for all that follow, for as long as they come. Flows are found
//! by where they were sent, in the kernel (CTA_FILTER). Upstream: pkg/proxy/conntrack/cleanup.go. Numbers are
//! those of linux/netfilter/nfnetlink_conntrack.h.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::elements::octets;
use super::{At, Port, Protocol};
use crate::nft::{Attributes, Netfilter};
use crate::rules::Family;
use crate::spec::Error;

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const NESTED: u16 = 0x8000;

/// What became of one way to a service.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turn {
    /// Flows to these go on.
    serving: BTreeSet<SocketAddr>,
    /// Those to these do not.
    gone: BTreeSet<SocketAddr>,
    /// There was nobody, and now there is.
    first: bool,
}

/// Where a flow was sent first, where its answers come from, and the attributes by which the kernel knows it.
struct Flow {
    sent: SocketAddr,
    answered: SocketAddr,
    name: Vec<(u16, Vec<u8>)>,
}

/// The turns that a change brings, by frontend. Only where something may have become stale.
pub(super) fn turns<'a>(
    ports: impl Iterator<Item = (&'a At, Option<&'a Port>, Option<&'a Port>)>,
) -> BTreeMap<At, Turn> {
    let mut turns: BTreeMap<At, Turn> = BTreeMap::new();
    for (at, old, new) in ports {
        if at.protocol == Protocol::Tcp {
            continue;
        }
        let serving = |port: Option<&Port>| port.map(|port| port.serving.iter().copied().collect()).unwrap_or_default();
        let (before, now): (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) = (serving(old), serving(new));
        let ways = |port: Option<&'a Port>| port.into_iter().flat_map(|port| &port.frontends).map(|one| one.at);
        let all: BTreeSet<At> = ways(old).chain(ways(new)).collect();
        for frontend in all {
            let stays = ways(new).any(|at| at == frontend);
            let serving = if stays { now.clone() } else { BTreeSet::new() };
            let came = stays && !ways(old).any(|at| at == frontend);
            let first = stays && !now.is_empty() && (before.is_empty() || came);
            let gone: BTreeSet<SocketAddr> = before.difference(&serving).copied().collect();
            if !first && gone.is_empty() {
                continue;
            }
            let turn = turns.entry(frontend).or_default();
            turn.serving.extend(serving);
            turn.gone.extend(gone);
            turn.first |= first;
        }
    }
    turns
}

/// Forgets the flows that a turn makes stale. `own`: the addresses of this host.
pub(super) fn cut(
    netfilter: &Netfilter,
    family: Family,
    turns: &BTreeMap<At, Turn>,
    own: impl Fn() -> Vec<IpAddr>,
) -> Result<(), Error> {
    for (at, turn) in turns {
        let mut flows = Vec::new();
        netfilter.ask_of(family, GET, true, &filter(at), |body| flows.extend(read(body, at)))?;
        let of_node = at.address.is_unspecified();
        let own = if of_node && turn.first { own() } else { Vec::new() };
        for flow in flows.iter().filter(|flow| is_stale(flow, turn, of_node, &own)) {
            // One that has ended meanwhile is no error.
            netfilter.ask_of(family, DELETE, false, &flow.name, |_| {})?;
        }
    }
    Ok(())
}

/// Of a port of the node the addresses are anybody's: only what went to an endpoint that is gone, or to this
/// host itself before there was one.
fn is_stale(flow: &Flow, turn: &Turn, of_node: bool, own: &[IpAddr]) -> bool {
    if turn.serving.contains(&flow.answered) {
        return false;
    }
    let to_nobody = flow.answered == flow.sent;
    match of_node {
        false => true,
        true => turn.gone.contains(&flow.answered) || to_nobody && own.contains(&flow.sent.ip()),
    }
}

/// Those that were sent there.
fn filter(at: &At) -> Vec<(u16, Vec<u8>)> {
    const ADDRESS: u32 = 1 << 1;
    const PROTOCOL: u32 = 1 << 3;
    const PORT: u32 = 1 << 5;
    let kind = if at.address.is_ipv4() { 2 } else { 4 };
    let mut tuple = Vec::new();
    let mut flags = PROTOCOL | PORT;
    if !at.address.is_unspecified() {
        flags |= ADDRESS;
        tuple.extend(attribute(1 | NESTED, &attribute(kind, &octets(at.address))));
    }
    let protocol = [attribute(1, &[at.protocol as u8]), attribute(3, &at.port.to_be_bytes())].concat();
    tuple.extend(attribute(2 | NESTED, &protocol));
    vec![(1 | NESTED, tuple), (25 | NESTED, attribute(1, &flags.to_ne_bytes()))]
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// None where it was sent elsewhere: older kernels show more than what they are asked for.
fn read(body: &[u8], at: &At) -> Option<Flow> {
    let body = Attributes(body);
    let address = |tuple: &Attributes<'_>, v4: u16, v6: u16| {
        let addresses = tuple.inner(1);
        let v4 = addresses.find(v4).and_then(|b| Some(IpAddr::from(<[u8; 4]>::try_from(b).ok()?)));
        v4.or_else(|| Some(IpAddr::from(<[u8; 16]>::try_from(addresses.find(v6)?).ok()?)))
    };
    let port = |tuple: &Attributes<'_>, kind: u16| {
        tuple.inner(2).find(kind).and_then(|bytes| Some(u16::from_be_bytes(bytes.try_into().ok()?)))
    };
    let (sent, answered) = (body.inner(1), body.inner(2));
    let protocol = sent.inner(2).find(1).and_then(|bytes| bytes.first().copied());
    let flow = Flow {
        sent: SocketAddr::new(address(&sent, 2, 4)?, port(&sent, 3)?),
        answered: SocketAddr::new(address(&answered, 1, 3)?, port(&answered, 2)?),
        name: [1, 12, 18]
            .into_iter()
            .filter_map(|kind| Some((if kind == 1 { kind | NESTED } else { kind }, body.find(kind)?.to_vec())))
            .collect(),
    };
    let is_there = at.address.is_unspecified() || at.address == flow.sent.ip();
    (is_there && protocol == Some(at.protocol as u8) && flow.sent.port() == at.port).then_some(flow)
}
