//! A container's log as one run of records over all its files: rotated ones, then the current one.
//!
//! The writer renames a full file to `<name>.<time>`, begins a new one under the old name and later
//! packs the renamed one (`.gz`). A reader holds the file that it reads, so that a rename takes nothing
//! away from it; files that came and went between two looks are found by their names.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read as _, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use runtime::native::{log_rotations, open_log};

use super::record::{self, Format};

/// Read at once, so also about what is sent at once.
const CHUNK: usize = 64 << 10;
/// A longer record is no record.
const RECORD_MAX: usize = 1 << 20;
/// Looked through for the last lines, of one file: no log that we wrote is so long.
const TAIL_MAX: u64 = 64 << 20;

pub struct Log {
    path: PathBuf,
    format: Format,
    /// Rotated files to be read first, and how much of each is left out.
    waiting: VecDeque<(PathBuf, u64)>,
    /// The current file for when they are read.
    held: Option<File>,
    open: Option<Open>,
    /// Names of rotated files that came before the current one (without `.gz`).
    known: BTreeSet<PathBuf>,
    /// The beginning of a record whose end was not read yet.
    rest: Vec<u8>,
    /// What comes next begins a line.
    fresh: bool,
    full: bool,
}

enum Open {
    Current(File),
    Older(Box<dyn io::Read + Send>),
}

/// What a look at the log gave.
pub enum Read {
    Bytes(Bytes),
    /// Nothing more for now.
    End,
    /// All that the client asked for was sent.
    Full,
}

/// The first piece of a log.
pub enum Begun {
    /// There is nothing after it now.
    Whole(Bytes),
    Part(Bytes),
}

impl Log {
    /// With `tail` the last lines only. A log that is not there yet is empty.
    pub fn open(path: PathBuf, tail: Option<usize>, format: Format) -> io::Result<Log> {
        let mut held = present(open_log(&path))?;
        let older = before(&path, held.as_ref())?;
        let known = older.iter().map(|path| plain(path)).collect();
        let waiting = match tail {
            None => older.into_iter().filter(|path| !is_too_old(path, &format)).map(|path| (path, 0)).collect(),
            Some(lines) => last(&older, held.as_mut(), lines, &format)?,
        };
        let full = format.limit == Some(0);
        let rest = Vec::new();
        Ok(Log { path, format, waiting, held, open: None, known, rest, fresh: true, full })
    }

    /// The first piece, about as long as a piece gets.
    pub fn begin(&mut self) -> io::Result<Begun> {
        let mut all = Vec::new();
        while all.len() < CHUNK {
            match self.read()? {
                Read::Bytes(bytes) => all.extend_from_slice(&bytes),
                Read::End | Read::Full => return Ok(Begun::Whole(all.into())),
            }
        }
        Ok(Begun::Part(all.into()))
    }

    /// What was written since the last look.
    pub fn read(&mut self) -> io::Result<Read> {
        let mut chunk = vec![0; CHUNK];
        let mut out = Vec::new();
        while !self.full && out.is_empty() {
            let got = match &mut self.open {
                Some(Open::Current(file)) => {
                    // A writer that was killed takes back what it was about to write again.
                    let end = file.metadata()?.len();
                    if file.stream_position()? > end {
                        file.seek(SeekFrom::Start(end))?;
                    }
                    file.read(&mut chunk)?
                }
                Some(Open::Older(file)) => file.read(&mut chunk)?,
                None => 0,
            };
            if got > 0 {
                self.take(&chunk[..got], &mut out);
            } else if !self.next_file()? {
                return Ok(Read::End);
            }
        }
        match out.is_empty() {
            true => Ok(Read::Full),
            false => Ok(Read::Bytes(out.into())),
        }
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[start..start + length];
            start += length + 1;
            match record::parse(line) {
                Some(record) if self.format.wants(&record) => {
                    if !self.format.write(out, &record, &mut self.fresh) {
                        self.full = true;
                        break;
                    }
                }
                Some(_) => {}
                None => tracing::debug!("{}: a line is no record", self.path.display()),
            }
        }
        self.rest.drain(..start);
        if self.rest.len() > RECORD_MAX {
            self.rest.clear();
        }
    }

    /// Goes on to the next file; false: there is none yet.
    fn next_file(&mut self) -> io::Result<bool> {
        while let Some((path, skip)) = self.waiting.pop_front() {
            // Packed meanwhile, or gone: rotation keeps only so many.
            let Ok(mut file) = open_older(&path).or_else(|_| open_older(&packed(&path))) else { continue };
            io::copy(&mut file.by_ref().take(skip), &mut io::sink())?;
            self.open = Some(Open::Older(file));
            self.rest.clear();
            return Ok(true);
        }
        let Some(Open::Current(current)) = &mut self.open else { return self.open_current() };
        match present(std::fs::symlink_metadata(&self.path))? {
            Some(there) if there.ino() != current.metadata()?.ino() => {}
            _ => return Ok(false),
        }
        if current.stream_position()? < current.metadata()?.len() {
            // Written between our last read and its renaming.
            return Ok(true);
        }
        let new: Vec<PathBuf> = rotated(&self.path).into_iter().filter(|p| !self.known.contains(&plain(p))).collect();
        // The first of them is the one that we have read.
        self.known.extend(new.first().map(|path| plain(path)));
        self.waiting = new.into_iter().skip(1).map(|path| (path, 0)).collect();
        self.known.extend(self.waiting.iter().map(|(path, _)| plain(path)));
        self.open = None;
        Ok(true)
    }

    fn open_current(&mut self) -> io::Result<bool> {
        let current = match self.held.take() {
            Some(held) => Some(held),
            None => present(open_log(&self.path))?,
        };
        self.rest.clear();
        self.open = current.map(Open::Current);
        Ok(self.open.is_some())
    }
}

/// Where the last lines begin: rotated files and what to leave out of them; the current one is moved there.
fn last(
    older: &[PathBuf],
    current: Option<&mut File>,
    lines: usize,
    format: &Format,
) -> io::Result<VecDeque<(PathBuf, u64)>> {
    let mut missing = lines;
    if let Some(file) = current {
        let (start, found) = last_of_file(file, lines, format)?;
        file.seek(SeekFrom::Start(start))?;
        missing -= found;
    }
    let mut waiting = VecDeque::new();
    for path in older.iter().rev() {
        if missing == 0 {
            break;
        }
        let mut all = Vec::new();
        let read = open_older(path).and_then(|file| file.take(TAIL_MAX + 1).read_to_end(&mut all));
        if read.is_err() || all.len() as u64 > TAIL_MAX {
            break;
        }
        let (start, found) = lines_back(&all, missing, format, false);
        missing -= found;
        waiting.push_front((path.clone(), start as u64));
    }
    Ok(waiting)
}

/// Looks at ever longer ends of the file until enough lines are in sight.
fn last_of_file(file: &mut File, lines: usize, format: &Format) -> io::Result<(u64, usize)> {
    let length = file.metadata()?.len();
    let mut window = CHUNK as u64;
    loop {
        let from = length.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.by_ref().take(length - from).read_to_end(&mut bytes)?;
        // A window begins somewhere within a record.
        let skip = match from {
            0 => 0,
            _ => bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1),
        };
        let (start, found) = lines_back(&bytes[skip..], lines, format, true);
        // The whole window: the first line in it may have begun before.
        if from == 0 || start > 0 {
            return Ok((from + (skip + start) as u64, found));
        }
        if window >= TAIL_MAX {
            return Ok((from + skip as u64, found));
        }
        window = (window * 8).min(TAIL_MAX);
    }
}

/// Where the last lines of the bytes begin, and how many there are. `open`: the end may be a line that goes on.
fn lines_back(bytes: &[u8], lines: usize, format: &Format, open: bool) -> (usize, usize) {
    let mut end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (mut start, mut found, mut last) = (end, 0, open);
    while end > 0 {
        let begin = bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let ends_line = match record::parse(&bytes[begin..end - 1]) {
            Some(record) if format.stream.is_none_or(|stream| stream == record.stream) => {
                !record.partial || std::mem::take(&mut last)
            }
            _ => false,
        };
        if ends_line {
            last = false;
            if found == lines {
                return (start, found);
            }
            found += 1;
        }
        end = begin;
        start = begin;
    }
    if lines == 0 { (bytes.len(), 0) } else { (start, found) }
}

/// Rotated files that came before the file now open, oldest first.
fn before(path: &Path, current: Option<&File>) -> io::Result<Vec<PathBuf>> {
    let ours = current.map(File::metadata).transpose()?.map(|m| m.ino());
    let mut older = rotated(path);
    older.retain(|path| ours.is_none() || std::fs::symlink_metadata(path).ok().map(|m| m.ino()) != ours);
    Ok(older)
}

/// Rotated files of a log, oldest first; each in one form.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let mut found = log_rotations(path);
    found.dedup_by(|later, earlier| plain(later) == plain(earlier));
    found
}

fn open_older(path: &Path) -> io::Result<Box<dyn io::Read + Send>> {
    let file = open_log(path)?;
    Ok(match path.extension().is_some_and(|e| e == "gz") {
        true => Box::new(flate2::read::GzDecoder::new(io::BufReader::new(file))),
        false => Box::new(file),
    })
}

fn plain(path: &Path) -> PathBuf {
    if path.extension().is_some_and(|e| e == "gz") { path.with_extension("") } else { path.to_owned() }
}

fn packed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// Nothing in it is as young as the client wants it.
fn is_too_old(path: &Path, format: &Format) -> bool {
    let Some(since) = format.since else { return false };
    std::fs::symlink_metadata(path).is_ok_and(|m| m.mtime() < since.as_second())
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests;
