//! Answers from memory: the question again, and what its name stands for, written into one buffer.

use std::net::IpAddr;

use super::name::{NAME_MAX, Name, lowered, within};
use super::query::*;
use super::table::{Found, Records, Table, Target};

/// Of the cluster's own names, in seconds: CoreDNS's kubernetes plugin (defaultTTL).
pub const LIFE: u32 = 5;
/// Of `dns-version`.
const TEXT_LIFE: u32 = 28_800;
/// Names that lead to another are followed so far (CoreDNS, maxCnameChainLength).
pub const ALIASES_MAX: usize = 10;
/// Owners are pointed to up to here.
const POINTER_MAX: usize = 0x3fff;
const OPT_LENGTH: usize = 11;

/// What became of a question.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The answer is written.
    Done,
    /// Others are to be asked.
    Forward,
    /// The name leads to this one, which others know.
    Chase(Name),
}

/// What is kept from one answer to the next: an order of addresses, and where the next one begins.
pub struct Scratch {
    order: Vec<IpAddr>,
    state: u64,
}

impl Scratch {
    pub fn new(seed: u64) -> Scratch {
        Scratch { order: Vec::new(), state: seed | 1 }
    }

    /// Marsaglia's xorshift64*: spreads load, keeps no secret.
    pub fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        ((self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound.max(1)
    }

    /// Those of a family, in an order of their own each time (CoreDNS's loadbalance).
    fn shuffled(&mut self, addresses: &[IpAddr], wanted: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(addresses.iter().copied().filter(wanted));
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// Answers a question as far as the table knows; `limit` bytes at most. `out` is written anew.
pub fn answer(table: &Table, query: &Query<'_>, limit: usize, scratch: &mut Scratch, out: &mut Vec<u8>) -> Outcome {
    if query.extended.is_some_and(|extended| extended.version > 0) {
        return code(query, BAD_VERSION, out);
    }
    if query.class != INTERNET || matches!(query.kind, AXFR | IXFR) {
        return code(query, REFUSED, out);
    }
    let mut small = [0; NAME_MAX];
    let length = lowered(query.name, &mut small);
    let asked = &small[..length];
    let mut message = Message::begin(query, limit, out);
    let mut current = Current::Asked(asked);
    let mut owner = HEADER;
    for _ in 0..=ALIASES_MAX {
        let records = match table.find(current.bytes(), query.kind) {
            Found::Elsewhere => {
                return match current {
                    Current::Asked(_) => Outcome::Forward,
                    Current::Led(name) => Outcome::Chase(name),
                };
            }
            Found::Unknown => return code(query, SERVER_FAILURE, message.out),
            Found::Nothing if matches!(current, Current::Asked(_)) => {
                return message.deny(table, asked, NO_SUCH_NAME);
            }
            Found::Nothing => break,
            Found::Address(address) => {
                message.addresses(owner, &[address], query, scratch);
                break;
            }
            Found::Records(records) => records,
        };
        match records {
            Records::Addresses(addresses) | Records::Host { addresses, .. } => {
                message.addresses(owner, addresses, query, scratch)
            }
            Records::Targets(targets) if query.wants(SRV) => message.targets(owner, targets),
            Records::Pointers(names) => {
                for name in names {
                    message.record(owner, PTR, LIFE, &[name.bytes()]);
                }
            }
            Records::Text(text) if query.wants(TXT) => {
                message.record(owner, TXT, TEXT_LIFE, &[&[text.len() as u8], text.as_bytes()]);
            }
            Records::Apex => message.apex(table, query, owner),
            Records::Alias(name) => {
                let Some(at) = message.record(owner, CNAME, LIFE, &[name.bytes()]) else { break };
                if query.wants(CNAME) {
                    break;
                }
                owner = at;
                current = Current::Led(name.clone());
                continue;
            }
            _ => {}
        }
        break;
    }
    // A name that leads nowhere has no records of the kind (CoreDNS, plugin/backend_lookup.go A).
    if message.is_empty() || (!query.wants(CNAME) && message.only_aliases) {
        return message.deny(table, asked, 0);
    }
    message.end()
}

enum Current<'a> {
    Asked(&'a [u8]),
    Led(Name),
}

impl Current<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Current::Asked(name) => name,
            Current::Led(name) => name.bytes(),
        }
    }
}

/// An answer that is a code alone.
pub fn code(query: &Query<'_>, code: u16, out: &mut Vec<u8>) -> Outcome {
    let mut message = Message::begin(query, usize::MAX, out);
    message.code = code;
    message.flags &= !AUTHORITATIVE;
    message.end()
}

/// To what is no question.
pub fn unasked(id: u16, flags: u16, code: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend(id.to_be_bytes());
    out.extend((RESPONSE | flags & (0x7800 | RECURSION_DESIRED) | RECURSION_AVAILABLE | code).to_be_bytes());
    out.extend([0; 8]);
}

/// An answer that is being written.
pub struct Message<'a> {
    query: Query<'a>,
    pub out: &'a mut Vec<u8>,
    limit: usize,
    pub flags: u16,
    pub code: u16,
    answers: u16,
    authorities: u16,
    additionals: u16,
    only_aliases: bool,
}

impl<'a> Message<'a> {
    pub fn begin(query: &Query<'a>, limit: usize, out: &'a mut Vec<u8>) -> Message<'a> {
        out.clear();
        out.extend([0; HEADER]);
        out.extend(query.name);
        out.extend(query.kind.to_be_bytes());
        out.extend(query.class.to_be_bytes());
        let reserved = if query.extended.is_some() { OPT_LENGTH } else { 0 };
        let flags =
            RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | query.flags & (RECURSION_DESIRED | CHECKING_DISABLED);
        Message {
            query: *query,
            out,
            limit: limit - reserved,
            flags,
            code: 0,
            answers: 0,
            authorities: 0,
            additionals: 0,
            only_aliases: true,
        }
    }

    fn is_empty(&self) -> bool {
        self.answers == 0 && self.flags & TRUNCATED == 0
    }

    /// Writes a record, and says where its value begins; None where there is no room for it.
    fn write(&mut self, owner: usize, kind: u16, life: u32, value: &[&[u8]]) -> Option<usize> {
        let length: usize = value.iter().map(|part| part.len()).sum();
        if self.out.len() + 12 + length > self.limit {
            return None;
        }
        self.out.extend((0xc000 | owner as u16).to_be_bytes());
        self.out.extend(kind.to_be_bytes());
        self.out.extend(INTERNET.to_be_bytes());
        self.out.extend(life.to_be_bytes());
        self.out.extend((length as u16).to_be_bytes());
        let at = self.out.len();
        value.iter().for_each(|part| self.out.extend(*part));
        Some(at)
    }

    /// One of the answers; where there is no room the rest is to be had by TCP.
    fn record(&mut self, owner: usize, kind: u16, life: u32, value: &[&[u8]]) -> Option<usize> {
        let Some(at) = self.write(owner, kind, life, value) else {
            self.flags |= TRUNCATED;
            return None;
        };
        self.answers += 1;
        self.only_aliases &= kind == CNAME;
        Some(at)
    }

    fn addresses(&mut self, owner: usize, addresses: &[IpAddr], query: &Query<'_>, scratch: &mut Scratch) {
        let wanted = |address: &IpAddr| query.wants(if address.is_ipv4() { A } else { AAAA });
        let order = scratch.shuffled(addresses, wanted);
        for address in &order {
            let written = match address {
                IpAddr::V4(address) => self.record(owner, A, LIFE, &[&address.octets()]),
                IpAddr::V6(address) => self.record(owner, AAAA, LIFE, &[&address.octets()]),
            };
            if written.is_none() {
                break;
            }
        }
        scratch.order = order;
    }

    /// With the addresses of their names beside, as far as there is room.
    fn targets(&mut self, owner: usize, targets: &[Target]) {
        let mut places = Vec::with_capacity(targets.len());
        for target in targets {
            let (weight, port) = (target.weight.to_be_bytes(), target.port.to_be_bytes());
            let Some(at) = self.record(owner, SRV, LIFE, &[&[0, 0], &weight, &port, target.name.bytes()]) else {
                return;
            };
            places.push(at + 6);
        }
        for (target, place) in targets.iter().zip(places).filter(|(_, place)| *place <= POINTER_MAX) {
            for address in &target.addresses {
                let written = match address {
                    IpAddr::V4(address) => self.write(place, A, LIFE, &[&address.octets()]),
                    IpAddr::V6(address) => self.write(place, AAAA, LIFE, &[&address.octets()]),
                };
                if written.is_none() {
                    return;
                }
                self.additionals += 1;
            }
        }
    }

    fn apex(&mut self, table: &Table, query: &Query<'_>, owner: usize) {
        if query.wants(SOA) {
            let parts = soa(table, owner);
            self.record(owner, SOA, LIFE, &[&parts]);
        }
        if query.wants(NS) {
            let name = [&b"\x02ns\x03dns"[..], &(0xc000 | owner as u16).to_be_bytes()].concat();
            self.record(owner, NS, LIFE, &[&name]);
        }
    }

    /// There is no such name, or nothing of the kind: the zone's SOA says for how long.
    fn deny(mut self, table: &Table, asked: &[u8], code: u16) -> Outcome {
        self.out.truncate(self.query.end());
        (self.answers, self.additionals, self.code) = (0, 0, code);
        self.flags &= !TRUNCATED;
        if let Some(at) = within(asked, table.zone().bytes()) {
            let zone = HEADER + at;
            let parts = soa(table, zone);
            self.authorities = u16::from(self.write(zone, SOA, LIFE, &[&parts]).is_some());
        }
        self.end()
    }

    /// Fills in the header.
    pub fn end(self) -> Outcome {
        let Message { query, out, mut flags, code, answers, authorities, mut additionals, .. } = self;
        if let Some(extended) = query.extended {
            opt(code, extended.dnssec, out);
            additionals += 1;
        }
        flags |= code & 15;
        let fields = [query.id, flags, 1, answers, authorities, additionals];
        for (place, field) in out.chunks_exact_mut(2).zip(fields) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        Outcome::Done
    }
}

/// What we can take ourselves, and the rest of the code (RFC 6891, 6.1.2).
pub fn opt(code: u16, dnssec: bool, out: &mut Vec<u8>) {
    out.push(0);
    out.extend(OPT.to_be_bytes());
    out.extend((PACKET_MAX as u16).to_be_bytes());
    out.extend([(code >> 4) as u8, 0, if dnssec { 0x80 } else { 0 }, 0]);
    out.extend([0, 0]);
}

/// CoreDNS, plugin/backend_lookup.go SOA; `zone`: where its name stands in the message.
fn soa(table: &Table, zone: usize) -> Vec<u8> {
    let zone = (0xc000 | zone as u16).to_be_bytes();
    let mut value = [&b"\x02ns\x03dns"[..], &zone, b"\x0ahostmaster", &zone].concat();
    for number in [table.serial, 7200, 1800, 86_400, LIFE] {
        value.extend(number.to_be_bytes());
    }
    value
}
