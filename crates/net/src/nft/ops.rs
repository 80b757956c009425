//! Single expressions in the kernel's own form.

use super::messages::Body;
use super::number_of;
use crate::rules::{Family, Op, Read};

const R0: u32 = 8;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;

impl Body<'_> {
    pub fn op(&mut self, family: Family, op: &Op) {
        match op {
            Op::Load(from, to) => self.load(family, *from, R0 + to),
            Op::Constant(to, value) => self.expression("immediate", |e| {
                e.number(1, R0 + to);
                e.nested(2, |data| data.bytes(1, value));
            }),
            Op::Mask(register, mask) => self.mask(R0 + register, mask),
            Op::Equal(register, value) => self.compare(R0 + register, true, value),
            Op::Unequal(register, value) => self.compare(R0 + register, false, value),
            Op::Within(set, key) => self.lookup(set, *key, None, false),
            Op::Without(set, key) => self.lookup(set, *key, None, true),
            Op::Lookup(map, key, to) => self.lookup(map, *key, Some(R0 + to), false),
            Op::Verdict(map, key) => self.lookup(map, *key, Some(0), false),
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

    fn load(&mut self, family: Family, from: Read, to: u32) {
        let (source, destination, length) = if family == Family::V4 { (12, 16, 4) } else { (8, 24, 16) };
        match from {
            Read::Source => self.payload(to, 1, source, length),
            Read::Destination => self.payload(to, 1, destination, length),
            Read::Protocol => self.meta(to, 16),
            Read::DestinationPort => self.payload(to, 2, 2, 2),
            Read::FirstDestination => self.connection(to, if family == Family::V4 { 20 } else { 22 }, true),
            Read::FirstDestinationPort => self.connection(to, 12, true),
            Read::State => self.connection(to, 0, false),
            Read::Status => self.connection(to, 2, false),
            Read::KindOfSource => self.kind_of(to, 1),
            Read::KindOfDestination => self.kind_of(to, 2),
        }
    }

    /// `first`: of the direction of its first packet.
    fn connection(&mut self, to: u32, key: u32, first: bool) {
        self.expression("ct", |e| {
            e.number(1, to);
            e.number(2, key);
            if first {
                e.bytes(3, &[0]);
            }
        });
    }

    fn kind_of(&mut self, to: u32, which: u32) {
        self.expression("fib", |e| {
            e.number(1, to);
            e.number(2, 3);
            e.number(3, which);
        });
    }

    fn lookup(&mut self, set: &str, key: u32, to: Option<u32>, inverted: bool) {
        self.expression("lookup", |e| {
            e.text(1, set);
            e.number(2, R0 + key);
            if let Some(to) = to {
                e.number(3, to);
            }
            if inverted {
                e.number(5, 1);
            }
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

    fn leave(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |e| {
            e.number(1, 0);
            e.nested(2, |data| data.goes(code, chain));
        });
    }

    /// A verdict as a value.
    pub fn goes(&mut self, code: i32, chain: Option<&str>) {
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
