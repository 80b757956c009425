//! Hears of tables that are taken away, and of links, addresses and routes that change.
//!
//! So ours is made anew when somebody flushes the rules, and the ways to other nodes follow the machine's links.
//!
//! A thread of its own for each waits on the kernel's notices and on the end of the worker. It decides nothing:
//! whether the table is there is the worker's to see, since a change of its own takes the table away and puts
//! another in its place.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::LinkAttribute;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::nft;
use crate::peers::kernel::PROTOCOL;
use crate::spec::{Error, failed};

/// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;
/// linux/rtnetlink.h: links, IPv4 addresses, IPv4 routes.
const ROUTE_GROUPS: [u32; 3] = [1, 5, 7];

/// Notices, until its `Watching` is gone.
pub(crate) struct Watch {
    socket: Socket,
    end: PipeReader,
}

/// Keeps a `Watch` alive.
pub(crate) struct Watching(#[expect(dead_code, reason = "its end is the notice")] PipeWriter);

impl Watch {
    /// Of tables, in the network namespace of the caller.
    pub fn of_tables() -> Result<(Watch, Watching), Error> {
        Watch::open(NETLINK_NETFILTER, &[NFNLGRP_NFTABLES])
    }

    /// Of links, addresses and routes.
    pub fn of_links() -> Result<(Watch, Watching), Error> {
        Watch::open(NETLINK_ROUTE, &ROUTE_GROUPS)
    }

    fn open(protocol: isize, groups: &[u32]) -> Result<(Watch, Watching), Error> {
        let mut socket = Socket::new(protocol).map_err(failed("opening a netlink socket"))?;
        socket.bind(&SocketAddr::new(0, 0)).map_err(failed("binding a netlink socket"))?;
        for group in groups {
            socket.add_membership(*group).map_err(failed("subscribing to notices of the network"))?;
        }
        let (end, watching) = std::io::pipe().map_err(failed("opening a pipe"))?;
        Ok((Watch { socket, end }, Watching(watching)))
    }

    /// Waits until a table of that name, or one named after it, may have been taken away; false at the end.
    pub fn lost(&self, table: &str) -> bool {
        self.heard(|notice| nft::takes_away(notice, table))
    }

    /// Waits until something outside of our own links may have changed; false at the end. `prefix`: of their names.
    pub fn changed(&self, prefix: &str, tunnel: &str) -> bool {
        self.heard(|notice| concerns(notice, |link| link == tunnel || !(link == "lo" || link.starts_with(prefix))))
    }

    fn heard(&self, is_it: impl Fn(&[u8]) -> bool) -> bool {
        loop {
            let wait = |on| PollFd::new(on, PollFlags::POLLIN);
            let mut both = [wait(self.socket.as_fd()), wait(self.end.as_fd())];
            match poll(&mut both, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => return false,
                Ok(_) if both[1].any() == Some(true) => return false,
                Ok(_) => {}
            }
            match self.socket.recv_from_full() {
                Ok((datagram, _)) if !is_it(&datagram) => {}
                Ok(_) => return true,
                // More notices than there was room for: one of those that are gone may have been it.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return true,
                Err(error) => {
                    tracing::warn!(%error, "what others do to this machine's network is not watched any more");
                    return false;
                }
            }
        }
    }
}

/// Whether a notice is of such a link, of an address, or of a route of ours that is taken away.
fn concerns(notice: &[u8], of_link: impl Fn(&str) -> bool) -> bool {
    let mut rest = notice;
    while !rest.is_empty() {
        // What cannot be read may be anything.
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else { return true };
        let length = (message.header.length as usize).next_multiple_of(4).max(16);
        let is_it = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)) => {
                link.attributes.iter().any(|attribute| match attribute {
                    LinkAttribute::IfName(name) => of_link(name),
                    _ => false,
                })
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address),
            ) => address.header.index != 1,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => route.header.protocol == PROTOCOL,
            _ => false,
        };
        if is_it {
            return true;
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    false
}
