//! What is asked: one question, and what the asker can take. Nothing is allocated, whatever the bytes are.

use super::name::NAME_MAX;

/// Bytes before the first question.
pub const HEADER: usize = 12;
/// What everybody can take by UDP (RFC 1035, 4.2.1).
pub const PLAIN_MAX: usize = 512;
/// What we send by UDP at most, and say that we take: one packet on every link (DNS flag day 2020).
pub const PACKET_MAX: usize = 1232;
/// Records beside a question that are looked at: an OPT, a signature, and as many that nobody knows.
const BESIDE_MAX: u16 = 8;

// The second and third byte pair of a header.
pub const RESPONSE: u16 = 0x8000;
pub const AUTHORITATIVE: u16 = 0x0400;
pub const TRUNCATED: u16 = 0x0200;
pub const RECURSION_DESIRED: u16 = 0x0100;
pub const RECURSION_AVAILABLE: u16 = 0x0080;
pub const AUTHENTIC: u16 = 0x0020;
pub const CHECKING_DISABLED: u16 = 0x0010;
const OPERATION: u16 = 0x7800;

/// Answers' codes.
pub const FORMAT_ERROR: u16 = 1;
pub const SERVER_FAILURE: u16 = 2;
pub const NO_SUCH_NAME: u16 = 3;
pub const NOT_IMPLEMENTED: u16 = 4;
pub const REFUSED: u16 = 5;
/// Of EDNS: four bits of it stand in the header.
pub const BAD_VERSION: u16 = 16;

/// Kinds of records.
pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const OPT: u16 = 41;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const ANY: u16 = 255;
pub const INTERNET: u16 = 1;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query<'a> {
    pub id: u16,
    pub flags: u16,
    /// As it was asked, in its own letters.
    pub name: &'a [u8],
    pub kind: u16,
    pub class: u16,
    /// Whoever asks knows EDNS.
    pub extended: Option<Extended>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extended {
    /// Bytes that can be taken by UDP.
    pub size: u16,
    pub version: u8,
    /// Signatures are wanted.
    pub dnssec: bool,
}

/// Why there is no question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unasked {
    /// No header, or an answer: whoever answered it would be made to talk to others.
    Nothing,
    /// Something that is answered with a code alone.
    Code { id: u16, flags: u16, code: u16 },
}

impl<'a> Query<'a> {
    pub fn parse(packet: &'a [u8]) -> Result<Query<'a>, Unasked> {
        let mut reader = Reader { bytes: packet, at: 0 };
        let header: [Option<u16>; 6] = std::array::from_fn(|_| reader.pair());
        let [Some(id), Some(flags), Some(questions), Some(answers), Some(authorities), Some(beside)] = header else {
            return Err(Unasked::Nothing);
        };
        if flags & RESPONSE != 0 {
            return Err(Unasked::Nothing);
        }
        let code = |code| Unasked::Code { id, flags, code };
        if flags & OPERATION != 0 {
            return Err(code(NOT_IMPLEMENTED));
        }
        if questions != 1 || answers != 0 || authorities != 0 || beside > BESIDE_MAX {
            return Err(code(FORMAT_ERROR));
        }
        let asked = |reader: &mut Reader<'a>| Some((reader.name()?, reader.pair()?, reader.pair()?));
        let (name, kind, class) = asked(&mut reader).ok_or(code(FORMAT_ERROR))?;
        let mut query = Query { id, flags, name, kind, class, extended: None };
        for _ in 0..beside {
            let record = reader.record().ok_or(code(FORMAT_ERROR))?;
            if record.kind != OPT {
                continue;
            }
            if query.extended.is_some() || record.owner != [0] {
                return Err(code(FORMAT_ERROR));
            }
            let [_, version, high, _] = record.life.to_be_bytes();
            query.extended = Some(Extended { size: record.class, version, dnssec: high & 0x80 != 0 });
        }
        Ok(query)
    }

    /// Bytes of an answer by UDP.
    pub fn limit(&self) -> usize {
        self.extended.map_or(PLAIN_MAX, |extended| usize::from(extended.size).clamp(PLAIN_MAX, PACKET_MAX))
    }

    pub fn wants(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == ANY
    }

    pub fn dnssec(&self) -> bool {
        self.extended.is_some_and(|extended| extended.dnssec)
    }

    /// Where the answers begin.
    pub fn end(&self) -> usize {
        HEADER + self.name.len() + 4
    }
}

/// Reads a message from its beginning; None where it ends too soon or is none.
pub struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

/// A record, without what is in it.
pub struct Record<'a> {
    /// Empty where it is told by a pointer.
    pub owner: &'a [u8],
    pub kind: u16,
    pub class: u16,
    pub life: u32,
    /// Where its life stands.
    pub life_at: usize,
    pub value: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn pair(&mut self) -> Option<u16> {
        let pair = self.bytes.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// A name without pointers, its end included.
    pub fn name(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        loop {
            let length = *self.bytes.get(self.at)?;
            if length & 0xc0 != 0 {
                return None;
            }
            self.at += 1 + usize::from(length);
            if self.at - from > NAME_MAX || self.at > self.bytes.len() {
                return None;
            }
            if length == 0 {
                return Some(&self.bytes[from..self.at]);
            }
        }
    }

    /// Past a name that may end in a pointer: what of it stands here; a pointer is not followed.
    fn owner(&mut self) -> Option<&'a [u8]> {
        let from = self.at;
        loop {
            let length = *self.bytes.get(self.at)?;
            if length & 0xc0 == 0xc0 {
                self.at += 2;
                return (self.at <= self.bytes.len()).then_some(&[]);
            }
            if length & 0xc0 != 0 {
                return None;
            }
            self.at += 1 + usize::from(length);
            if self.at - from > NAME_MAX || self.at > self.bytes.len() {
                return None;
            }
            if length == 0 {
                return Some(&self.bytes[from..self.at]);
            }
        }
    }

    pub fn record(&mut self) -> Option<Record<'a>> {
        let owner = self.owner()?;
        let (kind, class) = (self.pair()?, self.pair()?);
        let life_at = self.at;
        let life = u32::from(self.pair()?) << 16 | u32::from(self.pair()?);
        let length = usize::from(self.pair()?);
        let value = self.bytes.get(self.at..self.at + length)?;
        self.at += length;
        Some(Record { owner, kind, class, life, life_at, value })
    }
}
