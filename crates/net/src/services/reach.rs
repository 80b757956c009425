//! The host's way to services where it has no default route: to itself, where rules take over.
//!
//! What cannot be sent anywhere never comes to a rule. One route an address, on loopback, so that nothing that is
//! no service's is held back; known again by their metric. A machine with a default route has none of them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::route::{Ask, Route};
use crate::spec::Error;

/// `Gous`
const METRIC: u32 = 0x476f_7573;
const LOOPBACK: u32 = 1;
const MAIN_TABLE: u8 = 254;
/// In one datagram.
const BATCH: usize = 1000;

/// Routes that are there; None: they are not needed.
#[derive(Default)]
pub(super) struct Reach(Option<BTreeSet<Ipv4Addr>>);

impl Reach {
    /// All of them anew, by what the machine has now.
    pub fn begin(&mut self, host: &Route, source: Ipv4Addr, wanted: BTreeSet<Ipv4Addr>) -> Result<(), Error> {
        let (mut has_default, mut ours) = (false, BTreeSet::new());
        host.each_route(|route| {
            has_default |= route.header.destination_prefix_length == 0 && route.header.table == MAIN_TABLE;
            if route.attributes.contains(&RouteAttribute::Priority(METRIC)) {
                ours.extend(route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
                    _ => None,
                }));
            }
        })?;
        self.0 = Some(ours);
        self.go_on(host, source, if has_default { BTreeSet::new() } else { wanted })?;
        if has_default {
            self.0 = None;
        }
        Ok(())
    }

    pub fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// To these addresses and no others.
    pub fn go_on(&mut self, host: &Route, source: Ipv4Addr, wanted: BTreeSet<Ipv4Addr>) -> Result<(), Error> {
        let Some(there) = &mut self.0 else { return Ok(()) };
        let gone = there.difference(&wanted).map(|address| remove(*address));
        let new = wanted.difference(there).map(|address| make(*address, source));
        let mut asks = gone.chain(new).peekable();
        while asks.peek().is_some() {
            host.send(asks.by_ref().take(BATCH).collect())?;
        }
        drop(asks);
        *there = wanted;
        Ok(())
    }
}

fn make(address: Ipv4Addr, source: Ipv4Addr) -> Ask {
    let mut message = route(address);
    message.attributes.push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
    Ask::make(format!("making the host's route to service {address}"), Message::NewRoute(message))
}

fn remove(address: Ipv4Addr) -> Ask {
    Ask::remove(format!("removing the host's route to service {address}"), Message::DelRoute(route(address)))
}

fn route(address: Ipv4Addr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: netlink_packet_route::AddressFamily::Inet,
        destination_prefix_length: 32,
        table: MAIN_TABLE,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Link,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(address)),
        RouteAttribute::Oif(LOOPBACK),
        RouteAttribute::Priority(METRIC),
    ];
    message
}
