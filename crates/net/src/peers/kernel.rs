//! A plan for other nodes against what the kernel has: the difference, and how it is made.
//!
//! Nothing is remembered: routes are known by their protocol and metric, the device by its name, its neighbours by
//! being there. So a run that ended in the middle, or somebody who took a route away, is mended by looking.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_route::link::{InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::{Device, Hop, Plan, mac_of};
use crate::route::look::{Seen, SeenRoute};
use crate::route::{Ask, Route};
use crate::spec::{Config, Error};
use crate::{host, links};

/// Of all our routes to other nodes: `g`.
pub(crate) const PROTOCOL: RouteProtocol = RouteProtocol::Other(103);

/// What the kernel has of other nodes.
pub(crate) struct Observed {
    /// None: there is no tunnel.
    pub device: Option<(u32, Device)>,
    pub routes: Vec<SeenRoute>,
    pub neighbours: BTreeMap<Ipv4Addr, [u8; 6]>,
    pub forwards: BTreeMap<[u8; 6], Ipv4Addr>,
}

/// One thing that differs, and is made as planned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deed {
    RemoveRoute(Ipv4Net),
    /// With the index of our device.
    PutRoute(Ipv4Net, Hop, Option<u32>),
    RemoveNeighbour(u32, Ipv4Addr),
    PutNeighbour(u32, Ipv4Addr, [u8; 6]),
    RemoveForward(u32, [u8; 6], Ipv4Addr),
    PutForward(u32, [u8; 6], Ipv4Addr),
}

/// Makes it so; what is as planned is not touched.
pub(crate) fn apply(route: &Route, config: &Config, plan: &Plan) -> Result<(), Error> {
    let observed = observe(route, config, &route.underlay()?)?;
    let name = config.tunnel();
    let same = |has: &Device, wanted: &Device| (has.id, has.port, has.local) == (wanted.id, wanted.port, wanted.local);
    let observed = match (&observed.device, &plan.device) {
        (Some((index, has)), Some(wanted)) if same(has, wanted) => {
            if has.mtu != wanted.mtu {
                route.send(vec![links::set_mtu(&name, *index, wanted.mtu)])?;
            }
            observed
        }
        (None, None) => observed,
        (has, wanted) => {
            if let Some((index, _)) = has {
                route.send(vec![links::remove_link(&name, *index)])?;
            }
            if let Some(wanted) = wanted {
                make(route, config, wanted)?;
            }
            observe(route, config, &route.underlay()?)?
        }
    };
    route.send(difference(config, plan, &observed).into_iter().map(|deed| ask(config, deed)).collect())
}

/// Removes all of it: `down`.
pub(crate) fn remove(route: &Route, config: &Config) -> Result<(), Error> {
    apply(route, config, &Plan::default())
}

/// What the kernel has of ours among these links.
pub(crate) fn observe(route: &Route, config: &Config, links: &[Seen]) -> Result<Observed, Error> {
    let name = config.tunnel();
    let ours = links.iter().find(|seen| seen.link.name == name);
    let device = ours.map(|Seen { link, vxlan }| {
        let (id, port, local) = vxlan.unwrap_or((0, 0, Ipv4Addr::UNSPECIFIED));
        (link.index, Device { id, port, local, mtu: link.mtu })
    });
    let (mut neighbours, mut forwards) = (BTreeMap::new(), BTreeMap::new());
    if let Some((index, _)) = &device {
        neighbours.extend(route.neighbours(AddressFamily::Inet, *index)?);
        forwards.extend(route.neighbours(AddressFamily::Bridge, *index)?.into_iter().map(|(ip, mac)| (mac, ip)));
    }
    Ok(Observed { device, routes: route.routes(PROTOCOL, config.metric())?, neighbours, forwards })
}

/// What of a plan the kernel has not, and what it has beside it. The way is free before the first packet takes it.
pub(crate) fn difference(config: &Config, plan: &Plan, observed: &Observed) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let device = observed.device.as_ref().map(|(index, _)| *index);
    let gone = observed.routes.iter().filter(|seen| !plan.routes.contains_key(&seen.to));
    deeds.extend(gone.map(|seen| Deed::RemoveRoute(seen.to)));
    if let Some(index) = device {
        let gateways: BTreeMap<Ipv4Addr, [u8; 6]> = plan.ends.iter().map(|(mac, end)| (end.gateway, *mac)).collect();
        for (address, _) in observed.neighbours.iter().filter(|(address, _)| !gateways.contains_key(*address)) {
            deeds.push(Deed::RemoveNeighbour(index, *address));
        }
        for (mac, address) in observed.forwards.iter().filter(|(mac, _)| !plan.ends.contains_key(*mac)) {
            deeds.push(Deed::RemoveForward(index, *mac, *address));
        }
        for (mac, end) in &plan.ends {
            if observed.forwards.get(mac) != Some(&end.address) {
                deeds.push(Deed::PutForward(index, *mac, end.address));
            }
            if observed.neighbours.get(&end.gateway) != Some(mac) {
                deeds.push(Deed::PutNeighbour(index, end.gateway, *mac));
            }
        }
    }
    for (to, hop) in &plan.routes {
        let is_there = observed.routes.iter().any(|seen| seen.to == *to && is_as_planned(config, seen, hop, device));
        if !is_there {
            deeds.push(Deed::PutRoute(*to, hop.clone(), device));
        }
    }
    deeds
}

fn is_as_planned(config: &Config, seen: &SeenRoute, hop: &Hop, device: Option<u32>) -> bool {
    let (link, gateway) = match hop {
        Hop::Nowhere => return seen.is_unreachable,
        Hop::Direct { link, gateway } => (Some(*link), *gateway),
        Hop::Tunnel(gateway) => (device, *gateway),
    };
    let source = Some(config.gateway());
    !seen.is_unreachable && (seen.link, seen.gateway, seen.source) == (link, Some(gateway), source)
}

/// The device: no learning, nothing to flood to, no IPv6, nothing from it but packets whose way back leads there.
fn make(route: &Route, config: &Config, device: &Device) -> Result<(), Error> {
    let name = config.tunnel();
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.clone()),
        LinkAttribute::Address(mac_of(device.local).to_vec()),
        LinkAttribute::Mtu(device.mtu),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::Id(device.id),
                InfoVxlan::Local(device.local),
                InfoVxlan::Port(device.port),
                InfoVxlan::Learning(false),
            ])),
        ]),
    ];
    route.send(vec![Ask::make(format!("making the tunnel {name}"), Message::NewLink(message))])?;
    let index = route.link(&name)?.ok_or_else(|| Error::Failed(format!("link {name} is gone as soon as made")))?;
    host::no_ipv6(&name);
    route.send(vec![
        links::shut(&name, index, false),
        // What is masqueraded on its way into the tunnel gets an address whose way back leads through it.
        links::address_at(&name, index, config.gateway()),
        Ask::change(format!("bringing up {name}"), links::up_without_arp(index)),
    ])
}

fn ask(config: &Config, deed: Deed) -> Ask {
    match deed {
        Deed::RemoveRoute(to) => {
            let mut message = route_to(config, to);
            // Whatever kind it is of.
            (message.header.scope, message.header.kind) = (RouteScope::NoWhere, RouteType::Unspec);
            Ask::remove(format!("removing the route to {to}"), Message::DelRoute(message))
        }
        Deed::PutRoute(to, hop, device) => {
            let mut message = route_to(config, to);
            let source = RouteAttribute::PrefSource(RouteAddress::Inet(config.gateway()));
            let over = |gateway, link| {
                let gateway = RouteAttribute::Gateway(RouteAddress::Inet(gateway));
                [gateway, RouteAttribute::Oif(link), source]
            };
            match hop {
                Hop::Nowhere => message.header.kind = RouteType::Unreachable,
                Hop::Direct { link, gateway } => message.attributes.extend(over(gateway, link)),
                Hop::Tunnel(gateway) => {
                    message.header.flags = RouteFlags::Onlink;
                    message.attributes.extend(over(gateway, device.unwrap_or_default()));
                }
            }
            Ask::replace(format!("the route to {to}"), Message::NewRoute(message))
        }
        Deed::RemoveNeighbour(link, address) => {
            let message = neighbour(link, AddressFamily::Inet, address, None);
            Ask::remove(format!("removing the tunnel's neighbour {address}"), Message::DelNeighbour(message))
        }
        Deed::PutNeighbour(link, address, mac) => {
            let message = neighbour(link, AddressFamily::Inet, address, Some(mac));
            Ask::replace(format!("the tunnel's neighbour {address}"), Message::NewNeighbour(message))
        }
        Deed::RemoveForward(link, mac, address) => {
            let message = neighbour(link, AddressFamily::Bridge, address, Some(mac));
            Ask::remove(format!("removing the tunnel's end at {address}"), Message::DelNeighbour(message))
        }
        Deed::PutForward(link, mac, address) => {
            let message = neighbour(link, AddressFamily::Bridge, address, Some(mac));
            Ask::replace(format!("the tunnel's end at {address}"), Message::NewNeighbour(message))
        }
    }
}

fn route_to(config: &Config, to: Ipv4Net) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: to.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: PROTOCOL,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let to = RouteAttribute::Destination(RouteAddress::Inet(to.network()));
    message.attributes = vec![to, RouteAttribute::Priority(config.metric())];
    message
}

fn neighbour(link: u32, family: AddressFamily, address: Ipv4Addr, mac: Option<[u8; 6]>) -> NeighbourMessage {
    let flags = if family == AddressFamily::Bridge { NeighbourFlags::Own } else { NeighbourFlags::empty() };
    let mut message = NeighbourMessage::default();
    message.header =
        NeighbourHeader { family, ifindex: link, state: NeighbourState::Permanent, flags, kind: RouteType::Unspec };
    message.attributes.extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.to_vec())));
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    message
}
