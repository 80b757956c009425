//! Mounts of volumes: a tmpfs where memory is wanted. Their end is `runtime::removal`'s.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Mounts a tmpfs on the folder unless it is in one already: secrets never reach a disk.
pub(super) fn ensure_in_memory(folder: &Path) -> io::Result<()> {
    if statfs(folder)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    mounted(folder, "tmpfs", "mode=0700")
}

/// A file system without a device: `tmpfs`, `hugetlbfs`.
pub(super) fn mounted(folder: &Path, kind: &str, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some(kind), folder, Some(kind), flags, Some(options))?)
}
