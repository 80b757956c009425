//! hostPath: a file or folder of the host, checked or made as its type says.
//!
//! Matches pkg/volume/hostpath upstream; the texts are its.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::view::HostPathVolumeSource;
use runtime::MountSource;

use crate::volumes::plugin::{NOT_BUILT, Plugin};

pub(super) const PLUGIN: Plugin = Plugin {
    name: "kubernetes.io~host-path",
    is: |volume| volume.host_path.is_some(),
    set_up: |ask| {
        let path = ask.volume.host_path.as_ref().ok_or_else(|| NOT_BUILT.to_owned()).and_then(check);
        Box::pin(std::future::ready(path.map(MountSource::Host)))
    },
    ..Plugin::NEW
};

/// The path, once it is what the pod expects.
fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
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
    let (expected, name) = match kind {
        "Directory" | "DirectoryOrCreate" => ("Directory", "directory"),
        "File" | "FileOrCreate" => ("File", "file"),
        "Socket" => ("Socket", "socket file"),
        "CharDevice" => ("CharDevice", "character device"),
        "BlockDevice" => ("BlockDevice", "block device"),
        _ => return Err(format!("{kind} is an invalid volume type")),
    };
    match type_of(&path) {
        Ok(found) if found == expected => Ok(path),
        Ok(found) => Err(format!("hostPath type check failed: {} is not a {name}, it's a {found}", source.path)),
        Err(why) => {
            let path = &source.path;
            Err(format!("hostPath type check failed, {path} is not a {name}, unable to determine its type: {why}"))
        }
    }
}

/// As the field says it.
fn type_of(path: &Path) -> Result<&'static str, String> {
    let found = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(format!("path {path:?} does not exist")),
        Err(e) => return Err(format!("stat {}: {e}", path.display())),
    };
    let types = [
        (found.is_dir(), "Directory"),
        (found.is_file(), "File"),
        (found.is_socket(), "Socket"),
        (found.is_char_device(), "CharDevice"),
        (found.is_block_device(), "BlockDevice"),
    ];
    let found = types.into_iter().find(|(is, _)| *is).map(|(_, name)| name);
    found.ok_or_else(|| "only recognise file, directory, socket, block device and character device".into())
}
