//! The folders of an instance: canonical, its own, and closed to everybody else before it trusts them.
//!
//! Secrets of pods and the administrator's credentials stand in them, and whatever stands in them is
//! believed. Who may replace a folder on the way to them owns the machine: it is refused.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::failure::{Context, Result, failure};

const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;
/// Links in one path, as the kernel's own limit.
const LINKS_MAX: u32 = 40;

/// What an administrator may put into a data folder before its first start, and what a new disk has.
const PREPARED: &[&str] = &["manifests", "seccomp", "registries.yaml", "lost+found"];

/// Whose folders are trusted besides root's own: this process's user, and who called sudo, who asked for it.
#[derive(Clone, Debug)]
pub struct Trusted {
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Trusted {
    pub fn now() -> Trusted {
        let of_sudo = |name: &str| std::env::var(name).ok().and_then(|id| id.parse().ok());
        let own = rustix::process::geteuid().as_raw();
        let sudo = |name| of_sudo(name).filter(|_| own == 0);
        Trusted {
            users: [Some(0), Some(own), sudo("SUDO_UID")].into_iter().flatten().collect(),
            groups: [Some(0), sudo("SUDO_GID"), own_group(own)].into_iter().flatten().collect(),
        }
    }

    /// Whether nobody else may put another thing under a name in this folder.
    fn keeps_names(&self, folder: &fs::Metadata) -> bool {
        let sticky = folder.mode() & STICKY != 0;
        self.users.contains(&folder.uid()) && (sticky || !self.is_writable_by_others(folder))
    }

    fn is_writable_by_others(&self, folder: &fs::Metadata) -> bool {
        let by_group = folder.mode() & WRITABLE_BY_GROUP != 0 && !self.groups.contains(&folder.gid());
        by_group || folder.mode() & WRITABLE_BY_OTHERS != 0
    }
}

/// A path with every link in it followed, as far as it exists: mounts and sockets have one name only.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context(format_args!("finding {}", path.display()))?;
    require_own_links(&path, &Trusted::now(), LINKS_MAX)?;
    let mut rest = Vec::new();
    let mut there = path.as_path();
    loop {
        match fs::canonicalize(there) {
            Ok(found) => return Ok(rest.into_iter().rev().fold(found, |path: PathBuf, name| path.join(name))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure(format!("finding {}: {error}", path.display()))),
        }
        let (Some(name), Some(parent)) = (there.file_name(), there.parent()) else { return Ok(path) };
        // It is absent, or a link to what is absent: that is not made through the link.
        if there.is_symlink() {
            return Err(failure(format!("{} is a link that leads nowhere", there.display())));
        }
        rest.push(name);
        there = parent;
    }
}

/// A link of another user's leads where that user wants: what lies there would be closed, filled and, one
/// day, removed.
fn require_own_links(path: &Path, trusted: &Trusted, left: u32) -> Result<()> {
    let mut so_far = PathBuf::new();
    for part in path.components() {
        so_far.push(part);
        let Ok(seen) = fs::symlink_metadata(&so_far) else { return Ok(()) };
        if !seen.file_type().is_symlink() {
            continue;
        }
        if !trusted.users.contains(&seen.uid()) {
            return Err(failure(format!(
                "{}: {} is a link that belongs to user {}, who could let it lead anywhere; name the folder itself",
                path.display(),
                so_far.display(),
                seen.uid()
            )));
        }
        let target = fs::read_link(&so_far).context(format_args!("reading the link {}", so_far.display()))?;
        let target = so_far.parent().unwrap_or(Path::new("/")).join(target);
        let left = left.checked_sub(1).ok_or_else(|| failure(format!("{}: too many links", path.display())))?;
        require_own_links(&target, trusted, left)?;
        so_far = fs::canonicalize(&so_far).unwrap_or(target);
    }
    Ok(())
}

/// Makes a folder, or takes one over: 0700 from here on. `flag` names it in errors.
pub fn take(folder: &Path, flag: &str, trusted: &Trusted) -> Result<()> {
    let refused = |why: String| failure(format!("{flag} {}: {why}", folder.display()));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.context(format_args!("making {}", folder.display()))?;
    for above in folder.ancestors().skip(1) {
        let seen = fs::symlink_metadata(above).context(format_args!("looking at {}", above.display()))?;
        if !trusted.keeps_names(&seen) {
            return Err(refused(format!(
                "the way to it leads through {} (user {}, group {}, mode {:04o}), where other users could replace it; \
                 choose another folder, or take their right to write away",
                above.display(),
                seen.uid(),
                seen.gid(),
                seen.mode() & 0o7777
            )));
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    let opened = fs::File::from(opened.context(format_args!("opening {}", folder.display()))?);
    let seen = opened.metadata().context(format_args!("looking at {}", folder.display()))?;
    let own = rustix::process::geteuid();
    let names = names_in(folder).context(format_args!("looking into {}", folder.display()))?;
    let (is_empty, is_marked) = (names.is_empty(), is_marked(folder));
    // `mkdir d && sudo gousse up --data-dir d`
    let is_given = own.is_root() && trusted.users.contains(&seen.uid()) && (is_empty || is_marked);
    if seen.uid() != own.as_raw() && !is_given {
        return Err(refused(format!(
            "it belongs to user {}, not to user {}; choose another folder, or chown it if nobody else wrote into it",
            seen.uid(),
            own.as_raw()
        )));
    }
    if trusted.is_writable_by_others(&seen) && !is_empty {
        return Err(refused(format!(
            "other users may write to it (mode {:04o}), so that nothing in it can be trusted; empty it or choose another \
             folder, or chmod it to 0700 if you know what is in it",
            seen.mode() & 0o7777
        )));
    }
    let is_closed = seen.mode() & 0o7777 == 0o700;
    if !is_closed && !is_marked && !names.iter().all(|name| PREPARED.iter().any(|ours| name == ours)) {
        return Err(refused(
            "there are other things in it, and it would be closed to all other users (0700); give it a folder of its own"
                .into(),
        ));
    }
    if seen.uid() != own.as_raw() {
        eprintln!("warning: {flag} {}: it belongs to user {} from here on", folder.display(), own.as_raw());
        let given = rustix::fs::fchown(&opened, Some(own), Some(rustix::process::getegid()));
        given.context(format_args!("taking {} over", folder.display()))?;
    }
    if !is_closed {
        eprintln!("warning: {flag} {}: it is closed to other users: its mode becomes 0700", folder.display());
        let closed = rustix::fs::fchmod(opened.as_fd(), Mode::from_raw_mode(0o700));
        closed.context(format_args!("closing {} to other users", folder.display()))?;
    }
    Ok(())
}

/// The same for `down`: what an earlier version began in a folder that this one would refuse is ended all
/// the same, unless others may have written there.
pub fn take_to_end(folder: &Path, flag: &str, trusted: &Trusted) -> Result<()> {
    let Err(error) = take(folder, flag, trusted) else { return Ok(()) };
    let is_kept = |at: &Path| {
        let seen = fs::symlink_metadata(at);
        seen.is_ok_and(|seen| (at != folder && seen.mode() & STICKY != 0) || !trusted.is_writable_by_others(&seen))
    };
    if !is_marked(folder) || !folder.ancestors().all(is_kept) {
        return Err(error);
    }
    eprintln!("warning: {}; what runs there is ended all the same", error.message);
    Ok(())
}

/// Whether an instance lives or lived there.
fn is_marked(folder: &Path) -> bool {
    let is = |name: &str, what: fn(&fs::FileType) -> bool| {
        fs::symlink_metadata(folder.join(name)).is_ok_and(|seen| what(&seen.file_type()))
    };
    let (file, dir) = (|name| is(name, fs::FileType::is_file), |name| is(name, fs::FileType::is_dir));
    // /run/lock is a folder, or a link to one.
    let run_dir = file("lock");
    let data_dir = file("admin.kubeconfig") || (dir("images") && dir("runtime")) || (dir("pki") && dir("store"));
    run_dir || data_dir
}

fn names_in(folder: &Path) -> std::io::Result<Vec<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The group that is a user's alone (pam_umask's usergroups): what it may write, no other user may.
fn own_group(user: u32) -> Option<u32> {
    let user = nix::unistd::User::from_uid(user.into()).ok().flatten()?;
    let group = nix::unistd::Group::from_gid(user.gid).ok().flatten()?;
    let is_alone = group.mem.iter().all(|member| *member == user.name);
    (group.name == user.name && is_alone).then(|| user.gid.as_raw())
}

#[cfg(test)]
mod tests;
