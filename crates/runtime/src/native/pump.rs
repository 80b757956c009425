//! From a container's output to its log file.
//!
//! The death of the supervisor neither loses nor doubles a line.
//!
//! Bytes stay in the container's own pipe until they are written: a chunk of whole lines is looked at
//! (`tee`), moved into the *stage* (a pipe that the keeper holds too), written to the log, and then
//! dropped from the stage. What is still on the stage after a restart was perhaps written, perhaps in
//! part: the note beside it says where the log ended before, so it is cut back there and written again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::io::{Errno, ioctl_fionread};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, tee};
use serde::{Deserialize, Serialize};

use super::logfile::{self, LINE_MAX, LogFile};
use super::sys;
use crate::spec;

/// What a source has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// The beginning of a line.
    Partial,
    /// More than was taken this time.
    More,
    /// Lines that wait in their pipe until the log has room for them.
    Waiting,
    /// All writers are gone.
    Ended,
}

/// Where bytes come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub fd: BorrowedFd<'a>,
    pub terminal: bool,
    /// `stdout` or `stderr`
    pub stream: &'a str,
    pub take: Take,
}

/// How much of a pipe is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Whole lines, once the log has room for them or they fill the pipe.
    Lines,
    /// Also a line without its end.
    Partial,
    /// All that is there, for a reader or at the end: nothing waits.
    All,
}

pub struct Pump {
    stage: (OwnedFd, OwnedFd),
    /// A file in memory that the keeper holds too.
    note: std::fs::File,
    scratch: (OwnedFd, OwnedFd),
    null: std::fs::File,
    buffer: Vec<u8>,
    records: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Note {
    log: spec::LogFile,
    stream: String,
    offset: u64,
}

const CHUNK: usize = 64 << 10;
/// What a pipe should hold while its log has no room.
const WAITING_MAX: usize = 1 << 20;
/// As much as the kernel gives of a terminal at once.
const TERMINAL_CHUNK: usize = 4096;
/// Chunks of one source at a time, so that one container's flood does not starve the others.
const CHUNKS_MAX: usize = 16;
/// Under which names the keeper holds the stage and the note.
pub const KEPT: [&str; 3] = ["read", "write", "note"];

impl Pump {
    /// With what the keeper holds, or new.
    pub fn new(kept: Option<[OwnedFd; 3]>) -> io::Result<Pump> {
        let [read, write, note] = match kept {
            Some(kept) => kept,
            None => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                [read, write, rustix::fs::memfd_create("gousse-note", rustix::fs::MemfdFlags::CLOEXEC)?]
            }
        };
        let mut pump = Pump {
            stage: (read, write),
            note: note.into(),
            scratch: pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?,
            null: std::fs::File::options().write(true).open("/dev/null")?,
            buffer: vec![0; CHUNK],
            records: Vec::new(),
        };
        if let Err(error) = pump.recover() {
            eprintln!("supervisor: lines that were on their way to a log are lost: {error}");
        }
        pump.empty();
        Ok(pump)
    }

    /// What the keeper should hold, in the order of `KEPT`.
    pub fn to_keep(&self) -> [BorrowedFd<'_>; 3] {
        [self.stage.0.as_fd(), self.stage.1.as_fd(), self.note.as_fd()]
    }

    /// Moves what is there. `see` gets each chunk as it was written.
    pub fn drain(
        &mut self,
        source: Source<'_>,
        mut log: Option<&mut LogFile>,
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<Left> {
        for _ in 0..CHUNKS_MAX {
            let taken = match source.terminal {
                true => self.take_terminal(source, log.as_deref_mut()),
                false => self.take_lines(source, log.as_deref_mut()),
            };
            // What an error leaves behind must not get into the next one's log.
            match taken.inspect_err(|_| self.empty())? {
                Ok(length) => see(&self.buffer[..length]),
                Err(left) => return Ok(left),
            }
        }
        Ok(Left::More)
    }

    /// Whole lines from a pipe, through the stage to the log. They stay in `buffer`.
    fn take_lines(&mut self, source: Source<'_>, log: Option<&mut LogFile>) -> io::Result<Result<usize, Left>> {
        match self.look(source)? {
            Ok(length) => self.take(source, log, length),
            Err(left) => Ok(Err(left)),
        }
    }

    /// Copies what a pipe holds to `buffer`; how much of it is to be taken.
    fn look(&mut self, source: Source<'_>) -> io::Result<Result<usize, Left>> {
        let there = match tee(source.fd, &self.scratch.1, CHUNK, SpliceFlags::NONBLOCK) {
            Ok(0) => return Ok(Err(Left::Ended)),
            Ok(there) => there,
            Err(Errno::AGAIN) => return Ok(Err(Left::Nothing)),
            Err(error) => return Err(error.into()),
        };
        read_exactly(&self.scratch.0, &mut self.buffer[..there])?;
        let lines = memrchr_newline(&self.buffer[..there]).map_or(0, |at| at + 1);
        let length = if source.take != Take::Lines || there - lines >= LINE_MAX { there } else { lines };
        Ok(if length == 0 { Err(Left::Partial) } else { Ok(length) })
    }

    /// Moves what was looked at. A container may open its own output for reading and take some of it in
    /// between, or all: what arrives on the stage counts, not what was seen.
    fn take(&mut self, source: Source<'_>, log: Option<&mut LogFile>, seen: usize) -> io::Result<Result<usize, Left>> {
        let Some(log) = log else {
            let moved = move_up_to(source.fd, &self.null, seen)?;
            return Ok(if moved == 0 { Err(Left::More) } else { Ok(moved) });
        };
        self.format(source.stream, seen);
        let room = log.make_room(self.records.len());
        if let Err(error) = &room
            && may_wait(source, error)
        {
            log.waits(error);
            return Ok(Err(Left::Waiting));
        }
        self.remember(source.stream, log)?;
        let moved = move_up_to(source.fd, &self.stage.1, seen)?;
        if moved == 0 {
            return Ok(Err(Left::More));
        }
        if moved < seen {
            self.copy_stage(moved)?;
            self.format(source.stream, moved);
        }
        self.write(log, room)?;
        move_up_to(self.stage.0.as_fd(), &self.null, moved)?;
        Ok(Ok(moved))
    }

    /// Whatever a terminal gives, likewise.
    fn take_terminal(&mut self, source: Source<'_>, log: Option<&mut LogFile>) -> io::Result<Result<usize, Left>> {
        let Some(log) = log else {
            return match rustix::io::read(source.fd, &mut self.buffer) {
                Ok(0) | Err(Errno::IO) => Ok(Err(Left::Ended)),
                Err(Errno::AGAIN) => Ok(Err(Left::Nothing)),
                other => Ok(Ok(other?)),
            };
        };
        let room = log.make_room(TERMINAL_CHUNK);
        self.remember(source.stream, log)?;
        let length = match splice(source.fd, None, &self.stage.1, None, CHUNK, SpliceFlags::NONBLOCK) {
            Ok(0) | Err(Errno::IO) => return Ok(Err(Left::Ended)),
            Ok(length) => length,
            Err(Errno::AGAIN) => return Ok(Err(Left::Nothing)),
            Err(error) => return Err(error.into()),
        };
        self.copy_stage(length)?;
        self.format(source.stream, length);
        self.write(log, room)?;
        move_up_to(self.stage.0.as_fd(), &self.null, length)?;
        Ok(Ok(length))
    }

    /// The first bytes of the stage, which stay there, to `buffer`.
    fn copy_stage(&mut self, length: usize) -> io::Result<()> {
        let copied = tee(&self.stage.0, &self.scratch.1, length, SpliceFlags::NONBLOCK)?;
        read_exactly(&self.scratch.0, &mut self.buffer[..copied])?;
        if copied < length { Err(io::Error::other("the stage holds less than was moved there")) } else { Ok(()) }
    }

    fn format(&mut self, stream: &str, length: usize) {
        self.records.clear();
        logfile::format(&mut self.records, stream, &self.buffer[..length], sys::now());
    }

    /// Nothing of any container on the stage any more.
    fn empty(&mut self) {
        for pipe in [&self.stage.0, &self.scratch.0] {
            while rustix::io::read(pipe, &mut self.buffer).is_ok_and(|got| got > 0) {}
        }
    }

    /// Where the log ends before the next chunk. Noted before anything gets onto the stage.
    fn remember(&self, stream: &str, log: &LogFile) -> io::Result<()> {
        let note = Note { log: log.spec().clone(), stream: stream.to_owned(), offset: log.size() };
        let mut bytes = serde_json::to_vec(&note).expect("a note holds nothing that JSON cannot");
        bytes.push(b'\n');
        self.note.write_all_at(&bytes, 0)
    }

    fn write(&mut self, log: &mut LogFile, room: io::Result<()>) -> io::Result<()> {
        let before = log.size();
        match room.and_then(|()| log.write(&self.records)) {
            Ok(()) => log.trouble.is_over(),
            Err(error) => {
                // A full disk: these lines are lost; the container goes on.
                log.lose(&self.records, &error);
                log.take_back(before)?;
            }
        }
        Ok(())
    }

    fn recover(&mut self) -> io::Result<()> {
        let length = ioctl_fionread(&self.stage.0)? as usize;
        if length == 0 {
            return Ok(());
        }
        let mut text = vec![0; 16 << 10];
        let got = self.note.read_at(&mut text, 0)?;
        let line = text[..got].split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Ok(note) = serde_json::from_slice::<Note>(line)
            && let Ok(mut log) = LogFile::open(&note.log)
        {
            log.take_back(note.offset)?;
            self.copy_stage(length)?;
            self.format(&note.stream, length);
            self.write(&mut log, Ok(()))?;
        }
        Ok(())
    }
}

/// On a full disk, and as long as the container does not have to wait for its output to be taken.
fn may_wait(source: Source<'_>, error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    if source.take == Take::All || !matches!(error.kind(), StorageFull | QuotaExceeded) {
        return false;
    }
    // Not always allowed: then it holds what it holds.
    let held = fcntl_setpipe_size(source.fd, WAITING_MAX).or_else(|_| fcntl_getpipe_size(source.fd)).unwrap_or(0);
    ioctl_fionread(source.fd).is_ok_and(|there| (there as usize) < held / 4 * 3)
}

/// As much as is there, up to a length.
fn move_up_to(from: BorrowedFd<'_>, to: impl AsFd, length: usize) -> io::Result<usize> {
    let mut moved = 0;
    while moved < length {
        match splice(from, None, to.as_fd(), None, length - moved, SpliceFlags::NONBLOCK) {
            Ok(0) | Err(Errno::AGAIN) => break,
            more => moved += more?,
        }
    }
    Ok(moved)
}

fn read_exactly(from: &OwnedFd, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        let got = rustix::io::read(from, &mut *to)?;
        to = &mut to[got..];
    }
    Ok(())
}

fn memrchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests;
