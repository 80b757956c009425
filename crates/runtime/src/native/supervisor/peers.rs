//! The agents on the socket: accept, read requests, send answers and news.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventFlags};

use super::{Source, Supervisor, Ticket};
use crate::native::channel::{self, Inbox};
use crate::native::protocol::{Asked, Told};
use crate::state::Sandbox;

pub struct Peer {
    socket: OwnedFd,
    token: u64,
    inbox: Inbox,
    /// Bytes that did not fit into the socket, with the descriptors that go with their first byte.
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    queued: usize,
    /// Woken also when the socket takes more.
    writing: bool,
}

/// An agent that does not read is cut off here; it gets everything anew when it comes back.
const QUEUED_MAX: usize = 64 << 20;

impl Supervisor {
    pub(super) fn accept(&mut self) {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&socket, 1 << 20);
            let number = self.next + 1;
            let Ok(token) = self.watch(socket.as_fd(), Source::Peer(number), EventFlags::IN) else { continue };
            let (inbox, queue) = (Inbox::default(), VecDeque::new());
            let peer = Peer { socket, token, inbox, queue, queued: 0, writing: false };
            self.peers.insert(number, peer);
            let (version, sandboxes) = (env!("CARGO_PKG_VERSION").to_owned(), self.everything());
            let (damage, pid) = (self.damage.clone(), Some(std::process::id()));
            let snapshot = Told::Snapshot { version, sandboxes, resumes: true, damage, pid };
            self.outbox.push((Some(number), snapshot, Vec::new()));
        }
    }

    /// All that is known, as an agent lists it.
    pub(super) fn everything(&self) -> Vec<Sandbox> {
        let mut sandboxes: Vec<Sandbox> = self
            .sandboxes
            .iter()
            .filter(|(_, held)| held.beginning.is_none())
            .map(|(id, held)| held.seen(id))
            .collect();
        for held in self.containers.values() {
            if let Ok(at) = sandboxes.binary_search_by(|sandbox| sandbox.id.cmp(&held.sandbox)) {
                sandboxes[at].containers.push(held.seen.clone());
            }
        }
        sandboxes
    }

    pub(super) fn hear_peer(&mut self, number: u64, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.send_queue(number);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        loop {
            let Some(peer) = self.peers.get_mut(&number) else { return };
            match peer.inbox.fill(&peer.socket) {
                Ok(true) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(false) | Err(_) => return self.lose_peer(number),
            }
            loop {
                let Some(peer) = self.peers.get_mut(&number) else { return };
                match peer.inbox.next::<Asked>() {
                    Ok(Some((asked, _))) => self.asked(Ticket { peer: number, number: asked.number }, asked.request),
                    Ok(None) => break,
                    Err(error) => {
                        eprintln!("supervisor: an agent does not speak our language: {error}");
                        return self.lose_peer(number);
                    }
                }
            }
        }
    }

    pub(super) fn lose_peer(&mut self, number: u64) {
        if let Some(peer) = self.peers.remove(&number) {
            self.unwatch(peer.token, peer.socket.as_fd());
            self.sessions_of_gone_peer(number);
            self.graces_of_gone_peer(number);
        }
    }

    /// Sends what has been gathered: an answer to its peer, news to all, in order.
    pub(super) fn send_outbox(&mut self) {
        for (to, told, fds) in std::mem::take(&mut self.outbox) {
            let bytes = channel::frame(&told, fds.len());
            match to {
                Some(number) => self.send(number, bytes, fds),
                None => {
                    for number in self.peers.keys().copied().collect::<Vec<_>>() {
                        self.send(number, bytes.clone(), Vec::new());
                    }
                }
            }
        }
    }

    fn send(&mut self, number: u64, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        peer.queued += bytes.len();
        peer.queue.push_back((bytes, fds));
        if peer.queued > QUEUED_MAX {
            eprintln!("supervisor: an agent does not read; cut off");
            return self.lose_peer(number);
        }
        if peer.queue.len() == 1 {
            self.send_queue(number);
        }
    }

    fn send_queue(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number) else { return };
        let lost = loop {
            let Some((bytes, fds)) = peer.queue.front_mut() else { break false };
            let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
            match channel::send(&peer.socket, bytes, &borrowed) {
                Ok(sent) => {
                    fds.clear();
                    peer.queued -= sent;
                    bytes.drain(..sent);
                    if bytes.is_empty() {
                        peer.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        if lost {
            return self.lose_peer(number);
        }
        let writing = !peer.queue.is_empty();
        if writing != std::mem::replace(&mut peer.writing, writing) {
            let wanted = if writing { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            let data = epoll::EventData::new_u64(peer.token);
            let _ = epoll::modify(&self.epoll, &peer.socket, data, wanted);
        }
    }
}
