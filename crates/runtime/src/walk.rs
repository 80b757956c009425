//! Walks a tree that others change meanwhile: through no link, across no mount, however deep it is.
//!
//! Few folders are open at a time and nothing recurses. The way back up is `..`, believed only where it
//! leads to the folder that was come from; one that was moved away meanwhile is looked for by name again.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;

/// Folders that are open at a time, besides the root.
const OPEN_MAX: usize = 64;
/// Folders opened to find a way again that somebody moved; then what is left above is left out.
const SEARCHED_MAX: usize = 1_000_000;

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a folder that a trusted path names; its last part may not be a link.
pub fn open_folder(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, FLAGS, Mode::empty())
}

/// Opens a folder in an open one: EXDEV says that something is mounted on it, ELOOP or ENOTDIR that it
/// is none.
pub fn open_in(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&parent, name, FLAGS, Mode::empty(), resolve) {
            // The kernel asks for another try when a rename raced with the look-up.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Shows each name below a folder, with the open folder that it stands in; true: go into it. What
/// vanishes or is replaced meanwhile is passed over.
pub fn each_below(root: OwnedFd, mut visit: impl FnMut(BorrowedFd<'_>, &CStr, FileType) -> bool) -> Result<(), Errno> {
    let mut walk = Walk { levels: vec![Level::read(root, c"", &mut visit)?], first_open: 1, searched: 0 };
    while let Some(last) = walk.levels.last_mut() {
        let Some(folder) = &last.folder else { unreachable!("the last level is always open") };
        match last.below.pop() {
            None => walk.leave(),
            Some(name) => {
                if let Ok(folder) = open_in(folder, &name)
                    && let Ok(level) = Level::read(folder, &name, &mut visit)
                {
                    walk.enter(level);
                }
            }
        }
    }
    Ok(())
}

struct Walk {
    /// From the root, which stays open, to the last, which is open too.
    levels: Vec<Level>,
    /// Those from here on are open; those between the root and here are not.
    first_open: usize,
    searched: usize,
}

struct Level {
    folder: Option<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
    name: CString,
    /// Folders in it that are yet to be gone into.
    below: Vec<CString>,
}

impl Level {
    fn read(
        folder: OwnedFd,
        name: &CStr,
        visit: &mut impl FnMut(BorrowedFd<'_>, &CStr, FileType) -> bool,
    ) -> Result<Level, Errno> {
        let identity = identity(&folder)?;
        let mut below = Vec::new();
        for entry in Dir::read_from(&folder)? {
            // Removed while it was read: what was seen of it stays seen.
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") && visit(folder.as_fd(), name, entry.file_type()) {
                below.push(name.to_owned());
            }
        }
        Ok(Level { folder: Some(folder), identity, name: name.to_owned(), below })
    }
}

impl Walk {
    fn enter(&mut self, level: Level) {
        self.levels.push(level);
        if self.levels.len() - self.first_open > OPEN_MAX {
            self.levels[self.first_open].folder = None;
            self.first_open += 1;
        }
    }

    /// Back to the level above, which is opened again if need be.
    fn leave(&mut self) {
        let Some(done) = self.levels.pop() else { return };
        let last = self.levels.len();
        if last <= 1 || last > self.first_open {
            self.first_open = self.first_open.min(last.max(1));
            return;
        }
        let above = &mut self.levels[last - 1];
        let up = done.folder.and_then(|done| rustix::fs::openat(done, c"..", FLAGS, Mode::empty()).ok());
        match up.filter(|up| identity(up).is_ok_and(|identity| identity == above.identity)) {
            Some(up) => {
                above.folder = Some(up);
                self.first_open = last - 1;
            }
            None => self.search(),
        }
    }

    /// Goes down again from the root as far as the folders stand where they stood.
    fn search(&mut self) {
        let mut found: Option<OwnedFd> = None;
        let mut at = 0;
        while at + 1 < self.levels.len() && self.searched < SEARCHED_MAX {
            self.searched += 1;
            let level = &self.levels[at + 1];
            let next = match (&found, &self.levels[0].folder) {
                (Some(folder), _) | (None, Some(folder)) => open_in(folder, &level.name),
                (None, None) => unreachable!("the root stays open"),
            };
            match next {
                Ok(next) if identity(&next).is_ok_and(|identity| identity == level.identity) => {
                    found = Some(next);
                    at += 1;
                }
                _ => break,
            }
        }
        if self.searched == SEARCHED_MAX {
            tracing::warn!("folders are moved while they are walked through; what lies deep is left out");
            (found, at) = (None, 0);
        }
        self.levels.truncate(at + 1);
        if let Some(found) = found {
            self.levels[at].folder = Some(found);
        }
        self.first_open = at.max(1);
    }
}

fn identity(folder: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests;
