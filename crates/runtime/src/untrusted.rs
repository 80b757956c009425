//! Opening what others may have put there: links of strangers, and what only looks like a file.
//!
//! Who is no container may still write beside what is ours: another user of the machine, a pod that collects
//! logs. Their links are not followed, and what they left is looked at before it is opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

/// Links in one path, as the kernel's own limit.
const LINKS_MAX: u32 = 40;

/// Sees that every link on the way, as far as it exists, belongs to one of these users: another's leads where
/// that user wants. `path` is absolute.
pub fn require_links_of(path: &Path, users: &[u32]) -> io::Result<()> {
    follow(path, path, users, LINKS_MAX)
}

fn follow(asked: &Path, path: &Path, users: &[u32], left: u32) -> io::Result<()> {
    let refused = |why: String| io::Error::other(format!("{}: {why}", asked.display()));
    let mut so_far = PathBuf::new();
    for part in path.components() {
        so_far.push(part);
        let Ok(seen) = so_far.symlink_metadata() else { return Ok(()) };
        if !seen.file_type().is_symlink() {
            continue;
        }
        if !users.contains(&seen.uid()) {
            let (link, user) = (so_far.display(), seen.uid());
            return Err(refused(format!(
                "{link} is a link that belongs to user {user}, who could let it lead anywhere"
            )));
        }
        let target = so_far.parent().unwrap_or(Path::new("/")).join(so_far.read_link()?);
        let left = left.checked_sub(1).ok_or_else(|| refused("too many links".into()))?;
        follow(asked, &target, users, left)?;
        so_far = so_far.canonicalize().unwrap_or(target);
    }
    Ok(())
}

/// Opens what an `O_PATH` descriptor has found, if that is a plain file: a pipe would be waited for, and to
/// open some devices does something already.
pub fn open_plain(found: &OwnedFd, flags: OFlags) -> io::Result<File> {
    let seen = rustix::fs::statat(found, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a plain file"));
    }
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    Ok(rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?.into())
}
