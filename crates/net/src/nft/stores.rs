//! Sets and maps that change element by element, and what the kernel has in them.
//!
//! What a transaction says of thousands of elements is acknowledged once, at its end.

use super::batch::Batch;
use super::messages::{Attributes, Body};
use super::{
    CREATE, DEL_ELEMENTS, DEL_TABLE, DUMP, GET_ELEMENTS, GET_TABLE, NEW_ELEMENTS, NEW_SET, NEW_TABLE, Netfilter, ask,
};
use crate::rules::{Chain, Family, Name};
use crate::spec::Error;

/// A set or a map as it is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Store {
    pub name: Name,
    pub kind: Kind,
    pub key: Vec<Value>,
    pub data: Vec<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Set,
    /// The last part of a key is a range.
    Ranges,
    Map,
    /// Where to go.
    Verdicts,
    /// Filled by packets; an element ends by itself. At most so many.
    Memory(u32),
}

/// One part of a key or of data, as nft prints it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Address,
    Protocol,
    Port,
    /// In the machine's own order of bytes.
    Number,
    /// Of any kind: nft has names for five values of a key at most, and shows these as an address of IPv6.
    FourWords,
}

/// One element; of a range the key has both ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Element<'a> {
    Key(&'a [u8]),
    Data(&'a [u8], &'a [u8]),
    Range(&'a [u8], &'a [u8]),
    Goto(&'a [u8], &'a str),
    Drop(&'a [u8]),
}

/// The most bytes of elements in one message, whose attribute holds 64 KiB.
const MESSAGE: usize = 48_000;

impl Batch {
    pub fn store(&mut self, family: Family, table: &str, store: &Store, id: u32) {
        let flags = match store.kind {
            Kind::Set => 0,
            Kind::Ranges => 0x4 | 0x80,
            Kind::Map | Kind::Verdicts => 0x8,
            // NFT_SET_MAP, TIMEOUT, EVAL
            Kind::Memory(_) => 0x8 | 0x10 | 0x20,
        };
        self.silent(NEW_SET, CREATE, |body| {
            body.text(1, table);
            body.text(2, &store.name);
            body.number(3, flags);
            body.number(4, types(family, &store.key));
            body.number(5, bytes(family, &store.key));
            match store.kind {
                Kind::Set => {}
                Kind::Ranges => body.nested(9, |description| {
                    description.nested(2, |fields| {
                        store.key.iter().for_each(|value| fields.nested(1, |f| f.number(1, bytes(family, &[*value]))));
                    });
                }),
                Kind::Verdicts => body.number(6, 0xffff_ff00),
                Kind::Map | Kind::Memory(_) => {
                    body.number(6, types(family, &store.data));
                    body.number(7, bytes(family, &store.data));
                }
            }
            if let Kind::Memory(most) = store.kind {
                body.nested(9, |description| description.number(1, most));
                // What has ended is not found; it is thrown away once a minute.
                body.number(12, 60_000);
            }
            body.number(10, id);
        });
    }

    /// `with`: they come, or they go.
    pub fn elements<'a>(&mut self, table: &str, store: &str, with: bool, elements: impl Iterator<Item = Element<'a>>) {
        let kind = if with { NEW_ELEMENTS } else { DEL_ELEMENTS };
        let mut elements = elements.peekable();
        while elements.peek().is_some() {
            self.silent(kind, if with { CREATE } else { 0 }, |body| {
                body.text(1, table);
                body.text(2, store);
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

    /// The table, empty; what it was before is gone with the same transaction. `comment` is what `nft` shows.
    pub fn fresh_table(&mut self, table: &str, comment: &str) {
        self.table(NEW_TABLE, table);
        self.table(DEL_TABLE, table);
        self.silent(NEW_TABLE, CREATE, |body| {
            body.text(1, table);
            body.bytes(6, &commented(comment));
        });
    }

    pub fn chain_with_rules(&mut self, table: &str, chain: &Chain) {
        self.chain(table, chain);
        self.rules(table, chain);
    }

    pub fn rules(&mut self, table: &str, chain: &Chain) {
        for rule in &chain.rules {
            self.rule(table, &chain.name, rule, b"", true);
        }
    }

    /// Something that changes nothing, whose acknowledgement is that of all before it.
    pub fn sealed(mut self, table: &str) -> Batch {
        self.table(NEW_TABLE, table);
        self
    }
}

impl Body<'_> {
    /// How many bytes it took.
    fn element(&mut self, element: &Element<'_>) -> usize {
        let (key, more) = match element {
            Element::Key(key) | Element::Drop(key) => (*key, 16),
            Element::Data(key, data) | Element::Range(key, data) => (*key, 8 + data.len()),
            Element::Goto(key, chain) => (*key, 32 + chain.len()),
        };
        self.nested(1, |e| {
            e.nested(1, |value| value.bytes(1, key));
            match element {
                Element::Key(_) => {}
                Element::Data(_, data) => e.nested(2, |value| value.bytes(1, data)),
                Element::Range(_, end) => e.nested(10, |value| value.bytes(1, end)),
                Element::Goto(_, chain) => e.nested(2, |value| value.goes(-4, Some(chain))),
                Element::Drop(_) => e.nested(2, |value| value.goes(0, None)),
            }
        });
        12 + key.len() + more
    }
}

impl Netfilter {
    /// Sends a transaction.
    pub fn change(&self, batch: Batch, doing: &str) -> Result<(), Error> {
        self.commit(batch, doing)
    }

    /// The comment of the table; None: there is no such table, or none by us.
    pub fn comment(&self, family: Family, table: &str) -> Result<Option<String>, Error> {
        let mut comment = None;
        let each = |body: &[u8]| {
            let found = Attributes(body).find(6).and_then(|bytes| bytes.get(2..));
            comment = found.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_string());
        };
        ask(&self.0.borrow(), family, GET_TABLE, super::ACK, |body| body.text(1, table), each)?;
        Ok(comment)
    }

    /// Each element of a set or map: its key, and its data or the end of its range.
    pub fn each_element(
        &self,
        family: Family,
        table: &str,
        store: &str,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Error> {
        let named = |body: &mut Body| {
            body.text(1, table);
            body.text(2, store);
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

/// As libnftnl writes a comment.
fn commented(comment: &str) -> Vec<u8> {
    let mut bytes = vec![0, comment.len() as u8 + 1];
    bytes.extend(comment.bytes());
    bytes.push(0);
    bytes
}

/// nft's numbering of types, six bits for each part.
fn types(family: Family, values: &[Value]) -> u32 {
    values.iter().fold(0, |all, value| {
        all << 6
            | match value {
                Value::Address if family == Family::V4 => 7,
                Value::Address | Value::FourWords => 8,
                Value::Protocol => 12,
                Value::Port => 13,
                Value::Number => 19,
            }
    })
}

fn bytes(family: Family, values: &[Value]) -> u32 {
    let of = |value: &Value| match value {
        Value::FourWords => 16,
        Value::Address if family == Family::V6 => 16,
        _ => 4,
    };
    values.iter().map(of).sum()
}
