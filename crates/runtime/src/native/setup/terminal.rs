//! A terminal of the container's own, for its program or for an exec.
//!
//! Its devpts is found by descriptor, and by what it is: /dev/pts may be anything to a container that
//! brings its own /dev.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::OpenTreeFlags;
use rustix::pty::OpenptFlags;

use super::inside::{self, Absent};
use super::{OrFail, Result, root};

/// Both ends of a new terminal.
pub struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Of statfs(2), for devpts.
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// The devpts that a running container sees.
pub fn devpts(root: BorrowedFd<'_>) -> Result<OwnedFd> {
    let doing = "opening /dev/pts of the container";
    let folder = inside::open(root, Path::new("/dev/pts"), Absent::Fails).or_fail(doing)?;
    match rustix::fs::fstatfs(&folder).or_fail(doing)?.f_type as i64 {
        DEVPTS_MAGIC => Ok(folder),
        _ => Err("the container's /dev/pts has no terminals: something else is mounted there".into()),
    }
}

/// Opens one for that user.
pub fn open(devpts: BorrowedFd<'_>, uid: u32) -> io::Result<Terminal> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Not what may have been mounted over it.
    let plain = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let master = rustix::fs::openat2(devpts, "ptmx", flags, Mode::empty(), plain)?;
    rustix::pty::unlockpt(&master)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer)?;
    let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None);
    Ok(Terminal { master, slave })
}

/// Shows it as /dev/console: on the file of the container's own /dev, whatever lies over that by now.
pub fn show_as_console(terminal: &Terminal, dev: BorrowedFd<'_>, devpts: BorrowedFd<'_>) -> io::Result<()> {
    let name = rustix::pty::ptsname(&terminal.master, Vec::new())?;
    let number = name.to_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(devpts, number, flags)?;
    root::attach(tree.as_fd(), dev, Path::new("console"))
}
