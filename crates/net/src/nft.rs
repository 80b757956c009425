//! Rule sets in the kernel's own form (nf_tables over netlink), sent as one transaction.
//!
//! Numbers and layouts are those of linux/netfilter/nf_tables.h. Attributes are written by hand:
//! most of what we send (nat, masq, fib, ct) has no typed form in the netlink crates. A chain runs
//! on eight 4-byte registers from `R0` on; each step below says which it uses.

use std::cell::RefCell;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use crate::rules::{Chain, Family, Field, Hook, RuleSet, Set, Step};
use crate::spec::{Error, failed};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DEL_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
const DEL_ELEMENTS: u16 = SUBSYSTEM | 14;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
const R0: u32 = 8;

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
        batch.table(NEW_TABLE, &rules.table);
        batch.table(DEL_TABLE, &rules.table);
        batch.table(NEW_TABLE, &rules.table);
        for (number, set) in rules.sets.iter().enumerate() {
            batch.set(&rules.table, set, number as u32 + 1);
        }
        for chain in &rules.chains {
            batch.chain(&rules.table, chain);
            for rule in &chain.rules {
                let fill = |body: &mut Body| rule_attributes(body, &rules.table, chain.name, rule, b"");
                batch.message(NEW_RULE, CREATE | 0x800, fill);
            }
        }
        self.commit(batch, &format!("putting the rules of table {} in force", rules.table))
    }

    /// Adds one element to a set, in a transaction of its own; nothing happens if it is there.
    pub fn add(&self, table: &str, set: &str, key: &[u8]) -> Result<(), Error> {
        self.commit(element(NEW_ELEMENTS, CREATE, table, set, key), &format!("adding to set {set} of table {table}"))
    }

    /// Takes one element out of a set. An error if it is not there.
    pub fn take(&self, table: &str, set: &str, key: &[u8]) -> Result<(), Error> {
        self.commit(element(DEL_ELEMENTS, 0, table, set, key), &format!("taking from set {set} of table {table}"))
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
        let fill = |body: &mut Body| attributes.iter().for_each(|(kind, value)| body.bytes(*kind, value));
        let mut socket = self.0.borrow_mut();
        let asked = ask(&socket, Family::V4, kind, if all { DUMP } else { ACK }, fill, each);
        if asked.is_err() {
            *socket = open()?;
        }
        asked
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

fn element(kind: u16, flags: u16, table: &str, set: &str, key: &[u8]) -> Batch {
    let mut batch = Batch::begin(Family::V4);
    batch.message(kind, flags, |body| {
        body.text(1, table);
        body.text(2, set);
        body.nested(3, |list| list.nested(1, |element| element.nested(1, |value| value.bytes(1, key))));
    });
    batch
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
        batch.message(NEW_RULE, CREATE, |body| rule_attributes(body, table, chain, rule, mark.as_bytes()));
    }
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

/// Whether a notice says that a table of that name was taken away.
pub(crate) fn takes_away(notice: &[u8], table: &str) -> bool {
    let mut messages = messages(notice);
    messages
        .any(|message| message.kind() == DEL_TABLE && text(message.0.get(20..).unwrap_or_default(), 1) == Some(table))
}

/// Netlink messages between a begin and an end: the kernel takes them all or none.
struct Batch {
    family: u8,
    bytes: Vec<u8>,
    count: u32,
}

/// The attributes of one message.
struct Body<'a>(&'a mut Vec<u8>);

impl Batch {
    fn begin(family: Family) -> Batch {
        let mut batch = Batch { family: number_of(family), bytes: Vec::new(), count: 0 };
        push_message(&mut batch.bytes, BATCH_BEGIN, REQUEST, 0, (0, 10), |_| {});
        batch
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Body)) {
        self.count += 1;
        push_message(&mut self.bytes, kind, flags | REQUEST | ACK, self.count, (self.family, 0), fill);
    }

    fn table(&mut self, kind: u16, name: &str) {
        self.message(kind, if kind == NEW_TABLE { CREATE } else { 0 }, |body| body.text(1, name));
    }

    fn set(&mut self, table: &str, set: &Set, id: u32) {
        self.message(NEW_SET, CREATE, |body| {
            body.text(1, table);
            body.text(2, set.name);
            body.number(3, if set.data.is_empty() { 0 } else { 8 });
            body.number(4, type_of(&set.key));
            body.number(5, length_of(&set.key));
            if !set.data.is_empty() {
                body.number(6, type_of(&set.data));
                body.number(7, length_of(&set.data));
            }
            body.number(10, id);
        });
        // A message's attribute holds 64 KiB at most.
        for elements in set.elements.chunks(500) {
            self.message(NEW_ELEMENTS, CREATE, |body| {
                body.text(1, table);
                body.text(2, set.name);
                body.number(4, id);
                body.nested(3, |list| {
                    for (key, data) in elements {
                        list.nested(1, |element| {
                            element.nested(1, |value| value.bytes(1, key));
                            if !data.is_empty() {
                                element.nested(2, |value| value.bytes(1, data));
                            }
                        });
                    }
                });
            });
        }
    }

    fn chain(&mut self, table: &str, chain: &Chain) {
        let hook = match chain.hook {
            Hook::Prerouting => 0,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        };
        self.message(NEW_CHAIN, CREATE, |body| {
            body.text(1, table);
            body.text(3, chain.name);
            body.nested(4, |at| {
                at.number(1, hook);
                at.number(2, chain.priority as u32);
            });
            body.text(7, chain.kind);
        });
    }

    fn commit(mut self, socket: &Socket, doing: &str) -> Result<(), Error> {
        push_message(&mut self.bytes, BATCH_END, REQUEST, self.count + 1, (0, 10), |_| {});
        socket.send(&self.bytes, 0).map_err(failed(doing))?;
        let mut left = self.count;
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

impl Body<'_> {
    fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = value.len() as u16 + 4;
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Body)) {
        let start = self.0.len();
        self.bytes(kind | 0x8000, &[]);
        fill(&mut Body(self.0));
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// One expression: its name and what `fill` says of it.
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Body)) {
        self.nested(1, |element| {
            element.text(1, name);
            element.nested(2, fill);
        });
    }

    fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) {
        self.expression("payload", |e| {
            e.number(1, register);
            e.number(2, base);
            e.number(3, offset);
            e.number(4, length);
        });
    }

    fn compare(&mut self, register: u32, equal: bool, value: &[u8]) {
        self.expression("cmp", |e| {
            e.number(1, register);
            e.number(2, u32::from(!equal));
            e.nested(3, |data| data.bytes(1, value));
        });
    }

    fn mask(&mut self, register: u32, mask: &[u8]) {
        self.expression("bitwise", |e| {
            e.number(1, register);
            e.number(2, register);
            e.number(3, mask.len() as u32);
            e.nested(4, |data| data.bytes(1, mask));
            e.nested(5, |data| data.bytes(1, &vec![0; mask.len()]));
        });
    }

    fn verdict(&mut self, code: i32) {
        self.expression("immediate", |e| {
            e.number(1, 0);
            e.nested(2, |data| data.nested(2, |verdict| verdict.number(1, code as u32)));
        });
    }

    fn in_range(&mut self, offset: u32, range: &ipnet::Ipv4Net, inside: bool) {
        self.payload(R0, 1, offset, 4);
        self.mask(R0, &range.netmask().octets());
        self.compare(R0, inside, &range.network().octets());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Source(range) => self.in_range(12, range, true),
            Step::Destination(range) => self.in_range(16, range, true),
            Step::NotDestination(range) => self.in_range(16, range, false),
            Step::NotFromLink(name) => {
                self.meta(R0, 6);
                let mut padded = name.as_bytes().to_vec();
                padded.resize(16, 0);
                self.compare(R0, false, &padded);
            }
            Step::FromLinks(start) => {
                self.meta(R0, 6);
                self.compare(R0, true, start.as_bytes());
            }
            Step::SourceNotIn(set) => {
                // A name fills four registers.
                self.meta(R0, 6);
                self.payload(R0 + 4, 1, 12, 4);
                self.expression("lookup", |e| {
                    e.text(1, set);
                    e.number(2, R0);
                    e.number(5, 1);
                });
            }
            Step::DestinationIsLocal => {
                self.expression("fib", |e| {
                    e.number(1, R0);
                    e.number(2, 3);
                    e.number(3, 2);
                });
                self.compare(R0, true, &2u32.to_ne_bytes());
            }
            Step::WasTranslated => {
                self.expression("ct", |e| {
                    e.number(1, R0);
                    e.number(2, 2);
                });
                self.mask(R0, &(1u32 << 5).to_ne_bytes());
                self.compare(R0, false, &[0; 4]);
            }
            Step::PairIn(set) => {
                self.payload(R0, 1, 12, 4);
                self.payload(R0 + 1, 1, 16, 4);
                self.expression("lookup", |e| {
                    e.text(1, set);
                    e.number(2, R0);
                });
            }
            Step::TranslateBy { map, with_address } => self.translate(map, *with_address),
            Step::Masquerade => self.expression("masq", |_| {}),
            Step::Accept => self.verdict(1),
            Step::Drop => self.verdict(0),
        }
    }

    fn meta(&mut self, register: u32, key: u32) {
        self.expression("meta", |e| {
            e.number(1, register);
            e.number(2, key);
        });
    }

    fn translate(&mut self, map: &str, with_address: bool) {
        let protocol = if with_address {
            self.payload(R0, 1, 16, 4);
            R0 + 1
        } else {
            R0
        };
        self.meta(protocol, 16);
        self.payload(protocol + 1, 2, 2, 2);
        let target = R0 + 4;
        self.expression("lookup", |e| {
            e.text(1, map);
            e.number(2, R0);
            e.number(3, target);
        });
        self.expression("nat", |e| {
            e.number(1, 1);
            e.number(2, u32::from(IPV4));
            e.number(3, target);
            e.number(5, target + 1);
        });
    }
}

fn rule_attributes(body: &mut Body, table: &str, chain: &str, rule: &[Step], mark: &[u8]) {
    body.text(1, table);
    body.text(2, chain);
    body.nested(4, |list| rule.iter().for_each(|step| list.step(step)));
    if !mark.is_empty() {
        body.bytes(7, mark);
    }
}

fn number_of(family: Family) -> u8 {
    if family == Family::V4 { IPV4 } else { IPV6 }
}

fn length_of(fields: &[Field]) -> u32 {
    fields.iter().map(|field| if *field == Field::Link { 16 } else { 4 }).sum()
}

/// nft's numbering of types, six bits for each part of a concatenation: what `nft list` prints by.
fn type_of(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, field| {
        all << 6
            | match field {
                Field::Link => 41,
                Field::Address => 7,
                Field::Protocol => 12,
                Field::Port => 13,
            }
    })
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
                _ => each(message.0.get(20..).unwrap_or_default()),
            }
        }
    }
}

fn push_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    number: u32,
    (family, resource): (u8, u16),
    fill: impl FnOnce(&mut Body),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&[family, 0]);
    bytes.extend_from_slice(&resource.to_be_bytes());
    fill(&mut Body(bytes));
    let length = (bytes.len() - start) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// One message of a datagram, header included.
struct Received<'a>(&'a [u8]);

impl Received<'_> {
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn kind(&self) -> u16 {
        u16::from_ne_bytes(self.field(4))
    }

    fn number(&self) -> u32 {
        u32::from_ne_bytes(self.field(8))
    }

    /// The error number of an acknowledgement; 0 for success.
    fn error(&self) -> Option<i32> {
        (self.kind() == 2).then(|| i32::from_ne_bytes(self.field(16)).abs())
    }
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length.max(16))?;
        rest = rest.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
        Some(Received(message))
    })
}

/// Attributes as they came.
pub(crate) struct Attributes<'a>(pub &'a [u8]);

impl<'a> Attributes<'a> {
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        find(self.0, kind)
    }

    pub fn inner(&self, kind: u16) -> Attributes<'a> {
        Attributes(find(self.0, kind).unwrap_or_default())
    }
}

/// The value of the attribute of that kind.
fn find(mut body: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(body.get(..2)?.try_into().ok()?)).max(4);
        let this = u16::from_ne_bytes(body.get(2..4)?.try_into().ok()?) & 0x3fff;
        if this == kind {
            return body.get(4..length);
        }
        body = body.get(length.next_multiple_of(4)..)?;
    }
}

fn text(body: &[u8], kind: u16) -> Option<&str> {
    std::str::from_utf8(find(body, kind)?).ok().map(|s| s.trim_end_matches('\0'))
}
