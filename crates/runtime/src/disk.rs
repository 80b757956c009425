//! How much of a disk a folder takes: blocks and inodes, as `du -x` counts them.
//!
//! Containers write below these folders while they are counted, so nothing here trusts a path: folders
//! are opened from their parent without following a link, what another file system holds is left out,
//! and a file with several names counts once. What vanishes meanwhile is not counted.

use std::collections::HashSet;
use std::ffi::CString;
use std::ops::AddAssign;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, open, openat, statat};

/// Each level of a tree holds a descriptor; nobody nests folders so deep to work with them.
const DEPTH_MAX: usize = 300;
/// `st_blocks` counts these, whatever the file system's own block size.
const BLOCK: u64 = 512;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    pub bytes: u64,
    pub inodes: u64,
}

impl AddAssign for DiskUse {
    fn add_assign(&mut self, other: DiskUse) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// The folder itself and all below it; nothing where it does not exist. Blocks the thread.
pub fn used_below(folder: &Path) -> DiskUse {
    let Ok(root) = open(folder, flags(), Mode::empty()) else { return DiskUse::default() };
    let Ok(stat) = fstat(&root) else { return DiskUse::default() };
    let mut walk = Walk { device: stat.st_dev, named: HashSet::new(), used: DiskUse::default() };
    walk.count(stat.st_blocks);
    walk.enter(root, 0);
    walk.used
}

struct Walk {
    device: u64,
    /// Files with several names that were counted.
    named: HashSet<u64>,
    used: DiskUse,
}

impl Walk {
    fn count(&mut self, blocks: i64) {
        self.used += DiskUse { bytes: blocks.unsigned_abs() * BLOCK, inodes: 1 };
    }

    fn enter(&mut self, folder: OwnedFd, depth: usize) {
        for name in self.list(&folder).unwrap_or_default() {
            if depth == DEPTH_MAX {
                tracing::warn!("a tree is nested deeper than {DEPTH_MAX} folders; what lies deeper is not counted");
                return;
            }
            if let Ok(below) = openat(&folder, &name, flags(), Mode::empty()) {
                self.enter(below, depth + 1);
            }
        }
    }

    /// Counts what stands in a folder; returns the folders among it.
    fn list(&mut self, folder: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
        let mut below = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if stat.st_dev != self.device {
                continue;
            }
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_folder {
                below.push(name.to_owned());
            } else if stat.st_nlink > 1 && !self.named.insert(stat.st_ino) {
                continue;
            }
            self.count(stat.st_blocks);
        }
        Ok(below)
    }
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests;
