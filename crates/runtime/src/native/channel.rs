//! Messages with descriptors over unix sockets: length, count of descriptors, JSON.
//!
//! Used between agent and supervisor (a stream) and between supervisor and keeper (packets). Descriptors
//! travel with the first byte of their message, in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors in one message, at most.
pub const FDS_MAX: usize = 16;
/// Bytes in one message, at most: a listing of a thousand sandboxes.
const FRAME_MAX: usize = 256 << 20;
const HEADER: usize = 5;

/// One `sendmsg`; returns how many bytes went out. The descriptors go with the first of them.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

/// One `recvmsg`; 0 bytes: the other side is gone.
pub fn receive(socket: impl AsFd, bytes: &mut [u8], fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    Ok(receive_from(socket, bytes, fds, RecvFlags::empty())?.0)
}

/// One `recvmsg`, and who sent it, where the socket is set to know.
pub fn receive_from(
    socket: impl AsFd,
    bytes: &mut [u8],
    fds: &mut impl Extend<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<(usize, Option<u32>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut sender = None;
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(received) => fds.extend(received),
            RecvAncillaryMessage::ScmCredentials(who) => sender = Some(who.pid.as_raw_nonzero().get().unsigned_abs()),
            _ => {}
        }
    }
    Ok((got.bytes, sender))
}

/// A message as bytes for a stream.
pub fn frame(message: &impl Serialize, fds: usize) -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message).expect("messages hold nothing that JSON cannot");
    let length = (bytes.len() - HEADER) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4] = fds as u8;
    bytes
}

/// The receiving half of a stream: puts messages together.
#[derive(Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
    fds: VecDeque<OwnedFd>,
}

impl Inbox {
    /// Reads what is there, once. False: the other side is gone.
    pub fn fill(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let got = receive(socket, &mut buffer, &mut self.fds)?;
        self.bytes.extend_from_slice(&buffer[..got]);
        Ok(got > 0)
    }

    /// The next whole message, if it has arrived.
    pub fn next<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let rest = &self.bytes[self.taken..];
        if rest.len() < HEADER {
            self.shrink();
            return Ok(None);
        }
        let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let count = usize::from(rest[4]);
        if length > FRAME_MAX || count > FDS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message of impossible size"));
        }
        if rest.len() < HEADER + length {
            return Ok(None);
        }
        let message = serde_json::from_slice(&rest[HEADER..HEADER + length])?;
        self.taken += HEADER + length;
        let fds = self.fds.drain(..count.min(self.fds.len())).collect();
        Ok(Some((message, fds)))
    }

    fn shrink(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > 64 << 10 {
            self.bytes = Vec::new();
        }
    }
}
