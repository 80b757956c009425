//! One record of a log in the CRI's format, and what a client gets of it.
//!
//! `2026-01-02T03:04:05.000000006Z stdout F text`; P instead of F where the line goes on in the next
//! record. Matches pkg/kubelet/kuberuntime/logs: a line's pieces are joined, a time stands once.

use jiff::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A record as it was written.
#[derive(Debug, PartialEq)]
pub struct Record<'a> {
    pub time: &'a [u8],
    pub stream: Stream,
    /// The line goes on in the next record of its stream.
    pub partial: bool,
    pub text: &'a [u8],
}

/// Which records a client wants, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    pub since: Option<Timestamp>,
    pub stream: Option<Stream>,
    pub timestamps: bool,
    /// Bytes that may still be sent.
    pub limit: Option<u64>,
}

/// Without its newline. None: not a record.
pub fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tags) = (words.next()?, words.next()?, words.next()?);
    let text = words.next().unwrap_or_default();
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Further tags may follow after colons.
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Record { time, stream, partial, text })
}

impl Format {
    pub fn wants(&self, record: &Record<'_>) -> bool {
        let time = || std::str::from_utf8(record.time).ok()?.parse::<Timestamp>().ok();
        self.stream.is_none_or(|stream| stream == record.stream)
            && self.since.is_none_or(|since| time().is_some_and(|time| time >= since))
    }

    /// Appends what a client sees of a wanted record; `fresh`: a line begins. False once the limit is reached.
    pub fn write(&mut self, out: &mut Vec<u8>, record: &Record<'_>, fresh: &mut bool) -> bool {
        let before = out.len();
        if self.timestamps && *fresh {
            out.extend_from_slice(record.time);
            out.push(b' ');
        }
        out.extend_from_slice(record.text);
        if !record.partial {
            out.push(b'\n');
        }
        *fresh = !record.partial;
        let Some(limit) = &mut self.limit else { return true };
        let added = (out.len() - before) as u64;
        out.truncate(before + added.min(*limit) as usize);
        *limit = limit.saturating_sub(added);
        *limit > 0
    }
}
