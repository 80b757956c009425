//! A frame of the journal: a header, a payload, a checksum; each names its predecessor's checksum.
//!
//! `magic 4 | payload length 4 | sequence 8 | predecessor's checksum 8 | kind 1 | 0 0 0 | check 4`,
//! the payload, filling, the frame's checksum (8). Frames begin and end at multiples of 32 bytes, so
//! a header lies in one sector and is there or is not; `check` is the header's own. No sector of a
//! frame is all zeros, so one that a power loss left out can be told from one that was damaged.

use sha2::{Digest, Sha256};

use crate::state::Slot;
use crate::{Entry, Key, Revision};

pub(crate) const HEADER: usize = 32;
const ALIGN: usize = 32;
const CHECKSUM: usize = 8;
const MAGIC: [u8; 4] = *b"GJ\xf1\x01";
const FILLING: u8 = 0xff;
/// Of the layout in this file and of a segment's first frame; a newer one is refused.
const FORMAT: u32 = 1;
const PUT: u8 = 1;
const DELETE: u8 = 2;
/// kind, head's length, created, revision, expiry in milliseconds (0: never), lengths of key and value
const RECORD: usize = 1 + 4 + 8 + 8 + 8 + 4 + 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The first one of a segment.
    Segment = 1,
    /// A group of writes.
    Writes = 2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    length: u32,
    /// Counts all frames of the journal, from 1.
    pub sequence: u64,
    pub previous: u64,
}

/// What a segment's first frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct First {
    /// Of the journal: a segment of another one does not fit.
    pub id: [u8; 16],
    pub number: u64,
    pub size: u64,
    /// Where the segment before this one ends; what stands there behind it was never acknowledged.
    pub ended: u64,
    pub state: Reached,
}

/// What every frame says of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest segment that is still needed.
    pub oldest: u64,
}

pub(crate) enum Record {
    Put(Slot),
    Delete(Key),
}

/// A frame being made.
pub(crate) struct Draft(Vec<u8>);

/// A whole frame, as it is read.
pub(crate) struct Frame<'a> {
    pub header: Header,
    pub checksum: u64,
    payload: &'a [u8],
}

impl Header {
    /// None: what stands here is no header of ours. `bytes` are at least `HEADER` long.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let kind = match bytes[24] {
            1 => Kind::Segment,
            2 => Kind::Writes,
            _ => return None,
        };
        let whole = bytes[..4] == MAGIC && bytes[28..HEADER] == check(&bytes[..28]);
        let (length, sequence, previous) = (u32_at(bytes, 4)?, u64_at(bytes, 8)?, u64_at(bytes, 16)?);
        whole.then_some(Header { kind, length, sequence, previous })
    }

    /// Of the whole frame.
    pub fn size(&self) -> u64 {
        size_of(self.length as usize) as u64
    }
}

impl Draft {
    pub fn writes(reached: Reached) -> Draft {
        let mut draft = Draft(vec![0; HEADER]);
        draft.reached(reached);
        draft
    }

    pub fn first(first: &First) -> Draft {
        let mut draft = Draft(vec![0; HEADER]);
        draft.reached(first.state);
        draft.0.extend(FORMAT.to_be_bytes());
        draft.0.extend(first.id);
        for number in [first.number, first.size, first.ended] {
            draft.0.extend(number.to_be_bytes());
        }
        draft
    }

    fn reached(&mut self, reached: Reached) {
        self.0.extend(reached.revision.0.to_be_bytes());
        self.0.extend(reached.oldest.to_be_bytes());
    }

    pub fn put(&mut self, slot: &Slot) {
        let Slot { entry, head, expires } = slot;
        let key = entry.key.as_str();
        self.0.push(PUT);
        self.0.extend(head.to_be_bytes());
        self.0.extend(entry.created.0.to_be_bytes());
        self.0.extend(entry.revision.0.to_be_bytes());
        self.0.extend(expires.map_or(0, |at| at.as_millis() as u64).to_be_bytes());
        self.0.extend((key.len() as u32).to_be_bytes());
        self.0.extend((entry.bytes.len() as u32).to_be_bytes());
        self.0.extend(key.as_bytes());
        self.0.extend(&entry.bytes);
    }

    pub fn delete(&mut self, key: &Key) {
        self.0.push(DELETE);
        self.0.extend((key.as_str().len() as u32).to_be_bytes());
        self.0.extend(key.as_str().as_bytes());
    }

    /// Of the whole frame.
    pub fn size(&self) -> u64 {
        size_of(self.0.len() - HEADER) as u64
    }

    /// The segment in which it stands may be known late: corrects what it says is the oldest.
    pub fn set_oldest(&mut self, oldest: u64) {
        self.0[HEADER + 8..HEADER + 16].copy_from_slice(&oldest.to_be_bytes());
    }

    /// The bytes, and their checksum.
    pub fn sealed(mut self, kind: Kind, sequence: u64, previous: u64) -> (Vec<u8>, u64) {
        let length = self.0.len() - HEADER;
        let header = &mut self.0[..HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&(length as u32).to_be_bytes());
        header[8..16].copy_from_slice(&sequence.to_be_bytes());
        header[16..24].copy_from_slice(&previous.to_be_bytes());
        header[24] = kind as u8;
        let check = check(&header[..28]);
        header[28..].copy_from_slice(&check);
        self.0.resize(size_of(length) - CHECKSUM, FILLING);
        let checksum = checksum(&self.0);
        self.0.extend(checksum.to_be_bytes());
        (self.0, checksum)
    }
}

impl<'a> Frame<'a> {
    /// `bytes` are the whole frame's; None if any of them is not what was written.
    pub fn read(header: Header, bytes: &'a [u8]) -> Option<Frame<'a>> {
        let (rest, stored) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
        let stored = u64_at(stored, 0)?;
        let payload = rest.get(HEADER..HEADER + header.length as usize)?;
        (checksum(rest) == stored).then_some(Frame { header, checksum: stored, payload })
    }

    pub fn reached(&self) -> Option<Reached> {
        Some(Reached { revision: Revision(u64_at(self.payload, 0)?), oldest: u64_at(self.payload, 8)? })
    }

    /// Of a segment's first frame; Err: a newer version of this program wrote it.
    pub fn first(&self) -> Result<Option<First>, u32> {
        if self.header.kind != Kind::Segment {
            return Ok(None);
        }
        match u32_at(self.payload, 16) {
            Some(FORMAT) => {}
            format => return Err(format.unwrap_or(0)),
        }
        let number = |at: usize| u64_at(self.payload, at);
        let read = || {
            let id = self.payload.get(20..36)?.try_into().ok()?;
            let state = self.reached()?;
            Some(First { id, number: number(36)?, size: number(44)?, ended: number(52)?, state })
        };
        Ok(read())
    }

    pub fn records(&self) -> Option<Vec<Record>> {
        let mut rest = self.payload.get(16..)?;
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (record, after) = Record::read(rest)?;
            records.push(record);
            rest = after;
        }
        Some(records)
    }
}

impl Record {
    fn read(bytes: &[u8]) -> Option<(Record, &[u8])> {
        let text = |bytes: &[u8]| Some(Key::from(std::str::from_utf8(bytes).ok()?));
        if bytes[0] == DELETE {
            let (key, rest) = bytes.get(5..)?.split_at_checked(u32_at(bytes, 1)? as usize)?;
            return Some((Record::Delete(text(key)?), rest));
        }
        let number = |at: usize| u64_at(bytes, at);
        let (head, created, revision, expires) = (u32_at(bytes, 1)?, number(5)?, number(13)?, number(21)?);
        let (key, rest) = bytes.get(RECORD..)?.split_at_checked(u32_at(bytes, 29)? as usize)?;
        let (value, rest) = rest.split_at_checked(u32_at(bytes, 33)? as usize)?;
        let entry = Entry {
            key: text(key)?,
            revision: Revision(revision),
            created: Revision(created),
            bytes: bytes::Bytes::copy_from_slice(value),
        };
        let expires = (expires > 0).then(|| std::time::Duration::from_millis(expires));
        (bytes[0] == PUT).then_some((Record::Put(Slot { entry, head, expires }), rest))
    }
}

/// Bytes that a slot takes in a frame.
pub(crate) fn weight(slot: &Slot) -> u64 {
    (RECORD + slot.entry.key.as_str().len() + slot.entry.bytes.len()) as u64
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    u64_at(&Sha256::digest(bytes), 0).expect("a digest of 32 bytes")
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn check(bytes: &[u8]) -> [u8; 4] {
    (checksum(bytes) as u32).to_be_bytes()
}

fn size_of(payload: usize) -> usize {
    (HEADER + payload + CHECKSUM).next_multiple_of(ALIGN)
}
