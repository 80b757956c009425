//! The steps of a rule as expressions.
//!
//! A chain runs on sixteen 4-byte registers from `R0` on; each step below says which it uses.

use super::messages::Body;
use super::number_of;
use crate::rules::{Family, Part, Step};

pub(super) const R0: u32 = 8;

/// Directions of a connection: what its beginner sent, and what came back.
const SENT: u8 = 0;
const REPLIED: u8 = 1;

/// States of a packet's connection.
const INVALID: u32 = 1;
const UNTRACKED: u32 = 1 << 6;

const JUMP: i32 = -3;

impl Body<'_> {
    /// One expression: its name and what `fill` says of it.
    pub(super) fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Body)) {
        self.nested(1, |element| {
            element.text(1, name);
            element.nested(2, fill);
        });
    }

    pub(super) fn payload(&mut self, register: u32, base: u32, offset: u32, length: u32) {
        self.expression("payload", |e| {
            e.number(1, register);
            e.number(2, base);
            e.number(3, offset);
            e.number(4, length);
        });
    }

    pub(super) fn compare(&mut self, register: u32, equal: bool, value: &[u8]) {
        self.expression("cmp", |e| {
            e.number(1, register);
            e.number(2, u32::from(!equal));
            e.nested(3, |data| data.bytes(1, value));
        });
    }

    pub(super) fn mask(&mut self, register: u32, mask: &[u8]) {
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

    pub fn step(&mut self, family: Family, step: &Step) {
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
            Step::ToLink(name) => {
                self.meta(R0, 7);
                let mut padded = name.as_bytes().to_vec();
                padded.resize(16, 0);
                self.compare(R0, true, &padded);
            }
            Step::NotSource(range) => self.in_range(12, range, false),
            // Of its source and its link the outgoing one: none.
            Step::NoWayBack => {
                self.expression("fib", |e| {
                    e.number(1, R0);
                    e.number(2, 1);
                    e.number(3, 1 | 8);
                });
                self.compare(R0, true, &0u32.to_ne_bytes());
            }
            Step::Wrapped { port, id } => {
                self.meta(R0, 16);
                self.compare(R0, true, &[17]);
                self.payload(R0, 2, 2, 2);
                self.compare(R0, true, &port.to_be_bytes());
                // After the UDP header: eight bits of flags and 24 reserved ones, then the identifier.
                self.payload(R0, 2, 12, 3);
                self.compare(R0, true, &id.to_be_bytes()[1..]);
            }
            Step::In { set, key, inside } => {
                self.key(family, key);
                self.expression("lookup", |e| {
                    e.text(1, set);
                    e.number(2, R0);
                    if !inside {
                        e.number(5, 1);
                    }
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
            Step::Translate { map, key } => {
                let target = self.key(family, key);
                self.expression("lookup", |e| {
                    e.text(1, map);
                    e.number(2, R0);
                    e.number(3, target);
                });
                let words = if family == Family::V4 { 1 } else { 4 };
                self.expression("nat", |e| {
                    e.number(1, 1);
                    e.number(2, u32::from(number_of(family)));
                    e.number(3, target);
                    e.number(5, target + words);
                });
            }
            Step::Is { part, value } => {
                self.key(family, &[*part]);
                self.compare(R0, true, value);
            }
            // Its set comes before the rule, which makes the step itself (`Batch::rule`).
            Step::Within { .. } => {}
            Step::Untracked => {
                self.expression("ct", |e| {
                    e.number(1, R0);
                    e.number(2, 0);
                });
                self.mask(R0, &(INVALID | UNTRACKED).to_ne_bytes());
                self.compare(R0, false, &[0; 4]);
            }
            Step::Jump(chain) => self.expression("immediate", |e| {
                e.number(1, 0);
                e.nested(2, |data| {
                    data.nested(2, |verdict| {
                        verdict.number(1, JUMP as u32);
                        verdict.text(2, chain);
                    });
                });
            }),
            Step::ByMap { map, key } => {
                self.key(family, key);
                self.expression("lookup", |e| {
                    e.text(1, map);
                    e.number(2, R0);
                    e.number(3, 0);
                });
            }
            Step::Masquerade => self.expression("masq", |_| {}),
            Step::Accept => self.verdict(1),
            Step::Drop => self.verdict(0),
            Step::Do(op) => self.op(family, op),
        }
    }

    pub(super) fn meta(&mut self, register: u32, key: u32) {
        self.expression("meta", |e| {
            e.number(1, register);
            e.number(2, key);
        });
    }

    /// Of the connection: one of its two directions, or both.
    fn of_connection(&mut self, register: u32, key: u32, direction: Option<u8>) {
        self.expression("ct", |e| {
            e.number(1, register);
            e.number(2, key);
            if let Some(direction) = direction {
                e.bytes(3, &[direction]);
            }
        });
    }

    /// Loads the parts one after another from `R0` on; the first register that is free then.
    pub(super) fn key(&mut self, family: Family, parts: &[Part]) -> u32 {
        let (source, destination, length) = if family == Family::V4 { (12, 16, 4) } else { (8, 24, 16) };
        parts.iter().fold(R0, |register, part| {
            let bytes = match part {
                // A name fills four registers.
                Part::Link => {
                    self.meta(register, 6);
                    16
                }
                Part::Source => {
                    self.payload(register, 1, source, length);
                    length
                }
                Part::Destination => {
                    self.payload(register, 1, destination, length);
                    length
                }
                Part::Protocol => {
                    self.meta(register, 16);
                    4
                }
                Part::DestinationPort => {
                    self.payload(register, 2, 2, 2);
                    4
                }
                // SRC_IP and SRC_IP6.
                Part::Client => {
                    self.of_connection(register, if length == 4 { 19 } else { 21 }, Some(SENT));
                    length
                }
                Part::Server => {
                    self.of_connection(register, if length == 4 { 19 } else { 21 }, Some(REPLIED));
                    length
                }
                Part::ServerProtocol => {
                    self.of_connection(register, 10, None);
                    4
                }
                Part::ServerPort => {
                    self.of_connection(register, 11, Some(REPLIED));
                    4
                }
            };
            register + bytes / 4
        })
    }
}
