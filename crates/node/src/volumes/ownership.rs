//! fsGroup: which group may use the files of a volume.
//!
//! Matches pkg/volume/volume_linux.go upstream: the group owns every file, folders pass it on, and
//! the group gets what the mode of a read-write or read-only volume needs.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use crate::view::Pod;

/// The pod's fsGroup.
pub(super) fn group_of(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|group| u32::try_from(group).ok())
}

/// The user that all containers of the pod run as, if it is one: the owner of its tokens.
pub(super) fn user_of(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|c| c.run_as_user);
    let users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let mut users = users.collect::<Option<Vec<i64>>>()?;
    users.dedup();
    match users[..] {
        [user] => u32::try_from(user).ok(),
        _ => None,
    }
}

/// 0777 whatever the umask.
pub(super) fn open_to_all(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o777))
}

/// Gives everything at and below the path to the group; symlinks are not followed.
pub(super) fn give(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let wanted = match (read_only, meta.is_dir()) {
        (false, false) => 0o660,
        (true, false) => 0o440,
        (false, true) => 0o660 | 0o2110,
        (true, true) => 0o440 | 0o2110,
    };
    fs::set_permissions(path, Permissions::from_mode(meta.permissions().mode() & 0o7777 | wanted))?;
    if meta.is_dir() {
        for file in fs::read_dir(path)? {
            give(&file?.path(), group, read_only)?;
        }
    }
    Ok(())
}
