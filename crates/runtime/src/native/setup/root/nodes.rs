//! The device nodes that a container's /dev gets.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use crate::native::setup::inside::{self, Absent};
use crate::native::setup::{OrFail, Result, host};
use crate::spec::Device;

/// A node to make, relative to /dev.
pub struct Node {
    path: PathBuf,
    block: bool,
    mode: u32,
    number: u64,
    owner: (u32, u32),
}

/// Harmless devices that every container has.
const DEFAULTS: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Names below /dev that a container has of its own.
const OWN: [&str; 9] = ["pts", "shm", "mqueue", "fd", "ptmx", "console", "stdin", "stdout", "stderr"];

/// The defaults, then those of the spec, then (privileged) all that the host has.
pub fn wanted(devices: &[Device], privileged: bool) -> Result<Vec<Node>> {
    let mut nodes: Vec<Node> = DEFAULTS
        .iter()
        .map(|(name, major, minor)| Node {
            path: name.into(),
            block: false,
            mode: 0o666,
            number: libc::makedev(*major, *minor),
            owner: (0, 0),
        })
        .collect();
    for device in devices {
        let meta = host::device(&device.host).or_fail(&format!("opening {}", device.host.display()))?;
        let path = device
            .container
            .strip_prefix("/dev")
            .map_err(|_| format!("device {} is not below /dev, which is not supported", device.container.display()))?;
        nodes.push(node_of(path.to_owned(), &meta));
    }
    if privileged {
        let own = |path: &Path| path.iter().next().is_some_and(|first| OWN.iter().any(|own| *own == first));
        let others = host::devices().into_iter().filter(|(path, _)| !own(path));
        nodes.extend(others.map(|(path, meta)| node_of(path, &meta)));
    }
    Ok(nodes)
}

impl Node {
    /// Makes it below the given folder; one that is there already stays.
    pub fn make(&self, dev: BorrowedFd<'_>) -> io::Result<()> {
        let kind = if self.block { FileType::BlockDevice } else { FileType::CharacterDevice };
        let mode = Mode::from_raw_mode(self.mode & 0o7777);
        let made = match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => {
                let name = self.path.file_name().unwrap_or_default();
                let folder = inside::open(dev, parent, Absent::BecomesFolder)?;
                rustix::fs::mknodat(folder, name, kind, mode, self.number)
            }
            None => rustix::fs::mknodat(dev, self.path.as_path(), kind, mode, self.number),
        };
        match made {
            Err(Errno::EXIST) => return Ok(()),
            other => other?,
        }
        if self.owner != (0, 0) {
            let (uid, gid) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(dev, self.path.as_path(), Some(uid), Some(gid), flags)?;
        }
        Ok(())
    }
}

fn node_of(path: PathBuf, meta: &host::Metadata) -> Node {
    Node {
        path,
        block: meta.file_type().is_block_device(),
        mode: meta.mode(),
        number: meta.rdev(),
        owner: (meta.uid(), meta.gid()),
    }
}
