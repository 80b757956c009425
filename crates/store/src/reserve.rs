//! Space kept for deletions on a full disk.
//!
//! A file of a fixed size lies beside the data. While the disk has less than that size free, puts
//! are refused; when deletions need room the file goes, and it comes back once there is space.
//! So a full disk never becomes a failed commit, and what frees space can still be written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Reserve {
    dir: PathBuf,
    size: u64,
    held: bool,
}

impl Reserve {
    /// Takes the space; without it (a disk already full) deletions have only what is free.
    pub fn take(dir: &Path, size: u64) -> Reserve {
        let mut reserve = Reserve { dir: dir.into(), size, held: false };
        if size > 0 {
            reserve.restore();
        }
        reserve
    }

    /// Whether a batch may be written; `puts` are refused earlier than deletions.
    pub fn admit(&mut self, bytes: u64, puts: bool) -> Result<(), String> {
        if self.size == 0 {
            return Ok(());
        }
        let free = self.free().map_err(|why| format!("cannot ask for the disk's free space: {why}"))?;
        if puts {
            if !self.held && free >= 3 * self.size + bytes {
                self.restore();
            }
            return match free >= self.size + bytes {
                true => Ok(()),
                false => Err(format!("the disk is full: {free} bytes are free, {} are kept for deletions", self.size)),
            };
        }
        if self.held && free < self.size + bytes {
            self.release();
            return Ok(());
        }
        match free >= 2 * bytes + (64 << 10) {
            true => Ok(()),
            false => Err(format!("the disk is full and its reserve is used up: {free} bytes are free")),
        }
    }

    /// Gives the space back if the disk is nearly full, for whatever must be written now.
    pub fn make_room(&mut self) {
        if self.held && self.free().is_ok_and(|free| free < self.size) {
            self.release();
        }
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    fn restore(&mut self) {
        let made = File::options().create(true).truncate(false).write(true).open(self.path()).and_then(|file| {
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, flags, 0, self.size).map_err(io::Error::from)
        });
        self.held = made.is_ok();
        if let Err(why) = made {
            tracing::warn!("no space is kept for deletions in {}: {why}", self.dir.display());
            self.release();
        }
    }

    fn release(&mut self) {
        self.held = false;
        if let Err(why) = fs::remove_file(self.path())
            && why.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("the space kept for deletions is not given back: {why}");
        }
    }
}
