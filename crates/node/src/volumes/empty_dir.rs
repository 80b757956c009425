//! emptyDir: a folder, or a tmpfs, that lives as long as the pod and is shared over restarts.

use std::fs;
use std::io;
use std::path::Path;

use api::quantity::Quantity;
use api::view::api::core::v1::EmptyDirVolumeSource;

use super::{mounts, ownership};

/// Makes it once: an existing one is left as the containers have it.
pub(super) fn set_up(folder: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> io::Result<()> {
    let medium = source.medium.as_deref().unwrap_or_default();
    let in_memory = match medium {
        "" => false,
        "Memory" => true,
        other => return Err(io::Error::other(format!("storage medium {other:?} is not supported on this node"))),
    };
    let is_new = !folder.exists();
    fs::create_dir_all(folder)?;
    if in_memory && !mounts::is_mount_point(folder)? {
        let limit = source.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok()).map(|q| q.value());
        let options = match limit {
            Some(bytes) if bytes > 0 => format!("mode=0777,size={bytes}"),
            _ => "mode=0777".to_string(),
        };
        mounts::tmpfs(folder, &options)?;
    } else if !is_new {
        return Ok(());
    }
    ownership::open_to_all(folder)?;
    match group {
        Some(group) => ownership::give(folder, group, false),
        None => Ok(()),
    }
}
