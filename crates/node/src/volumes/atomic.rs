//! Files that change as one: a reader sees all of the old ones or all of the new ones.
//!
//! Matches pkg/volume/util/atomic_writer.go upstream, whose layout programs rely on: the files stand
//! in a timestamped folder, `..data` points to it, and each visible name points through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use runtime::removal::{self, Mounts};

use super::ownership;

/// One file of a volume, by its path relative to the volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contents {
    pub data: Vec<u8>,
    pub mode: u32,
    /// None: root.
    pub user: Option<u32>,
}

const DATA: &str = "..data";
const DATA_NEXT: &str = "..data_tmp";

/// Writes the files; true if anything changed.
pub(super) fn write(
    folder: &Path,
    files: &BTreeMap<String, Contents>,
    group: Option<u32>,
    now: jiff::Timestamp,
) -> io::Result<bool> {
    if let Some(path) = files.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::other(format!("{path:?} is no path of a file in a volume")));
    }
    let old = fs::read_link(folder.join(DATA)).ok();
    if let Some(old) = &old
        && holds_just(&folder.join(old), files)?
    {
        link_names(folder, files)?;
        return Ok(false);
    }
    let stamp = now.strftime("..%Y_%m_%d_%H_%M_%S").to_string();
    let name = format!("{stamp}.{:09}", now.subsec_nanosecond());
    let target = folder.join(&name);
    fs::create_dir(&target)?;
    fs::set_permissions(&target, Permissions::from_mode(0o755))?;
    for (path, contents) in files {
        let file = target.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, &contents.data)?;
        fs::set_permissions(&file, Permissions::from_mode(contents.mode))?;
        if let Some(user) = contents.user {
            chown(&file, Some(user), None)?;
        }
    }
    if let Some(group) = group {
        ownership::give(&target, group, true)?;
    }
    let next = folder.join(DATA_NEXT);
    let _ = fs::remove_file(&next);
    symlink(&name, &next)?;
    fs::rename(&next, folder.join(DATA))?;
    link_names(folder, files)?;
    remove_others(folder, &name)?;
    Ok(true)
}

/// As filepath.Clean upstream, but for what leads up or begins at the root: that is refused when written.
pub(super) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Whoever named it, key or path: it stays in the volume and leaves our own names alone (validatePath).
fn is_inside(path: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
    path.len() <= 4096 && !path.starts_with("..") && !path.contains('\0') && path.split('/').all(plain)
}

/// Links for what is there, no links for what is gone.
fn link_names(folder: &Path, files: &BTreeMap<String, Contents>) -> io::Result<()> {
    let wanted: BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = folder.join(name);
        match symlink(Path::new(DATA).join(name), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if !link.is_symlink() => {
                return Err(io::Error::other(format!("{name:?} is a mount point of the pod: no file can stand there")));
            }
            _ => {}
        }
    }
    // What is no link is a mount point, which the runtime made for a container.
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if file.file_type()?.is_symlink() && !name.starts_with("..") && !wanted.contains(&*name) {
            fs::remove_file(folder.join(&*name))?;
        }
    }
    Ok(())
}

/// Timestamped folders of earlier writes, a crashed one's included.
fn remove_others(folder: &Path, current: &str) -> io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        if name.to_string_lossy().starts_with("..") && file.file_type()?.is_dir() && *name != *current {
            removal::remove(&file.path(), Mounts::Refused)?;
        }
    }
    Ok(())
}

fn holds_just(folder: &Path, files: &BTreeMap<String, Contents>) -> io::Result<bool> {
    let mut found = 0;
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        let Ok(entries) = fs::read_dir(&next) else { return Ok(false) };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else {
                found += 1;
            }
        }
    }
    // A mode may have gained what a group needs, so only the contents are compared.
    let same = |(path, contents): (&String, &Contents)| fs::read(folder.join(path)).is_ok_and(|d| d == contents.data);
    Ok(found == files.len() && files.iter().all(same))
}
