//! Walks a path below a folder without ever leaving it, making what is missing.
//!
//! The kernel walks what is there (openat2, with the folder as root and no magic links). Where something
//! is to be made, every component is opened by itself without following links; links are read and walked
//! here. So neither `..`, nor absolute links, nor magic links of /proc, nor a component that another
//! container swaps meanwhile leads out.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{OrFail, Result};

/// What to make where the path ends in nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Fails,
    BecomesFolder,
    /// All that is missing gets this mode.
    BecomesFolderOf(u32),
    BecomesFile,
}

const FOLDER: Absent = Absent::BecomesFolder;

/// Links followed in one walk, as the kernel's own limit.
const LINKS_MAX: u32 = 40;

/// The root of this process, which is the container's once its mounts are entered.
pub fn root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The thing at `path` below `root`, as an `O_PATH` descriptor. What leads up or begins at the root goes on
/// there, as after chroot.
pub fn open(root: BorrowedFd<'_>, path: &Path, absent: Absent) -> io::Result<OwnedFd> {
    found(root, path, absent, Outward::GoesOnInside)
}

/// The same, but a path or a link that leads out is an error (EXDEV).
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, absent: Absent) -> io::Result<OwnedFd> {
    found(root, path, absent, Outward::Fails)
}

/// What becomes of what leads out of the root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outward {
    GoesOnInside,
    Fails,
}

fn found(root: BorrowedFd<'_>, path: &Path, absent: Absent, outward: Outward) -> io::Result<OwnedFd> {
    let outside = if outward == Outward::Fails { ResolveFlags::BENEATH } else { ResolveFlags::IN_ROOT };
    let resolve = outside | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
        // Something to make, or something was renamed on the way: step by step.
        Err(Errno::NOENT) if absent != Absent::Fails => walk(root, path, absent, outward),
        Err(Errno::AGAIN) => walk(root, path, absent, outward),
        other => Ok(other?),
    }
}

/// Makes the folder the working one of this process, and sees that it lies in the root. False: what is on
/// the way is not for this user; the program's own may be let in where the file system does not know ours
/// (as in opencontainers/runc, libcontainer/init_linux.go).
pub fn change_folder(root: BorrowedFd<'_>, path: &Path) -> Result<bool> {
    let doing = format!("chdir to cwd ({path:?}) set in config.json failed");
    let changed = open(root, path, Absent::Fails).and_then(|folder| Ok(rustix::process::fchdir(folder)?));
    match changed {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(false),
        other => other.or_fail(&doing)?,
    }
    let now = rustix::process::getcwd(Vec::new()).or_fail(&doing)?;
    match now.to_bytes().starts_with(b"/") {
        true => Ok(true),
        false => Err(format!("{doing}: it lies outside the container's root")),
    }
}

fn walk(root: BorrowedFd<'_>, path: &Path, absent: Absent, outward: Outward) -> io::Result<OwnedFd> {
    if outward == Outward::Fails && path.is_absolute() {
        return Err(Errno::XDEV.into());
    }
    let mut above = vec![rustix::io::fcntl_dupfd_cloexec(root, 3)?];
    let mut todo: VecDeque<OsString> = components(path.as_os_str());
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            if above.len() == 1 && outward == Outward::Fails {
                return Err(Errno::XDEV.into());
            }
            above.truncate((above.len() - 1).max(1));
            continue;
        }
        let here = above.last().expect("the root stays").as_fd();
        let found = match open_one(here, &name) {
            Err(Errno::NOENT) if absent != Absent::Fails => {
                make(here, &name, if todo.is_empty() || absent != Absent::BecomesFile { absent } else { FOLDER })?;
                open_one(here, &name)?
            }
            other => other?,
        };
        if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::Symlink {
            above.push(found);
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
        let target = OsString::from_vec(target);
        if target.as_bytes().starts_with(b"/") {
            if outward == Outward::Fails {
                return Err(Errno::XDEV.into());
            }
            above.truncate(1);
        }
        for component in components(&target).into_iter().rev() {
            todo.push_front(component);
        }
    }
    Ok(above.pop().expect("the root stays"))
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".").map(|part| OsStr::from_bytes(part).to_owned()).collect()
}

fn open_one(folder: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn make(folder: BorrowedFd<'_>, name: &OsStr, what: Absent) -> io::Result<()> {
    let made = match what {
        Absent::BecomesFile => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
        Absent::BecomesFolderOf(mode) => make_folder(folder, name, Mode::from_raw_mode(mode)),
        Absent::BecomesFolder | Absent::Fails => rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)),
    };
    match made {
        // Somebody else was faster.
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

/// With all bits of the mode: mkdir alone knows no set-group-id.
fn make_folder(folder: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> rustix::io::Result<()> {
    rustix::fs::mkdirat(folder, name, mode & RIGHTS)?;
    add_special_bits(folder, name, mode)
}

const RIGHTS: Mode = Mode::from_raw_mode(0o777);

/// To what has these rights already, and to nothing else: another container may have put a folder of root's
/// there meanwhile, which is not to be opened to everybody.
fn add_special_bits(folder: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> rustix::io::Result<()> {
    if RIGHTS.contains(mode) {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    match Mode::from_raw_mode(rustix::fs::fstat(&made)?.st_mode) & RIGHTS == mode & RIGHTS {
        true => rustix::fs::fchmod(made, mode),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
