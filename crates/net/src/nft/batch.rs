//! A transaction: netlink messages that the kernel takes all or none.

use netlink_sys::Socket;

use super::messages::{Body, messages, push_message};
use super::{ACK, BATCH_BEGIN, BATCH_END, CREATE, DEL_CHAIN, DEL_RULE, DEL_TABLE, NEW_CHAIN, NEW_RULE, NEW_TABLE};
use super::{REQUEST, number_of};
use crate::rules::{Chain, Family, Hook, Step};
use crate::spec::{Error, failed};

const APPEND: u16 = 0x800;

/// Netlink messages between a begin and an end: the kernel takes them all or none.
pub struct Batch {
    family: Family,
    bytes: Vec<u8>,
    count: u32,
    /// Messages that are acknowledged.
    acknowledged: u32,
}

impl Batch {
    pub fn begin(family: Family) -> Batch {
        let mut batch = Batch { family, bytes: Vec::new(), count: 0, acknowledged: 0 };
        push_message(&mut batch.bytes, BATCH_BEGIN, REQUEST, 0, (0, 10), |_| {});
        batch
    }

    pub fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body)) {
        self.acknowledged += 1;
        self.silent(kind, flags | ACK, fill);
    }

    /// A message of many: only what is wrong with it is told.
    pub fn silent(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body)) {
        self.count += 1;
        push_message(&mut self.bytes, kind, flags | REQUEST, self.count, (number_of(self.family), 0), fill);
    }

    pub fn table(&mut self, kind: u16, name: &str) {
        self.message(kind, if kind == NEW_TABLE { CREATE } else { 0 }, |body| body.text(1, name));
    }

    /// The table, empty; what it was before is gone with the same transaction. `comment` is what `nft` shows.
    pub fn fresh_table(&mut self, table: &str, comment: &str) {
        self.table(NEW_TABLE, table);
        self.table(DEL_TABLE, table);
        self.silent(NEW_TABLE, CREATE, |body| {
            body.text(1, table);
            if !comment.is_empty() {
                body.bytes(6, &commented(comment));
            }
        });
    }

    pub fn chain(&mut self, table: &str, chain: &Chain) {
        self.silent(NEW_CHAIN, CREATE, |body| {
            body.text(1, table);
            body.text(3, &chain.name);
            let Some(base) = chain.base else { return };
            let hook = match base.hook {
                Hook::Prerouting => 0,
                Hook::Input => 1,
                Hook::Forward => 2,
                Hook::Output => 3,
                Hook::Postrouting => 4,
            };
            body.nested(4, |at| {
                at.number(1, hook);
                at.number(2, base.priority as u32);
            });
            body.text(7, base.kind);
        });
    }

    /// Takes every rule out of a chain.
    pub fn no_rules(&mut self, table: &str, chain: &str) {
        self.silent(DEL_RULE, 0, |body| {
            body.text(1, table);
            body.text(2, chain);
        });
    }

    /// Removes a chain that has no rules; the transaction fails where something still leads to it.
    pub fn no_chain(&mut self, table: &str, chain: &str) {
        self.silent(DEL_CHAIN, 0, |body| {
            body.text(1, table);
            body.text(3, chain);
        });
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// How many messages it has.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds rules to the end of a chain.
    pub fn rules(&mut self, table: &str, chain: &str, rules: &[Vec<Step>]) {
        rules.iter().for_each(|rule| self.rule(table, chain, rule, b"", true));
    }

    /// Adds a rule to the end of a chain, or puts it at its head.
    pub fn rule(&mut self, table: &str, chain: &str, rule: &[Step], mark: &[u8], at_end: bool) {
        let family = self.family;
        let own = |step: &Step| match step {
            Step::Within { part, ranges } => Some((*part, self.ranges(table, *part, ranges))),
            _ => None,
        };
        let own: Vec<_> = rule.iter().map(own).collect();
        self.silent(NEW_RULE, if at_end { CREATE | APPEND } else { CREATE }, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.nested(4, |list| {
                rule.iter().zip(own).for_each(|(step, own)| match own {
                    Some((part, set)) => list.is_in_own(family, part, set),
                    None => list.step(family, step),
                });
            });
            if !mark.is_empty() {
                body.bytes(7, mark);
            }
        });
    }

    pub fn commit(mut self, socket: &Socket, doing: &str) -> Result<(), Error> {
        push_message(&mut self.bytes, BATCH_END, REQUEST, self.count + 1, (0, 10), |_| {});
        make_room(socket, self.bytes.len());
        socket.send(&self.bytes, 0).map_err(failed(doing))?;
        let mut left = self.acknowledged;
        while left > 0 {
            let (datagram, _) = socket.recv_from_full().map_err(failed(doing))?;
            for message in messages(&datagram) {
                let Some(code) = message.error() else { continue };
                if code != 0 {
                    let error = std::io::Error::from_raw_os_error(code);
                    return Err(failed(format_args!("{doing} (message {})", message.number()))(error));
                }
                left -= 1;
            }
        }
        Ok(())
    }
}

/// A transaction is one datagram, which the socket must hold at once: thousands of services have megabytes.
fn make_room(socket: &Socket, bytes: usize) {
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    let room = getsockopt(socket, sockopt::SndBuf).unwrap_or(0);
    if room < bytes * 2
        && let Err(error) = setsockopt(socket, sockopt::SndBufForce, &(bytes * 2))
    {
        tracing::debug!(%error, "a transaction of {bytes} bytes may be too large for the socket");
    }
}

/// As libnftnl writes a comment.
fn commented(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, comment.len() as u8 + 1];
    bytes.extend(comment.bytes());
    bytes.push(0);
    bytes
}
