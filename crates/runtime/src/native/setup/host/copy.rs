//! A copy of what an image has in a folder, made before its container begins, for declared volumes.
//!
//! Nothing is followed, whatever the image has there: every step is opened below the one folder or the other.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use crate::images::attributes::{Attributes, set_open_times};
use crate::images::tree::open_beneath;
use crate::removal::{self, Mounts};

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// A new folder of root's; what a set-up that broke off left there goes.
pub fn empty_folder(path: &Path) -> io::Result<OwnedFd> {
    removal::remove(path, Mounts::Refused)?;
    std::fs::create_dir_all(path)?;
    let made = rustix::fs::open(path, FOLDER | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
    Ok(made)
}

/// Fills an empty folder with what is in another, and gives it the other's looks.
pub fn fill(from: BorrowedFd<'_>, into: &OwnedFd) -> io::Result<()> {
    let mut copy = Copy { into, linked: HashMap::new(), folders: Vec::new() };
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let (theirs, ours) = (open_beneath(from, &path, FOLDER)?, open_beneath(into, &path, FOLDER)?);
        let looks = Attributes::of_open(&rustix::fs::fstat(&theirs)?, Some(&theirs))?;
        for entry in Dir::read_from(&theirs)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name == "." || name == ".." {
                continue;
            }
            let stat = rustix::fs::statat(&theirs, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                rustix::fs::mkdirat(&ours, &name, Mode::from_raw_mode(0o700))?;
                todo.push(path.join(name));
            } else {
                copy.one(&theirs, &ours, &path, &name, &stat)?;
            }
        }
        copy.folders.push((path, looks));
    }
    // What is made in a folder changes its time: those above come last.
    for (path, looks) in copy.folders.iter().rev() {
        let folder = open_beneath(into, path, FOLDER)?;
        looks.set_open(&folder)?;
        set_open_times(&folder, looks.mtime)?;
    }
    Ok(())
}

struct Copy<'a> {
    into: &'a OwnedFd,
    /// Where files of several names were put, by device and number.
    linked: HashMap<(u64, u64), PathBuf>,
    folders: Vec<(PathBuf, Attributes)>,
}

impl Copy<'_> {
    /// Anything but a folder.
    fn one(&mut self, theirs: &OwnedFd, ours: &OwnedFd, path: &Path, name: &OsStr, stat: &Stat) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let place = self.linked.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.join(name));
            if *place != path.join(name) {
                return Ok(rustix::fs::linkat(self.into, &*place, ours, name, AtFlags::empty())?);
            }
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let theirs = rustix::fs::openat(theirs, name, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?;
                let looks = Attributes::of_open(stat, Some(&theirs))?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let mut ours = File::from(rustix::fs::openat(ours, name, flags, Mode::from_raw_mode(0o600))?);
                io::copy(&mut File::from(theirs), &mut ours)?;
                looks.set_open(&ours)?;
                looks.set_times(&ours)
            }
            FileType::Symlink => {
                rustix::fs::symlinkat(rustix::fs::readlinkat(theirs, name, Vec::new())?, ours, name)?;
                Attributes::of_open(stat, None)?.set_link(ours, name)
            }
            kind => {
                rustix::fs::mknodat(ours, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?;
                Attributes::of_open(stat, None)?.set_node(ours, name)
            }
        }
    }
}
