//! Layers of an image as one tree, with or without a folder above that takes changes.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

use super::locate;

/// Layers, topmost first, below an upper folder. Volatile: a container's root is never mounted twice, so
/// nothing needs to reach the disk, and its end does not sync the host's file system.
pub fn mounted(lower: &[PathBuf], folder: Option<&Path>) -> io::Result<OwnedFd> {
    let upper = folder.map(|folder| (folder.join("upper"), folder.join("work")));
    let by_path = || {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        lower.iter().try_for_each(|layer| fsconfig_set_string(&context, "lowerdir+", layer.as_path()))?;
        above(&context, upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path())))
    };
    match by_path() {
        Err(Errno::INVAL) => Ok(by_number(lower, upper)?),
        mounted => Ok(mounted?),
    }
}

/// For kernels before 6.8, which take all layers as one string, and no string of more than 255 bytes: the
/// folders are named by the numbers of their descriptors, as seen from /proc/self/fd.
fn by_number(lower: &[PathBuf], upper: Option<(PathBuf, PathBuf)>) -> rustix::io::Result<OwnedFd> {
    let open = |path: &Path| locate(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let number = |fd: &OwnedFd| PathBuf::from(std::os::fd::AsRawFd::as_raw_fd(fd).to_string());
    let lower = lower.iter().map(|path| open(path)).collect::<rustix::io::Result<Vec<_>>>()?;
    let upper = match &upper {
        Some((upper, work)) => Some((open(upper)?, open(work)?)),
        None => None,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let before = open(Path::new("."))?;
    rustix::process::chdir("/proc/self/fd")?;
    let names: Vec<String> = lower.iter().map(|fd| number(fd).display().to_string()).collect();
    let mounted = fsconfig_set_string(&context, "lowerdir", names.join(":")).and_then(|()| {
        let upper = upper.as_ref().map(|(upper, work)| (number(upper), number(work)));
        above(&context, upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path())))
    });
    rustix::process::fchdir(before)?;
    mounted
}

/// Adds the upper folder and its work folder, and mounts.
fn above(context: &OwnedFd, upper: Option<(&Path, &Path)>) -> rustix::io::Result<OwnedFd> {
    let mut attributes = MountAttrFlags::empty();
    match upper {
        Some((upper, work)) => {
            fsconfig_set_string(context, "upperdir", upper)?;
            fsconfig_set_string(context, "workdir", work)?;
            fsconfig_set_flag(context, "volatile")?;
        }
        None => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
