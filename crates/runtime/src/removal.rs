//! Removal of folders that others wrote into: by descriptors, through no link, across no mount.
//!
//! Everything that Gousse deletes goes through here. Containers may still write while it works, so no
//! path is looked up twice: each folder is opened from its parent with openat2, which refuses links and
//! mounts (`RESOLVE_NO_XDEV` tells a bind mount too). Laws: what is behind a mount is never deleted;
//! what is gone already is no error; neither depth nor size of a tree costs stack or descriptors.

use std::ffi::{CStr, CString, OsStr};
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use crate::walk;

/// What is deeper is moved up before it is emptied: so many folders are open at a time.
const LEVELS_MAX: usize = 64;
/// Looks at one name, or at one folder that does not become empty, while somebody else changes it.
const TRIES_MAX: usize = 100;
/// Folders moved up by one removal: somebody who goes on making them must not keep it going on.
const LIFTS_MAX: u64 = 1_000_000;
/// Mounts on one place, one on the other.
const STACKED_MAX: usize = 10_000;
/// Of names in errors.
const SHOWN_MAX: usize = 200;

/// What is done about a mount in a tree that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// Nobody mounts anything there: one is an error that names it.
    Refused,
    /// Ours, and those of containers that may spread theirs: detached, never entered.
    Detached,
}

/// Removes what stands at a path, a file, a link or a folder with all that is in it. The path up to its
/// last part is trusted. Blocks the thread.
pub fn remove(path: &Path, mounts: Mounts) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| told(path.display(), "it has no name of its own"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(parent) => remove_at(&parent, name, path, mounts),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(told(parent.display(), error)),
    }
}

/// The same by an open parent; `shown` is what errors call it.
pub fn remove_at(parent: impl AsFd, name: &OsStr, shown: &Path, mounts: Mounts) -> io::Result<()> {
    let parent = parent.as_fd();
    let name = CString::new(name.as_bytes()).map_err(|error| told(shown.display(), error))?;
    let mut removal = Removal::of(shown, mounts);
    for _ in 0..TRIES_MAX {
        let Some(folder) = removal.unlink(parent, &name, FileType::Unknown, &[])? else { return Ok(()) };
        removal.empty(folder)?;
        match rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Written into, replaced or mounted upon meanwhile: looked at anew.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => {}
            Err(Errno::PERM) => removal.thaw(parent, &name),
            Err(error) => return Err(told(shown.display(), error)),
        }
    }
    Err(told(shown.display(), "it is still being written to"))
}

/// Removes all that is in a folder; the folder stays. Nothing happens if there is none.
pub fn empty(folder: &Path, mounts: Mounts) -> io::Result<()> {
    match walk::open_folder(folder) {
        Ok(opened) => Removal::of(folder, mounts).empty(opened),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(told(folder.display(), error)),
    }
}

/// Detaches all mounts below a folder; nothing is deleted. A folder that is a mount itself is its
/// owner's. Blocks the thread.
pub fn detach_below(folder: &Path) -> io::Result<()> {
    let opened = match walk::open_folder(folder) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(told(folder.display(), error)),
    };
    let mut failed = None;
    walk::each_below(opened, |parent, name, kind| {
        if failed.is_none() && is_mount_at(parent, name).unwrap_or(false) {
            let shown = folder.join("…").join(shown_name(name));
            failed = detach_all(parent, name, &shown.display()).err();
        }
        matches!(kind, FileType::Directory | FileType::Unknown)
    })
    .map_err(|error| told(folder.display(), error))?;
    failed.map_or(Ok(()), Err)
}

/// Whether something is mounted right on what a path names; a link is not followed.
pub fn is_mount(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    Ok(is_mount_at(rustix::fs::CWD, &path)?)
}

struct Removal<'a> {
    shown: &'a Path,
    mounts: Mounts,
    /// In the new names of folders that were too deep: nobody has put something there before.
    lot: u64,
    moved: u64,
    moved_max: u64,
}

/// A folder that is being emptied, by its name in the one above.
struct Open {
    folder: Dir,
    name: CString,
    again: usize,
}

impl<'a> Removal<'a> {
    fn of(shown: &'a Path, mounts: Mounts) -> Removal<'a> {
        let lot = RandomState::new().build_hasher().finish();
        Removal { shown, mounts, lot, moved: 0, moved_max: LIFTS_MAX }
    }

    fn empty(&mut self, root: OwnedFd) -> io::Result<()> {
        let mut root = Dir::new(root).map_err(|error| told(self.shown.display(), error))?;
        for _ in 0..TRIES_MAX {
            loop {
                let before = self.moved;
                self.empty_once(&mut root)?;
                // What was too deep stands in the root now, where the listing may have passed by already.
                if self.moved == before {
                    break;
                }
                root.rewind();
            }
            root.rewind();
            match root.find(|entry| entry.as_ref().map_or(true, |entry| !is_dots(entry.file_name()))) {
                None => return Ok(()),
                Some(Err(error)) => return Err(told(self.shown.display(), error)),
                Some(Ok(_)) => root.rewind(),
            }
        }
        Err(told(self.shown.display(), "it is still being written to"))
    }

    fn empty_once(&mut self, root: &mut Dir) -> io::Result<()> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let folder = open.last_mut().map_or(&mut *root, |last| &mut last.folder);
            let Some(entry) = folder.read() else {
                if open.is_empty() {
                    return Ok(());
                }
                self.leave(root, &mut open)?;
                continue;
            };
            let entry = entry.map_err(|error| told(self.path(&open, c"").display(), error))?;
            if is_dots(entry.file_name()) {
                continue;
            }
            let name = entry.file_name().to_owned();
            let here = folder_of(root, &open)?;
            let Some(below) = self.unlink(here, &name, entry.file_type(), &open)? else { continue };
            if open.len() < LEVELS_MAX {
                let folder = Dir::new(below).map_err(|error| told(self.path(&open, &name).display(), error))?;
                open.push(Open { folder, name, again: 0 });
            } else {
                drop(below);
                self.lift(here, &name, root.fd()?, &open)?;
            }
        }
    }

    /// The last folder is read to its end: it goes, or is read again.
    fn leave(&mut self, root: &Dir, open: &mut Vec<Open>) -> io::Result<()> {
        let Some(mut done) = open.pop() else { return Ok(()) };
        let parent = folder_of(root, open)?;
        match rustix::fs::unlinkat(parent, &done.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Replaced or mounted upon meanwhile: the next reading of the parent meets it.
            Err(Errno::NOTDIR) => return Ok(()),
            Err(Errno::BUSY) => return self.unlink(parent, &done.name, FileType::Unknown, open).map(drop),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(Errno::PERM) => self.thaw(parent, &done.name),
            Err(error) => return Err(told(self.path(open, &done.name).display(), error)),
        }
        done.again += 1;
        if done.again > TRIES_MAX {
            return Err(told(self.path(open, &done.name).display(), "it is still being written to"));
        }
        done.folder.rewind();
        open.push(done);
        Ok(())
    }

    /// Removes one name unless it is a folder, which is opened.
    fn unlink(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        mut kind: FileType,
        open: &[Open],
    ) -> io::Result<Option<OwnedFd>> {
        let failed = |error: Errno| Err(told(self.path(open, name).display(), error));
        let mut thawed = false;
        for _ in 0..TRIES_MAX {
            if kind == FileType::Directory {
                match walk::open_in(parent, name) {
                    Ok(folder) => return Ok(Some(folder)),
                    Err(Errno::NOENT) => return Ok(None),
                    // Replaced meanwhile.
                    Err(Errno::NOTDIR | Errno::LOOP) => kind = FileType::Unknown,
                    Err(Errno::XDEV) => self.meet_mount(parent, name, open)?,
                    Err(error) => return failed(error),
                }
                continue;
            }
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(None),
                Err(Errno::ISDIR) => kind = FileType::Directory,
                // A file with another one mounted on it.
                Err(Errno::BUSY) if is_mount_at(parent, name).unwrap_or(false) => {
                    self.meet_mount(parent, name, open)?
                }
                Err(Errno::PERM) if !thawed => {
                    self.thaw(parent, name);
                    thawed = true;
                }
                Err(Errno::PERM) => {
                    return Err(told(
                        self.path(open, name).display(),
                        "the file system refuses; is it, or its folder, immutable or append-only (lsattr)?",
                    ));
                }
                Err(error) => return failed(error),
            }
        }
        Err(told(self.path(open, name).display(), "it is still being changed"))
    }

    fn meet_mount(&self, parent: BorrowedFd<'_>, name: &CStr, open: &[Open]) -> io::Result<()> {
        let path = self.path(open, name);
        match self.mounts {
            Mounts::Detached => detach_all(parent, name, &path.display()),
            Mounts::Refused => Err(told(
                path.display(),
                "something is mounted there, and nothing behind a mount is deleted; unmount it first",
            )),
        }
    }

    /// Moves a folder that is too deep up into the root, which will be read again.
    fn lift(&mut self, parent: BorrowedFd<'_>, name: &CStr, root: BorrowedFd<'_>, open: &[Open]) -> io::Result<()> {
        let mut thawed = false;
        loop {
            if self.moved == self.moved_max {
                return Err(told(self.shown.display(), "it is still being written to"));
            }
            self.moved += 1;
            let place = format!(".gousse-removes-{:016x}-{}", self.lot, self.moved);
            match rustix::fs::renameat(parent, name, root, &*place) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // Something of that name is there: a file of a container's, or what an earlier removal left.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::ISDIR) => {}
                Err(Errno::BUSY) => return self.unlink(parent, name, FileType::Unknown, open).map(drop),
                Err(Errno::PERM) if !thawed => {
                    self.thaw(parent, name);
                    thawed = true;
                }
                Err(error) => return Err(told(self.path(open, name).display(), error)),
            }
        }
    }

    /// A privileged container may have made it, or its folder, immutable: it goes all the same.
    fn thaw(&self, parent: BorrowedFd<'_>, name: &CStr) {
        // What cannot be thawed shows by what is tried next.
        let _ = thaw(parent);
        if let Ok(file) = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            && let Ok(seen) = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            // A file of several names may belong to somebody else as well.
            && (FileType::from_raw_mode(seen.stx_mode.into()) == FileType::Directory
                || FileType::from_raw_mode(seen.stx_mode.into()) == FileType::RegularFile && seen.stx_nlink == 1)
            && !seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
            && let Ok(file) = rustix::fs::open(through(&file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        {
            let _ = thaw(file.as_fd());
        }
    }

    /// What errors call a name below the open folders; its middle is left out where it is absurdly long.
    fn path(&self, open: &[Open], name: &CStr) -> std::path::PathBuf {
        let mut path = self.shown.to_path_buf();
        let (first, left_out) = (&open[..open.len().min(8)], open.len() > 8);
        path.extend(first.iter().map(|open| shown_name(&open.name)));
        path.extend(left_out.then_some("…".to_owned()));
        path.extend((!name.is_empty()).then(|| shown_name(name)));
        path
    }
}

fn folder_of<'a>(root: &'a Dir, open: &'a [Open]) -> io::Result<BorrowedFd<'a>> {
    Ok(open.last().map_or(root, |last| &last.folder).fd()?)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// One mount after the other, until none is on that name.
fn detach_all(parent: BorrowedFd<'_>, name: &CStr, shown: &dyn Display) -> io::Result<()> {
    for _ in 0..STACKED_MAX {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(place) => place,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(told(shown, error)),
        };
        if !is_mount_root(place.as_fd(), c"", AtFlags::EMPTY_PATH)? {
            return Ok(());
        }
        // Else the end of what is mounted inside it would spread to its peers: the host's own mounts, where
        // a container has bound a tree of the host recursively (mount_namespaces(7)).
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change(through(&place), private)
            .and_then(|()| rustix::mount::unmount(through(&place), UnmountFlags::DETACH))
            .map_err(|error| {
                told(
                    shown,
                    format_args!("what is mounted there cannot be unmounted ({error}); nothing behind it was deleted"),
                )
            })?;
    }
    Err(told(shown, "it is still being mounted upon"))
}

fn is_mount_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    is_mount_root(parent, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_mount_root(parent: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> Result<bool, Errno> {
    // What a file system that hangs says of its root does not matter.
    let flags = flags | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    let seen = rustix::fs::statx(parent, name, flags, StatxFlags::empty())?;
    Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The way to an open file for calls that only take paths.
fn through(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn thaw(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let frozen = IFlags::IMMUTABLE | IFlags::APPEND;
    let flags = rustix::fs::ioctl_getflags(file)?;
    match flags.intersects(frozen) {
        true => rustix::fs::ioctl_setflags(file, flags.difference(frozen)),
        false => Ok(()),
    }
}

fn shown_name(name: &CStr) -> String {
    let name = name.to_bytes();
    String::from_utf8_lossy(&name[..name.len().min(SHOWN_MAX)]).into_owned()
}

fn told(what: impl Display, why: impl Display) -> io::Error {
    io::Error::other(format!("removing {what}: {why}"))
}

#[cfg(test)]
pub mod tests;
