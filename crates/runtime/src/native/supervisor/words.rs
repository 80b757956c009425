//! What a set-up says over its socket, and whom the supervisor believes.
//!
//! A set-up may go on where others can take hold of its descriptors. So every word is known by the process
//! that sent it, which the kernel tells: only the one that is on record is heard, and once it has moved
//! among others, only its failure. Anything else ends the start: nobody can keep the supervisor listening.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::RecvFlags;

use crate::native::{channel, setup};

pub enum Word {
    /// Nothing yet.
    Nothing,
    /// The socket is closed: the program runs, or the set-up has ended.
    Over,
    Terminal(OwnedFd),
    /// It goes on as the process of this pidfd.
    Moved(OwnedFd),
    /// The /proc of a PID namespace, from its init.
    Proc(OwnedFd),
    /// Why it failed.
    Failed(String),
    /// Somebody else's, or no word at all.
    Forged,
}

/// Told to whoever asked for the start.
pub const FORGED: &str = "another process of the pod interfered with the set-up";

/// Lets the kernel say who sends to this socket.
pub fn know_senders(sync: &OwnedFd) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(sync, true)?)
}

/// The next word of that process; `left_there`: to be heard again until `taken`.
pub fn next(sync: impl AsFd, speaker: u32, moved: bool, left_there: bool) -> Word {
    let flags = if left_there { RecvFlags::PEEK } else { RecvFlags::empty() } | RecvFlags::DONTWAIT;
    let mut bytes = [0; 9 << 10];
    let mut fds = Vec::new();
    let (got, sender) = loop {
        match channel::receive_from(&sync, &mut bytes, &mut fds, flags) {
            // An empty packet is no end: at that nobody is named.
            Ok((0, None)) => return Word::Over,
            Ok(heard) => break heard,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Word::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It ended without having read our go; what it said before is still to be read.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(_) => return Word::Over,
        }
    };
    if sender != Some(speaker) {
        return Word::Forged;
    }
    match (bytes[0], fds.pop()) {
        (setup::ERROR, _) => Word::Failed(String::from_utf8_lossy(&bytes[1..got]).into_owned()),
        (setup::TERMINAL, Some(fd)) if !moved && fds.is_empty() => Word::Terminal(fd),
        (setup::PROC, Some(fd)) if !moved && fds.is_empty() => Word::Proc(fd),
        (setup::MOVED, Some(pidfd)) if !moved && fds.is_empty() => Word::Moved(pidfd),
        _ => Word::Forged,
    }
}

/// Whether the word that lies there says that the set-up moved; and who says so.
pub fn moved(sync: &OwnedFd) -> Option<(OwnedFd, Option<u32>)> {
    let (mut byte, mut fds) = ([0; 1], Vec::new());
    let heard = channel::receive_from(sync, &mut byte, &mut fds, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    let (_, sender) = heard.ok().filter(|(got, _)| *got == 1 && byte[0] == setup::MOVED)?;
    Some((fds.pop().filter(|_| fds.is_empty())?, sender))
}

/// What was left there goes.
pub fn taken(sync: &OwnedFd) {
    let _ = rustix::net::recv(sync, &mut [0; 1], RecvFlags::DONTWAIT);
}

#[cfg(test)]
mod tests;
