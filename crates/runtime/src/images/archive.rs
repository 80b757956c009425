//! Loads images from an OCI layout or a docker archive (`docker save`), as a tar or a folder.
//!
//! A tar's members come in any order, so it is spooled to a file first and read in place by offset;
//! layers are unpacked straight from there. All images of an archive enter the index, or none.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::engine::{Error, Reader, Result};
use crate::images::bounds::{Bounded, Bounds, Left, named};
use crate::images::draft::Draft;
use crate::images::manifest::{DOCUMENT_SIZE_MAX, Descriptor, ImageConfig, Manifest, Platform, Search, Unfit};
use crate::images::reference::{hex_of, is_hex};
use crate::images::tree::inside;
use crate::images::{ImagesStore, NewImage, Pins, Reference, blocking, builtin, chain_ids, layer};
use crate::state::Image;
use crate::untrusted::open_plain;

/// Layers, configurations and manifests of all images of an archive.
const MEMBERS_MAX: usize = 1 << 16;

/// Where members are read from.
pub enum Source {
    Folder(OwnedFd),
    Tar(Tar),
}

pub struct Tar {
    file: fs::File,
    members: HashMap<PathBuf, Member>,
    /// Holds the file.
    _folder: Draft,
}

enum Member {
    Content {
        offset: u64,
        size: u64,
    },
    /// Old docker archives share layers by symbolic links.
    Link(PathBuf),
}

/// One entry of a docker archive's manifest.json.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Keeps an archive on the disk, uncompressed, with a table of its members.
pub async fn spool(store: &Arc<ImagesStore>, mut archive: Reader) -> Result<Source> {
    let folder = store.temporary("load")?;
    let path = folder.path().join("archive");
    let context = |e: io::Error| Error::Failed(format!("reading the archive: {e}"));
    let mut file = tokio::fs::File::create(&path).await.map_err(context)?;
    tokio::io::copy(&mut archive, &mut file).await.map_err(context)?;
    tokio::io::AsyncWriteExt::shutdown(&mut file).await.map_err(context)?;
    drop(file);
    let bounds = store.bounds;
    blocking(move || {
        let file = uncompressed(&path, bounds).map_err(context)?;
        let members = members(&file).map_err(context)?;
        Ok(Source::Tar(Tar { file, members, _folder: folder }))
    })
    .await
}

/// Loads all that an archive holds for this machine.
pub fn load(store: &Arc<ImagesStore>, source: Source) -> Result<Vec<Image>> {
    let loaded = if source.has("index.json") {
        layout(store, &source)
    } else if source.has("manifest.json") {
        docker(store, &source)
    } else {
        Err(Error::Failed(
            "the archive is neither an OCI layout (no index.json) nor a docker archive (no manifest.json)".into(),
        ))
    };
    let images = loaded.and_then(|(new, pins)| {
        new.iter().try_for_each(|image| builtin::require_other_name(store, image))?;
        // What an image was called before is not what this archive calls it.
        let named = |new: NewImage| {
            let (tags, digests) = (new.tags.clone(), new.digests.clone());
            Ok(Image { tags, digests, ..store.commit(new)? })
        };
        let images = new.into_iter().map(named).collect();
        drop(pins);
        images
    });
    if images.is_err() {
        store.sweep();
    }
    images
}

type Loaded = (Vec<NewImage>, Vec<Pins>);

fn layout(store: &Arc<ImagesStore>, source: &Source) -> Result<Loaded> {
    let index = Manifest::parse(&source.read("index.json")?)?;
    let (mut images, mut pins, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for descriptor in index.manifests.iter().filter(|d| is_image_for_us(d)) {
        let chosen = match choose(source, descriptor, &mut Search::new()) {
            Err(Unfit::Foreign(why)) => {
                others.push(why);
                continue;
            }
            chosen => chosen.map_err(Unfit::alone)?,
        };
        let Chosen { manifest, bytes, config } = chosen;
        let names: Vec<String> = manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
        let (mut image, pin) = add(store, source, config, &names)?;
        let annotation = |key: &str| descriptor.annotations.get(key).and_then(|name| full_name(name));
        // Docker and containerd write the full name; others the tag alone, which names nothing.
        let name = annotation("io.containerd.image.name").or_else(|| annotation("org.opencontainers.image.ref.name"));
        if let Some(name) = name {
            image.tags.extend(name.tagged());
            image.digests.push(name.at(&descriptor.digest));
        }
        store.write_blob(&digest_of(&bytes), &bytes)?;
        images.push(image);
        pins.push(pin);
    }
    if images.is_empty() {
        let ours = Platform::ours();
        let others = if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
        return Err(Error::Failed(format!("the archive holds no image for {}/{}{others}", ours.os, ours.architecture)));
    }
    Ok((images, pins))
}

fn docker(store: &Arc<ImagesStore>, source: &Source) -> Result<Loaded> {
    let entries: Vec<DockerEntry> = serde_json::from_slice(&source.read("manifest.json")?)
        .map_err(|e| Error::Failed(format!("the archive's manifest.json cannot be read: {e}")))?;
    let (mut images, mut pins) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut config = source.read(&entry.config)?;
        let stem = Path::new(&entry.config).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if is_hex(&stem, 64) {
            config = checked(config, &format!("sha256:{stem}"))?;
        }
        ImageConfig::for_this_machine(&config).map_err(Unfit::alone)?;
        let (mut image, pin) = add(store, source, config, &entry.layers)?;
        for tag in entry.repo_tags.unwrap_or_default() {
            image.tags.extend(Reference::parse(&tag).map_err(Error::Failed)?.tagged());
        }
        images.push(image);
        pins.push(pin);
    }
    if images.is_empty() {
        return Err(Error::Failed("the archive's manifest.json names no image".into()));
    }
    Ok((images, pins))
}

/// Unpacks what is missing of an image.
fn add(store: &Arc<ImagesStore>, source: &Source, config: Vec<u8>, names: &[String]) -> Result<(NewImage, Pins)> {
    let id = digest_of(&config);
    let parsed = ImageConfig::parse(&config)?;
    let diff_ids = parsed.layers(names.len()).map_err(|why| Error::Failed(format!("image {id}: {why}")))?;
    let chain = chain_ids(diff_ids);
    let pins = store.pin(pinned(&id, diff_ids, &chain));
    let (mut layers, mut lowers) = (Vec::new(), Vec::new());
    let mut left = Left::of(store.bounds);
    for ((diff_id, chain_id), name) in diff_ids.iter().zip(&chain).zip(names) {
        let lock = store.layer_lock(diff_id);
        let _held = lock.blocking_lock();
        let key = match store.present_layer(diff_id, chain_id, &lowers)? {
            Some(key) => key,
            None => store
                .unpack_layer(source.open(name)?, diff_id, chain_id, &lowers, &left)
                .map_err(|why| Error::Failed(format!("image {id}: {why}")))?,
        };
        store.count_layer(&key, &mut left).map_err(|why| Error::Failed(format!("image {id}: {why}")))?;
        lowers.insert(0, store.layer_root(&key));
        layers.push(key);
    }
    Ok((NewImage { id, config, layers, tags: Vec::new(), digests: Vec::new(), preloaded: true }, pins))
}

/// Everything that an image in the making needs left alone.
pub fn pinned(id: &str, diff_ids: &[String], chain: &[String]) -> Vec<String> {
    let mut names = vec![hex_of(id).to_string()];
    names.extend(diff_ids.iter().map(|d| hex_of(d).to_string()));
    names.extend(chain.iter().map(|c| format!("c-{}", hex_of(c))));
    names
}

/// An image's manifest, as it is read and as it stands, and its configuration.
struct Chosen {
    manifest: Manifest,
    bytes: Vec<u8>,
    config: Vec<u8>,
}

/// Follows indexes to the image for this machine.
fn choose(source: &Source, descriptor: &Descriptor, search: &mut Search) -> Result<Chosen, Unfit> {
    let name = blob_name(&descriptor.digest);
    if !source.has(&name) {
        // Archives need not hold all that their index names.
        return Err(Unfit::Foreign(format!("{} is left out", descriptor.digest)));
    }
    search.look()?;
    let bytes = checked(source.read(&name)?, &descriptor.digest)?;
    let manifest = Manifest::parse(&bytes)?;
    if manifest.manifests.is_empty() {
        let id = &manifest.image_config()?.digest;
        let config = checked(source.read(&blob_name(id))?, id)?;
        ImageConfig::for_this_machine(&config)?;
        return Ok(Chosen { manifest, bytes, config });
    }
    search.descend()?;
    let mut found = Vec::new();
    for candidate in manifest.candidates() {
        match choose(source, candidate, search) {
            Err(Unfit::Foreign(why)) => found.push(why),
            other => return other,
        }
    }
    search.ascend();
    Err(manifest.none_is_ours(found))
}

fn is_image_for_us(descriptor: &Descriptor) -> bool {
    let fits = descriptor.platform().is_none_or(Platform::is_ours);
    // Build attestations stand beside the images that they speak of.
    fits && !descriptor.annotations.contains_key("vnd.docker.reference.type")
}

fn full_name(name: &str) -> Option<Reference> {
    // A tag alone would parse as a repository's name.
    name.contains(['/', ':']).then(|| Reference::parse(name).ok()).flatten()
}

fn blob_name(digest: &str) -> String {
    format!("blobs/sha256/{}", hex_of(digest))
}

fn digest_of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn checked(bytes: Vec<u8>, digest: &str) -> Result<Vec<u8>> {
    let found = digest_of(&bytes);
    if found != digest {
        return Err(Error::Failed(format!("the content under {digest} has the digest {found}")));
    }
    Ok(bytes)
}

impl Source {
    fn has(&self, name: &str) -> bool {
        match self {
            Source::Folder(folder) => open_member(folder, name).is_ok(),
            Source::Tar(tar) => tar.find(name).is_some(),
        }
    }

    /// A whole document; layers go through `open`.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let context = |e: io::Error| Error::Failed(format!("{name} in the archive: {e}"));
        self.open(name)?.take(DOCUMENT_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(context)?;
        if bytes.len() as u64 > DOCUMENT_SIZE_MAX {
            return Err(Error::Failed(format!("{name} in the archive is larger than {DOCUMENT_SIZE_MAX} bytes")));
        }
        Ok(bytes)
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + '_>> {
        let absent = || Error::Failed(format!("the archive lacks {name}"));
        match self {
            Source::Folder(folder) => {
                let file =
                    open_member(folder, name).map_err(|e| Error::Failed(format!("{name} in the folder: {e}")))?;
                Ok(Box::new(file))
            }
            Source::Tar(tar) => {
                let (offset, size) = tar.find(name).ok_or_else(absent)?;
                Ok(Box::new(Slice { file: &tar.file, offset, end: offset + size }))
            }
        }
    }
}

/// A plain file of a layout's folder; links are followed inside it only.
fn open_member(folder: &OwnedFd, name: &str) -> io::Result<fs::File> {
    let name = inside(name.as_bytes()).ok_or(io::ErrorKind::NotFound)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found = rustix::fs::openat2(folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    open_plain(&found, OFlags::RDONLY)
}

impl Tar {
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut path = inside(name.as_bytes())?;
        for _ in 0..8 {
            match self.members.get(&path)? {
                Member::Content { offset, size } => return Some((*offset, *size)),
                Member::Link(target) => path = target.clone(),
            }
        }
        None
    }
}

/// A part of a file.
struct Slice<'a> {
    file: &'a fs::File,
    offset: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min((self.end - self.offset) as usize);
        let n = self.file.read_at(&mut buf[..want], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

fn uncompressed(path: &Path, bounds: Bounds) -> io::Result<fs::File> {
    let mut head = [0u8; 4];
    let packed = fs::File::open(path)?;
    let compressed = packed.read_at(&mut head, 0)? == 4 && layer::is_compressed(&head);
    if !compressed {
        return Ok(packed);
    }
    let plain = path.with_extension("tar");
    let mut content = layer::decompressed(packed)?.take(bounds.size.saturating_add(1));
    if io::copy(&mut content, &mut fs::File::create(&plain)?)? > bounds.size {
        return Err(io::Error::other(format!(
            "decompressed, the archive is larger than {} bytes (--image-size-max bounds it as a whole; save its images \
             one by one, or uncompressed)",
            bounds.size
        )));
    }
    fs::remove_file(path)?;
    fs::File::open(plain)
}

fn members(mut file: &fs::File) -> io::Result<HashMap<PathBuf, Member>> {
    file.seek(SeekFrom::Start(0))?;
    let mut members = HashMap::new();
    let (file, allowance) = Bounded::over(file);
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries_with_seek()?;
    loop {
        // Contents are passed over by seeking: only headers are read here.
        allowance.headers();
        let Some(entry) = entries.next() else { return Ok(members) };
        let mut entry = entry?;
        named(entry.path_bytes().len())?;
        if members.len() >= MEMBERS_MAX {
            return Err(io::Error::other(format!("more than {MEMBERS_MAX} members; no image has so many")));
        }
        let Some(path) = inside(&entry.path_bytes()) else { continue };
        let kind = entry.header().entry_type();
        let mut extensions = entry.pax_extensions()?.into_iter().flatten().flatten();
        if kind.is_gnu_sparse() || extensions.any(|e| e.key_bytes().starts_with(b"GNU.sparse.")) {
            return Err(io::Error::other(format!("its member {path:?} is stored as a sparse file (tar --sparse)")));
        }
        if kind.is_file() {
            members.insert(path, Member::Content { offset: entry.raw_file_position(), size: entry.size() });
        } else if (kind.is_symlink() || kind.is_hard_link())
            && let Some(target) = entry.link_name_bytes()
        {
            named(target.len())?;
            let target = match path.parent().filter(|_| kind.is_symlink()) {
                Some(parent) => inside([parent.as_os_str().as_encoded_bytes(), b"/", &target].concat().as_slice()),
                None => inside(&target),
            };
            members.extend(target.map(|target| (path, Member::Link(target))));
        }
    }
}
