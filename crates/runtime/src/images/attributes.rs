//! Owner, mode, times and extended attributes of one file, from an archive or from a lower layer.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::images::tree::{Found, Tree, is, open_beneath};

const XATTR_KEYS: [&[u8]; 2] = [b"SCHILY.xattr.", b"LIBARCHIVE.xattr."];

#[derive(Clone, Debug, Default)]
pub struct Attributes {
    uid: u32,
    gid: u32,
    mode: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    pub fn of(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Attributes> {
        let header = entry.header();
        // The last one means "unchanged" to chown(2): what is set-user-id would be root's.
        let id = |id: u64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(io::Error::other(format!("{id} is no user or group number"))),
        };
        let mut attributes = Attributes {
            uid: id(header.uid()?)?,
            gid: id(header.gid()?)?,
            mode: header.mode()? & 0o7777,
            mtime: (header.mtime()? as i64, 0),
            xattrs: Vec::new(),
        };
        let Some(extensions) = entry.pax_extensions()? else { return Ok(attributes) };
        for extension in extensions {
            let extension = extension?;
            let (key, value) = (extension.key_bytes(), extension.value_bytes());
            if key == b"mtime" {
                attributes.mtime = seconds(extension.value().unwrap_or("0"));
            } else if key.starts_with(b"GNU.sparse.") {
                return Err(io::Error::other("sparse files in the pax form are not read"));
            } else if let Some(name) = XATTR_KEYS.iter().find_map(|prefix| key.strip_prefix(*prefix))
                && is_the_images(name)
            {
                attributes.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
        Ok(attributes)
    }

    /// What a parent gets that nobody described: root's, 0755.
    pub fn plain_folder() -> Attributes {
        Attributes { mode: 0o755, ..Attributes::default() }
    }

    pub fn of_file(tree: &Tree, found: &Found, path: &Path) -> io::Result<Attributes> {
        Ok(Attributes { xattrs: xattrs(tree, found, path)?, ..Attributes::of_open(&found.stat, None)? })
    }

    /// Of what stat(2) told of it; with its extended attributes where it is open.
    pub fn of_open(stat: &Stat, file: Option<&OwnedFd>) -> io::Result<Attributes> {
        Ok(Attributes {
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            xattrs: file.map_or(Ok(Vec::new()), xattrs_of)?,
        })
    }

    /// Of an open file or folder; not the times.
    pub fn set_open(&self, file: &impl AsFd) -> io::Result<()> {
        rustix::fs::fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        // After the owner: a change of owner clears set-user-id and file capabilities.
        rustix::fs::fchmod(file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()) {
                Ok(()) => {}
                // As Docker: what the file system or the kernel does not take is left out.
                Err(Errno::OPNOTSUPP | Errno::PERM) => {
                    tracing::debug!(name = %String::from_utf8_lossy(name), "extended attribute left out");
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    pub fn set_times(&self, file: &impl AsFd) -> io::Result<()> {
        set_open_times(file, self.mtime)
    }

    /// Of a symbolic link.
    pub fn set_link(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::utimensat(parent, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Of a device or FIFO just made, which is not to be opened.
    pub fn set_node(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        Ok(rustix::fs::utimensat(parent, name, &times(self.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// What programs use. Neither overlayfs (redirects, opaque marks) nor the host's security modules (labels,
/// measurements) are an archive's to speak to.
fn is_the_images(name: &[u8]) -> bool {
    let of_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    of_users || name == b"security.capability" || name.starts_with(b"system.posix_acl_")
}

pub fn set_open_times(file: &impl AsFd, mtime: (i64, u32)) -> io::Result<()> {
    Ok(rustix::fs::futimens(file, &times(mtime))?)
}

/// Whether a place is a folder as `plain_folder` describes it.
pub fn is_plain_folder(tree: &Tree, found: &Found, path: &Path) -> io::Result<bool> {
    let stat = &found.stat;
    let plain = is(stat, FileType::Directory) && stat.st_mode & 0o7777 == 0o755 && stat.st_uid == 0 && stat.st_gid == 0;
    Ok(plain && xattrs(tree, found, path)?.is_empty())
}

fn xattrs(tree: &Tree, found: &Found, path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let stat = &found.stat;
    if !is(stat, FileType::Directory) && !is(stat, FileType::RegularFile) {
        return Ok(Vec::new());
    }
    xattrs_of(&open_beneath(tree.root(found.layer), path, OFlags::RDONLY | OFlags::NOFOLLOW)?)
}

/// All but overlayfs's own, and what a security module adds by itself.
fn xattrs_of(file: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0u8; 1 << 16];
    let length = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        if name.starts_with(b"trusted.overlay.") || name == b"security.selinux" {
            continue;
        }
        let mut value = vec![0u8; 1 << 16];
        let length = rustix::fs::fgetxattr(file, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    Ok(found)
}

fn times((tv_sec, nanoseconds): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// `1700000000.25`, possibly negative.
fn seconds(text: &str) -> (i64, u32) {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = whole.starts_with('-');
    let whole: i64 = whole.parse().unwrap_or(0);
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    match digits.parse::<u32>().unwrap_or(0) {
        0 => (whole, 0),
        nanoseconds if negative => (whole.saturating_sub(1), 1_000_000_000 - nanoseconds),
        nanoseconds => (whole, nanoseconds),
    }
}
