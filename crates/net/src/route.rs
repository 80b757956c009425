//! Requests to the kernel over route netlink: several in one message, answered one by one.
//!
//! A socket belongs to the network namespace in which it was opened, for good. Errors carry what
//! was being done; `EEXIST` on making and `ENODEV`, `ESRCH` on removing are the caller's to judge.

use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::spec::{Error, failed};

/// What the kernel has.
pub(crate) mod look;

pub(crate) struct Route {
    socket: Socket,
}

/// One request of a batch.
pub(crate) struct Ask {
    pub doing: String,
    message: RouteNetlinkMessage,
    flags: u16,
    /// Error numbers that mean that there is nothing to do.
    fine: &'static [i32],
}

impl Ask {
    pub fn make(doing: impl Into<String>, message: RouteNetlinkMessage) -> Ask {
        Ask { doing: doing.into(), message, flags: NLM_F_CREATE | NLM_F_EXCL, fine: &[libc::EEXIST] }
    }

    pub fn replace(doing: impl Into<String>, message: RouteNetlinkMessage) -> Ask {
        Ask { doing: doing.into(), message, flags: NLM_F_CREATE | NLM_F_REPLACE, fine: &[] }
    }

    pub fn change(doing: impl Into<String>, message: RouteNetlinkMessage) -> Ask {
        Ask { doing: doing.into(), message, flags: 0, fine: &[] }
    }

    pub fn remove(doing: impl Into<String>, message: RouteNetlinkMessage) -> Ask {
        Ask {
            doing: doing.into(),
            message,
            flags: 0,
            fine: &[libc::ENODEV, libc::ESRCH, libc::ENOENT, libc::EADDRNOTAVAIL],
        }
    }
}

impl Route {
    pub fn open() -> Result<Route, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("opening a route netlink socket"))?;
        socket.bind_auto().map_err(failed("binding a route netlink socket"))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connecting a route netlink socket"))?;
        Ok(Route { socket })
    }

    /// Sends all at once; the kernel does them in order. The first failure is returned, the rest is
    /// done all the same.
    pub fn send(&self, batch: Vec<Ask>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut open = Vec::with_capacity(batch.len());
        for (number, ask) in batch.into_iter().enumerate() {
            encode(&mut bytes, ask.message, ask.flags | NLM_F_REQUEST | NLM_F_ACK, number as u32 + 1);
            open.push((ask.doing, ask.fine));
        }
        self.socket.send(&bytes, 0).map_err(failed("sending to route netlink"))?;
        let mut left = open.len();
        let mut first: Option<Error> = None;
        while left > 0 {
            self.receive(|number, payload| {
                let NetlinkPayload::Error(answer) = payload else { return };
                left -= 1;
                let code = answer.raw_code().abs();
                let Some((doing, fine)) = (number as usize).checked_sub(1).and_then(|n| open.get(n)) else { return };
                if code != 0 && !fine.contains(&code) && first.is_none() {
                    let error = std::io::Error::from_raw_os_error(code);
                    first = Some(Error::Failed(format!("{doing}: {error}")));
                }
            })?;
        }
        first.map_or(Ok(()), Err)
    }

    /// The link of that name; None if there is none.
    pub fn link(&self, name: &str) -> Result<Option<u32>, Error> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let mut bytes = Vec::new();
        encode(&mut bytes, RouteNetlinkMessage::GetLink(message), NLM_F_REQUEST | NLM_F_ACK, 1);
        self.socket.send(&bytes, 0).map_err(failed("sending to route netlink"))?;
        let (mut done, mut index, mut code) = (false, None, 0);
        while !done {
            self.receive(|_, payload| match payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => index = Some(link.header.index),
                NetlinkPayload::Error(answer) => {
                    done = true;
                    code = answer.raw_code().abs();
                }
                _ => {}
            })?;
        }
        match code {
            0 | libc::ENODEV => Ok(index),
            code => Err(failed(format_args!("looking for link {name}"))(std::io::Error::from_raw_os_error(code))),
        }
    }

    /// Names and indices of all links.
    pub fn links(&self) -> Result<Vec<(String, u32)>, Error> {
        let mut links = Vec::new();
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                let name = link.attributes.iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name.clone()),
                    _ => None,
                });
                links.extend(name.map(|name| (name, link.header.index)));
            }
        })?;
        Ok(links)
    }

    /// Routes of IPv4.
    pub fn each_route(&self, mut each: impl FnMut(&RouteMessage)) -> Result<(), Error> {
        let mut question = RouteMessage::default();
        question.header.address_family = netlink_packet_route::AddressFamily::Inet;
        self.dump(RouteNetlinkMessage::GetRoute(question), |message| {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                each(&route);
            }
        })
    }

    pub fn host_addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let mut default_link = None;
        self.dump(RouteNetlinkMessage::GetRoute(RouteMessage::default()), |message| {
            if let RouteNetlinkMessage::NewRoute(route) = message
                && route.header.destination_prefix_length == 0
                && default_link.is_none()
            {
                default_link = route.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Oif(index) => Some(*index),
                    _ => None,
                });
            }
        })?;
        let mut found = Vec::new();
        self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            let RouteNetlinkMessage::NewAddress(address) = message else { return };
            if address.header.scope != AddressScope::Universe {
                return;
            }
            // Of a point-to-point link `Address` is the far end and `Local` the near one.
            let local = address.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(ip) => Some(*ip),
                _ => None,
            });
            let any = address.attributes.iter().find_map(|a| match a {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            });
            if let Some(ip) = local.or(any) {
                // On loopback is the node's own address of its pod range, and what else nobody reaches by its link.
                let index = address.header.index;
                found.push((index == 1, Some(index) != default_link, ip.is_ipv6(), index, ip));
            }
        })?;
        found.sort();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (.., ip) in found {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        Ok(addresses)
    }

    fn dump(&self, question: RouteNetlinkMessage, mut each: impl FnMut(RouteNetlinkMessage)) -> Result<(), Error> {
        let mut bytes = Vec::new();
        encode(&mut bytes, question, NLM_F_REQUEST | NLM_F_DUMP, 1);
        self.socket.send(&bytes, 0).map_err(failed("sending to route netlink"))?;
        let mut done = false;
        while !done {
            self.receive(|_, payload| match payload {
                NetlinkPayload::InnerMessage(message) => each(message),
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => done = true,
                _ => {}
            })?;
        }
        Ok(())
    }

    /// One datagram, which may hold many messages.
    fn receive(&self, mut each: impl FnMut(u32, NetlinkPayload<RouteNetlinkMessage>)) -> Result<(), Error> {
        let (datagram, _) = self.socket.recv_from_full().map_err(failed("reading from route netlink"))?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|e| Error::Failed(format!("an answer of route netlink: {e}")))?;
            // Messages are padded to four bytes; the length field is not.
            let length = (message.header.length as usize).next_multiple_of(4).max(16);
            each(message.header.sequence_number, message.payload);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

fn encode(bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, number: u32) {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = number;
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..start + message.buffer_len()]);
}
