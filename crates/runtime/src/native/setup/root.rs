//! The container's root: overlay, mounts, devices, masks.
//!
//! `prepare` runs in the host's mount namespace and only opens: every source becomes a detached tree.
//! `assemble` runs in the container's own mount namespace, where nothing of the host can be named.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use super::inside::{self, Absent};
use super::{Birth, OrFail, Result, host};
use crate::native::sys::{self, Number};
use crate::spec::{ContainerSpec, Mount, MountSource, Propagation, Share};

/// Device nodes, listed from a spec or the host.
pub mod nodes;
/// What may be mounted where on /proc.
mod proc;

/// Everything that had to be opened on the host's side.
pub struct Prepared {
    overlay: OwnedFd,
    mounts: Vec<(OwnedFd, PathBuf)>,
    views: Vec<(OwnedFd, String)>,
    shm: Option<OwnedFd>,
    mqueue: Option<OwnedFd>,
    /// Of a PID namespace that others live in; None: this process is the first in its own.
    proc: Option<OwnedFd>,
    nodes: Vec<nodes::Node>,
}

/// A finished root, and what of it is trusted whatever was mounted over it since.
pub struct Inside {
    pub root: OwnedFd,
    pub dev: OwnedFd,
    pub devpts: OwnedFd,
}

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

impl Prepared {
    /// The descriptors that `assemble` needs.
    pub fn numbers(&self) -> impl Iterator<Item = Number> {
        let mounts = self.mounts.iter().map(|(fd, _)| fd).chain(self.views.iter().map(|(fd, _)| fd));
        let all = mounts.chain(&self.shm).chain(&self.mqueue).chain(&self.proc).chain([&self.overlay]);
        all.map(Number::from)
    }
}

pub fn prepare(spec: &ContainerSpec, birth: &Birth<'_>) -> Result<Prepared> {
    let overlay = host::overlay::mounted(&birth.layers.root, Some(&birth.folder)).or_fail("mounting the root")?;
    let opened = |(number, mount): (usize, &Mount)| {
        let tree = match mount.source {
            MountSource::Own => own_folder(overlay.as_fd(), &mount.target, &birth.folder, number)?,
            _ => source(mount, birth)?,
        };
        Ok((tree, mount.target.clone()))
    };
    let mounts = spec.mounts.iter().enumerate().map(opened).collect::<Result<_>>()?;
    let view = |(name, path): &(String, PathBuf)| Ok((own_clone(host::locate(path)?.as_fd())?, name.clone()));
    let views = birth.views.iter().map(view).collect::<io::Result<_>>().or_fail("opening the cgroups")?;
    let host_ipc = birth.sandbox.ipc == Share::Host;
    let shared = |kept: Option<Number>, there: &str| match kept {
        Some(mount) => own_clone(mount.as_fd()).map(Some),
        None if host_ipc => Ok(host::locate(Path::new(there)).and_then(|mount| own_clone(mount.as_fd())).ok()),
        None => Ok(None),
    };
    let shm = shared(birth.shm, "/dev/shm").or_fail("opening the sandbox's /dev/shm")?;
    let mqueue = match shared(birth.mqueue, "/dev/mqueue") {
        // A kernel before 6.15 (see `can_clone`): every mount from within the IPC namespace shows the same.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
        opened => opened.or_fail("opening the sandbox's /dev/mqueue")?,
    };
    let proc = birth.proc.map(|mount| own_clone(mount.as_fd())).transpose().or_fail("opening the sandbox's /proc")?;
    let nodes = nodes::wanted(&spec.devices, spec.privileged)?;
    Ok(Prepared { overlay, mounts, views, shm, mqueue, proc, nodes })
}

pub fn assemble(spec: &ContainerSpec, prepared: Prepared) -> Result<Inside> {
    enter(prepared.overlay).or_fail("entering the root")?;
    let kept = inside::root().or_fail("opening the root")?;
    let root = kept.as_fd();
    let at = |target: &str, mount: io::Result<OwnedFd>| {
        let mount = mount.and_then(|mount| attach(mount.as_fd(), root, Path::new(target)).map(|()| mount));
        mount.or_fail(&format!("mounting {target}"))
    };
    proc::require_folders(root)?;
    let proc = at("/proc", prepared.proc.map_or_else(fresh_proc, Ok))?;
    let dev = at("/dev", devices(&prepared.nodes, spec.tty))?;
    // What hides a file: looked up while nobody else can have been there.
    let null = rustix::fs::openat(&dev, "null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let null = null.or_fail("opening /dev/null")?;
    let pts = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    let devpts = at("/dev/pts", fresh("devpts", &pts, NOSUID | NOEXEC))?;
    if let Some(shm) = prepared.shm {
        at("/dev/shm", Ok(shm))?;
    }
    at("/dev/mqueue", prepared.mqueue.map_or_else(|| fresh("mqueue", &[], NOSUID | NODEV | NOEXEC), Ok))?;
    let locked = if spec.privileged { MountAttrFlags::empty() } else { RDONLY };
    at("/sys", fresh("sysfs", &[], NOSUID | NODEV | NOEXEC | locked))?;
    cgroups(root, prepared.views, locked).or_fail("mounting cgroups")?;
    for (tree, target) in &prepared.mounts {
        let doing = format!("mounting {}", target.display());
        let place = place(tree.as_fd(), root, target).or_fail(&doing)?;
        proc::require_harmless(proc.as_fd(), tree.as_fd(), place.as_fd(), target)?;
        move_onto(tree.as_fd(), place.as_fd()).or_fail(&doing)?;
    }
    let late = spec.mounts.iter().zip(&prepared.mounts).filter(|(mount, _)| mount.read_only && mount.hosts_mounts);
    for (_, (tree, _)) in late {
        sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_READ_ONLY, 0).or_fail("making a mount read-only")?;
    }
    proc::require_in_place(root)?;
    if !spec.privileged {
        spec.read_only_paths.iter().try_for_each(|path| lock(root, path))?;
        mask(root, null.as_fd(), &spec.masked_paths)?;
    }
    if !spec.cwd.as_os_str().is_empty() {
        inside::open(root, &spec.cwd, Absent::BecomesFolder).or_fail(&format!("mkdir {}", spec.cwd.display()))?;
    }
    Ok(Inside { root: kept, dev, devpts })
}

/// Of the PID namespace that this process lives in.
pub fn fresh_proc() -> io::Result<OwnedFd> {
    fresh("proc", &[], NOSUID | NODEV | NOEXEC)
}

/// The root itself, after all targets are made.
pub fn make_read_only(root: BorrowedFd<'_>) -> Result<()> {
    sys::mount_setattr(root, false, sys::MOUNT_READ_ONLY, 0).or_fail("making the root read-only")
}

/// Whether this kernel clones a mount that hangs nowhere yet (since 6.15).
pub fn can_clone(mount: BorrowedFd<'_>) -> bool {
    clone_of(mount, false).is_ok()
}

/// A new instance of a file system, not yet anywhere.
pub fn fresh(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&context, *key, *value)?;
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Another mount of the same thing.
fn clone_of(mount: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(mount, "", flags)?)
}

/// Another mount of the same thing, in nobody else's peer group: what a container mounts below it stays
/// with the container.
fn own_clone(mount: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let tree = clone_of(mount, false)?;
    sys::mount_setattr(tree.as_fd(), true, 0, libc::MS_PRIVATE)?;
    Ok(tree)
}

/// A mount's source as a detached tree with the wanted propagation and rights.
fn source(mount: &Mount, birth: &Birth<'_>) -> Result<OwnedFd> {
    let tree = match &mount.source {
        MountSource::Host(path) => {
            let base = host::source(path).or_fail(&format!("opening {}", path.display()))?;
            let base = match &mount.sub_path {
                Some(sub_path) => below_volume(&base, sub_path)?,
                None => base,
            };
            if mount.propagation == Propagation::Bidirectional {
                host::require_shared(path, &base)?;
            }
            clone_of(base.as_fd(), true).or_fail(&format!("binding {}", path.display()))?
        }
        MountSource::Own => return Err("a folder of the container's own has no source".into()),
        MountSource::Image(id) => {
            let layers = birth.layers.images.get(id).ok_or_else(|| format!("image {id} is not present"))?;
            let base = image_root(layers).or_fail(&format!("mounting image {id}"))?;
            match &mount.sub_path {
                // The image's tree, which hangs nowhere, lives until its folder is bound.
                Some(path) => clone_of(below(base.as_fd(), path, Absent::Fails)?.as_fd(), true)
                    .or_fail("binding a folder of the image (a kernel before 6.15 cannot)")?,
                None => base,
            }
        }
    };
    let propagation = match mount.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        Propagation::Bidirectional => 0,
    };
    if propagation != 0 {
        sys::mount_setattr(tree.as_fd(), true, 0, propagation).or_fail("setting mount propagation")?;
    }
    if mount.read_only && !mount.hosts_mounts {
        let set = sys::mount_setattr(tree.as_fd(), mount.recursive_read_only, sys::MOUNT_READ_ONLY, 0);
        set.or_fail("making a mount read-only")?;
    }
    Ok(tree)
}

/// Of a volume that the image declares. Nothing of the container has run yet: both trees are still.
fn own_folder(overlay: BorrowedFd<'_>, target: &Path, folder: &Path, number: usize) -> Result<OwnedFd> {
    let doing = format!("filling the volume {}", target.display());
    let path = folder.join("volumes").join(number.to_string());
    let made = host::copy::empty_folder(&path).or_fail(&doing)?;
    match inside::open(overlay, target, Absent::Fails) {
        Err(error) if absent(&error) => {}
        found => host::copy::fill(found.or_fail(&doing)?.as_fd(), &made).or_fail(&doing)?,
    }
    own_clone(made.as_fd()).or_fail(&doing)
}

/// Makes what is missing of a sub path, and sees that it does not lead out of its volume. The container's
/// set-up does the same once more: what lies in the volume may have changed by then. On a thread of its own,
/// without the umask that the others of this process go on with.
pub fn prepare_sub_path(volume: &Path, sub_path: &Path) -> Result<()> {
    let prepare = || {
        sys::unshare(libc::CLONE_FS).or_fail("leaving the process's umask")?;
        rustix::process::umask(Mode::empty());
        let base = host::source(volume).or_fail(&format!("opening {}", volume.display()))?;
        below_volume(&base, sub_path).map(drop)
    };
    std::thread::scope(|threads| threads.spawn(prepare).join().expect("it only asks the kernel"))
}

/// New folders are as open as the volume: to a pod's own user, or its fsGroup (kubelet,
/// pkg/volume/util/subpath).
fn below_volume(volume: &OwnedFd, sub_path: &Path) -> Result<OwnedFd> {
    let mode = rustix::fs::fstat(volume).or_fail("looking at a volume")?.st_mode;
    below(volume.as_fd(), sub_path, Absent::BecomesFolderOf(mode & 0o7777))
}

fn below(base: BorrowedFd<'_>, sub_path: &Path, absent: Absent) -> Result<OwnedFd> {
    inside::open_beneath(base, sub_path, absent).or_fail(&format!("opening sub path {}", sub_path.display()))
}

/// One layer is bound as it is; an overlay without an upper folder needs two. Nothing in it can be
/// executed (KEP 4639).
fn image_root(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    let tree = match layers {
        [only] => own_clone(host::locate(only)?.as_fd())?,
        layers => host::overlay::mounted(layers, None)?,
    };
    sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_DATA_ONLY, 0)?;
    Ok(tree)
}

/// Makes the tree the root of this mount namespace, which has one folder for it, and lets the old one go.
fn enter(root: OwnedFd) -> io::Result<()> {
    attach(root.as_fd(), inside::root()?.as_fd(), Path::new("/mnt"))?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::fchdir(root)?;
    Ok(())
}

/// Puts a detached tree onto a path of the new root, making the target in its kind.
pub fn attach(tree: BorrowedFd<'_>, root: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    move_onto(tree, place(tree, root, target)?.as_fd())
}

fn place(tree: BorrowedFd<'_>, root: BorrowedFd<'_>, target: &Path) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    let absent = if kind == FileType::Directory { Absent::BecomesFolder } else { Absent::BecomesFile };
    inside::open(root, target, absent)
}

fn move_onto(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

/// The container's /dev, complete before it is mounted.
fn devices(nodes: &[nodes::Node], console: bool) -> io::Result<OwnedFd> {
    let dev = fresh("tmpfs", &[("mode", "755"), ("size", "65536k")], NOSUID)?;
    for folder in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, folder, Mode::from_raw_mode(0o755))?;
    }
    for node in nodes {
        node.make(dev.as_fd())?;
    }
    if console {
        inside::open(dev.as_fd(), Path::new("console"), Absent::BecomesFile)?;
    }
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("/proc/kcore", "core"),
    ];
    for (target, name) in links {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dev)
}

/// Version 2 is one mount; version 1 a folder with one mount for each hierarchy.
fn cgroups(root: BorrowedFd<'_>, views: Vec<(OwnedFd, String)>, locked: MountAttrFlags) -> io::Result<()> {
    let folder = Path::new("/sys/fs/cgroup");
    let flat = views.iter().any(|(_, name)| name.is_empty());
    if flat {
        for (tree, _) in &views {
            if locked.contains(RDONLY) {
                sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
            }
            attach(tree.as_fd(), root, folder)?;
        }
        return Ok(());
    }
    let base = fresh("tmpfs", &[("mode", "755")], NOSUID | NODEV | NOEXEC)?;
    for (_, name) in &views {
        rustix::fs::mkdirat(&base, name.as_str(), Mode::from_raw_mode(0o755))?;
        for part in name.split(',').filter(|part| part != name) {
            rustix::fs::symlinkat(name.as_str(), &base, part)?;
        }
    }
    attach(base.as_fd(), root, folder)?;
    for (tree, name) in &views {
        if locked.contains(RDONLY) {
            sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
        }
        attach(tree.as_fd(), base.as_fd(), Path::new(name))?;
    }
    if locked.contains(RDONLY) {
        sys::mount_setattr(base.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
    }
    Ok(())
}

/// What stands there stays, but cannot be written to.
fn lock(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let doing = format!("making {} read-only", path.display());
    let place = match inside::open(root, path, Absent::Fails) {
        Err(error) if absent(&error) => return Ok(()),
        other => other.or_fail(&doing)?,
    };
    let tree = clone_of(place.as_fd(), true).or_fail(&doing)?;
    sys::mount_setattr(tree.as_fd(), true, sys::MOUNT_READ_ONLY, 0).or_fail(&doing)?;
    move_onto(tree.as_fd(), place.as_fd()).or_fail(&doing)
}

/// Folders become empty and read-only, files become that device node.
fn mask(root: BorrowedFd<'_>, null: BorrowedFd<'_>, paths: &[PathBuf]) -> Result<()> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let doing = format!("masking {}", path.display());
        let place = match inside::open(root, path, Absent::Fails) {
            Err(error) if absent(&error) => continue,
            other => other.or_fail(&doing)?,
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&place).or_fail(&doing)?.st_mode);
        let tree = match (kind, &empty) {
            (FileType::Directory, Some(mount)) => clone_of(mount.as_fd(), false),
            (FileType::Directory, None) => fresh("tmpfs", &[("size", "0k")], NOSUID | NODEV | NOEXEC | RDONLY),
            _ => clone_of(null, false),
        };
        let tree = tree.or_fail(&doing)?;
        move_onto(tree.as_fd(), place.as_fd()).or_fail(&doing)?;
        if kind == FileType::Directory && empty.is_none() {
            empty = Some(tree);
        }
    }
    Ok(())
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
