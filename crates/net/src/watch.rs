//! Hears of tables that are taken away, so that ours is made anew when somebody flushes the rules.
//!
//! A thread of its own waits on the kernel's notices (NFNLGRP_NFTABLES) and on the end of the worker. It
//! decides nothing: whether the table is there is the worker's to see, since a change of its own takes the
//! table away and puts another in its place.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::AsFd;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::nft;
use crate::spec::{Error, failed};

/// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;

/// Notices, until its `Watching` is gone.
pub(crate) struct Watch {
    socket: Socket,
    end: PipeReader,
}

/// Keeps a `Watch` alive.
pub(crate) struct Watching(#[expect(dead_code, reason = "its end is the notice")] PipeWriter);

impl Watch {
    /// Of the network namespace of the caller.
    pub fn open() -> Result<(Watch, Watching), Error> {
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed("opening a netfilter socket"))?;
        socket.bind(&SocketAddr::new(0, 0)).map_err(failed("binding a netfilter socket"))?;
        socket.add_membership(NFNLGRP_NFTABLES).map_err(failed("subscribing to notices of netfilter"))?;
        let (end, watching) = std::io::pipe().map_err(failed("opening a pipe"))?;
        Ok((Watch { socket, end }, Watching(watching)))
    }

    /// Waits until a table of that name may have been taken away; false at the end.
    pub fn lost(&self, table: &str) -> bool {
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
                Ok((datagram, _)) if !nft::takes_away(&datagram, table) => {}
                Ok(_) => return true,
                // More notices than there was room for: one of those that are gone may have been it.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return true,
                Err(error) => {
                    tracing::warn!(%error, "what becomes of the network's rules is not watched any more");
                    return false;
                }
            }
        }
    }
}
