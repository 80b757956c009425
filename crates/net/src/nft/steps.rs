//! The steps of a rule as expressions; each begins with the first register.

use super::messages::Body;
use crate::rules::{Family, Op, Part, Step};

/// States of a packet's connection.
const INVALID: u32 = 1;
const UNTRACKED: u32 = 1 << 6;
/// Its destination was rewritten (IPS_DST_NAT).
const TRANSLATED: u32 = 1 << 5;
/// RTN_LOCAL
const HOST: u32 = 2;

const NFT_JUMP: i32 = -3;
const ACCEPT: i32 = 1;
const DROP: i32 = 0;

impl Body<'_> {
    pub fn step(&mut self, family: Family, step: &Step) {
        match step {
            Step::Source(range) => self.in_range(12, range, true),
            Step::NotSource(range) => self.in_range(12, range, false),
            Step::Destination(range) => self.in_range(16, range, true),
            Step::NotDestination(range) => self.in_range(16, range, false),
            Step::NotFromLink(name) => {
                self.load(family, Part::Link, 0);
                self.compare(0, false, &padded(name));
            }
            Step::FromLinks(start) => {
                self.load(family, Part::Link, 0);
                self.compare(0, true, start.as_bytes());
            }
            Step::ToLink(name) => {
                self.meta(0, 7);
                self.compare(0, true, &padded(name));
            }
            // Of its source and its link the outgoing one: none.
            Step::NoWayBack => {
                self.route(0, 1, 1 | 8);
                self.compare(0, true, &0u32.to_ne_bytes());
            }
            Step::Wrapped { port, id } => {
                self.load(family, Part::Protocol, 0);
                self.compare(0, true, &[17]);
                self.load(family, Part::DestinationPort, 0);
                self.compare(0, true, &port.to_be_bytes());
                // After the UDP header: eight bits of flags and 24 reserved ones, then the identifier.
                self.payload(0, 2, 12, 3);
                self.compare(0, true, &id.to_be_bytes()[1..]);
            }
            Step::In { set, key, inside } => {
                self.load_all(family, key);
                self.is_in(set, 0, *inside);
            }
            Step::DestinationIsLocal => {
                self.load(family, Part::KindOfDestination, 0);
                self.compare(0, true, &HOST.to_ne_bytes());
            }
            Step::WasTranslated => self.has(family, Part::Status, TRANSLATED),
            Step::Translate { map, key } => {
                let target = self.load_all(family, key);
                let words = if family == Family::V4 { 1 } else { 4 };
                self.op(family, &Op::Lookup(map.clone(), 0, target));
                self.op(family, &Op::Destination(target, target + words));
            }
            Step::Is { part, value } => {
                self.load(family, *part, 0);
                self.compare(0, true, value);
            }
            // Its set comes before the rule, which makes the step itself (`Batch::rule`).
            Step::Within { .. } => {}
            Step::Untracked => self.has(family, Part::State, INVALID | UNTRACKED),
            Step::Jump(chain) => self.leave(NFT_JUMP, Some(chain)),
            Step::ByMap { map, key } => {
                self.load_all(family, key);
                self.op(family, &Op::Verdict(map.clone(), 0));
            }
            Step::Masquerade => self.expression("masq", |_| {}),
            Step::Accept => self.leave(ACCEPT, None),
            Step::Drop => self.leave(DROP, None),
            Step::Do(op) => self.op(family, op),
        }
    }

    fn in_range(&mut self, offset: u32, range: &ipnet::Ipv4Net, inside: bool) {
        self.payload(0, 1, offset, 4);
        self.mask(0, &range.netmask().octets());
        self.compare(0, inside, &range.network().octets());
    }

    /// One of these bits.
    fn has(&mut self, family: Family, part: Part, bits: u32) {
        self.load(family, part, 0);
        self.mask(0, &bits.to_ne_bytes());
        self.compare(0, false, &[0; 4]);
    }
}

/// The whole name of a link.
fn padded(name: &str) -> Vec<u8> {
    let mut padded = name.as_bytes().to_vec();
    padded.resize(16, 0);
    padded
}
