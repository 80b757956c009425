//! A container's log file in the CRI's format, with rotation by size.
//!
//! `2026-01-02T03:04:05.000000006Z stdout F text`; P instead of F where the line goes on in the next
//! record. The current file keeps its name; older ones get a time stamp, then also gzip, as kubelet
//! does it (kubelet/logs/container_log_manager.go).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FallocateFlags, OFlags, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::trouble::Trouble;
use super::{logfolder, sys};
use crate::spec;

/// Longest text of one record.
pub const LINE_MAX: usize = 16 << 10;

/// Bytes. A disk with more takes what is written to it.
const NEARLY_FULL: u64 = 16 << 20;
/// Of the record that tells of lost ones.
const LOST_RECORD_MAX: usize = 256;

pub struct LogFile {
    spec: spec::LogFile,
    file: File,
    size: u64,
    /// Since somebody asked, an older file became due for compression.
    pub rotated: bool,
    /// Lines are lost.
    pub trouble: Trouble,
    /// Records that were lost since the last that was written, and why.
    lost: Option<(u64, String)>,
}

impl LogFile {
    pub fn open(spec: &spec::LogFile) -> io::Result<LogFile> {
        let file = append(&spec.path)?;
        let size = file.metadata()?.len();
        Ok(LogFile { spec: spec.clone(), file, size, rotated: false, trouble: Trouble::default(), lost: None })
    }

    pub fn spec(&self) -> &spec::LogFile {
        &self.spec
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes back what was written after that offset: by a supervisor that ended before it could say so.
    pub fn take_back(&mut self, offset: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > offset {
            self.file.set_len(offset)?;
            self.size = offset;
        }
        Ok(())
    }

    /// A new file under the same name, whatever became of the old one.
    pub fn reopen(&mut self) -> io::Result<()> {
        let opened = LogFile::open(&self.spec)?;
        (self.file, self.size) = (opened.file, opened.size);
        Ok(())
    }

    /// Makes room for that many bytes: a new file where the current one would become too long, and their
    /// place on a disk that is nearly full.
    pub fn make_room(&mut self, bytes: usize) -> io::Result<()> {
        let limit = self.spec.size_max;
        if limit > 0 && self.size > 0 && self.size + bytes as u64 > limit {
            self.rotate()?;
        }
        let disk = rustix::fs::fstatvfs(&self.file)?;
        if disk.f_bfree.saturating_mul(disk.f_frsize) >= NEARLY_FULL {
            return Ok(());
        }
        let bytes = bytes + if self.lost.is_some() { LOST_RECORD_MAX } else { 0 };
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.size, bytes as u64) {
            // Not every file system can tell beforehand.
            Err(Errno::OPNOTSUPP) => Ok(()),
            placed => Ok(placed?),
        }
    }

    /// Nothing is lost yet.
    pub fn waits(&mut self, error: &io::Error) {
        self.trouble.say(format_args!("{}: {error}; lines wait", self.spec.path.display()));
    }

    /// These records are lost. It is said where the container's own lines are, once one can be written.
    pub fn lose(&mut self, records: &[u8], error: &io::Error) {
        self.trouble.say(format_args!("{}: {error}; lines are lost", self.spec.path.display()));
        let count = records.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.lost.get_or_insert_with(|| (0, super::setup::plain(error))).0 += count;
    }

    /// With what was lost before them.
    pub fn write(&mut self, records: &[u8]) -> io::Result<()> {
        let Some((count, why)) = &self.lost else { return self.append(records) };
        let lines = if *count == 1 { "1 line is" } else { &format!("{count} lines are") };
        let mut all = Vec::new();
        format(&mut all, "stderr", format!("gousse: {lines} missing here: {why}\n").as_bytes(), sys::now());
        all.extend_from_slice(records);
        self.append(&all)?;
        self.lost = None;
        Ok(())
    }

    /// At the end of its container: there is no other record to say it with.
    pub fn finish(&mut self) {
        let before = self.size;
        if self.lost.is_some()
            && let Err(error) = self.write(&[])
        {
            self.trouble.say(format_args!("{}: {error}", self.spec.path.display()));
            let _ = self.take_back(before);
        }
    }

    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        self.file.write_all(records)?;
        self.size += records.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.spec.path.clone();
        let folder = match logfolder::open_folder(&path, false) {
            // Somebody took it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.reopen(),
            opened => opened?,
        };
        let is_there = |name: &OsStr| statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let mut at = sys::now();
        let rotated = loop {
            let rotated = with_suffix(&path, &time_stamp(at));
            if !is_there(name_of(&rotated)) && !is_there(name_of(&with_suffix(&rotated, "gz"))) {
                break rotated;
            }
            at += 1_000_000_000;
        };
        let older = rotations(&path);
        match renameat(&folder, name_of(&path), &folder, name_of(&rotated)) {
            Err(Errno::NOENT) => return self.reopen(),
            renamed => renamed?,
        }
        if let Err(error) = self.reopen() {
            // A full disk: the next try finds everything as it was.
            let _ = renameat(&folder, name_of(&rotated), &folder, name_of(&path));
            return Err(error);
        }
        // Kept in all: the current file, the one just renamed, and older ones.
        let keep = (self.spec.files_max.max(2) - 2) as usize;
        let excess = older.len().saturating_sub(keep);
        older[..excess].iter().for_each(|path| remove(&folder, path));
        self.rotated |= older[excess..].iter().any(|path| is_plain(path));
        Ok(())
    }
}

/// Appends records for `text` to `out`. A last line without its end becomes a partial record.
pub fn format(out: &mut Vec<u8>, stream: &str, text: &[u8], at: i128) {
    let time = jiff::Timestamp::from_nanosecond(at).unwrap_or_default();
    let head = format!("{time:.9} {stream} ");
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (mut rest, whole) = match line.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), true),
            None => (line, false),
        };
        while rest.len() > LINE_MAX {
            record(out, &head, b"P ", &rest[..LINE_MAX]);
            rest = &rest[LINE_MAX..];
        }
        record(out, &head, if whole { b"F " } else { b"P " }, rest);
    }
}

fn record(out: &mut Vec<u8>, head: &str, tag: &[u8], text: &[u8]) {
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(tag);
    out.extend_from_slice(text);
    out.push(b'\n');
}

fn append(path: &Path) -> io::Result<File> {
    let folder = logfolder::open_folder(path, true)?;
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    logfolder::open_file(folder, Path::new(name_of(path)), flags)
}

/// One that does not go is one too many, no more.
fn remove(folder: &OwnedFd, path: &Path) {
    let _ = unlinkat(folder, name_of(path), AtFlags::empty());
}

fn name_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// `20060102-150405`
fn time_stamp(at: i128) -> String {
    let time = jiff::Timestamp::from_nanosecond(at).unwrap_or_default();
    time.strftime("%Y%m%d-%H%M%S").to_string()
}

/// Older files of this log, oldest first: renamed ones and packed ones (`.gz`), not those being packed.
pub fn rotations(path: &Path) -> Vec<PathBuf> {
    beside(path, |extension| extension != "tmp")
}

fn left_partial(path: &Path) -> Vec<PathBuf> {
    beside(path, |extension| extension == "tmp")
}

/// Files whose names begin with this one's, by what those end in.
fn beside(path: &Path, wanted: impl Fn(&OsStr) -> bool) -> Vec<PathBuf> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let prefix = [name.as_bytes(), b"."].concat();
    let Ok(folder) = logfolder::open_folder(path, false).and_then(|folder| Ok(Dir::new(folder)?)) else {
        return Vec::new();
    };
    let names = folder.flatten().map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    let mut found: Vec<PathBuf> = names
        .filter(|name| name.as_bytes().starts_with(&prefix))
        .map(|name| above.join(name))
        .filter(|path| wanted(path.extension().unwrap_or_default()))
        .collect();
    found.sort();
    found
}

/// Removes a log with all its older files; what does not go is left to whoever cleans /var/log.
pub fn remove_log(path: &Path) {
    let Ok(folder) = logfolder::open_folder(path, false) else { return };
    let older = rotations(path).into_iter().chain(left_partial(path));
    older.chain([path.to_owned()]).for_each(|path| remove(&folder, &path));
}

/// Compresses all older files but the latest. Takes a while.
pub fn pack(path: &Path) {
    let Ok(folder) = logfolder::open_folder(path, false) else { return };
    let mut plain: Vec<PathBuf> = rotations(path).into_iter().filter(|path| is_plain(path)).collect();
    plain.pop();
    // Left by one that was killed.
    left_partial(path).iter().for_each(|path| remove(&folder, path));
    for path in plain {
        // Its own name: one that a supervisor before this one began may still run.
        let partial = with_suffix(&path, &format!("{}.tmp", std::process::id()));
        if compress(&folder, &path, &partial).is_err() {
            remove(&folder, &partial);
        }
    }
}

fn is_plain(path: &Path) -> bool {
    path.extension().is_none_or(|extension| extension != "gz")
}

fn compress(folder: &OwnedFd, path: &Path, partial: &Path) -> io::Result<()> {
    let mut whole = logfolder::open_file(folder, Path::new(name_of(path)), OFlags::RDONLY)?;
    // New: what somebody else put there is not written to.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let packed = logfolder::open_file(folder, Path::new(name_of(partial)), flags)?;
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::default());
    io::copy(&mut whole, &mut packed)?;
    packed.finish()?;
    // Removed meanwhile, as one too many: then so is this.
    statat(folder, name_of(path), AtFlags::SYMLINK_NOFOLLOW)?;
    renameat(folder, name_of(partial), folder, name_of(&with_suffix(path, "gz")))?;
    Ok(unlinkat(folder, name_of(path), AtFlags::empty())?)
}

#[cfg(test)]
mod tests;
