//! Unpacked layers seen as the one tree that overlayfs would show, without mounting it.
//!
//! Symbolic links are followed inside the image only, whiteouts and opaque folders hide what lies
//! below. Used to read an image's own /etc/passwd, and to unpack a layer where its parents say so.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// As the kernel's own limit.
const LINKS_MAX: usize = 40;
pub const OPAQUE: &str = "trusted.overlay.opaque";

/// Layers, the topmost first.
pub struct Tree {
    roots: Vec<OwnedFd>,
}

/// What a path names: the layer it comes from, and its own metadata.
pub struct Found {
    pub layer: usize,
    pub stat: Stat,
}

impl Tree {
    pub fn open(layers: &[PathBuf]) -> io::Result<Tree> {
        let roots = layers.iter().map(|dir| open_root(dir)).collect::<io::Result<_>>()?;
        Ok(Tree { roots })
    }

    pub fn root(&self, layer: usize) -> &OwnedFd {
        &self.roots[layer]
    }

    /// What is at a path none of whose parents is a symbolic link (see `resolve`); not followed.
    pub fn look(&self, path: &Path) -> io::Result<Option<Found>> {
        for (layer, root) in self.roots.iter().enumerate() {
            match open_beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(file) => {
                    let stat = rustix::fs::fstat(&file)?;
                    return Ok((!is_whiteout(&stat)).then_some(Found { layer, stat }));
                }
                Err(Errno::NOENT) if self.hides(layer, path)? => return Ok(None),
                Err(Errno::NOENT) => {}
                // A parent that is no folder here hides everything below it.
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(None)
    }

    /// The same path with every symbolic link in it followed inside the tree; absent parts stay as they are.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> io::Result<PathBuf> {
        let mut rest: VecDeque<OsString> = parts(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                done.pop();
                continue;
            }
            let here = done.join(&part);
            let link = match self.look(&here)? {
                Some(place) if is(&place.stat, FileType::Symlink) && (follow_last || !rest.is_empty()) => {
                    self.read_link(place.layer, &here)?
                }
                _ => {
                    done = here;
                    continue;
                }
            };
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP.into());
            }
            if link.is_absolute() {
                done = PathBuf::new();
            }
            for part in parts(&link).into_iter().rev() {
                rest.push_front(part);
            }
        }
        Ok(done)
    }

    /// A regular file's content, at most `size_max` bytes of it; None if there is no such file.
    pub fn read(&self, path: &Path, size_max: u64) -> io::Result<Option<Vec<u8>>> {
        let path = self.resolve(path, true)?;
        let Some(place) = self.look(&path)? else { return Ok(None) };
        if !is(&place.stat, FileType::RegularFile) {
            return Ok(None);
        }
        let file = open_beneath(&self.roots[place.layer], &path, OFlags::RDONLY | OFlags::NOFOLLOW)?;
        let mut content = Vec::new();
        std::fs::File::from(file).take(size_max).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    pub fn read_link(&self, layer: usize, path: &Path) -> io::Result<PathBuf> {
        let link = open_beneath(&self.roots[layer], path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Whether a parent of an absent path is a whiteout, no folder, or opaque in this layer.
    fn hides(&self, layer: usize, path: &Path) -> io::Result<bool> {
        let mut parent = PathBuf::new();
        for part in parts(path) {
            // The root itself can be opaque too.
            match open_beneath(&self.roots[layer], &parent, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY) {
                Ok(folder) if is_opaque(&folder) => return Ok(true),
                Ok(_) => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(true),
                Err(e) => return Err(e.into()),
            }
            parent.push(part);
        }
        Ok(false)
    }
}

/// Opens below a root, through no symbolic link at all.
pub fn open_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // With O_PATH and O_NOFOLLOW a link as the last part is opened itself.
    loop {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel asks for another try when a rename raced with the look-up.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

pub fn open_root(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

pub fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Overlayfs's sign for "removed here": a character device 0, 0.
pub fn is_whiteout(stat: &Stat) -> bool {
    is(stat, FileType::CharacterDevice) && stat.st_rdev == 0
}

pub fn is_opaque(folder: impl AsFd) -> bool {
    let mut value = [0u8; 1];
    matches!(rustix::fs::fgetxattr(folder, OPAQUE, &mut value[..]), Ok(1)) && value[0] == b'y'
}

/// lstat of one name in an open folder; None if absent.
pub fn stat_in(folder: impl AsFd, name: &std::ffi::OsStr) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The parts of a path that name something; `..` stays.
pub fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|c| match c {
            Component::Normal(part) => Some(part.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// A path of an archive: absolute or not, it is meant below the root. None if it leads outside.
pub fn inside(path: &[u8]) -> Option<PathBuf> {
    let mut inside = PathBuf::new();
    for part in parts(Path::new(std::ffi::OsStr::from_bytes(path))) {
        if part == ".." {
            if !inside.pop() {
                return None;
            }
        } else {
            inside.push(part);
        }
    }
    Some(inside)
}
