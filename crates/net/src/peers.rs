//! Other nodes: how their pods are reached, decided from what is asked and what links this machine has.
//!
//! A node on one of this machine's own networks is reached by a plain route, another one through VXLAN: one
//! device without learning and without a default destination, so that nothing is flooded; each peer has its
//! entry in the table of neighbours and in the forwarding table. Addresses are never rewritten: the sources of
//! pods stay, and the machine itself speaks to pods as the first address of its range.
//!
//! Law: what `plan` says is what the kernel has (`kernel::difference` is empty after `kernel::apply`).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::spec::{Config, hash};

/// What is wanted, and what was made of it.
pub(crate) mod following;
/// What the kernel has and what it is to have.
pub(crate) mod kernel;
/// Which packets of other nodes are believed.
pub(crate) mod rules;

/// Another node.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    pub name: String,
    /// Where this machine reaches it.
    pub address: IpAddr,
    /// Its pods' ranges.
    pub ranges: Vec<IpNet>,
}

/// All other nodes, in the order in which they are believed: of two that claim the same the first has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Peers {
    /// This node's address as the others know it.
    pub own: Option<IpAddr>,
    pub others: Vec<Peer>,
    pub way: Way,
    pub vxlan: Vxlan,
}

/// How pods of other nodes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Directly where both share a network, else by VXLAN.
    #[default]
    Auto,
    /// Directly, or not at all.
    Direct,
    /// Always by VXLAN.
    Vxlan,
}

/// What all nodes of a cluster agree upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// 24 bits.
    pub id: u32,
    pub port: u16,
}

/// A peer, or one of its ranges, that there is no way to; why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub node: String,
    pub why: String,
}

/// A link of this machine that is not one of ours.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    pub is_up: bool,
    /// Addresses with the networks that they are in.
    pub addresses: Vec<(Ipv4Addr, Ipv4Net)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub routes: BTreeMap<Ipv4Net, Hop>,
    pub device: Option<Device>,
    /// Peers by VXLAN, by the MAC of their end.
    pub ends: BTreeMap<[u8; 6], End>,
    /// Of pods' links; None: the kernel's own.
    pub mtu: Option<u32>,
    pub refused: Vec<Refusal>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Hop {
    Direct {
        link: u32,
        gateway: Ipv4Addr,
    },
    /// Over our device, to the neighbour of that address.
    Tunnel(Ipv4Addr),
    /// Nobody has these addresses: what no pod has of this node's own range.
    Nowhere,
}

/// The VXLAN device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    pub id: u32,
    pub port: u16,
    pub local: Ipv4Addr,
    pub mtu: u32,
}

/// The other end of the tunnel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    /// What packets are wrapped for.
    pub address: Ipv4Addr,
    /// By what the routes name it: the first address of its range.
    pub gateway: Ipv4Addr,
}

/// Outer Ethernet, IPv4, UDP and VXLAN headers.
const WRAPPING: u32 = 50;
/// RFC 791: every link carries this.
const MTU_MIN: u32 = 68;

impl Config {
    /// The name of the VXLAN device: none of a pod's, which rules hold to one address.
    pub(crate) fn tunnel(&self) -> String {
        format!("vx{}", self.link_prefix())
    }

    /// By what our routes are known, beside their protocol: no other instance has the same metric, nor anybody else.
    pub(crate) fn metric(&self) -> u32 {
        0x6700_0000 | (hash(&self.instance) as u32 & 0xff_ffff)
    }
}

/// The hardware address of a node's end of the tunnel: locally administered, made of the node's address.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0e, 0x67, a, b, c, d]
}

/// Ways to all peers over these links of the machine.
pub(crate) fn plan(config: &Config, peers: &Peers, links: &[Link]) -> Plan {
    let mut plan = Plan::default();
    plan.routes.insert(config.pod_cidr, Hop::Nowhere);
    let own = peers.own.and_then(v4_of);
    let under = own.and_then(|own| {
        links.iter().find(|link| link.name != "lo" && link.addresses.iter().any(|(address, _)| *address == own))
    });
    let mut mtus: Vec<u32> = Vec::new();
    let mut known: Vec<Ipv4Addr> = own.into_iter().collect();
    for peer in &peers.others {
        let mut refuse = |why: String| plan.refused.push(Refusal { node: peer.name.clone(), why });
        let address = match address_of(config, peer, &known) {
            Ok(address) => address,
            Err(why) => {
                refuse(why);
                continue;
            }
        };
        let way = way_to(peers.way, own, address, links);
        let way = match way {
            Ok(way) => way,
            Err(why) => {
                refuse(why);
                continue;
            }
        };
        known.push(address);
        for range in &peer.ranges {
            let taken: Vec<Ipv4Net> = plan.routes.keys().copied().collect();
            let range = match range_of(config, *range, &taken, &known, links) {
                Ok(range) => range,
                Err(why) => {
                    plan.refused.push(Refusal { node: peer.name.clone(), why });
                    continue;
                }
            };
            match way {
                Some(link) => {
                    plan.routes.insert(range, Hop::Direct { link: link.index, gateway: address });
                    mtus.push(link.mtu);
                }
                None => {
                    // All ranges of a node lead to its one end.
                    let gateway = plan.ends.get(&mac_of(address)).map_or(first_of(range), |end| end.gateway);
                    plan.ends.insert(mac_of(address), End { address, gateway });
                    plan.routes.insert(range, Hop::Tunnel(gateway));
                }
            }
        }
    }
    let outside = under.map(|link| link.mtu);
    if let (Some(local), false) = (own, plan.ends.is_empty()) {
        let mtu = outside.unwrap_or(1500).saturating_sub(WRAPPING).max(MTU_MIN);
        plan.device = Some(Device { id: peers.vxlan.id, port: peers.vxlan.port, local, mtu });
        mtus.push(mtu);
    }
    plan.mtu = mtus.into_iter().chain(outside).min();
    plan
}

fn v4_of(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn first_of(range: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()).saturating_add(1))
}

/// The address of a peer, if it can be one that is its own.
fn address_of(config: &Config, peer: &Peer, known: &[Ipv4Addr]) -> Result<Ipv4Addr, String> {
    let Some(address) = v4_of(peer.address) else {
        return Err(format!("its address {} is no IPv4 address: nodes reach each other by IPv4 only", peer.address));
    };
    let is_nobodys = address.is_loopback()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_link_local();
    match () {
        () if is_nobodys => Err(format!("its address {address} is no machine's")),
        () if config.pod_cidr.contains(&address) => Err(format!("its address {address} is one of this node's pods'")),
        () if known.contains(&address) => Err(format!("its address {address} is another node's")),
        () => Ok(address),
    }
}

/// A range that leads to nobody else's addresses.
fn range_of(
    config: &Config,
    range: IpNet,
    taken: &[Ipv4Net],
    known: &[Ipv4Addr],
    links: &[Link],
) -> Result<Ipv4Net, String> {
    let IpNet::V4(range) = range else {
        return Err(format!("its range {range}: pods have one IPv4 address here, no other"));
    };
    let overlaps = |other: &Ipv4Net| other.contains(&range.network()) || range.contains(&other.network());
    if !config.cluster_cidr.contains(&range) {
        return Err(format!("its range {range} is no part of {} (--cluster-cidr)", config.cluster_cidr));
    }
    if let Some(other) = taken.iter().find(|other| overlaps(other)) {
        return Err(format!("its range {range} overlaps {other}, which is another node's or this one's"));
    }
    if let Some(address) = known.iter().find(|address| range.contains(*address)) {
        return Err(format!("its range {range} has the address {address} of a node"));
    }
    // The machine's own pods' addresses are on loopback.
    let nets = links.iter().flat_map(|link| link.addresses.iter().map(move |(_, net)| (&link.name, net)));
    match nets.into_iter().find(|(_, net)| overlaps(net)) {
        Some((name, net)) => Err(format!("its range {range} overlaps {net}, the network at {name}")),
        None => Ok(range),
    }
}

/// The link over which an address is reached directly; None: through the tunnel.
fn way_to(way: Way, own: Option<Ipv4Addr>, address: Ipv4Addr, links: &[Link]) -> Result<Option<&Link>, String> {
    let nets = links.iter().flat_map(|link| {
        let reaching = link.addresses.iter().filter(|(own, net)| *own != address && net.contains(&address));
        reaching.map(move |(_, net)| (link.is_up, net.prefix_len(), link))
    });
    // One that is down comes up again: nothing goes another way meanwhile.
    let shared = nets.max_by_key(|(is_up, bits, link)| (*is_up, *bits, std::cmp::Reverse(link.index)));
    let shared = shared.map(|(_, _, link)| link);
    match (way, shared) {
        (Way::Auto | Way::Direct, Some(link)) => Ok(Some(link)),
        (Way::Direct, None) => Err(format!(
            "its address {address} is in no network of this machine, and only direct ways are wanted (--node-tunnel)"
        )),
        (Way::Auto | Way::Vxlan, _) if own.is_none() => {
            Err("this node has no IPv4 address of its own yet, which the tunnel needs".into())
        }
        (Way::Auto | Way::Vxlan, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
