//! hostPath: a file or folder of the host, checked or made as its type says.
//!
//! Matches pkg/volume/hostpath upstream; the texts are its.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use api::view::api::core::v1::HostPathVolumeSource;

/// The path, once it is what the pod expects.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let made = |result: std::io::Result<()>| result.map_err(|e| format!("making {}: {e}", source.path));
    if kind == "DirectoryOrCreate" && !path.exists() {
        made(fs::create_dir_all(&path).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755))))?;
    }
    if kind == "FileOrCreate" && !path.exists() {
        made(File::options().write(true).create_new(true).mode(0o644).open(&path).map(|_| ()))?;
    }
    if kind.is_empty() {
        return Ok(path);
    }
    let found = fs::metadata(&path).ok().map(|m| m.file_type());
    let (fits, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (found.is_some_and(|t| t.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (found.is_some_and(|t| t.is_file()), "a file"),
        "Socket" => (found.is_some_and(|t| t.is_socket()), "a socket file"),
        "CharDevice" => (found.is_some_and(|t| t.is_char_device()), "a character device"),
        "BlockDevice" => (found.is_some_and(|t| t.is_block_device()), "a block device"),
        _ => return Err(format!("hostPath type {kind:?} is not known")),
    };
    if fits { Ok(path) } else { Err(format!("hostPath type check failed: {} is not {what}", source.path)) }
}
