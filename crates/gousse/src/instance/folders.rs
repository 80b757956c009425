//! The folders of an instance: canonical, its own, and closed to everybody else before it trusts them.
//!
//! Secrets of pods and the administrator's credentials stand in them, and whatever stands in them is
//! believed. Who may replace a folder on the way to them owns the machine: it is refused.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use runtime::removal::{self, Mounts};
use runtime::untrusted::require_links_of;
use rustix::fs::{Gid, Mode, OFlags, Uid};

use kubectl::failure::{Context, Result, failure};
use kubectl::output;

const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
const STICKY: u32 = 0o1000;

/// What one of the two folders of an instance is like.
pub struct Sort {
    /// Names it in errors.
    pub flag: &'static str,
    /// What Gousse makes in it; the first is its mark, which goes last.
    made: &'static [&'static str],
    /// What an administrator may put there before the first start, and what a new disk has.
    prepared: &'static [&'static str],
    /// What is believed to the last file.
    whole: &'static [&'static str],
    /// What only an instance leaves together, where a version before the mark made it.
    left: &'static [[&'static str; 2]],
}

pub const DATA: Sort = Sort {
    flag: "--data-dir",
    made: &[
        MARK,
        "gousse.draft",
        "admin.draft",
        "admin.kubeconfig",
        "agent",
        "gousse.log",
        "images",
        "log",
        "made.draft",
        "made.json",
        "pki",
        "pods",
        "runtime",
        "shares",
        "store",
        "token",
        "token.draft",
    ],
    prepared: &["manifests", "seccomp", "registries.yaml", "lost+found"],
    whole: &["agent", "manifests", "pki", "seccomp", "store"],
    left: &[["images/lock", "runtime"], ["pki/ca.key", "store"]],
};

pub const RUN: Sort = Sort {
    flag: "--run-dir",
    made: &["lock", "images.sock", "net", "runtime", "volumes"],
    prepared: &[],
    whole: &[],
    left: &[],
};

/// Stands in a data folder from its first start on.
const MARK: &str = "gousse.mark";
const MARK_SAYS: &str = "This folder belongs to gousse; `gousse down --purge` removes it.\n";

/// Below a folder, as far as anything there is ours for sure: deeper lie the files of images and containers.
const LEVELS: u32 = 2;

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

    /// Whether who is not trusted has put nothing there.
    fn alone_names_in(&self, folder: &Path) -> bool {
        let seen = fs::symlink_metadata(folder);
        seen.is_ok_and(|seen| self.users.contains(&seen.uid()) && !self.is_writable_by_others(&seen))
    }

    fn is_writable_by_others(&self, folder: &fs::Metadata) -> bool {
        let by_group = folder.mode() & WRITABLE_BY_GROUP != 0 && !self.groups.contains(&folder.gid());
        by_group || folder.mode() & WRITABLE_BY_OTHERS != 0
    }
}

/// A path with every link in it followed, as far as it exists: mounts and sockets have one name only.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).context(format_args!("finding {}", path.display()))?;
    let own_links = require_links_of(&path, &Trusted::now().users);
    own_links.map_err(|error| failure(format!("{error}; name the folder itself")))?;
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

/// Makes a folder, or takes one over with all that is believed in it: 0700 from here on.
pub fn take(folder: &Path, sort: &Sort, trusted: &Trusted) -> Result<()> {
    take_place(folder, sort, trusted)?;
    require_own_contents(folder, sort, trusted)?;
    if sort.made[0] == MARK && !folder.join(MARK).exists() {
        super::write_private(&folder.join(MARK), MARK_SAYS.as_bytes())?;
    }
    Ok(())
}

/// The same for `down`: what an earlier version began in a folder that this one would refuse is ended all
/// the same, unless others may have written there.
pub fn take_to_end(folder: &Path, sort: &Sort, trusted: &Trusted) -> Result<()> {
    if let Err(error) = take_place(folder, sort, trusted) {
        let is_kept = |at: &Path| {
            let seen = fs::symlink_metadata(at);
            seen.is_ok_and(|seen| (at != folder && seen.mode() & STICKY != 0) || !trusted.is_writable_by_others(&seen))
        };
        if !is_marked(folder, sort) || !folder.ancestors().all(is_kept) {
            return Err(error);
        }
        output::note(format_args!("warning: {}; what runs there is ended all the same", error.message));
    }
    require_own_contents(folder, sort, trusted)
}

/// Removes what an instance made in a folder, and the folder with it if nothing else is there. Nothing
/// happens if there is none.
pub fn remove(folder: &Path, sort: &Sort, mounts: Mounts) -> Result<()> {
    // The marks go last: what is left of a removal that fails is still known as ours.
    let beside_store = names_in(folder).unwrap_or_default().into_iter().filter(|name| sort.is_beside_store(name));
    let known = sort.prepared.iter().chain(sort.made.iter().rev()).map(OsString::from);
    for name in beside_store.chain(known) {
        removal::remove(&folder.join(name), mounts).map_err(|error| failure(error.to_string()))?;
    }
    match fs::remove_dir(folder) {
        // It is a mount itself: it stays, empty.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            output::note(format_args!(
                "warning: {} stays: there are things in it that gousse did not make",
                folder.display()
            ));
            Ok(())
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(format_args!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Refuses to have a folder removed in which no instance ever lived.
pub fn require_removable(folder: &Path, sort: &Sort) -> Result<()> {
    let names = names_in(folder).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error).context(format_args!("looking into {}", folder.display())),
    })?;
    match names.is_empty() || is_marked(folder, sort) {
        true => Ok(()),
        false => Err(failure(format!(
            "{} {}: no instance of gousse ever lived in it, so it is not removed; name the right folder, or remove it by hand",
            sort.flag,
            folder.display()
        ))),
    }
}

fn take_place(folder: &Path, sort: &Sort, trusted: &Trusted) -> Result<()> {
    let refused = |why: String| failure(format!("{} {}: {why}", sort.flag, folder.display()));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.context(format_args!("making {}", folder.display()))?;
    require_own_way(folder, trusted).map_err(&refused)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    let opened = fs::File::from(opened.context(format_args!("opening {}", folder.display()))?);
    let seen = opened.metadata().context(format_args!("looking at {}", folder.display()))?;
    let own = rustix::process::geteuid();
    let names = names_in(folder).context(format_args!("looking into {}", folder.display()))?;
    let (is_empty, is_marked) = (names.is_empty(), is_marked(folder, sort));
    // `mkdir d && sudo gousse up --data-dir d`; or an empty one of anybody's where only root and who is
    // trusted puts names, as an empty folder of the host's user that a container gets as a volume.
    let is_callers = trusted.users.contains(&seen.uid()) && (is_empty || is_marked);
    let is_put_there = || is_empty && folder.parent().is_some_and(|above| trusted.alone_names_in(above));
    if seen.uid() != own.as_raw() && !(own.is_root() && (is_callers || is_put_there())) {
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
    if let Some(other) = names.iter().find(|name| !is_marked && !sort.has(name)) {
        return Err(refused(format!(
            "there are other things in it ({}), and it would be closed to all other users (0700); give it a folder of its own",
            other.display()
        )));
    }
    let give = |user, group, mode| {
        rustix::fs::fchown(&opened, Some(user), Some(group))?;
        rustix::fs::fchmod(opened.as_fd(), Mode::from_raw_mode(mode))
    };
    let is_closed = seen.mode() & 0o7777 == 0o700;
    if seen.uid() != own.as_raw() {
        output::note(format_args!(
            "warning: {} {}: it belongs to user {} from here on",
            sort.flag,
            folder.display(),
            own.as_raw()
        ));
    }
    if !is_closed {
        output::note(format_args!(
            "warning: {} {}: it is closed to other users: its mode becomes 0700",
            sort.flag,
            folder.display()
        ));
    }
    if seen.uid() != own.as_raw() {
        let given = give(own, rustix::process::getegid(), 0o700);
        given
            .map_err(|error| refused(format!("it belongs to user {} and cannot be made ours: {error}", seen.uid())))?;
    } else if !is_closed {
        let closed = rustix::fs::fchmod(opened.as_fd(), Mode::from_raw_mode(0o700));
        closed.context(format_args!("closing {} to other users", folder.display()))?;
    }
    // Its owner, or whoever might write, was quicker than the lock on its door.
    let now = names_in(folder).context(format_args!("looking into {}", folder.display()))?;
    if is_empty && !now.is_empty() {
        let _ = give(Uid::from_raw(seen.uid()), Gid::from_raw(seen.gid()), seen.mode() & 0o7777);
        return Err(refused("somebody writes into it just now; choose another folder".into()));
    }
    Ok(())
}

/// Nobody but who is trusted may replace it.
fn require_own_way(folder: &Path, trusted: &Trusted) -> std::result::Result<(), String> {
    for above in folder.ancestors().skip(1) {
        let seen = fs::symlink_metadata(above).map_err(|error| format!("looking at {}: {error}", above.display()))?;
        if trusted.keeps_names(&seen) {
            continue;
        }
        let (path, mode) = (above.display(), seen.mode() & 0o7777);
        let (user, group) = (seen.uid(), seen.gid());
        let way_out = match trusted.users.contains(&user) {
            true => "choose another folder, or take their right to write away".to_owned(),
            // Under sudo this user is trusted, by a service or in a container it is a stranger.
            false => format!("choose a folder that only root can replace, as below /var/lib, or chown {path}"),
        };
        return Err(format!(
            "the way to it leads through {path} (user {user}, group {group}, mode {mode:04o}), where other users could \
             replace it; {way_out}"
        ));
    }
    Ok(())
}

/// What stands in a folder is believed: who else may have written it would say what runs here.
fn require_own_contents(folder: &Path, sort: &Sort, trusted: &Trusted) -> Result<()> {
    for name in names_in(folder).context(format_args!("looking into {}", folder.display()))? {
        if sort.has(&name) {
            let is_whole = sort.whole.iter().any(|whole| name == *whole);
            let levels = if is_whole { u32::MAX } else { LEVELS - 1 };
            require_own(&folder.join(name), levels, trusted)
                .map_err(|why| failure(format!("{} {}: {why}", sort.flag, folder.display())))?;
        }
    }
    Ok(())
}

/// A file or folder, and what is in it so many levels down.
fn require_own(path: &Path, levels: u32, trusted: &Trusted) -> std::result::Result<(), String> {
    let told = |error: std::io::Error| format!("looking at {}: {error}", path.display());
    let seen = match fs::symlink_metadata(path) {
        // A socket of a runtime that goes on, say.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        seen => seen.map_err(told)?,
    };
    if !trusted.users.contains(&seen.uid()) {
        return Err(format!(
            "{} belongs to user {}, and what it says would be believed; chown it to user {} if you know what is in it, or \
             move it away",
            path.display(),
            seen.uid(),
            rustix::process::geteuid().as_raw()
        ));
    }
    if seen.is_symlink() {
        require_links_of(path, &trusted.users).map_err(|error| error.to_string())?;
        let Ok(target) = fs::canonicalize(path) else { return Ok(()) };
        require_own_way(&target, trusted)?;
        return require_own(&target, levels.min(LEVELS), trusted);
    }
    if trusted.is_writable_by_others(&seen) && !seen.file_type().is_socket() {
        return Err(format!(
            "other users may write to {} (mode {:04o}), and what it says would be believed; chmod it to {} if you know what \
             is in it, or move it away",
            path.display(),
            seen.mode() & 0o7777,
            if seen.is_dir() { "0700" } else { "0600" }
        ));
    }
    if seen.is_dir() && levels > 0 {
        for name in names_in(path).map_err(told)? {
            require_own(&path.join(name), levels - 1, trusted)?;
        }
    }
    Ok(())
}

impl Sort {
    fn has(&self, name: &OsStr) -> bool {
        self.made.iter().chain(self.prepared).any(|known| name == *known) || self.is_beside_store(name)
    }

    /// `store.mark`, `store.damaged-1`, …: what the store makes beside its folder (docs/data-format.md).
    fn is_beside_store(&self, name: &OsStr) -> bool {
        self.made.contains(&"store") && name.as_encoded_bytes().starts_with(b"store.")
    }
}

/// Whether an instance lives or lived there.
fn is_marked(folder: &Path, sort: &Sort) -> bool {
    // As plain files: /run/lock is a folder, or a link to one.
    let is_there = |name: &str| fs::symlink_metadata(folder.join(name)).is_ok_and(|seen| !seen.is_symlink());
    let is_file = fs::symlink_metadata(folder.join(sort.made[0])).is_ok_and(|seen| seen.is_file());
    is_file || sort.left.iter().any(|both| both.iter().all(|name| is_there(name)))
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
