//! The container's root: overlay, mounts, devices, masks.
//!
//! `prepare` runs in the host's mount namespace and only opens: every source becomes a detached tree.
//! `assemble` runs in the container's own mount namespace, where nothing of the host can be named.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

use super::inside::{self, Absent};
use super::{Birth, OrFail, Result};
use crate::native::sys;
use crate::spec::{Mount, MountSource, Propagation, Share};

/// Device nodes, listed from a spec or the host.
pub mod nodes;

/// Everything that had to be opened on the host's side.
pub struct Prepared {
    overlay: OwnedFd,
    mounts: Vec<(OwnedFd, PathBuf)>,
    views: Vec<(OwnedFd, String)>,
    shm: Option<OwnedFd>,
    mqueue: Option<OwnedFd>,
    nodes: Vec<nodes::Node>,
}

const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const RDONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

impl Prepared {
    /// The descriptors that `assemble` needs.
    pub fn fds(&self) -> Vec<RawFd> {
        let mounts = self.mounts.iter().map(|(fd, _)| fd).chain(self.views.iter().map(|(fd, _)| fd));
        let all = mounts.chain(&self.shm).chain(&self.mqueue).chain([&self.overlay]);
        all.map(AsRawFd::as_raw_fd).collect()
    }
}

pub fn prepare(birth: &Birth<'_>) -> Result<Prepared> {
    let spec = birth.spec;
    let overlay = overlay(&birth.layers.root, Some(&birth.folder)).or_fail("mounting the root")?;
    let opened = |mount: &Mount| Ok((source(mount, birth)?, mount.target.clone()));
    let mounts = spec.mounts.iter().map(opened).collect::<Result<_>>()?;
    let view = |(name, path): &(String, PathBuf)| Ok((clone_path(path, false)?, name.clone()));
    let views = birth.views.iter().map(view).collect::<io::Result<_>>().or_fail("opening the cgroups")?;
    let host_ipc = birth.sandbox.ipc == Share::Host;
    let shared = |kept: Option<BorrowedFd<'_>>, host: &str| match kept {
        Some(mount) => clone_of(mount, false).map(Some),
        None if host_ipc => Ok(clone_path(Path::new(host), false).ok()),
        None => Ok(None),
    };
    let shm = shared(birth.shm, "/dev/shm").or_fail("opening the sandbox's /dev/shm")?;
    let mqueue = match shared(birth.mqueue, "/dev/mqueue") {
        // A kernel before 6.15 (see `can_clone`): every mount from within the IPC namespace shows the same.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
        opened => opened.or_fail("opening the sandbox's /dev/mqueue")?,
    };
    let nodes = nodes::wanted(&spec.devices, spec.privileged)?;
    Ok(Prepared { overlay, mounts, views, shm, mqueue, nodes })
}

pub fn assemble(birth: &Birth<'_>, prepared: Prepared) -> Result<()> {
    let spec = birth.spec;
    enter(prepared.overlay).or_fail("entering the root")?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.or_fail("opening the root")?;
    let root = root.as_fd();
    let at = |target: &str, mount: io::Result<OwnedFd>| {
        mount.and_then(|mount| attach(&mount, root, Path::new(target))).or_fail(&format!("mounting {target}"))
    };
    at("/proc", fresh("proc", &[], NOSUID | NODEV | NOEXEC))?;
    let dev = devices(&prepared.nodes).or_fail("making devices")?;
    at("/dev", Ok(dev))?;
    let pts = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    at("/dev/pts", fresh("devpts", &pts, NOSUID | NOEXEC))?;
    if let Some(shm) = prepared.shm {
        at("/dev/shm", Ok(shm))?;
    }
    match prepared.mqueue {
        Some(mqueue) => at("/dev/mqueue", Ok(mqueue))?,
        None => at("/dev/mqueue", fresh("mqueue", &[], NOSUID | NODEV | NOEXEC))?,
    }
    let locked = if spec.privileged { MountAttrFlags::empty() } else { RDONLY };
    at("/sys", fresh("sysfs", &[], NOSUID | NODEV | NOEXEC | locked))?;
    cgroups(root, prepared.views, locked).or_fail("mounting cgroups")?;
    for (tree, target) in prepared.mounts {
        attach(&tree, root, &target).or_fail(&format!("mounting {}", target.display()))?;
    }
    if !spec.privileged {
        spec.read_only_paths.iter().try_for_each(|path| lock(root, path))?;
        mask(root, &spec.masked_paths)?;
    }
    if !spec.cwd.as_os_str().is_empty() {
        inside::open(root, &spec.cwd, Absent::BecomesFolder).or_fail(&format!("mkdir {}", spec.cwd.display()))?;
    }
    Ok(())
}

/// Both ends of a new terminal of the container's own devpts.
pub struct Terminal {
    pub master: OwnedFd,
    pub slave: OwnedFd,
}

/// Opens one; `console`: also shows it as /dev/console.
pub fn open_terminal(uid: u32, console: bool) -> io::Result<Terminal> {
    use rustix::pty::OpenptFlags;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    rustix::pty::unlockpt(&master)?;
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, peer)?;
    let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None);
    if console {
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let tree = open_tree(CWD, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        attach(&tree, root.as_fd(), Path::new("/dev/console"))?;
    }
    Ok(Terminal { master, slave })
}

/// The root itself, after all targets are made.
pub fn make_read_only() -> Result<()> {
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.or_fail("opening the root")?;
    sys::mount_setattr(root.as_fd(), false, sys::MOUNT_READ_ONLY, 0).or_fail("making the root read-only")
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

fn clone_path(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    clone_of(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?.as_fd(), recursive)
}

/// Layers, topmost first, below an upper folder. Volatile: a container's root is never mounted twice, so
/// nothing needs to reach the disk, and its end does not sync the host's file system.
fn overlay(lower: &[PathBuf], folder: Option<&Path>) -> io::Result<OwnedFd> {
    let upper = folder.map(|folder| (folder.join("upper"), folder.join("work")));
    let by_path = || {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        lower.iter().try_for_each(|layer| fsconfig_set_string(&context, "lowerdir+", layer.as_path()))?;
        overlay_above(&context, upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path())))
    };
    match by_path() {
        Err(Errno::INVAL) => Ok(overlay_by_number(lower, upper)?),
        mounted => Ok(mounted?),
    }
}

/// For kernels before 6.8, which take all layers as one string, and no string of more than 255 bytes: the
/// folders are named by the numbers of their descriptors, as seen from /proc/self/fd.
fn overlay_by_number(lower: &[PathBuf], upper: Option<(PathBuf, PathBuf)>) -> rustix::io::Result<OwnedFd> {
    let open = |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
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
        overlay_above(&context, upper.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path())))
    });
    rustix::process::fchdir(before)?;
    mounted
}

/// Adds the upper folder and its work folder, and mounts.
fn overlay_above(context: &OwnedFd, upper: Option<(&Path, &Path)>) -> rustix::io::Result<OwnedFd> {
    let mut attributes = MountAttrFlags::empty();
    match upper {
        Some((upper, work)) => {
            fsconfig_set_string(context, "upperdir", upper)?;
            fsconfig_set_string(context, "workdir", work)?;
            fsconfig_set_flag(context, "volatile")?;
        }
        None => attributes |= RDONLY,
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A mount's source as a detached tree with the wanted propagation and rights.
fn source(mount: &Mount, birth: &Birth<'_>) -> Result<OwnedFd> {
    let tree = match &mount.source {
        MountSource::Host(path) => {
            let base = open_source(path).or_fail(&format!("opening {}", path.display()))?;
            let base = match &mount.sub_path {
                // New folders are as open as the volume: to a pod's own user, or its fsGroup (kubelet,
                // pkg/volume/util/subpath).
                Some(sub_path) => {
                    let mode = rustix::fs::fstat(&base).or_fail(&format!("opening {}", path.display()))?.st_mode;
                    below(base.as_fd(), sub_path, Absent::BecomesFolderOf(mode & 0o7777))?
                }
                None => base,
            };
            if mount.propagation == Propagation::Bidirectional {
                require_shared(path, &base)?;
            }
            clone_of(base.as_fd(), true).or_fail(&format!("binding {}", path.display()))?
        }
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
    if mount.read_only {
        let set = sys::mount_setattr(tree.as_fd(), mount.recursive_read_only, sys::MOUNT_READ_ONLY, 0);
        set.or_fail("making a mount read-only")?;
    }
    Ok(tree)
}

/// An absent host path becomes a folder, as container runtimes have always done for hostPath.
fn open_source(path: &Path) -> io::Result<OwnedFd> {
    let open = || rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
            builder.recursive(true).create(path)?;
            Ok(open()?)
        }
        other => Ok(other?),
    }
}

fn below(base: BorrowedFd<'_>, sub_path: &Path, absent: Absent) -> Result<OwnedFd> {
    inside::open(base, sub_path, absent).or_fail(&format!("opening sub path {}", sub_path.display()))
}

/// One layer is bound as it is; an overlay without an upper folder needs two. Nothing in it can be
/// executed (KEP 4639).
fn image_root(layers: &[PathBuf]) -> io::Result<OwnedFd> {
    let tree = match layers {
        [only] => clone_path(only, false)?,
        layers => overlay(layers, None)?,
    };
    sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_DATA_ONLY, 0)?;
    Ok(tree)
}

/// Bidirectional propagation needs a shared mount on the host
/// (moby and containerd: "path %q is mounted on %q but it is not a shared mount").
fn require_shared(path: &Path, source: &OwnedFd) -> Result<()> {
    use rustix::fs::{AtFlags, StatxFlags};
    let id = rustix::fs::statx(source, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).or_fail("looking at a mount")?;
    let id = id.stx_mnt_id.to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").or_fail("reading the mount table")?;
    let line = table.lines().find(|line| line.split(' ').next() == Some(&id)).unwrap_or_default();
    if line.split(" - ").next().is_some_and(|fields| fields.contains(" shared:")) {
        return Ok(());
    }
    let on = line.split(' ').nth(4).unwrap_or("?");
    Err(format!("path {path:?} is mounted on {on:?} but it is not a shared mount"))
}

/// Makes the tree the root of this mount namespace and lets the old one go.
fn enter(root: OwnedFd) -> io::Result<()> {
    move_mount(root.as_fd(), "", CWD, "/mnt", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::chdir("/mnt")?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Puts a detached tree onto a path of the new root, making the target in its kind.
fn attach(tree: &OwnedFd, root: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(tree)?.st_mode);
    let absent = if kind == FileType::Directory { Absent::BecomesFolder } else { Absent::BecomesFile };
    let target = inside::open(root, target, absent)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", &target, "", flags)?)
}

/// The container's /dev, complete before it is mounted.
fn devices(nodes: &[nodes::Node]) -> io::Result<OwnedFd> {
    let dev = fresh("tmpfs", &[("mode", "755"), ("size", "65536k")], NOSUID)?;
    for folder in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, folder, Mode::from_raw_mode(0o755))?;
    }
    for node in nodes {
        node.make(dev.as_fd())?;
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
            attach(tree, root, folder)?;
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
    attach(&base, root, folder)?;
    for (tree, name) in &views {
        if locked.contains(RDONLY) {
            sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
        }
        attach(tree, base.as_fd(), Path::new(name))?;
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
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &place, "", flags).or_fail(&doing)
}

/// Folders become empty and read-only, files become /dev/null.
fn mask(root: BorrowedFd<'_>, paths: &[PathBuf]) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    let null = inside::open(root, Path::new("/dev/null"), Absent::Fails).or_fail("opening /dev/null")?;
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
            _ => clone_of(null.as_fd(), false),
        };
        let tree = tree.or_fail(&doing)?;
        move_mount(&tree, "", &place, "", flags).or_fail(&doing)?;
        if kind == FileType::Directory && empty.is_none() {
            empty = Some(tree);
        }
    }
    Ok(())
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
