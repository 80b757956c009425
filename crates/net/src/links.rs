//! The links, addresses and routes of one pod, as batches of requests.
//!
//! Inside: `eth0` with the pod's address as a /32, a default route over 169.254.1.1, which is a
//! permanent neighbour with the MAC of the far end, so nothing has to answer ARP for it. Outside: a
//! host route to the address over the pod's own veth, with the node's own address as its source.

use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use netlink_packet_route::address::{AddressAttribute, AddressHeader, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::host;
use crate::route::{Ask, Route};
use crate::shape;
use crate::spec::{Attachment, Error, failed, hash};

const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const HOST_MAC: [u8; 6] = [0xee, 0xee, 0xee, 0xee, 0xee, 0xee];

/// The host's end of an attachment's link.
pub(crate) fn name(prefix: &str, id: &str) -> String {
    format!("{prefix}{:010x}", hash(id) & 0xff_ffff_ffff)
}

/// Makes the pair and sets up both ends. `inside` is a socket in the attachment's namespace.
pub(crate) fn connect(
    host: &Route,
    inside: &Route,
    attachment: &Attachment,
    link: &str,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    mtu: Option<u32>,
) -> Result<(), Error> {
    let Attachment { spec, namespace: pin, .. } = attachment;
    let namespace = std::fs::File::open(pin).map_err(failed(format_args!("opening {}", pin.display())))?;
    host.send(vec![Ask::make(format!("making link {link}"), pair(link, namespace.as_raw_fd(), mac_of(address), mtu))])?;
    let outer = host.link(link)?.ok_or_else(|| Error::Failed(format!("link {link} is gone as soon as made")))?;
    let inner = inside.link("eth0")?.ok_or_else(|| Error::Failed(format!("link {link} has no eth0 in its pod")))?;
    let limited = |egress| shape::limit(format!("limiting what the pod sends to {egress} bit/s"), inner, egress);
    inside.send(spec.egress.map(limited).into_iter().collect())?;
    let limited = |ingress| shape::limit(format!("limiting what the pod receives to {ingress} bit/s"), outer, ingress);
    host.send(spec.ingress.map(limited).into_iter().collect())?;
    inside.send(vec![
        Ask::change("bringing up lo in the pod", up(1)),
        Ask::make("giving the pod its address", address_on(inner, address)),
        Ask::change("bringing up eth0 in the pod", up(inner)),
        Ask::replace("the pod's neighbour", neighbour(inner, NEXT_HOP, HOST_MAC)),
        Ask::replace("the pod's route to its neighbour", direct_route(NEXT_HOP, inner, None)),
        Ask::replace("the pod's default route", default_route(inner)),
    ])?;
    host.send(vec![
        shut(link, outer, !spec.host_ports.is_empty()),
        Ask::change(format!("bringing up {link}"), up_without_arp(outer)),
        Ask::replace("the host's neighbour", neighbour(outer, address, mac_of(address))),
        Ask::replace(format!("the host's route to {address}"), direct_route(address, outer, Some(gateway))),
    ])?;
    // The pod's end has its carrier now, but drops what is sent until the kernel's link watch has run, a
    // moment later. Asking for the link waits for that (rtnl_getlink, since Linux 6.8).
    inside.link("eth0").map(drop)
}

/// Makes the host's end take nothing from its pod but packets: no router advertisement, no redirect, no
/// route within a packet, no IPv6 at all. Before the link is up, or for one that an earlier version made.
pub(crate) fn shut(link: &str, index: u32, to_loopback: bool) -> Ask {
    host::no_ipv6(link);
    let loopback = if to_loopback { Some((ROUTE_LOCALNET, 1)) } else { None };
    let settings = SETTINGS.iter().copied().chain(loopback);
    let mut conf = Vec::new();
    for (setting, value) in settings {
        attribute(&mut conf, setting, &u32::to_ne_bytes(value));
    }
    let (mut inet, mut families) = (Vec::new(), Vec::new());
    attribute(&mut inet, IFLA_INET_CONF, &conf);
    attribute(&mut families, libc::AF_INET as u16, &inet);
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::AfSpecUnknown(families)];
    Ask::change(format!("telling {link} what to refuse"), Message::SetLink(message))
}

// linux/if_link.h, linux/ip.h
const IFLA_INET_CONF: u16 = 1;
const ACCEPT_REDIRECTS: u16 = 4;
const SECURE_REDIRECTS: u16 = 5;
const SEND_REDIRECTS: u16 = 6;
const RP_FILTER: u16 = 8;
const ACCEPT_SOURCE_ROUTE: u16 = 9;
/// Processes of the host reach the pod's host ports at 127.0.0.1.
const ROUTE_LOCALNET: u16 = 26;

/// Strict reverse paths are a second lock behind the rules: many machines make them loose for all links.
const SETTINGS: &[(u16, u32)] =
    &[(ACCEPT_REDIRECTS, 0), (SECURE_REDIRECTS, 0), (SEND_REDIRECTS, 0), (RP_FILTER, 1), (ACCEPT_SOURCE_ROUTE, 0)];

/// A netlink attribute.
fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The node's own address in its pod range, on loopback: there is no dummy link type everywhere.
pub(crate) fn own_address(gateway: Ipv4Addr) -> Ask {
    Ask::make(format!("giving lo the address {gateway}"), address_on(1, gateway))
}

/// The same on another link of ours.
pub(crate) fn address_at(name: &str, index: u32, address: Ipv4Addr) -> Ask {
    Ask::make(format!("giving {name} the address {address}"), address_on(index, address))
}

pub(crate) fn remove_own_address(gateway: Ipv4Addr) -> Ask {
    let Message::NewAddress(message) = address_on(1, gateway) else { unreachable!("made just here") };
    Ask::remove(format!("taking {gateway} from lo"), Message::DelAddress(message))
}

/// Traffic to a released address must end here rather than reach a pod that is on its way out.
pub(crate) fn remove_route(address: Ipv4Addr) -> Ask {
    let mut message = RouteMessage::default();
    message.header = RouteHeader { scope: RouteScope::Link, ..route_header(32) };
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
    Ask::remove(format!("removing the host's route to {address}"), Message::DelRoute(message))
}

pub(crate) fn remove_link(name: &str, index: u32) -> Ask {
    let mut message = LinkMessage::default();
    message.header.index = index;
    Ask::remove(format!("removing link {name}"), Message::DelLink(message))
}

/// The largest packet that a link takes.
pub(crate) fn set_mtu(name: &str, index: u32, mtu: u32) -> Ask {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    Ask::change(format!("setting the MTU of {name} to {mtu}"), Message::SetLink(message))
}

fn pair(outer: &str, namespace: i32, inner_mac: [u8; 6], mtu: Option<u32>) -> Message {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName("eth0".into()),
        LinkAttribute::Address(inner_mac.to_vec()),
        LinkAttribute::NetNsFd(namespace),
    ];
    peer.attributes.extend(mtu.map(LinkAttribute::Mtu));
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(outer.into()),
        LinkAttribute::Address(HOST_MAC.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    Message::NewLink(message)
}

/// Locally administered, and the same for the same address.
fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn up(index: u32) -> Message {
    let mut message = LinkMessage::default();
    message.header = LinkHeader { index, flags: LinkFlags::Up, change_mask: LinkFlags::Up, ..LinkHeader::default() };
    Message::SetLink(message)
}

/// Both ends know each other's MAC for good: whoever asks or tells would only fill the host's table of
/// neighbours, which all pods share.
pub(crate) fn up_without_arp(index: u32) -> Message {
    let flags = LinkFlags::Up | LinkFlags::Noarp;
    let mut message = LinkMessage::default();
    message.header = LinkHeader { index, flags, change_mask: flags, ..LinkHeader::default() };
    Message::SetLink(message)
}

fn address_on(index: u32, address: Ipv4Addr) -> Message {
    let mut message = AddressMessage::default();
    message.header = AddressHeader {
        family: AddressFamily::Inet,
        prefix_len: 32,
        scope: AddressScope::Universe,
        index,
        ..AddressHeader::default()
    };
    message.attributes = vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
    Message::NewAddress(message)
}

fn neighbour(index: u32, address: Ipv4Addr, mac: [u8; 6]) -> Message {
    let mut message = NeighbourMessage::default();
    message.header = NeighbourHeader {
        family: AddressFamily::Inet,
        ifindex: index,
        state: NeighbourState::Permanent,
        kind: RouteType::Unspec,
        ..NeighbourHeader::default()
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
    ];
    Message::NewNeighbour(message)
}

fn route_header(prefix_length: u8) -> RouteHeader {
    RouteHeader {
        address_family: AddressFamily::Inet,
        destination_prefix_length: prefix_length,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    }
}

fn direct_route(to: Ipv4Addr, link: u32, source: Option<Ipv4Addr>) -> Message {
    let mut message = RouteMessage::default();
    message.header = RouteHeader { scope: RouteScope::Link, ..route_header(32) };
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(to)), RouteAttribute::Oif(link)];
    message.attributes.extend(source.map(|s| RouteAttribute::PrefSource(RouteAddress::Inet(s))));
    Message::NewRoute(message)
}

fn default_route(link: u32) -> Message {
    let mut message = RouteMessage::default();
    message.header = RouteHeader { scope: RouteScope::Universe, ..route_header(0) };
    message.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet(NEXT_HOP)), RouteAttribute::Oif(link)];
    Message::NewRoute(message)
}
