//! The files of the journal: segments of a fixed size, and spare ones for a full disk.
//!
//! A segment has its whole size and its first frame before it has its name, so a file of that name
//! which is shorter, or begins otherwise, is damaged. It is filled with zeros that are on the disk:
//! a sync then writes the frame and nothing of the file system's own, in less than half the time. The
//! next one is made ahead. A spare is taken when the disk has no more room; a segment that is no
//! longer needed becomes one again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::fs::FallocateFlags;

const EXTENSION: &str = "jnl";
const SPARE: &str = ".reserve";
/// A segment that is being made.
const NEXT: &str = "next";

pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:010}.{EXTENSION}"))
}

/// The numbers of all segments in a folder, in order; none if there is no folder.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            numbers.push(number.ok_or_else(|| io::Error::other(format!("{} has a strange name", path.display())))?);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The spare files of a folder, all of one size.
#[derive(Debug)]
pub(crate) struct Spares {
    folder: PathBuf,
    size: u64,
    wanted: usize,
    held: Vec<PathBuf>,
    named: u64,
    /// The next segment, but for its first frame and its name.
    ahead: Option<JoinHandle<io::Result<File>>>,
}

impl Spares {
    /// Those that are there; `restore` makes what is wanted beside them.
    pub fn of(folder: &Path, size: u64, wanted: usize) -> io::Result<Spares> {
        let _ = fs::remove_file(folder.join(NEXT));
        let mut spares = Spares { folder: folder.into(), size, wanted, held: Vec::new(), named: 0, ahead: None };
        for entry in folder.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_suffix(SPARE)?.parse::<u64>().ok()) else {
                continue;
            };
            spares.named = spares.named.max(number + 1);
            // What is short was being made; a copy of a store may have holes.
            let file = File::options().write(true).open(entry.path())?;
            let whole = spares.held.len() < wanted && file.metadata()?.len() == size && allocate(&file, size).is_ok();
            match whole {
                true => spares.held.push(entry.path()),
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(spares)
    }

    pub fn left(&self) -> usize {
        self.held.len()
    }

    pub fn are_complete(&self) -> bool {
        self.held.len() >= self.wanted
    }

    /// Makes what is missing, as far as the disk has room.
    pub fn restore(&mut self) {
        while !self.are_complete() {
            let path = self.name();
            let made = File::create_new(&path).and_then(|file| allocate(&file, self.size));
            if made.is_err() {
                let _ = fs::remove_file(&path);
                return;
            }
            self.held.push(path);
        }
    }

    /// Makes the next segment while this one is written to.
    pub fn make_ahead(&mut self) {
        if self.ahead.is_none() {
            let (next, size) = (self.folder.join(NEXT), self.size);
            self.ahead = std::thread::Builder::new().name("store-ahead".into()).spawn(move || fresh(&next, size)).ok();
        }
    }

    /// A segment that is no longer needed: a spare if one is missing and it fits, else room.
    pub fn retire(&mut self, path: &Path, size: u64) -> io::Result<()> {
        if self.are_complete() || size != self.size {
            return fs::remove_file(path);
        }
        let spare = self.name();
        fs::rename(path, &spare)?;
        self.held.push(spare);
        Ok(())
    }

    /// A new segment of a size with its first frame, durable with its name when this returns. On a
    /// full disk a spare is taken for it while more than `kept` are left.
    pub fn begin(&mut self, number: u64, size: u64, first: &[u8], kept: usize) -> io::Result<File> {
        let next = self.folder.join(NEXT);
        let ahead = self.ahead.take().and_then(|ahead| ahead.join().ok()?.ok()).filter(|_| size == self.size);
        let file = match ahead.map_or_else(|| fresh(&next, size), Ok) {
            Ok(file) => file,
            Err(_) if size == self.size && self.held.len() > kept => self.take(&next)?,
            Err(why) => return Err(why),
        };
        file.write_all_at(first, 0)?;
        file.sync_all()?;
        fs::rename(&next, path(&self.folder, number))?;
        sync_folder(&self.folder)?;
        Ok(file)
    }

    fn take(&mut self, next: &Path) -> io::Result<File> {
        let spare = self.held.pop().ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
        fs::rename(spare, next)?;
        let file = File::options().read(true).write(true).open(next)?;
        fill(&file, self.size)?;
        Ok(file)
    }

    fn name(&mut self) -> PathBuf {
        self.named += 1;
        self.folder.join(format!("{}{SPARE}", self.named - 1))
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        // Whoever opens the folder next makes a file of that name, too.
        if let Some(ahead) = self.ahead.take() {
            let _ = ahead.join();
        }
    }
}

/// A file of zeros that is on the disk.
fn fresh(next: &Path, size: u64) -> io::Result<File> {
    let made = File::options().create(true).truncate(true).read(true).write(true).open(next).and_then(|file| {
        allocate(&file, size)?;
        fill(&file, size)?;
        file.sync_all()?;
        Ok(file)
    });
    if made.is_err() {
        let _ = fs::remove_file(next);
    }
    made
}

/// Gives a file its size, and the room for it.
pub(crate) fn allocate(file: &File, size: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
        Err(rustix::io::Errno::OPNOTSUPP) if file.metadata()?.len() < size => fill(file, size),
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        made => made.map_err(io::Error::from),
    }
}

fn fill(file: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; 64 << 10];
    let mut at = 0;
    while at < size {
        let length = (size - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..length as usize], at)?;
        at += length;
    }
    Ok(())
}
