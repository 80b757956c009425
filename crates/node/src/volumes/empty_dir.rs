//! emptyDir: a folder, or a tmpfs, that lives as long as the pod and is shared over restarts.

use std::fs;
use std::io;
use std::path::Path;

use api::quantity::Quantity;
use api::view::api::core::v1::EmptyDirVolumeSource;

use super::{mounts, ownership};

/// Makes it once: an existing one is left as the containers have it. It gets its name when it is
/// complete, so that an agent killed meanwhile leaves none that only looks ready.
pub(super) fn set_up(folder: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    match source.medium.as_deref().unwrap_or_default() {
        "" => on_disk(folder, group),
        "Memory" => in_memory(folder, source, group),
        other => Err(io::Error::other(format!("storage medium {other:?} is not supported on this node"))),
    }
}

fn on_disk(folder: &Path, group: Option<u32>) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    // No volume's name begins with a dot.
    let unfinished = folder.with_file_name(format!(".{}", folder.file_name().unwrap_or_default().display()));
    fs::create_dir_all(&unfinished)?;
    ownership::open_to_all(&unfinished)?;
    if let Some(group) = group {
        ownership::give(&unfinished, group, false)?;
    }
    fs::rename(&unfinished, folder)
}

fn in_memory(folder: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if mounts::is_mount_point(folder)? {
        return Ok(());
    }
    let limit = source.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.value());
    mounts::tmpfs(folder, &options(limit, group))
}

/// What `ownership` makes of a folder, from the mount on.
fn options(limit: Option<i64>, group: Option<u32>) -> String {
    let mut options = group.map_or("mode=0777".to_owned(), |group| format!("mode=2777,gid={group}"));
    if let Some(bytes) = limit.filter(|bytes| *bytes > 0) {
        options.push_str(&format!(",size={bytes}"));
    }
    options
}

#[cfg(test)]
mod tests;
