//! /proc is the kernel's word: nothing of a container's may stand in its place.
//!
//! Else masks would cover files of a volume, and what is written to /proc/self on behalf of the container
//! would go elsewhere (CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2025-52881). The rules are
//! those of opencontainers/runc, libcontainer/rootfs_linux.go checkProcMount.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags, fstatfs, statat, statx};

use crate::native::setup::inside::{self, Absent};
use crate::native::setup::{OrFail, Result};

/// What lxcfs shows in its own way: below /proc nothing else can be covered.
const COVERED: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Of statfs(2), for procfs.
const MAGIC: i64 = 0x9fa0;
/// The inode of the top folder of every procfs.
const TOP: u64 = 1;

/// An image whose /proc or /sys is a link would have the kernel's files mounted elsewhere.
pub fn require_folders(root: BorrowedFd<'_>) -> Result<()> {
    for name in ["proc", "sys"] {
        let there = statat(root, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if there.is_ok_and(|kind| kind != FileType::Directory) {
            return Err(format!("mounting /{name}: it is not a folder in the image"));
        }
    }
    Ok(())
}

/// Masks, and whatever the container asks its own /proc, rely on it.
pub fn require_in_place(root: BorrowedFd<'_>) -> Result<()> {
    let there = inside::open(root, Path::new("/proc"), Absent::Fails).and_then(|found| Ok(fstatfs(found)?));
    match there.or_fail("looking at /proc")?.f_type as i64 == MAGIC {
        true => Ok(()),
        false => Err("/proc of the container is no /proc".into()),
    }
}

/// Whether a tree may be mounted there: anywhere but on and below /proc, with few exceptions.
pub fn require_harmless(
    proc: BorrowedFd<'_>,
    tree: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
    target: &Path,
) -> Result<()> {
    let doing = format!("mounting {}", target.display());
    if fstatfs(place).or_fail(&doing)?.f_type as i64 != MAGIC {
        return Ok(());
    }
    let there = identity(place, "").or_fail(&doing)?;
    if there.1 == TOP {
        let is_top = || Ok::<bool, io::Error>(identity(tree, "")?.1 == TOP);
        return match fstatfs(tree).or_fail(&doing)?.f_type as i64 == MAGIC && is_top().or_fail(&doing)? {
            true => Ok(()),
            false => Err(format!("{doing}: only another /proc can be mounted on /proc")),
        };
    }
    match COVERED.iter().any(|name| identity(proc, name).is_ok_and(|known| known == there)) {
        true => Ok(()),
        false => Err(format!("{doing}: it is inside /proc, where only {} can be covered", COVERED.join(", "))),
    }
}

/// File system and number there.
fn identity(at: BorrowedFd<'_>, name: &str) -> io::Result<((u32, u32), u64)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(at, name, flags, StatxFlags::INO)?;
    Ok(((stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino))
}
