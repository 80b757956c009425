//! Single expressions in the kernel's own form.
//!
//! A register is named by its first word, 0 to 15.

use super::messages::Body;
use super::number_of;
use super::sets::ANY_NAME;
use crate::rules::{Family, Op, Part};

/// NFT_REG32_00
const R0: u32 = 8;
/// NFT_REG_VERDICT
const VERDICT: u32 = 0;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;

/// Directions of a connection: what its beginner sent, and what came back.
const SENT: Option<u8> = Some(0);
const REPLIED: Option<u8> = Some(1);

impl Body<'_> {
    pub fn op(&mut self, family: Family, op: &Op) {
        match op {
            Op::Load(part, to) => drop(self.load(family, *part, *to)),
            Op::Constant(to, value) => self.expression("immediate", |e| {
                e.number(1, R0 + to);
                e.nested(2, |data| data.bytes(1, value));
            }),
            Op::Mask(register, mask) => self.mask(*register, mask),
            Op::Equal(register, value) => self.compare(*register, true, value),
            Op::Unequal(register, value) => self.compare(*register, false, value),
            Op::Within(set, key) => self.is_in(set, *key, true),
            Op::Without(set, key) => self.is_in(set, *key, false),
            Op::Lookup(map, key, to) => self.lookup(map, *key, R0 + to),
            Op::Verdict(map, key) => self.lookup(map, *key, VERDICT),
            Op::Random(to, below) => self.expression("numgen", |e| {
                e.number(1, R0 + to);
                e.number(2, *below);
                e.number(3, 1);
                e.number(4, 0);
            }),
            Op::Remember { map, key, data, seconds } => self.change(map, 1, *key, *data, *seconds),
            Op::Forget { map, key, data } => self.change(map, 2, *key, *data, 0),
            Op::Destination(address, port) => self.expression("nat", |e| {
                e.number(1, 1);
                e.number(2, u32::from(number_of(family)));
                e.number(3, R0 + address);
                e.number(5, R0 + port);
            }),
            Op::Goto(chain) => self.leave(NFT_GOTO, Some(chain)),
            Op::Return => self.leave(NFT_RETURN, None),
            Op::Reset => self.refuse(1, 0),
            // ICMP_PORT_UNREACH, ICMPV6_PORT_UNREACH.
            Op::Unreachable => self.refuse(0, if family == Family::V4 { 3 } else { 4 }),
        }
    }

    /// One expression: its name and what `fill` says of it.
    pub fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Body)) {
        self.nested(1, |element| {
            element.text(1, name);
            element.nested(2, fill);
        });
    }

    /// Loads the parts one after another from the first register on; the first that is free then.
    pub fn load_all(&mut self, family: Family, parts: &[Part]) -> u32 {
        parts.iter().fold(0, |register, part| register + self.load(family, *part, register))
    }

    /// How many words it takes.
    pub fn load(&mut self, family: Family, part: Part, to: u32) -> u32 {
        let v4 = family == Family::V4;
        let (source, destination, length) = if v4 { (12, 16, 4) } else { (8, 24, 16) };
        // NFT_CT_SRC_IP, NFT_CT_DST_IP, and those of IPv6.
        let (from, sent_to) = if v4 { (19, 20) } else { (21, 22) };
        match part {
            // Its name.
            Part::Link => self.meta(to, 6),
            Part::Source => self.payload(to, 1, source, length),
            Part::Destination => self.payload(to, 1, destination, length),
            Part::Protocol => self.meta(to, 16),
            Part::DestinationPort => self.payload(to, 2, 2, 2),
            Part::Client => self.connection(to, from, SENT),
            Part::Server => self.connection(to, from, REPLIED),
            Part::ServerProtocol => self.connection(to, 10, None),
            Part::ServerPort => self.connection(to, 11, REPLIED),
            Part::FirstDestination => self.connection(to, sent_to, SENT),
            Part::FirstDestinationPort => self.connection(to, 12, SENT),
            Part::State => self.connection(to, 0, None),
            Part::Status => self.connection(to, 2, None),
            Part::KindOfSource => self.route(to, 3, 1),
            Part::KindOfDestination => self.route(to, 3, 2),
        }
        match part {
            Part::Link => 4,
            Part::Source | Part::Destination | Part::Client | Part::Server | Part::FirstDestination => length / 4,
            _ => 1,
        }
    }

    pub fn payload(&mut self, to: u32, base: u32, offset: u32, length: u32) {
        self.expression("payload", |e| {
            e.number(1, R0 + to);
            e.number(2, base);
            e.number(3, offset);
            e.number(4, length);
        });
    }

    pub fn meta(&mut self, to: u32, key: u32) {
        self.expression("meta", |e| {
            e.number(1, R0 + to);
            e.number(2, key);
        });
    }

    fn connection(&mut self, to: u32, key: u32, direction: Option<u8>) {
        self.expression("ct", |e| {
            e.number(1, R0 + to);
            e.number(2, key);
            if let Some(direction) = direction {
                e.bytes(3, &[direction]);
            }
        });
    }

    /// What the routes say (NFT_FIB_RESULT_*), by these parts of the packet (NFTA_FIB_F_*).
    pub fn route(&mut self, to: u32, result: u32, by: u32) {
        self.expression("fib", |e| {
            e.number(1, R0 + to);
            e.number(2, result);
            e.number(3, by);
        });
    }

    pub fn compare(&mut self, register: u32, equal: bool, value: &[u8]) {
        self.expression("cmp", |e| {
            e.number(1, R0 + register);
            e.number(2, u32::from(!equal));
            e.nested(3, |data| data.bytes(1, value));
        });
    }

    pub fn mask(&mut self, register: u32, mask: &[u8]) {
        self.expression("bitwise", |e| {
            e.number(1, R0 + register);
            e.number(2, R0 + register);
            e.number(3, mask.len() as u32);
            e.nested(4, |data| data.bytes(1, mask));
            e.nested(5, |data| data.bytes(1, &vec![0; mask.len()]));
        });
    }

    /// What stands under the key goes to that register.
    fn lookup(&mut self, map: &str, key: u32, to: u32) {
        self.expression("lookup", |e| {
            e.text(1, map);
            e.number(2, R0 + key);
            e.number(3, to);
        });
    }

    pub fn is_in(&mut self, set: &str, key: u32, inside: bool) {
        self.expression("lookup", |e| {
            e.text(1, set);
            e.number(2, R0 + key);
            if !inside {
                e.number(5, 1);
            }
        });
    }

    /// Whether a part is in a rule's own set of ranges.
    pub fn is_in_own(&mut self, family: Family, part: Part, set: u32) {
        self.load(family, part, 0);
        self.expression("lookup", |e| {
            e.text(1, ANY_NAME);
            e.number(2, R0);
            e.number(4, set);
        });
    }

    fn change(&mut self, map: &str, operation: u32, key: u32, data: u32, seconds: u32) {
        self.expression("dynset", |e| {
            e.text(1, map);
            e.number(3, operation);
            e.number(4, R0 + key);
            e.number(5, R0 + data);
            if seconds > 0 {
                e.bytes(6, &(u64::from(seconds) * 1000).to_be_bytes());
            }
        });
    }

    pub fn leave(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |e| {
            e.number(1, VERDICT);
            e.nested(2, |data| data.verdict(code, chain));
        });
    }

    /// A verdict as a value.
    pub fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.nested(2, |verdict| {
            verdict.number(1, code as u32);
            if let Some(chain) = chain {
                verdict.text(2, chain);
            }
        });
    }

    fn refuse(&mut self, kind: u32, code: u8) {
        self.expression("reject", |e| {
            e.number(1, kind);
            e.bytes(2, &[code]);
        });
    }
}
