//! What a set-up needs of the host: opened here, before it enters anything of a container's.
//!
//! The only place of the set-up that may name a path of the host (`cargo xtask tidy` keeps that). Nothing
//! here is called once a container's mounts are entered: from there on a path is what the container says
//! it is, and only `inside` walks one.

/// What a file is.
pub use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{OrFail, Result};
use crate::native::cgroup::Join;
use crate::native::sys;
use crate::spec::ContainerSpec;

/// What an image has in a folder, once more.
pub mod copy;
/// The root, before anybody is in it.
pub mod overlay;

/// Held until the program runs, and closed before it does.
pub struct Opened {
    /// Of cgroups still to join.
    late: Vec<OwnedFd>,
    /// Where a process asks for the AppArmor profile of its next program.
    profile: Option<OwnedFd>,
}

impl Opened {
    /// Joins what is to be joined now; opens what comes later, while it can be named.
    pub fn new(join: &Join, spec: Option<&ContainerSpec>) -> Result<Opened> {
        let doing = |file: &Path| format!("joining {}", file.display());
        join.now.iter().try_for_each(|file| write(file, b"0").or_fail(&doing(file)))?;
        let late = join.late.iter().map(|file| open(file, OFlags::WRONLY).or_fail(&doing(file)));
        let late = late.collect::<Result<_>>()?;
        let profile = match spec.and_then(|spec| spec.apparmor.as_ref()) {
            None => None,
            Some(profile) => {
                let files = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"];
                let found = files.iter().find_map(|file| open(Path::new(file), OFlags::WRONLY).ok());
                Some(found.ok_or_else(|| no_apparmor(profile))?)
            }
        };
        Ok(Opened { late, profile })
    }

    pub fn numbers(&self) -> impl Iterator<Item = sys::Number> {
        self.late.iter().chain(&self.profile).map(sys::Number::from)
    }

    pub fn join_late(&mut self) -> Result<()> {
        for file in std::mem::take(&mut self.late) {
            rustix::io::write(&file, b"0").or_fail("joining the cgroup")?;
        }
        Ok(())
    }

    /// The program that this process becomes will run under the profile.
    pub fn ask_for_profile(&mut self, spec: &ContainerSpec) -> Result<()> {
        if let (Some(file), Some(profile)) = (self.profile.take(), &spec.apparmor) {
            let written = rustix::io::write(&file, format!("exec {profile}").as_bytes());
            written.map_err(|_| no_apparmor(profile))?;
        }
        Ok(())
    }
}

fn no_apparmor(profile: &str) -> String {
    format!("apparmor profile {profile:?} cannot be applied on this machine")
}

/// The supervisor's own streams are nobody else's business: 0, 1 and 2 become a device node of the
/// runtime's (see `NullDevice`), and stay so where a program has no stream of its own.
pub fn silence(null: BorrowedFd<'_>) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(null, NullDevice::PATH, flags, Mode::empty()).or_fail("opening /dev/null")?;
    (0..3).try_for_each(|number| sys::dup_to(null.as_fd(), number).or_fail("closing the streams"))
}

/// A /dev/null that no container can change or replace: on a read-only mount that hangs nowhere. A node
/// of the container's could be a link to anything by now, one of the host's would give its mode away.
pub struct NullDevice(OwnedFd);

impl NullDevice {
    /// Below the mount: programs that ask for the name of their stream see the usual one.
    const PATH: &str = "dev/null";

    pub fn new() -> io::Result<NullDevice> {
        use rustix::fs::FileType;
        use rustix::mount::MountAttrFlags;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = super::root::fresh("tmpfs", &[("mode", "755"), ("size", "4k"), ("nr_inodes", "8")], attributes)?;
        rustix::fs::mkdirat(&mount, "dev", Mode::from_raw_mode(0o755))?;
        let open = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&mount, Self::PATH, FileType::CharacterDevice, open, libc::makedev(1, 3))?;
        rustix::fs::chmodat(&mount, Self::PATH, open, rustix::fs::AtFlags::empty())?;
        sys::mount_setattr(mount.as_fd(), false, sys::MOUNT_READ_ONLY, 0)?;
        Ok(NullDevice(mount))
    }
}

impl AsFd for NullDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lived with where the machine refuses: lowering needs a capability that the machine may not grant.
pub fn adjust_oom_score(value: i32) {
    let _ = write(Path::new("/proc/self/oom_score_adj"), value.to_string().as_bytes());
}

/// All of a file of ours.
pub fn read(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)?;
    Ok(bytes)
}

/// This very program.
pub fn own_program() -> Result<OwnedFd> {
    open(Path::new("/proc/self/exe"), OFlags::PATH).or_fail("opening /proc/self/exe")
}

/// A folder or file, only to be named by its descriptor.
pub fn locate(path: &Path) -> io::Result<OwnedFd> {
    open(path, OFlags::PATH)
}

/// The source of a mount. An absent host path becomes a folder, as container runtimes have always done
/// for hostPath.
pub fn source(path: &Path) -> io::Result<OwnedFd> {
    match locate(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
            builder.recursive(true).create(path)?;
            locate(path)
        }
        other => other,
    }
}

/// Bidirectional propagation needs a shared mount on the host
/// (moby and containerd: "path %q is mounted on %q but it is not a shared mount").
pub fn require_shared(path: &Path, source: &OwnedFd) -> Result<()> {
    use rustix::fs::{AtFlags, StatxFlags};
    let id = rustix::fs::statx(source, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).or_fail("looking at a mount")?;
    let id = id.stx_mnt_id.to_string();
    // Bytes: mount points need not be text.
    let table = std::fs::read("/proc/self/mountinfo").or_fail("reading the mount table")?;
    let fields = |line: &[u8]| line.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut lines = table.split(|byte| *byte == b'\n').map(fields);
    let line = lines.find(|line| line[0] == id.as_bytes()).unwrap_or_default();
    if line.iter().skip(6).take_while(|field| *field != b"-").any(|field| field.starts_with(b"shared:")) {
        return Ok(());
    }
    let on = line.get(4).map_or_else(|| "?".into(), |point| String::from_utf8_lossy(point).into_owned());
    Err(format!("path {path:?} is mounted on {on:?} but it is not a shared mount"))
}

/// All character and block devices below /dev: path there, and what they are.
pub fn devices() -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let entries = std::fs::read_dir(Path::new("/dev").join(&below)).into_iter().flatten().flatten();
        for entry in entries {
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            let (kind, path) = (meta.file_type(), below.join(entry.file_name()));
            if kind.is_dir() {
                folders.push(path);
            } else if std::os::unix::fs::FileTypeExt::is_char_device(&kind)
                || std::os::unix::fs::FileTypeExt::is_block_device(&kind)
            {
                found.push((path, meta));
            }
        }
    }
    found
}

/// What a device of the host is.
pub fn device(path: &Path) -> io::Result<Metadata> {
    std::fs::metadata(path)
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match rustix::io::write(open(path, OFlags::WRONLY | OFlags::TRUNC)?, bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(Errno::IO.into()),
        Err(error) => Err(error.into()),
    }
}
