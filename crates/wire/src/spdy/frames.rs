//! Frames of SPDY/3.1 and their bytes (draft-mbelshe-httpbis-spdy-00 with 3.1's additions).

use std::io;

use bytes::Bytes;

use crate::spdy::Headers;
use crate::spdy::headers::{Packer, Unpacker};

/// Bytes before a frame's body.
pub const HEAD: usize = 8;
/// Larger frames are nobody's; the format would allow 16 MiB.
const LENGTH_MAX: usize = 4 << 20;
const VERSION: u16 = 3;
const END: u8 = 1;

#[derive(Debug)]
pub enum Frame {
    Data {
        id: u32,
        data: Bytes,
        end: bool,
    },
    Open {
        id: u32,
        headers: Headers,
        end: bool,
    },
    Reply {
        id: u32,
        headers: Headers,
        end: bool,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings, window updates, late headers.
    Ignored,
}

/// The first eight bytes.
pub enum Head {
    Data { id: u32, flags: u8, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Head {
    pub fn parse(bytes: &[u8; HEAD]) -> io::Result<Head> {
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (first, second) = (word(0), word(4));
        let (flags, length) = ((second >> 24) as u8, (second & 0xff_ffff) as usize);
        if length > LENGTH_MAX {
            return Err(bad(format!("a frame of {length} bytes")));
        }
        if first & 0x8000_0000 == 0 {
            return Ok(Head::Data { id: first, flags, length });
        }
        let version = (first >> 16) as u16 & 0x7fff;
        if version != VERSION {
            return Err(bad(format!("SPDY version {version}")));
        }
        Ok(Head::Control { kind: first as u16, flags, length })
    }

    pub fn length(&self) -> usize {
        match self {
            Head::Data { length, .. } | Head::Control { length, .. } => *length,
        }
    }

    pub fn frame(self, body: Bytes, unpacker: &mut Unpacker) -> io::Result<Frame> {
        let (kind, flags) = match self {
            Head::Data { id, flags, .. } => return Ok(Frame::Data { id, data: body, end: flags & END != 0 }),
            Head::Control { kind, flags, .. } => (kind, flags),
        };
        let word = |at: usize| -> io::Result<u32> {
            let bytes = body.get(at..at + 4).ok_or_else(|| bad("a control frame is too short"))?;
            Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let end = flags & END != 0;
        let mut block = |at: usize| unpacker.unpack(body.get(at..).ok_or_else(|| bad("a control frame is too short"))?);
        Ok(match kind {
            1 => Frame::Open { id: word(0)? & 0x7fff_ffff, headers: block(10)?, end },
            2 => Frame::Reply { id: word(0)? & 0x7fff_ffff, headers: block(4)?, end },
            3 => Frame::Reset { id: word(0)? & 0x7fff_ffff, status: word(4)? },
            6 => Frame::Ping { id: word(0)? },
            7 => Frame::GoAway,
            8 => {
                // Later headers say nothing here, but their bytes move the compression on.
                block(4)?;
                Frame::Ignored
            }
            _ => Frame::Ignored,
        })
    }
}

impl Frame {
    pub fn write(&self, packer: &mut Packer, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Frame::Data { id, data, end } => {
                out.extend(id.to_be_bytes());
                out.extend((u32::from(*end) << 24 | data.len() as u32).to_be_bytes());
                out.extend_from_slice(data);
            }
            Frame::Open { id, headers, end } => {
                let mut body = Vec::from(id.to_be_bytes());
                // No associated stream, priority and slot 0.
                body.extend([0; 6]);
                packer.pack(headers, &mut body)?;
                control(1, *end, &body, out);
            }
            Frame::Reply { id, headers, end } => {
                let mut body = Vec::from(id.to_be_bytes());
                packer.pack(headers, &mut body)?;
                control(2, *end, &body, out);
            }
            Frame::Reset { id, status } => control(3, false, &[id.to_be_bytes(), status.to_be_bytes()].concat(), out),
            Frame::Ping { id } => control(6, false, &id.to_be_bytes(), out),
            Frame::GoAway => control(7, false, &[0; 8], out),
            Frame::Ignored => {}
        }
        Ok(())
    }
}

fn control(kind: u16, end: bool, body: &[u8], out: &mut Vec<u8>) {
    out.extend((0x8000 | VERSION).to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend((u32::from(end) << 24 | body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
}

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
