//! Rule sets in the kernel's own form (nf_tables over netlink), sent as one transaction.
//!
//! Numbers and layouts are those of linux/netfilter/nf_tables.h. Attributes are written by hand:
//! most of what we send (nat, masq, fib, ct) has no typed form in the netlink crates.

use std::cell::RefCell;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::rules::{Family, RuleSet, Step};
use crate::spec::{Error, failed};

/// Transactions.
mod batch;
/// Messages and attributes.
mod messages;
/// Single expressions.
mod ops;
/// Sets, maps and their elements.
mod sets;
/// Steps as expressions.
mod steps;

pub(crate) use batch::Batch;
pub(crate) use messages::Attributes;
use messages::{Body, find, messages, push_message, text};
pub(crate) use sets::Element;

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DEL_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const DEL_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const DEL_SET: u16 = SUBSYSTEM | 11;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
const DEL_ELEMENTS: u16 = SUBSYSTEM | 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// A connection to netfilter that stays: closing one after something was removed waits for every processor
/// to have seen it (nft_rcv_nl_event), some ten milliseconds. It belongs to the network namespace that it
/// was opened in.
pub(crate) struct Netfilter(RefCell<Socket>);

impl Netfilter {
    pub fn open() -> Result<Netfilter, Error> {
        open().map(RefCell::new).map(Netfilter)
    }

    /// Replaces the table by this rule set, all or nothing.
    pub fn apply(&self, rules: &RuleSet) -> Result<(), Error> {
        let mut batch = Batch::begin(rules.family);
        batch.fresh_table(&rules.table, "");
        // What refers to something comes after it: maps lead to chains, rules ask sets.
        rules.chains.iter().for_each(|chain| batch.chain(&rules.table, chain));
        for (number, set) in rules.sets.iter().enumerate() {
            batch.set(&rules.table, set, number as u32 + 1);
        }
        for chain in &rules.chains {
            batch.rules(&rules.table, &chain.name, &chain.rules);
        }
        self.change(batch, &rules.table, &format!("putting the rules of table {} in force", rules.table))
    }

    /// Adds one element to a set, in a transaction of its own; nothing happens if it is there.
    pub fn add(&self, family: Family, table: &str, set: &str, key: &[u8]) -> Result<(), Error> {
        self.with(family, table, set, true, key, &format!("adding to set {set} of table {table}"))
    }

    /// Takes one element out of a set. An error if it is not there.
    pub fn take(&self, family: Family, table: &str, set: &str, key: &[u8]) -> Result<(), Error> {
        self.with(family, table, set, false, key, &format!("taking from set {set} of table {table}"))
    }

    fn with(&self, family: Family, table: &str, set: &str, with: bool, key: &[u8], doing: &str) -> Result<(), Error> {
        let mut batch = Batch::begin(family);
        batch.keys(table, set, with, &[key]);
        self.change(batch, table, doing)
    }

    /// Removes the table; nothing happens if there is none.
    pub fn remove(&self, family: Family, table: &str) -> Result<(), Error> {
        let mut batch = Batch::begin(family);
        batch.table(NEW_TABLE, table);
        batch.table(DEL_TABLE, table);
        self.commit(batch, &format!("removing table {table}"))
    }

    /// Whether there is such a table.
    pub fn has(&self, family: Family, table: &str) -> Result<bool, Error> {
        let mut there = false;
        ask(&self.0.borrow(), family, GET_TABLE, ACK, |body| body.text(1, table), |_| there = true)?;
        Ok(there)
    }

    /// Asks another part of netfilter, with these attributes, and hands over those of every answer. What is
    /// asked for and is not there is no error. `all`: of whatever there is.
    pub fn ask(
        &self,
        kind: u16,
        all: bool,
        attributes: &[(u16, Vec<u8>)],
        each: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        self.ask_of(Family::V4, kind, all, attributes, each)
    }

    /// As `ask`, of a family.
    pub fn ask_of(
        &self,
        family: Family,
        kind: u16,
        all: bool,
        attributes: &[(u16, Vec<u8>)],
        each: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let fill = |body: &mut Body| attributes.iter().for_each(|(kind, value)| body.bytes(*kind, value));
        let mut socket = self.0.borrow_mut();
        let asked = ask(&socket, family, kind, if all { DUMP } else { ACK }, fill, each);
        if asked.is_err() {
            *socket = open()?;
        }
        asked
    }

    /// Changes a table that is there, all or nothing.
    pub fn change(&self, mut batch: Batch, table: &str, doing: &str) -> Result<(), Error> {
        if batch.count() == 0 {
            return Ok(());
        }
        // It changes nothing, and its acknowledgement is that of all before it.
        batch.table(NEW_TABLE, table);
        self.commit(batch, doing)
    }

    /// The comment of the table; None: there is no such table, or none by us.
    pub fn comment(&self, family: Family, table: &str) -> Result<Option<String>, Error> {
        let mut comment = None;
        let each = |body: &[u8]| {
            let found = find(body, 6).and_then(|bytes| bytes.get(2..));
            comment = found.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_string());
        };
        ask(&self.0.borrow(), family, GET_TABLE, ACK, |body| body.text(1, table), each)?;
        Ok(comment)
    }

    fn commit(&self, batch: Batch, doing: &str) -> Result<(), Error> {
        let mut socket = self.0.borrow_mut();
        let done = batch.commit(&socket, doing);
        if done.is_err() {
            // What else it was told of that transaction is nobody's any more.
            *socket = open()?;
        }
        done
    }
}

/// Puts rules at the head of a chain that another program owns, in place of those that bear the same mark.
/// No rules: only removes those. Returns false where there is no such chain.
pub(crate) fn precede(table: &str, chain: &str, mark: &str, rules: &[Vec<Step>]) -> Result<bool, Error> {
    let socket = open()?;
    let mut exists = false;
    ask(
        &socket,
        Family::V4,
        GET_CHAIN,
        DUMP,
        |_| {},
        |body| {
            exists |= text(body, 1) == Some(table) && text(body, 3) == Some(chain);
        },
    )?;
    if !exists {
        return Ok(false);
    }
    let handles = marked(table, chain, mark)?;
    if handles.is_empty() && rules.is_empty() {
        return Ok(true);
    }
    let mut batch = Batch::begin(Family::V4);
    for handle in handles {
        batch.message(DEL_RULE, 0, |body| {
            body.text(1, table);
            body.text(2, chain);
            body.bytes(3, &handle);
        });
    }
    for rule in rules {
        batch.rule(table, chain, rule, mark.as_bytes(), false);
    }
    batch.table(NEW_TABLE, table);
    batch.commit(&socket, &format!("changing our rules in {table} {chain}"))?;
    Ok(true)
}

/// The kernel's handles of the rules in that chain that bear the mark.
pub(crate) fn marked(table: &str, chain: &str, mark: &str) -> Result<Vec<Vec<u8>>, Error> {
    let mut handles = Vec::new();
    let named = |body: &mut Body| {
        body.text(1, table);
        body.text(2, chain);
    };
    ask(&open()?, Family::V4, GET_RULE, DUMP, named, |body| {
        if find(body, 7) == Some(mark.as_bytes()) {
            handles.extend(find(body, 3).map(<[u8]>::to_vec));
        }
    })?;
    Ok(handles)
}

/// Whether a notice says that a table of that name was taken away, or one whose name goes on after a dash.
pub(crate) fn takes_away(notice: &[u8], table: &str) -> bool {
    let is_ours = |name: &str| name.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let mut messages = messages(notice);
    messages.any(|message| message.kind() == DEL_TABLE && text(message.attributes(), 1).is_some_and(is_ours))
}

fn number_of(family: Family) -> u8 {
    if family == Family::V4 { IPV4 } else { IPV6 }
}

fn open() -> Result<Socket, Error> {
    let mut socket = Socket::new(NETLINK_NETFILTER).map_err(failed("opening a netfilter socket"))?;
    socket.bind_auto().map_err(failed("binding a netfilter socket"))?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(failed("connecting a netfilter socket"))?;
    Ok(socket)
}

/// Asks and hands over the attributes of every answer.
fn ask(
    socket: &Socket,
    family: Family,
    kind: u16,
    flags: u16,
    fill: impl FnOnce(&mut Body),
    mut each: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let mut bytes = Vec::new();
    push_message(&mut bytes, kind, flags | REQUEST, 1, (number_of(family), 0), fill);
    socket.send(&bytes, 0).map_err(failed("asking netfilter"))?;
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(failed("reading from netfilter"))?;
        for message in messages(&datagram) {
            match (message.kind(), message.error()) {
                (3, _) => return Ok(()),
                (_, Some(0 | libc::ENOENT)) => return Ok(()),
                (_, Some(code)) => return Err(failed("asking netfilter")(std::io::Error::from_raw_os_error(code))),
                _ => each(message.attributes()),
            }
        }
    }
}
