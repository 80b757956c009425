//! Mounts below a folder: a tmpfs where memory is wanted, and the end of all of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

/// Mounts a tmpfs on the folder unless it is in one already: secrets never reach a disk.
pub(super) fn ensure_in_memory(folder: &Path) -> io::Result<()> {
    if statfs(folder)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    mounted(folder, "tmpfs", "mode=0755")
}

/// A file system without a device: `tmpfs`, `hugetlbfs`.
pub(super) fn mounted(folder: &Path, kind: &str, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    Ok(mount(Some(kind), folder, Some(kind), flags, Some(options))?)
}

pub(super) fn is_mount_point(folder: &Path) -> io::Result<bool> {
    Ok(below(folder)?.iter().any(|mounted| mounted == folder))
}

/// Unmounts everything at and below the folder, then removes it with all that is in it. A mount that
/// will not go is an error: what is behind it is not ours to delete.
pub(super) fn remove_tree(folder: &Path) -> io::Result<()> {
    // Deepest first.
    let mut mounted = below(folder)?;
    mounted.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    for path in mounted {
        umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Mount points at and below the folder, as /proc/self/mountinfo lists them.
fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    Ok(points.filter(|point| point.starts_with(folder)).collect())
}

/// Blanks, tabs, newlines and backslashes stand as octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
