//! What the kernel has: links with their addresses, routes of a protocol, neighbours of a link.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Route;
use crate::peers::Link;
use crate::spec::Error;

/// A link, with what is asked of a VXLAN device.
#[derive(Debug)]
pub(crate) struct Seen {
    pub link: Link,
    /// Identifier, port, own address.
    pub vxlan: Option<(u32, u16, Ipv4Addr)>,
}

/// A route of ours.
#[derive(Debug)]
pub(crate) struct SeenRoute {
    pub to: Ipv4Net,
    pub link: Option<u32>,
    pub gateway: Option<Ipv4Addr>,
    pub source: Option<Ipv4Addr>,
    pub is_unreachable: bool,
}

impl Route {
    /// All links, with their IPv4 addresses.
    pub fn underlay(&self) -> Result<Vec<Seen>, Error> {
        let mut found = Vec::new();
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                found.extend(seen(&link));
            }
        })?;
        let mut question = AddressMessage::default();
        question.header.family = AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetAddress(question), |message| {
            let RouteNetlinkMessage::NewAddress(address) = message else { return };
            let Some(at) = found.iter_mut().find(|seen| seen.link.index == address.header.index) else { return };
            // Of a point-to-point link `Address` is the far end and `Local` the near one.
            let (mut local, mut far) = (None, None);
            for attribute in &address.attributes {
                match attribute {
                    AddressAttribute::Local(std::net::IpAddr::V4(ip)) => local = Some(*ip),
                    AddressAttribute::Address(std::net::IpAddr::V4(ip)) => far = Some(*ip),
                    _ => {}
                }
            }
            let (Some(local), Some(far)) = (local.or(far), far.or(local)) else { return };
            if let Ok(net) = Ipv4Net::new(far, address.header.prefix_len) {
                at.link.addresses.push((local, net.trunc()));
            }
        })?;
        Ok(found)
    }

    /// Routes of a protocol and a metric, of the main table.
    pub fn routes(&self, protocol: RouteProtocol, metric: u32) -> Result<Vec<SeenRoute>, Error> {
        let mut found = Vec::new();
        self.each_route(|route| {
            if route.header.protocol == protocol {
                found.extend(seen_route(route, metric));
            }
        })?;
        Ok(found)
    }

    /// Neighbours of a link (address and MAC), or its forwarding table (`AddressFamily::Bridge`).
    pub fn neighbours(&self, family: AddressFamily, link: u32) -> Result<Vec<(Ipv4Addr, [u8; 6])>, Error> {
        let mut question = NeighbourMessage::default();
        question.header.family = family;
        let mut found = Vec::new();
        self.dump(RouteNetlinkMessage::GetNeighbour(question), |message| {
            let RouteNetlinkMessage::NewNeighbour(neighbour) = message else { return };
            if neighbour.header.ifindex != link || neighbour.header.family != family {
                return;
            }
            let (mut address, mut mac) = (None, None);
            for attribute in &neighbour.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(*ip),
                    // The forwarding table of a device names addresses without their family.
                    NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
                        address = <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from);
                    }
                    NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
                    _ => {}
                }
            }
            found.extend(address.zip(mac));
        })?;
        Ok(found)
    }
}

fn seen(message: &LinkMessage) -> Option<Seen> {
    let (mut name, mut mtu, mut vxlan) = (None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Mtu(number) => mtu = *number,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Data(InfoData::Vxlan(parts)) = info {
                        vxlan = Some(of_vxlan(parts));
                    }
                }
            }
            _ => {}
        }
    }
    let (index, is_up) = (message.header.index, message.header.flags.contains(LinkFlags::Up));
    let link = Link { index, name: name?, mtu, is_up, addresses: Vec::new() };
    Some(Seen { link, vxlan })
}

fn of_vxlan(parts: &[InfoVxlan]) -> (u32, u16, Ipv4Addr) {
    let mut all = (0, 0, Ipv4Addr::UNSPECIFIED);
    for part in parts {
        match part {
            InfoVxlan::Id(id) => all.0 = *id,
            InfoVxlan::Port(port) => all.1 = *port,
            InfoVxlan::Local(local) => all.2 = *local,
            _ => {}
        }
    }
    all
}

fn seen_route(route: &RouteMessage, metric: u32) -> Option<SeenRoute> {
    let (mut to, mut link, mut gateway, mut source, mut priority) = (None, None, None, None, 0);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => to = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => gateway = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => source = Some(*ip),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(number) => priority = *number,
            _ => {}
        }
    }
    let to = Ipv4Net::new(to?, route.header.destination_prefix_length).ok()?;
    let is_unreachable = route.header.kind == RouteType::Unreachable;
    (priority == metric).then_some(SeenRoute { to, link, gateway, source, is_unreachable })
}
