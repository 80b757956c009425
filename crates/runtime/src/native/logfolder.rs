//! Where a container's log lies: reached through no link, since others may write there.
//!
//! Pods that collect logs mount /var/log. Whoever puts a link in the place of a log, of an older file, or
//! of a folder on the way must neither be shown what it leads to (`kubectl logs`) nor have it written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::untrusted;

/// `<pod>/<container>`, below the root of all logs (`/var/log/pods`): these are never links.
const LEVELS: usize = 2;

/// Looks at a name while somebody else makes and removes it.
const TRIES_MAX: usize = 100;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where roots were when this process first looked. An administrator may have moved one to another disk by
/// a link; whoever writes to /var/log later may not. Paths of containers that run across an upgrade go
/// through the link, so it is not for whoever makes paths to resolve it.
static ROOTS: Mutex<BTreeMap<PathBuf, PathBuf>> = Mutex::new(BTreeMap::new());

/// Opens the folder of a log, making what is missing of it if asked to.
pub fn open_folder(log: &Path, make: bool) -> io::Result<OwnedFd> {
    let folder = log.parent().unwrap_or(Path::new("/"));
    let root = folder.ancestors().nth(LEVELS).unwrap_or(Path::new("/"));
    let mut here = open_root(root, make)?;
    for name in folder.strip_prefix(root).unwrap_or(folder).components() {
        here = enter(&here, Path::new(name.as_os_str()), make)?;
    }
    Ok(here)
}

/// Opens a folder of the host's that others may write beside: where it was when it was first opened.
pub fn open_root(root: &Path, make: bool) -> io::Result<OwnedFd> {
    let mut roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let at = match roots.get(root) {
        Some(at) => at.clone(),
        None => {
            let at = own(root, make)?;
            roots.insert(root.to_owned(), at.clone());
            at
        }
    };
    drop(roots);
    let (Some(above), Some(name)) = (at.parent(), at.file_name()) else {
        return Ok(rustix::fs::open(&at, FOLDER, Mode::empty())?);
    };
    if make {
        std::fs::create_dir_all(above)?;
    }
    enter(&rustix::fs::open(above, FOLDER, Mode::empty())?, Path::new(name), make)
}

/// Where a root leads, if only root's and our own links lead there, and it is root's or ours: where /var/log
/// belongs to a group (Debian), another user could have put one there before.
fn own(root: &Path, make: bool) -> io::Result<PathBuf> {
    let users = [0, rustix::process::geteuid().as_raw()];
    untrusted::require_links_of(&std::path::absolute(root)?, &users)?;
    if make {
        std::fs::create_dir_all(root)?;
    }
    let at = std::fs::canonicalize(root)?;
    let seen = at.symlink_metadata()?;
    let (user, mode) = (seen.uid(), seen.mode() & 0o7777);
    let by_others = mode & 0o002 != 0 || (mode & 0o020 != 0 && seen.gid() != 0);
    match users.contains(&user) && !by_others {
        true => Ok(at),
        false => Err(io::Error::other(format!(
            "{} belongs to user {user} (mode {mode:04o}): whoever may write there could read and replace logs; \
             chown it to user {} and chmod it to 0755, or move it away",
            at.display(),
            users[1]
        ))),
    }
}

fn enter(folder: &OwnedFd, name: &Path, make: bool) -> io::Result<OwnedFd> {
    match beneath(folder, name, FOLDER, Mode::empty()) {
        Err(Errno::NOENT) if make => match rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => Ok(beneath(folder, name, FOLDER, Mode::empty())?),
            Err(error) => Err(error.into()),
        },
        opened => Ok(opened?),
    }
}

/// Opens a log, or one of its older files, to be read.
pub fn open_log(log: &Path) -> io::Result<File> {
    let name = log.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    open_file(&open_folder(log, false)?, Path::new(name), OFlags::RDONLY)
}

/// Opens a plain file of an open folder.
pub fn open_file(folder: impl AsFd, name: &Path, flags: OFlags) -> io::Result<File> {
    let (folder, flags) = (folder.as_fd(), flags | OFlags::CLOEXEC | OFlags::NOCTTY);
    let new = flags | OFlags::EXCL | OFlags::NOFOLLOW;
    for _ in 0..TRIES_MAX {
        if !flags.contains(OFlags::EXCL) {
            match beneath(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(seen) => return untrusted::open_plain(&seen, flags - OFlags::CREATE),
                Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match beneath(folder, name, new, Mode::from_raw_mode(0o640)) {
            // Made by somebody else meanwhile.
            Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => {}
            made => return Ok(made?.into()),
        }
    }
    Err(io::Error::other("what stands in a log's place comes and goes"))
}

fn beneath(folder: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&folder, path, flags, mode, resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}
