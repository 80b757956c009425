//! How much of a disk a folder takes, as `du -x` counts blocks and inodes; where on it its folders lie.
//!
//! Containers write below these folders while they are counted, so nothing here trusts a path (see
//! `walk`): no link is followed, what is mounted is left out, and a file with several names counts once.
//! What vanishes meanwhile is not counted.

use std::collections::HashSet;
use std::ffi::CStr;
use std::ops::AddAssign;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, IFlags, Statx, StatxAttributes, StatxFlags, statx};

use crate::walk;

/// `stx_blocks` counts these, whatever the file system's own block size.
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
    walk::open_folder(folder).map(used_in).unwrap_or_default()
}

/// The same of an open folder, where the way to it is not trusted.
pub fn used_in(folder: OwnedFd) -> DiskUse {
    let mut count = Count::default();
    let Ok(seen) = statx(&folder, "", AtFlags::EMPTY_PATH, WANTED) else { return DiskUse::default() };
    count.add(&seen);
    if let Err(why) = walk::each_below(folder, |parent, name, _| count.entry(parent, name)) {
        tracing::debug!("a folder is not counted: {why}");
    }
    count.used
}

/// One file, or the link that stands there; nothing where it does not exist.
pub fn used_by(file: &Path) -> DiskUse {
    let mut count = Count::default();
    if let Ok(name) = std::ffi::CString::new(file.as_os_str().as_bytes()) {
        count.entry(CWD, &name);
    }
    count.used
}

/// From now on each folder that is made in this open one lies apart from the others (chattr +T, ext4's top of a
/// hierarchy). Else they all share a group of inodes, and each new file looks one by one at those that were freed
/// there in the last minutes (ext4 `recently_deleted`). Only a hint: other file systems know none.
pub fn spread(folder: impl AsFd) {
    let folder = folder.as_fd();
    if let Ok(flags) = rustix::fs::ioctl_getflags(folder)
        && !flags.contains(IFlags::TOPDIR)
        && let Err(why) = rustix::fs::ioctl_setflags(folder, flags | IFlags::TOPDIR)
    {
        tracing::debug!("folders of this file system are not spread: {why}");
    }
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS;

#[derive(Default)]
struct Count {
    /// Files with several names that were counted.
    named: HashSet<u64>,
    used: DiskUse,
}

impl Count {
    /// Counts one name; true: a folder.
    fn entry(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let Ok(seen) = statx(parent, name, flags, WANTED) else { return false };
        if seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return false;
        }
        let is_folder = FileType::from_raw_mode(seen.stx_mode.into()) == FileType::Directory;
        if is_folder || seen.stx_nlink <= 1 || self.named.insert(seen.stx_ino) {
            self.add(&seen);
        }
        is_folder
    }

    fn add(&mut self, seen: &Statx) {
        self.used += DiskUse { bytes: seen.stx_blocks * BLOCK, inodes: 1 };
    }
}

#[cfg(test)]
mod tests;
