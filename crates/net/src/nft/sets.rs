//! Sets and maps, and their elements, which come and go one by one.
//!
//! What a transaction says of thousands of elements is acknowledged once, at its end.

use super::batch::Batch;
use super::messages::{Attributes, Body};
use super::{CREATE, DEL_ELEMENTS, DEL_SET, DUMP, GET_ELEMENTS, NEW_ELEMENTS, NEW_SET, Netfilter, ask};
use crate::rules::{Family, Field, Kind, Part, Set};
use crate::spec::Error;

/// One element; of a range the key has both ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Element<'a> {
    Key(&'a [u8]),
    Data(&'a [u8], &'a [u8]),
    Range(&'a [u8], &'a [u8]),
    /// Of a set of ranges of one part: what comes after the last of a range.
    End(&'a [u8]),
    Goto(&'a [u8], &'a str),
    Drop(&'a [u8]),
}

/// The most bytes of elements in one message, whose attribute holds 64 KiB.
const MESSAGE: usize = 48_000;
/// NFTA_SET_FLAGS
const ANONYMOUS: u32 = 1;
const CONSTANT: u32 = 2;
const INTERVAL: u32 = 4;
const MAP: u32 = 8;
const TIMEOUT: u32 = 0x10;
const EVAL: u32 = 0x20;
const CONCAT: u32 = 0x80;
/// The type of a map's data that are verdicts (NFT_DATA_VERDICT).
const VERDICT: u32 = 0xffff_ff00;
/// NFTA_SET_ELEM_FLAGS
const INTERVAL_END: u32 = 1;
/// The kernel puts a number in its place.
pub const ANY_NAME: &str = "__set%d";
const GOTO: i32 = -4;

impl Batch {
    /// A set with its elements; `id` is its own in this transaction.
    pub fn set(&mut self, table: &str, set: &Set, id: u32) {
        let family = self.family();
        let flags = match set.kind {
            Kind::Set => 0,
            Kind::Ranges => INTERVAL | CONCAT,
            Kind::Map | Kind::Verdicts => MAP,
            Kind::Memory(_) => MAP | TIMEOUT | EVAL,
        };
        self.silent(NEW_SET, CREATE, |body| {
            body.text(1, table);
            body.text(2, &set.name);
            body.number(3, flags);
            body.number(4, type_of(family, &set.key));
            body.number(5, length_of(family, &set.key));
            match set.kind {
                Kind::Set => {}
                Kind::Ranges => body.nested(9, |description| {
                    description.nested(2, |fields| {
                        let lengths = set.key.iter().map(|field| length_of(family, &[*field]));
                        lengths.for_each(|length| fields.nested(1, |field| field.number(1, length)));
                    });
                }),
                Kind::Verdicts => body.number(6, VERDICT),
                Kind::Map | Kind::Memory(_) => {
                    body.number(6, type_of(family, &set.data));
                    body.number(7, length_of(family, &set.data));
                }
            }
            if let Kind::Memory(most) = set.kind {
                body.nested(9, |description| description.number(1, most));
                // What has ended is not found; it is thrown away once a minute.
                body.number(12, 60_000);
            }
            body.number(10, id);
        });
        let elements = set.elements.iter().map(|(key, data)| match set.kind {
            Kind::Verdicts => Element::Goto(key, std::str::from_utf8(data).unwrap_or_default()),
            _ if data.is_empty() => Element::Key(key),
            _ => Element::Data(key, data),
        });
        self.elements(table, &set.name, true, elements);
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
            Part::ServerPort => (type_of(Family::V4, &[Field::Port]), 2),
            _ => (type_of(self.family(), &[Field::Address]), length_of(self.family(), &[Field::Address])),
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
        let ends: Vec<_> = ranges.iter().map(|(first, last)| (first, after(last))).collect();
        let elements = ends.iter().flat_map(|(first, end)| {
            std::iter::once(Element::Key(first)).chain(end.as_ref().map(|end| Element::End(end)))
        });
        self.listed(table, ANY_NAME, Some(id), true, elements);
        id
    }

    /// `with`: they come, or they go; the transaction fails where one that goes is not there.
    pub fn elements<'a>(&mut self, table: &str, set: &str, with: bool, elements: impl Iterator<Item = Element<'a>>) {
        self.listed(table, set, None, with, elements);
    }

    /// Elements that are keys alone.
    pub fn keys(&mut self, table: &str, set: &str, with: bool, keys: &[impl AsRef<[u8]>]) {
        self.elements(table, set, with, keys.iter().map(|key| Element::Key(key.as_ref())));
    }

    fn listed<'a>(
        &mut self,
        table: &str,
        set: &str,
        id: Option<u32>,
        with: bool,
        elements: impl Iterator<Item = Element<'a>>,
    ) {
        let (kind, flags) = if with { (NEW_ELEMENTS, CREATE) } else { (DEL_ELEMENTS, 0) };
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            self.silent(kind, flags, |body| {
                body.text(1, table);
                body.text(2, set);
                if let Some(id) = id {
                    body.number(4, id);
                }
                body.nested(3, |list| {
                    let mut room = MESSAGE;
                    while room > 300
                        && let Some(element) = elements.next()
                    {
                        room -= list.element(&element);
                    }
                });
            });
        }
    }
}

impl Body<'_> {
    /// How many bytes it took.
    fn element(&mut self, element: &Element<'_>) -> usize {
        let (key, more) = match element {
            Element::Key(key) | Element::End(key) | Element::Drop(key) => (*key, 16),
            Element::Data(key, data) | Element::Range(key, data) => (*key, 8 + data.len()),
            Element::Goto(key, chain) => (*key, 32 + chain.len()),
        };
        self.nested(1, |e| {
            e.nested(1, |value| value.bytes(1, key));
            match element {
                Element::Key(_) => {}
                Element::Data(_, data) => e.nested(2, |value| value.bytes(1, data)),
                Element::Range(_, end) => e.nested(10, |value| value.bytes(1, end)),
                Element::End(_) => e.number(3, INTERVAL_END),
                Element::Goto(_, chain) => e.nested(2, |value| value.verdict(GOTO, Some(chain))),
                Element::Drop(_) => e.nested(2, |value| value.verdict(0, None)),
            }
        });
        12 + key.len() + more
    }
}

impl Netfilter {
    /// Each element of a set or map: its key, and its data or the end of its range.
    pub fn each_element(
        &self,
        family: Family,
        table: &str,
        set: &str,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        let named = |body: &mut Body| {
            body.text(1, table);
            body.text(2, set);
        };
        ask(&self.0.borrow(), family, GET_ELEMENTS, DUMP, named, |body| {
            for element in Attributes(body).inner(3).each() {
                let element = Attributes(element);
                let value = |kind| element.inner(kind).find(1);
                let verdict = || element.inner(2).inner(2).find(2);
                let Some(key) = value(1) else { continue };
                each(key, value(2).or_else(|| value(10)).or_else(verdict).unwrap_or_default());
            }
        })
    }
}

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

/// nft's numbering of types, six bits for each part of a concatenation: what `nft list` prints by.
fn type_of(family: Family, fields: &[Field]) -> u32 {
    fields.iter().fold(0, |all, field| {
        all << 6
            | match field {
                Field::Link => 41,
                Field::Address if family == Family::V4 => 7,
                Field::Address | Field::FourWords => 8,
                Field::Protocol => 12,
                Field::Port => 13,
                Field::Number => 19,
            }
    })
}

fn length_of(family: Family, fields: &[Field]) -> u32 {
    let length = |field: &Field| match field {
        Field::Link | Field::FourWords => 16,
        Field::Address if family == Family::V6 => 16,
        _ => 4,
    };
    fields.iter().map(length).sum()
}
