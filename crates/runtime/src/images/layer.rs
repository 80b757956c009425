//! Unpacks one layer's archive into a folder that serves as an overlay's lower directory.
//!
//! Nothing is ever written through a symbolic link: parents are resolved inside the image and opened
//! with openat2. Whiteouts become overlayfs's. A parent that the archive does not name takes the
//! looks of the layers below (containerd unpacks onto the mounted layers, to the same end).

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::engine::{Error, Result};
use crate::images::attributes::{self, Attributes};
use crate::images::bounds::{Bounded, Left, named};
use crate::images::tree::{self, Tree, inside, is, is_whiteout, open_beneath, stat_in};
use crate::removal::{self, Mounts};

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
const WHITEOUT_AUFS: &[u8] = b".wh..wh.";
/// Up to so many files are synced one by one, more by one call for the whole file system.
const SYNCED_ALONE_MAX: usize = 32;
/// Bytes of paths that are kept until the layer is whole; usual images need thousands.
const PATHS_SIZE_MAX: usize = 64 << 20;

/// What came out of an archive.
#[derive(Debug)]
pub struct Unpacked {
    /// `sha256:…` of the archive, uncompressed.
    pub diff_id: String,
    /// Bytes of its files.
    pub size: u64,
    /// What it made: files, folders, links.
    pub files: u64,
    /// Parents that the archive used without naming them.
    pub implied: Vec<PathBuf>,
    /// Whether the outcome took anything from the layers below.
    pub depends: bool,
}

/// Unpacks an archive (plain, gzip or zstd) into the empty folder `into`; `lowers` are the layers
/// below, topmost first. On an error the caller removes the folder.
/// No more than what is `left` to the image is written, or read.
pub fn unpack(archive: impl Read, into: &Path, lowers: &[PathBuf], left: &Left) -> Result<Unpacked> {
    let inner = decompressed(archive).map_err(unreadable)?;
    let mut plain = Hashed { inner, hash: Sha256::new(), read: 0, left: *left };
    let mut unpacker =
        Unpacker::new(into, lowers, *left).map_err(|e| Error::Failed(format!("unpacking a layer: {e}")))?;
    let (source, allowance) = Bounded::over(&mut plain);
    let mut tar = tar::Archive::new(source);
    let mut entries = tar.entries().map_err(unreadable)?;
    loop {
        allowance.headers();
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(unreadable)?;
        allowance.content();
        unpacker.entry(&mut entry).map_err(|e| Error::Failed(format!("layer entry {}: {e}", shown(&entry))))?;
        // Content that the entry has no use for must not count as the next one's headers.
        if !entry.header().entry_type().is_gnu_sparse() {
            io::copy(&mut entry, &mut io::sink()).map_err(unreadable)?;
        }
    }
    drop(tar);
    // What follows the archive's end mark belongs to the digest too.
    io::copy(&mut plain, &mut io::sink()).map_err(unreadable)?;
    let diff_id = format!("sha256:{:x}", plain.hash.finalize());
    let files = unpacker.made;
    let (size, implied, depends) = unpacker.finish().map_err(|e| Error::Failed(format!("unpacking a layer: {e}")))?;
    Ok(Unpacked { diff_id, size, files, implied, depends })
}

/// Reads through gzip or zstd where the first bytes say so.
pub fn decompressed<'a>(mut archive: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::with_capacity(4);
    archive.by_ref().take(4).read_to_end(&mut head)?;
    let kind = head.clone();
    let whole = io::Cursor::new(head).chain(archive);
    Ok(match form(&kind) {
        Form::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 16, whole))),
        Form::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
        Form::Unread(name) => {
            return Err(io::Error::other(format!("{name} is not read; use gzip, zstd or no compression")));
        }
        Form::Plain => Box::new(io::BufReader::with_capacity(1 << 16, whole)),
    })
}

enum Form {
    Plain,
    Gzip,
    Zstd,
    Unread(&'static str),
}

/// How something is compressed, by its first four bytes.
fn form(head: &[u8]) -> Form {
    match head {
        [0x1f, 0x8b, ..] => Form::Gzip,
        // A frame, or one to be skipped: what tools put their own data into (RFC 8878, 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Form::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9'] => Form::Unread("bzip2"),
        [0xfd, b'7', b'z', b'X'] => Form::Unread("xz"),
        [0x04, 0x22, 0x4d, 0x18] => Form::Unread("lz4"),
        _ => Form::Plain,
    }
}

/// Whether these are the first bytes of something that `decompressed` has to work on (or refuse).
pub fn is_compressed(head: &[u8]) -> bool {
    !matches!(form(head), Form::Plain)
}

/// Whether a layer unpacked elsewhere would come out the same above these layers.
pub fn fits(implied: &[String], lowers: &[PathBuf]) -> io::Result<bool> {
    if implied.is_empty() || lowers.is_empty() {
        return Ok(true);
    }
    let below = Tree::open(lowers)?;
    for path in implied {
        let path = Path::new(path);
        let plain = match below.look(path)? {
            None => true,
            Some(place) => attributes::is_plain_folder(&below, &place, path)?,
        };
        // A link among the parents leads elsewhere.
        if !plain || below.resolve(path, true)? != path {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of an entry as errors show it, cut where it is absurd.
fn shown(entry: &tar::Entry<'_, impl Read>) -> String {
    let path = entry.path_bytes();
    format!("{:?}", String::from_utf8_lossy(&path[..path.len().min(256)]))
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
    read: u64,
    left: Left,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        self.read += n as u64;
        self.left.check_archive(self.read).map_err(io::Error::other)?;
        Ok(n)
    }
}

struct Unpacker {
    /// The layer itself.
    root: Rc<OwnedFd>,
    below: Tree,
    /// The parent of the last entry, as the archive wrote it: entries of one folder follow each other.
    last_parent: Option<(PathBuf, Rc<OwnedFd>, PathBuf)>,
    /// Folders get their times last, since their entries change them.
    folder_times: Vec<(PathBuf, (i64, u32))>,
    root_named: bool,
    files: Vec<PathBuf>,
    file_count: usize,
    left: Left,
    /// Entries, and folders that no entry names.
    made: u64,
    size: u64,
    implied: Vec<PathBuf>,
    /// Bytes of the paths in `folder_times` and `implied`.
    paths_size: usize,
    depends: bool,
    buffer: Vec<u8>,
}

impl Unpacker {
    fn new(into: &Path, lowers: &[PathBuf], left: Left) -> io::Result<Unpacker> {
        let root = tree::open_root(into)?;
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755))?;
        Ok(Unpacker {
            root: Rc::new(root),
            below: Tree::open(lowers)?,
            last_parent: None,
            folder_times: Vec::new(),
            root_named: false,
            files: Vec::new(),
            file_count: 0,
            left,
            made: 0,
            size: 0,
            implied: Vec::new(),
            paths_size: 0,
            depends: false,
            buffer: vec![0; 1 << 17],
        })
    }

    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        self.count(1)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let raw = entry.path_bytes();
        named(raw.len())?;
        let path = inside(&raw).ok_or_else(|| io::Error::other("it leads outside the image's root"))?;
        drop(raw);
        let attributes = Attributes::of(entry)?;
        let Some(name) = path.file_name() else {
            self.root_named = true;
            self.note_times(PathBuf::new(), attributes.mtime)?;
            return attributes.set_open(&self.root);
        };
        let (parent, parent_path) = self.parent(path.parent().unwrap_or(Path::new("")))?;
        if name.as_bytes().starts_with(WHITEOUT) {
            if kind.is_gnu_sparse() {
                return Err(io::Error::other("a whiteout is no sparse file"));
            }
            return self.whiteout(&parent, name);
        }
        let here = parent_path.join(name);
        let hidden_below = self.clear(&parent, name, kind.is_dir())?;
        if kind.is_dir() {
            self.folder(&parent, name, &attributes, hidden_below)?;
            self.note_times(here, attributes.mtime)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            self.file(&parent, name, &attributes, entry)?;
            self.note_file(here);
        } else if kind.is_symlink() {
            self.last_parent = None;
            let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("a symbolic link without target"))?;
            rustix::fs::symlinkat(OsStr::from_bytes(&target), &*parent, name)?;
            attributes.set_link(&parent, name)?;
        } else if kind.is_hard_link() {
            let target = entry.link_name_bytes().ok_or_else(|| io::Error::other("a hard link without target"))?;
            self.hard_link(&target, &parent, name)?;
        } else if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
            self.node(&parent, name, kind, entry.header(), &attributes)?;
        } else {
            return Err(io::Error::other(format!("entries of type {:?} are not read", kind.as_byte() as char)));
        }
        Ok(())
    }

    /// Opens the folder that an entry belongs into, making what is missing.
    fn parent(&mut self, raw: &Path) -> io::Result<(Rc<OwnedFd>, PathBuf)> {
        if let Some((last, folder, path)) = &self.last_parent
            && last == raw
        {
            return Ok((folder.clone(), path.clone()));
        }
        let mut rest = tree::parts(raw);
        let (mut folder, mut path) = (self.root.clone(), PathBuf::new());
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                path.pop();
                folder = Rc::new(open_beneath(&*self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY)?);
                continue;
            }
            match self.step(&folder, &path, &part)? {
                Step::Into(next) => {
                    folder = next;
                    path.push(part);
                }
                Step::Link(target) => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP.into());
                    }
                    if target.is_absolute() {
                        path = PathBuf::new();
                        folder = self.root.clone();
                    }
                    for part in tree::parts(&target).into_iter().rev() {
                        rest.push_front(part);
                    }
                }
            }
        }
        self.last_parent = Some((raw.to_path_buf(), folder.clone(), path.clone()));
        Ok((folder, path))
    }

    /// One part of a parent: the folder of that name, or the link that stands there.
    fn step(&mut self, folder: &Rc<OwnedFd>, path: &Path, part: &OsStr) -> io::Result<Step> {
        let here = path.join(part);
        // Links among the parents can make it longer than the entry says.
        named(here.as_os_str().len())?;
        match stat_in(&**folder, part)? {
            Some(stat) if is(&stat, FileType::Directory) => {}
            Some(stat) if is(&stat, FileType::Symlink) => {
                let target = rustix::fs::readlinkat(&**folder, part, Vec::new())?;
                return Ok(Step::Link(PathBuf::from(OsStr::from_bytes(target.to_bytes()))));
            }
            Some(stat) if is_whiteout(&stat) => {
                rustix::fs::unlinkat(&**folder, part, AtFlags::empty())?;
                self.folder(folder, part, &Attributes::plain_folder(), true)?;
            }
            Some(_) => return Err(io::Error::other(format!("its parent /{} is no folder", here.display()))),
            None => match self.below.look(&here)? {
                Some(place) if is(&place.stat, FileType::Symlink) => {
                    self.depends = true;
                    self.imply(here.clone())?;
                    return Ok(Step::Link(self.below.read_link(place.layer, &here)?));
                }
                Some(place) if !is(&place.stat, FileType::Directory) => {
                    return Err(io::Error::other(format!("its parent /{} is no folder", here.display())));
                }
                found => {
                    self.count(1)?;
                    self.imply(here.clone())?;
                    let attributes = match found {
                        Some(place) if !attributes::is_plain_folder(&self.below, &place, &here)? => {
                            self.depends = true;
                            Attributes::of_file(&self.below, &place, &here)?
                        }
                        _ => Attributes::plain_folder(),
                    };
                    self.folder(folder, part, &attributes, false)?;
                    self.note_times(here.clone(), attributes.mtime)?;
                }
            },
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Step::Into(Rc::new(rustix::fs::openat(&**folder, part, flags, Mode::empty())?)))
    }

    fn whiteout(&mut self, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        if name.as_bytes() == WHITEOUT_OPAQUE {
            return set_opaque(parent);
        }
        // Other double marks are aufs's own bookkeeping.
        if name.as_bytes().starts_with(WHITEOUT_AUFS) {
            return Ok(());
        }
        let name = OsStr::from_bytes(&name.as_bytes()[WHITEOUT.len()..]);
        if name.is_empty() || name == "." || name == ".." {
            return Err(io::Error::other("it removes nothing that has a name"));
        }
        // A whiteout speaks of the layers below, not of what this layer itself brought (image-spec, layer.md).
        match stat_in(parent, name)? {
            None => Ok(rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)?),
            Some(stat) if is(&stat, FileType::Directory) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                set_opaque(rustix::fs::openat(parent, name, flags, Mode::empty())?)
            }
            Some(_) => Ok(()),
        }
    }

    /// Removes what this layer itself already has under a name, unless a folder meets a folder. True if
    /// what it removed hid whatever the layers below have there.
    fn clear(&mut self, parent: &OwnedFd, name: &OsStr, folder: bool) -> io::Result<bool> {
        let Some(stat) = stat_in(parent, name)? else { return Ok(false) };
        let was_folder = is(&stat, FileType::Directory);
        if was_folder && folder {
            return Ok(false);
        }
        self.last_parent = None;
        if was_folder {
            removal::remove_at(parent, name, Path::new(name), Mounts::Refused)?
        } else {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?
        }
        Ok(!was_folder)
    }

    fn folder(&mut self, parent: &OwnedFd, name: &OsStr, attributes: &Attributes, opaque: bool) -> io::Result<()> {
        match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        if opaque {
            set_opaque(&folder)?;
        }
        attributes.set_open(&folder)
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        attributes: &Attributes,
        content: &mut impl Read,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = std::fs::File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        loop {
            let n = content.read(&mut self.buffer)?;
            if n == 0 {
                break;
            }
            // Before it is written: a hole of a sparse file has no end.
            self.size += n as u64;
            self.left.check(self.size, self.made).map_err(io::Error::other)?;
            file.write_all(&self.buffer[..n])?;
        }
        attributes.set_open(&file)?;
        attributes.set_times(&file)
    }

    fn hard_link(&mut self, target: &[u8], parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
        let outside = || io::Error::other("its target leads outside the image's root");
        named(target.len())?;
        let target = inside(target).ok_or_else(outside)?;
        let target_name = target.file_name().ok_or_else(outside)?.to_os_string();
        let keep = self.last_parent.clone();
        let (target_parent, target_path) = self.parent(target.parent().unwrap_or(Path::new("")))?;
        let here = target_path.join(&target_name);
        match stat_in(&*target_parent, &target_name)? {
            Some(stat) if is(&stat, FileType::Directory) => return Err(io::Error::other("a hard link to a folder")),
            Some(stat) if !is_whiteout(&stat) => {}
            _ => self.copy_up(&target_parent, &target_name, &here)?,
        }
        rustix::fs::linkat(&*target_parent, &target_name, parent, name, AtFlags::empty())?;
        self.last_parent = keep;
        Ok(())
    }

    /// A hard link may name a file of a layer below: it is copied up, as overlayfs does.
    fn copy_up(&mut self, parent: &OwnedFd, name: &OsStr, here: &Path) -> io::Result<()> {
        let absent = || io::Error::other(format!("its target /{} does not exist", here.display()));
        let place = self.below.look(here)?.ok_or_else(absent)?;
        if stat_in(parent, name)?.is_some() {
            return Err(absent());
        }
        self.depends = true;
        let attributes = Attributes::of_file(&self.below, &place, here)?;
        if is(&place.stat, FileType::Symlink) {
            rustix::fs::symlinkat(self.below.read_link(place.layer, here)?, parent, name)?;
            return attributes.set_link(parent, name);
        }
        if !is(&place.stat, FileType::RegularFile) {
            return Err(io::Error::other("a hard link to a special file of another layer"));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        let mut content = std::fs::File::from(open_beneath(self.below.root(place.layer), here, flags)?);
        self.file(parent, name, &attributes, &mut content)?;
        self.note_file(here.to_path_buf());
        Ok(())
    }

    fn node(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        kind: tar::EntryType,
        header: &tar::Header,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let number = || -> io::Result<u64> {
            let (major, minor) = (header.device_major()?, header.device_minor()?);
            Ok(rustix::fs::makedev(major.unwrap_or(0), minor.unwrap_or(0)))
        };
        let (kind, device) = match kind {
            tar::EntryType::Char => (FileType::CharacterDevice, number()?),
            tar::EntryType::Block => (FileType::BlockDevice, number()?),
            _ => (FileType::Fifo, 0),
        };
        match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device) {
            // Containers get their devices from the runtime; as Docker does without the right to make them.
            Err(Errno::PERM) if kind != FileType::Fifo => {
                tracing::warn!(name = %name.display(), "this machine does not let device files be made; left out");
                Ok(())
            }
            Err(e) => Err(e.into()),
            Ok(()) => attributes.set_node(parent, name),
        }
    }

    fn count(&mut self, more: u64) -> io::Result<()> {
        self.made += more;
        self.left.check(self.size, self.made).map_err(io::Error::other)
    }

    fn imply(&mut self, path: PathBuf) -> io::Result<()> {
        self.count_path(&path)?;
        self.implied.push(path);
        Ok(())
    }

    fn note_times(&mut self, path: PathBuf, mtime: (i64, u32)) -> io::Result<()> {
        self.count_path(&path)?;
        self.folder_times.push((path, mtime));
        Ok(())
    }

    fn count_path(&mut self, path: &Path) -> io::Result<()> {
        self.paths_size += path.as_os_str().len();
        match self.paths_size > PATHS_SIZE_MAX {
            true => {
                Err(io::Error::other(format!("the layer's folders have more than {PATHS_SIZE_MAX} bytes of names")))
            }
            false => Ok(()),
        }
    }

    fn note_file(&mut self, path: PathBuf) {
        self.file_count += 1;
        if self.file_count <= SYNCED_ALONE_MAX {
            self.files.push(path);
        }
    }

    /// Sets the folders' times and makes everything durable.
    fn finish(mut self) -> io::Result<(u64, Vec<PathBuf>, bool)> {
        if !self.root_named
            && let Some(place) = self.below.look(Path::new(""))?
        {
            let attributes = Attributes::of_file(&self.below, &place, Path::new(""))?;
            self.depends |= !attributes::is_plain_folder(&self.below, &place, Path::new(""))?;
            self.implied.push(PathBuf::new());
            attributes.set_open(&self.root)?;
        }
        let durable_alone = self.file_count <= SYNCED_ALONE_MAX && self.folder_times.len() <= SYNCED_ALONE_MAX;
        if durable_alone {
            for path in &self.files {
                match open_beneath(&*self.root, path, OFlags::RDONLY | OFlags::NOFOLLOW) {
                    Ok(file) => rustix::fs::fsync(file)?,
                    // Replaced by a later entry.
                    Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO) => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        for (path, mtime) in self.folder_times.iter().rev() {
            match open_beneath(&*self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
                Ok(folder) => {
                    attributes::set_open_times(&folder, *mtime)?;
                    if durable_alone {
                        rustix::fs::fsync(folder)?;
                    }
                }
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if durable_alone {
            rustix::fs::fsync(&*self.root)?
        } else {
            rustix::fs::syncfs(&*self.root)?
        }
        Ok((self.size, self.implied, self.depends))
    }
}

enum Step {
    Into(Rc<OwnedFd>),
    Link(PathBuf),
}

fn set_opaque(folder: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(folder, tree::OPAQUE, b"y", rustix::fs::XattrFlags::empty())?)
}

fn unreadable(e: io::Error) -> Error {
    Error::Failed(format!("the layer's archive cannot be read: {e}"))
}

#[cfg(test)]
mod tests;
