//! Tells a torn tail from a damaged journal, before and after the engine opened it.
//!
//! The engine cuts a journal at the first thing it cannot read, whatever follows. After a power
//! loss that is right: only the last batch, which nobody was told of, can be torn. After a flipped
//! bit it would drop writes that were acknowledged. Every batch of ours ends with the `REVISION`
//! record, so the ends of all batches can be found without understanding what lies between.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::REVISION;

/// After the record's key: its value, and fjall's end of a batch (tag 3, checksum, trailer).
const VALUE: u64 = 8;
const END: u64 = 1 + 8 + 4;
const TRAILER: &[u8] = b"FJL\x03";
/// The smallest piece that a disk writes or leaves out.
const SECTOR: usize = 512;
const WINDOW: usize = 1 << 20;

/// The journals as they were before the engine opened them.
pub(crate) struct Journals(Vec<Journal>);

struct Journal {
    path: PathBuf,
    /// The end of the last batch that is whole.
    end: u64,
}

/// Copies what a folder holds into another one, with its holes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in from.read_dir()? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => {
                std::fs::create_dir(&to)?;
                copy(&entry.path(), &to)?;
            }
            false => copy_file(&File::open(entry.path())?, &File::create(&to)?)?,
        }
    }
    Ok(())
}

fn copy_file(from: &File, to: &File) -> io::Result<()> {
    to.set_len(from.metadata()?.len())?;
    let mut window = vec![0; WINDOW];
    let mut next = 0;
    while let Some((mut at, end)) = extent(from, next)? {
        while at < end {
            let read = from.read_at(&mut window[..((end - at) as usize).min(WINDOW)], at)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&window[..read], at)?;
            at += read as u64;
        }
        next = end;
    }
    Ok(())
}

/// Looks at every journal in a directory; cuts off a last batch of which only parts reached the disk.
pub(crate) fn inspect(dir: &Path) -> io::Result<Journals> {
    let paths = paths(dir)?;
    let active = paths.last().cloned();
    let journals = paths.into_iter().map(|path| {
        let is_active = Some(&path) == active.as_ref();
        Ok(Journal { end: whole_until(&path, is_active)?, path })
    });
    Ok(Journals(journals.collect::<io::Result<_>>()?))
}

impl Journals {
    /// Whether the engine kept every whole batch; says which file it cut too short.
    pub fn are_kept(&self) -> io::Result<Result<(), String>> {
        for journal in &self.0 {
            let length = match journal.path.metadata() {
                Ok(metadata) => metadata.len(),
                // Already in the tables, and so no longer needed.
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => return Err(why),
            };
            if length < journal.end {
                let path = journal.path.display();
                return Ok(Err(format!(
                    "{path} can be read up to byte {length}, but holds writes up to {}",
                    journal.end
                )));
            }
        }
        Ok(Ok(()))
    }
}

/// The journals in order; the last one is the active one.
fn paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            paths.push(path);
        }
    }
    let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    paths.sort_by_key(number);
    Ok(paths)
}

fn whole_until(path: &Path, is_active: bool) -> io::Result<u64> {
    let file = File::options().read(true).write(true).open(path)?;
    let records = records(&file)?;
    let mut ends = records.iter().map(|at| at + REVISION.len() as u64 + VALUE + END);
    let Some(last) = ends.next_back() else { return Ok(0) };
    let before = ends.next_back().unwrap_or(0);
    if !is_active || is_whole(&file, before, last)? {
        return Ok(last);
    }
    tracing::warn!("{}: its last batch was torn by a crash and is cut off at byte {before}", path.display());
    file.set_len(before)?;
    file.sync_all()?;
    Ok(before)
}

/// A batch whose end is there and of which no sector was left out. What we write has no such run of
/// zeros.
fn is_whole(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length < to {
        return Ok(false);
    }
    let mut bytes = vec![0; (to - from) as usize];
    file.read_exact_at(&mut bytes, from)?;
    let into_sector = (SECTOR as u64 - from % SECTOR as u64) as usize % SECTOR;
    let mut sectors = bytes.get(into_sector..).unwrap_or_default().chunks_exact(SECTOR);
    Ok(bytes.ends_with(TRAILER) && !sectors.any(|sector| sector.iter().all(|byte| *byte == 0)))
}

/// Where the `REVISION` records begin; holes of the file are passed over.
fn records(file: &File) -> io::Result<Vec<u64>> {
    let finder = memchr::memmem::Finder::new(REVISION);
    let mut found: Vec<u64> = Vec::new();
    let mut window = vec![0; WINDOW];
    let mut from = 0;
    while let Some((start, end)) = extent(file, from)? {
        let mut at = start;
        while at < end {
            let read = file.read_at(&mut window[..((end - at) as usize).min(WINDOW)], at)?;
            if read == 0 {
                break;
            }
            for offset in finder.find_iter(&window[..read]) {
                found.push(at + offset as u64);
            }
            // A record may lie across two windows; a whole one is never seen twice.
            at += if read < REVISION.len() { read as u64 } else { (read - REVISION.len() + 1) as u64 };
        }
        from = end;
    }
    Ok(found)
}

/// The next run of bytes that the file really holds.
fn extent(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(why) => return Err(why.into()),
    };
    Ok(Some((start, rustix::fs::seek(file, SeekFrom::Hole(start))?)))
}
