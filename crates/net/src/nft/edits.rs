//! What changes a table that is there: elements, rules and chains that come and go; sets of ranges.

use super::batch::Batch;
use super::messages::Body;
use super::steps::R0;
use super::{CREATE, DEL_CHAIN, DEL_ELEMENTS, DEL_RULE, DEL_SET, NEW_ELEMENTS, NEW_SET, NEW_TABLE};
use crate::rules::{Family, Part};

/// linux/netfilter/nf_tables.h
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const INTERVAL_END: u32 = 1;
const GOTO: i32 = -4;

/// A message's attribute holds 64 KiB at most.
const MOST: usize = 500;

impl Batch {
    /// Adds elements to a set, or to a map from keys to names of chains.
    pub fn add_elements(&mut self, table: &str, set: &str, elements: &[(Vec<u8>, Vec<u8>)], verdicts: bool) {
        self.listed(NEW_ELEMENTS, CREATE, table, set, elements, verdicts);
    }

    /// Takes elements out by their keys. The transaction fails where one is not there.
    pub fn take_elements(&mut self, table: &str, set: &str, elements: &[(Vec<u8>, Vec<u8>)]) {
        self.listed(DEL_ELEMENTS, 0, table, set, elements, false);
    }

    fn listed(
        &mut self,
        kind: u16,
        flags: u16,
        table: &str,
        set: &str,
        elements: &[(Vec<u8>, Vec<u8>)],
        verdicts: bool,
    ) {
        for elements in elements.chunks(MOST) {
            self.silent(kind, flags, |body| {
                body.text(1, table);
                body.text(2, set);
                body.nested(3, |list| {
                    for (key, data) in elements {
                        list.nested(1, |element| {
                            element.nested(1, |value| value.bytes(1, key));
                            if verdicts {
                                element.nested(2, |value| value.go_to(data));
                            }
                        });
                    }
                });
            });
        }
    }

    /// The last message of a transaction on a table that is there. It changes nothing, and its acknowledgement
    /// is that of all before it.
    pub fn seal(&mut self, table: &str) {
        self.table(NEW_TABLE, table);
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

    /// Removes a set that no rule asks any more.
    pub fn no_set(&mut self, table: &str, set: &str) {
        self.silent(DEL_SET, 0, |body| {
            body.text(1, table);
            body.text(2, set);
        });
    }

    /// A set of ranges that lives and ends with the rule that asks it; by this number the rule names it.
    pub fn ranges(&mut self, table: &str, part: Part, ranges: &[(Vec<u8>, Vec<u8>)]) -> u32 {
        // Other than those of `set`, which count from one.
        let id = self.count() | 1 << 31;
        let (kind, length) = match part {
            Part::ServerPort => (13, 2),
            _ if ranges[0].0.len() == 16 => (8, 16),
            _ => (7, 4),
        };
        self.silent(NEW_SET, CREATE, |body| {
            body.text(1, table);
            body.text(2, ANY_NAME);
            body.number(3, ANONYMOUS | CONSTANT | INTERVAL);
            body.number(4, kind);
            body.number(5, length);
            body.number(10, id);
        });
        // Each range is its first element and the one after its last; nothing comes after the very last.
        let ends = ranges.iter().flat_map(|(first, last)| {
            let end = after(last).map(|end| (end, true));
            std::iter::once((first.clone(), false)).chain(end)
        });
        for elements in ends.collect::<Vec<_>>().chunks(MOST) {
            self.silent(NEW_ELEMENTS, CREATE, |body| {
                body.text(1, table);
                body.text(2, ANY_NAME);
                body.number(4, id);
                body.nested(3, |list| {
                    for (key, is_end) in elements {
                        list.nested(1, |element| {
                            element.nested(1, |value| value.bytes(1, key));
                            if *is_end {
                                element.number(3, INTERVAL_END);
                            }
                        });
                    }
                });
            });
        }
        id
    }
}

/// The kernel puts a number in its place.
const ANY_NAME: &str = "__set%d";

/// The next number of as many bytes; None after the greatest.
fn after(number: &[u8]) -> Option<Vec<u8>> {
    let mut next = number.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

impl Body<'_> {
    /// Whether a part is in a rule's own set of ranges.
    pub fn within(&mut self, family: Family, part: Part, set: u32) {
        self.key(family, &[part]);
        self.expression("lookup", |e| {
            e.text(1, ANY_NAME);
            e.number(2, R0);
            e.number(4, set);
        });
    }

    /// The verdict that goes on in a chain and does not come back.
    pub fn go_to(&mut self, chain: &[u8]) {
        self.nested(2, |verdict| {
            verdict.number(1, GOTO as u32);
            let mut name = chain.to_vec();
            name.push(0);
            verdict.bytes(2, &name);
        });
    }
}
