//! Where a container's log lies: reached through no link, since others may write there.
//!
//! Pods that collect logs mount /var/log. Whoever puts a link in the place of a log, of an older file, or
//! of a folder on the way must neither be shown what it leads to (`kubectl logs`) nor have it written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

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
            if make {
                std::fs::create_dir_all(root)?;
            }
            let at = std::fs::canonicalize(root)?;
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

/// Opens a plain file of an open folder. What it is is seen before it is opened: a pipe would be waited
/// for, and to open some devices does something already.
pub fn open_file(folder: impl AsFd, name: &Path, flags: OFlags) -> io::Result<File> {
    let (folder, flags) = (folder.as_fd(), flags | OFlags::CLOEXEC | OFlags::NOCTTY);
    let new = flags | OFlags::EXCL | OFlags::NOFOLLOW;
    for _ in 0..TRIES_MAX {
        if !flags.contains(OFlags::EXCL) {
            match beneath(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(seen) => return reopen(&seen, flags - OFlags::CREATE),
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

fn reopen(seen: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let stat = rustix::fs::statat(seen, "", AtFlags::EMPTY_PATH)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(io::Error::other("what stands in a log's place is no plain file"));
    }
    let path = format!("/proc/self/fd/{}", seen.as_raw_fd());
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
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
