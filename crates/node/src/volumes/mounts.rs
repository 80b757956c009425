//! Mounts of volumes: a tmpfs where memory is wanted. Their end is `runtime::removal`'s.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Mounts a tmpfs on the folder unless it lies in one: secrets never reach a disk. `apart`: in one of its
/// own, so that they take nothing from others' files in memory; one that an earlier run wrote to stays.
pub(super) fn ensure_in_memory(folder: &Path, apart: bool) -> io::Result<()> {
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    let own = device(folder)? != device(&folder.join(".."))?;
    if statfs(folder)?.filesystem_type() == TMPFS_MAGIC && (!apart || own || fs::read_dir(folder)?.next().is_some()) {
        return Ok(());
    }
    // Before Linux 6.4 it may be swapped out.
    mounted(folder, "tmpfs", "mode=0700,noswap").or_else(|_| mounted(folder, "tmpfs", "mode=0700"))
}

/// Bytes that the file system of the folder holds.
pub(super) fn size(folder: &Path) -> io::Result<u64> {
    let stat = statfs(folder)?;
    Ok(stat.blocks() * stat.block_size() as u64)
}

/// A file system without a device: `tmpfs`, `hugetlbfs`.
pub(super) fn mounted(folder: &Path, kind: &str, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some(kind), folder, Some(kind), flags, Some(options))?)
}
