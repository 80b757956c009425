//! Header blocks: names and values, one zlib stream per direction that starts with a dictionary.

use std::io;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::spdy::Headers;

/// Of one block, unpacked.
const BLOCK_MAX: usize = 64 << 10;

/// The dictionary of SPDY/3 (2.6.10.1): words with their lengths, then plain text.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public",
    "set-cookie", "keep-alive", "origin",
];
#[rustfmt::skip]
const TEXT: &str = concat!(
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Au",
    "thoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidd",
    "en404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr Ma",
    "y Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,imag",
    "e/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicpri",
    "vatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
);

pub struct Packer(Compress);

pub struct Unpacker(Decompress);

impl Packer {
    pub fn new() -> io::Result<Packer> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&dictionary()).map_err(io::Error::other)?;
        Ok(Packer(zlib))
    }

    pub fn pack(&mut self, headers: &Headers, out: &mut Vec<u8>) -> io::Result<()> {
        let mut plain = Vec::from((headers.len() as u32).to_be_bytes());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.bytes());
        }
        let before = self.0.total_in();
        loop {
            out.reserve(plain.len() + 256);
            let done = (self.0.total_in() - before) as usize;
            self.0.compress_vec(&plain[done..], out, FlushCompress::Sync).map_err(io::Error::other)?;
            // Room left over means that all of it is out.
            if out.len() < out.capacity() {
                return Ok(());
            }
        }
    }
}

impl Unpacker {
    pub fn new() -> Unpacker {
        Unpacker(Decompress::new(true))
    }

    pub fn unpack(&mut self, block: &[u8]) -> io::Result<Headers> {
        let mut plain = Vec::with_capacity(4096);
        let before = self.0.total_in();
        loop {
            let done = (self.0.total_in() - before) as usize;
            if plain.len() > BLOCK_MAX {
                return Err(bad("a header block is too large"));
            }
            plain.reserve(4096);
            match self.0.decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return Err(bad("the stream of header blocks has ended")),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(io::Error::other)?;
                    continue;
                }
                Err(error) => return Err(bad(&error.to_string())),
            }
            if (self.0.total_in() - before) as usize == block.len() && plain.len() < plain.capacity() {
                return parse(&plain);
            }
        }
    }
}

fn parse(mut rest: &[u8]) -> io::Result<Headers> {
    let count = number(&mut rest)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value) = (text(&mut rest)?, text(&mut rest)?);
        headers.push((name.to_ascii_lowercase(), value));
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> io::Result<usize> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or_else(|| bad("a header block is cut short"))?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes) as usize)
}

fn text(rest: &mut &[u8]) -> io::Result<String> {
    let length = number(rest)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or_else(|| bad("a header block is cut short"))?;
    *rest = after;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn dictionary() -> Vec<u8> {
    let mut all = Vec::new();
    for word in WORDS {
        all.extend((word.len() as u32).to_be_bytes());
        all.extend(word.bytes());
    }
    all.extend(TEXT.bytes());
    all
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests;
