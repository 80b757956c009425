//! A domain name as it stands in a message: labels with their lengths, in small letters.
//!
//! What is asked is brought into this form on the stack, so that finding a name costs no allocation.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of the longest name, its end included (RFC 1035, 2.3.4).
pub const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;

/// A whole name, its end included. Clone is a reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Of `web.default.svc`, with a dot at its end or without; `.` is the root. None where it is no name.
    pub fn parse(text: &str) -> Option<Name> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let labels = text.split('.').filter(|_| !text.is_empty());
        Name::of(labels, &[0])
    }

    /// A name below this one. None where it is too long, or a label is none.
    pub fn below(&self, label: &str) -> Option<Name> {
        Name::of([label], &self.0)
    }

    /// Where the names of an address are: `4.3.2.1.in-addr.arpa`.
    pub fn of_address(address: IpAddr) -> Name {
        let text = match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let digits = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                digits.map(|digit| format!("{digit:x}.")).collect::<String>() + "ip6.arpa"
            }
        };
        Name::parse(&text).expect("32 digits and a suffix are a name")
    }

    fn of<'a>(labels: impl IntoIterator<Item = &'a str>, rest: &[u8]) -> Option<Name> {
        let mut bytes = Vec::with_capacity(64);
        for label in labels {
            if label.is_empty() || label.len() > LABEL_MAX {
                return None;
            }
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.extend(rest);
        (bytes.len() <= NAME_MAX).then(|| Name(bytes.into()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    /// With a dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Shown(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name at the beginning of these bytes, for people.
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest.first() == Some(&0) {
            return f.write_str(".");
        }
        while let Some((label, after)) = split(rest) {
            write!(f, "{}.", label.escape_ascii())?;
            rest = after;
        }
        Ok(())
    }
}

/// The first label, and what follows it; None at the end, or where the bytes are no name.
pub fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = name.split_first()?;
    match usize::from(*length) {
        0 => None,
        length => rest.split_at_checked(length),
    }
}

/// Whether a name lies in a zone: where within it the zone's name begins.
pub fn within(name: &[u8], zone: &[u8]) -> Option<usize> {
    let at = name.len().checked_sub(zone.len())?;
    if &name[at..] != zone {
        return None;
    }
    // At the boundary of a label, not within one.
    let mut rest = name;
    while rest.len() > zone.len() {
        rest = split(rest)?.1;
    }
    (rest.len() == zone.len()).then_some(at)
}

/// The name at the beginning of a question in small letters: its length, and the place for it.
pub fn lowered(name: &[u8], into: &mut [u8; NAME_MAX]) -> usize {
    // Lengths are at most 63: no letter among them.
    for (small, byte) in into.iter_mut().zip(name) {
        *small = byte.to_ascii_lowercase();
    }
    name.len().min(NAME_MAX)
}

/// The address that a label stands for: `10-1-2-3`, `fd00--1` (CoreDNS's kubernetes plugin, findPods).
pub fn address_of(label: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(label).ok()?;
    let is_v4 = text.bytes().filter(|byte| *byte == b'-').count() == 3 && !text.contains("--");
    match is_v4 {
        true => text.replace('-', ".").parse().ok().map(IpAddr::V4),
        false => text.replace('-', ":").parse().ok().map(IpAddr::V6),
    }
}
