//! Where a container's log lies: reached through no link, since others may write there.
//!
//! Pods that collect logs mount /var/log. Whoever puts a link in the place of a log, of an older file, or
//! of a folder on the way must neither be shown what it leads to (`kubectl logs`) nor have it written.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// `pods/<pod>/<container>`: these are not trusted, what is above them is.
const LEVELS: usize = 3;

/// Opens the folder of a log, making what is missing of it if asked to.
pub fn open_folder(log: &Path, make: bool) -> io::Result<OwnedFd> {
    let folder = log.parent().unwrap_or(Path::new("/"));
    let above: PathBuf = folder.ancestors().nth(LEVELS).unwrap_or(Path::new("/")).into();
    if make && !above.exists() {
        std::fs::create_dir_all(&above)?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(&above, flags, Mode::empty())?;
    let below = folder.strip_prefix(&above).unwrap_or(folder);
    if !make {
        return Ok(if below.as_os_str().is_empty() { here } else { beneath(&here, below, flags)? });
    }
    for name in below.components() {
        let name = Path::new(name.as_os_str());
        here = match beneath(&here, name, flags) {
            Err(Errno::NOENT) => match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => beneath(&here, name, flags)?,
                Err(error) => return Err(error.into()),
            },
            opened => opened?,
        };
    }
    Ok(here)
}

/// Opens a log, or one of its older files, to be read.
pub fn open_log(log: &Path) -> io::Result<File> {
    let name = log.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    open_file(&open_folder(log, false)?, Path::new(name), OFlags::RDONLY)
}

/// Opens a plain file of an open folder: a pipe is not waited for, a device not touched.
pub fn open_file(folder: impl AsFd, name: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o640) } else { Mode::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(folder, name, flags, mode, resolve)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("what stands in a log's place is no plain file")),
    }
}

fn beneath(folder: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}
