//! The images of a machine: a content store that unpacks each layer once and hands out overlay roots.
//!
//! Below one folder: `index.json` (the truth: names, layers), `blobs/sha256` (configurations, manifests,
//! and layers on their way), `layers/<key>/{fs,layer.json}` (unpacked, shared) and `tmp`. Laws: the index
//! names only what is whole and durable; what it does not name is garbage, swept after a failure and by
//! `collect`; no layer is unpacked by two at once; pulls that are dropped leave only what a later one resumes.

/// OCI layouts and docker archives.
mod archive;
/// Owner, mode, times and extended attributes.
pub(crate) mod attributes;
/// What an image may take of the machine.
pub mod bounds;
/// The image that the binary itself carries.
pub mod builtin;
/// Registry credentials: matching, and ~/.docker/config.json.
pub mod credentials;
/// HTTP connections: names, TLS, reuse.
mod dial;
/// Folders on their way.
mod draft;
/// The index on the disk.
mod index;
/// One layer's archive into one folder.
mod layer;
/// The JSON of manifests and configurations.
mod manifest;
/// Pulling: which layers are missing, in parallel, verified, resumed.
mod pull;
/// Names as Docker resolves them.
pub mod reference;
/// Mirrors, insecure registries, certificates: `registries.yaml`.
pub mod registries;
/// The registry protocol: manifests, blobs, tokens.
mod registry;
/// Layers seen as one tree.
pub(crate) mod tree;
/// Users and groups of an image.
mod users;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::engine::{Boxed, Credential, Error, Images, Progress, Reader, Result};
use crate::images::bounds::{Bounds, Left};
use crate::images::draft::Draft;
use crate::images::index::{Index, LayerRecord, Row};
use crate::images::manifest::ImageConfig;
pub use crate::images::reference::Reference;
use crate::images::reference::{hex_of, is_digest, is_hex};
use crate::images::registries::Registries;
use crate::removal::{self, Mounts};
use crate::state::{Image, ImageUser};

/// Where a store looks outside its own folder.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub registries: Registries,
    /// `~/.docker/config.json`; None: no credentials but those given with a pull.
    pub docker_config: Option<PathBuf>,
    /// What one image may unpack to.
    pub bounds: Bounds,
}

/// Ids (`sha256:…`) of images that containers use.
pub type InUse = Arc<dyn Fn() -> BTreeSet<String> + Send + Sync>;

pub struct ImagesStore {
    /// Itself: pulls and loads outlive the borrow that began them.
    me: Weak<ImagesStore>,
    dir: PathBuf,
    state: Mutex<State>,
    /// One lock per layer that somebody downloads or unpacks.
    layer_locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    registry: registry::Client,
    bounds: Bounds,
    in_use: Mutex<Option<InUse>>,
    /// Held for the store's life: two processes never share a folder.
    _lock: fs::File,
}

struct State {
    index: Index,
    images: BTreeMap<String, Image>,
    /// Layers and blobs that running pulls and loads rely on, with how many of them.
    pins: HashMap<String, usize>,
}

/// An image ready to enter the index.
struct NewImage {
    id: String,
    config: Vec<u8>,
    /// Keys of its layers, the bottom first.
    layers: Vec<String>,
    tags: Vec<String>,
    digests: Vec<String>,
    preloaded: bool,
}

impl ImagesStore {
    /// Opens or makes a store, without configuration: no mirrors, no ~/.docker/config.json.
    pub fn open(dir: &Path) -> Result<Arc<ImagesStore>> {
        ImagesStore::open_with(dir, Config::default())
    }

    pub fn open_with(dir: &Path, config: Config) -> Result<Arc<ImagesStore>> {
        let context = |e: io::Error| Error::Failed(format!("image store {}: {e}", dir.display()));
        for part in ["blobs/sha256", "layers"] {
            fs::create_dir_all(dir.join(part)).map_err(context)?;
        }
        // Layers hold set-user-id programs, which are not for the host's users.
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(context)?;
        let lock = fs::File::create(dir.join("lock")).map_err(context)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Error::Failed(format!("image store {} is in use by another process", dir.display())))?;
        // What a crash left half done.
        removal::remove(&dir.join("tmp"), Mounts::Refused).map_err(context)?;
        fs::create_dir_all(dir.join("tmp")).map_err(context)?;
        let index = Index::read(dir)?;
        let mut images = BTreeMap::new();
        for (id, row) in &index.images {
            images.insert(id.clone(), assemble(dir, id, row)?);
        }
        let registry = registry::Client::new(config.registries, config.docker_config);
        Ok(Arc::new_cyclic(|me| ImagesStore {
            me: me.clone(),
            dir: dir.to_path_buf(),
            state: Mutex::new(State { index, images, pins: HashMap::new() }),
            layer_locks: Mutex::default(),
            registry,
            bounds: config.bounds,
            in_use: Mutex::new(None),
            _lock: lock,
        }))
    }

    /// The lower directories of an overlay over this image, the topmost first. A layer that is repeated
    /// stands where it comes last: whatever it has, it has there over all below, and overlayfs takes no
    /// folder twice.
    pub fn rootfs(&self, image_id: &str) -> Result<Vec<PathBuf>> {
        let state = self.state();
        let row = state.index.images.get(image_id).ok_or_else(|| Error::ImageAbsent(image_id.into()))?;
        let mut seen = BTreeSet::new();
        Ok(row.layers.iter().rev().filter(|key| seen.insert(*key)).map(|key| self.layer_root(key)).collect())
    }

    /// The image's configuration as it stands (OCI image-spec, config.md).
    pub fn config(&self, image_id: &str) -> Result<serde_json::Value> {
        if !self.state().images.contains_key(image_id) {
            return Err(Error::ImageAbsent(image_id.into()));
        }
        let bytes = fs::read(self.blob(image_id)).map_err(|e| Error::Failed(format!("image {image_id}: {e}")))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Failed(format!("image {image_id}: {e}")))
    }

    /// Who tells which images may not be removed.
    pub fn protect(&self, in_use: InUse) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_use);
    }

    /// Removes those of these images (by id) that no container uses, never the built-in one, then all
    /// that no image needs; returns the bytes that the removed images had.
    pub fn collect(&self, unused: &BTreeSet<String>) -> Result<u64> {
        let in_use = self.used();
        let mut freed = 0;
        {
            let mut state = self.state();
            let mut index = state.index.clone();
            for id in unused.iter().filter(|id| !in_use.contains(*id)) {
                let Some(image) = state.images.get(id).filter(|image| !builtin::is_it(image)) else { continue };
                index.images.remove(id);
                freed += image.size;
            }
            self.replace(&mut state, index)?;
        }
        self.sweep();
        Ok(freed)
    }

    /// Loads an OCI layout from a folder.
    pub async fn load_folder(&self, folder: &Path) -> Result<Vec<Image>> {
        let (store, folder) = (self.shared(), folder.to_path_buf());
        blocking(move || {
            let opened = tree::open_root(&folder).map_err(|e| Error::Failed(format!("{}: {e}", folder.display())))?;
            archive::load(&store, archive::Source::Folder(opened))
        })
        .await
    }

    fn look_up(&self, name: &str) -> Result<Option<Image>> {
        let state = self.state();
        let id = if is_hex(name, 64) { format!("sha256:{name}") } else { name.to_string() };
        if is_digest(&id) {
            return Ok(state.images.get(&id).cloned());
        }
        let wanted = Reference::parse(name).map_err(Error::Failed)?;
        let found = match &wanted.digest {
            Some(digest) => state.images.values().find(|image| image.digests.contains(&wanted.at(digest))),
            None => state.images.values().find(|image| wanted.tagged().is_some_and(|tag| image.tags.contains(&tag))),
        };
        Ok(found.cloned())
    }

    fn forget(&self, name: &str) -> Result<()> {
        let Some(image) = self.look_up(name)? else { return Ok(()) };
        let in_use = self.used();
        let mut state = self.state();
        let mut index = state.index.clone();
        let Some(row) = index.images.get_mut(&image.id) else { return Ok(()) };
        // By tag, an image with further tags only loses this one (as `docker rmi`).
        let tag = Reference::parse(name).ok().filter(|r| r.digest.is_none()).and_then(|r| r.tagged());
        if let Some(tag) = tag.filter(|tag| row.tags.len() > 1 && row.tags.contains(tag)) {
            row.tags.retain(|t| *t != tag);
        } else if in_use.contains(&image.id) {
            return Err(Error::Failed(format!("image {name} is used by a container")));
        } else {
            index.images.remove(&image.id);
        }
        self.replace(&mut state, index)?;
        drop(state);
        self.sweep();
        Ok(())
    }

    /// Makes an image part of the index: from here on it is there, also after a crash.
    fn commit(&self, new: NewImage) -> Result<Image> {
        self.write_blob(&new.id, &new.config)?;
        let mut state = self.state();
        let mut index = state.index.clone();
        for row in index.images.values_mut() {
            row.tags.retain(|tag| !new.tags.contains(tag));
        }
        let row = index.images.entry(new.id.clone()).or_default();
        row.layers = new.layers;
        row.preloaded |= new.preloaded;
        for (known, more) in [(&mut row.tags, new.tags), (&mut row.digests, new.digests)] {
            known.extend(more);
            known.sort();
            known.dedup();
        }
        self.replace(&mut state, index)?;
        state.images.get(&new.id).cloned().ok_or(Error::ImageAbsent(new.id))
    }

    /// Writes the index, then believes it.
    fn replace(&self, state: &mut State, index: Index) -> Result<()> {
        let mut images = BTreeMap::new();
        for (id, row) in &index.images {
            let unchanged = state.index.images.get(id) == Some(row);
            let image = match state.images.get(id).filter(|_| unchanged) {
                Some(image) => image.clone(),
                None => assemble(&self.dir, id, row)?,
            };
            images.insert(id.clone(), image);
        }
        if index != state.index {
            index.write(&self.dir)?;
        }
        state.index = index;
        state.images = images;
        Ok(())
    }

    /// Deletes layers and blobs that neither an image nor a running pull needs. Failing is harmless.
    fn sweep(&self) {
        self.sweep_folders(&["layers", "blobs/sha256"]);
    }

    /// After a pull that failed: what it had of blobs stays, for the next try to resume.
    fn sweep_layers(&self) {
        self.sweep_folders(&["layers"]);
    }

    fn sweep_folders(&self, folders: &[&str]) {
        let trash = {
            let state = self.state();
            let mut needed: BTreeSet<&str> = state.pins.keys().map(String::as_str).collect();
            for (id, row) in &state.index.images {
                needed.insert(hex_of(id));
                needed.extend(row.layers.iter().map(String::as_str));
            }
            let mut trash = Vec::new();
            for folder in folders {
                let Ok(entries) = fs::read_dir(self.dir.join(folder)) else { continue };
                for entry in entries.flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let stem = name.strip_suffix(".part").unwrap_or(&name);
                    if needed.contains(stem) {
                        continue;
                    }
                    // Away in one step while the state is held, deleted afterwards.
                    let Ok(away) = self.temporary("trash") else { continue };
                    if fs::rename(entry.path(), away.path().join("gone")).is_ok() {
                        trash.push(away);
                    }
                }
            }
            trash
        };
        drop(trash);
    }

    /// Puts an unpacked layer in place; another one that came first is as good.
    fn place_layer(&self, key: &str, folder: Draft, record: &LayerRecord) -> Result<()> {
        let context = |e: io::Error| Error::Failed(format!("layer {key}: {e}"));
        record.write(folder.path())?;
        match fs::rename(folder.path(), self.dir.join("layers").join(key)) {
            Ok(()) => {
                folder.moved();
                index::sync_folder(&self.dir.join("layers")).map_err(context)
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
            Err(e) => Err(context(e)),
        }
    }

    /// The key of a layer that is already unpacked and right above these layers.
    fn present_layer(&self, diff_id: &str, chain_id: &str, lowers: &[PathBuf]) -> Result<Option<String>> {
        let own = format!("c-{}", hex_of(chain_id));
        if self.dir.join("layers").join(&own).exists() {
            return Ok(Some(own));
        }
        let shared = hex_of(diff_id).to_string();
        let folder = self.dir.join("layers").join(&shared);
        if !folder.exists() {
            return Ok(None);
        }
        let record = LayerRecord::read(&folder)?;
        let fits = layer::fits(&record.implied, lowers).map_err(|e| Error::Failed(format!("layer {diff_id}: {e}")))?;
        Ok(fits.then_some(shared))
    }

    /// Unpacks a layer's archive, checks its digest, and puts it in place; returns its key.
    fn unpack_layer(
        &self,
        archive: impl io::Read,
        diff_id: &str,
        chain_id: &str,
        lowers: &[PathBuf],
        left: &Left,
    ) -> Result<String> {
        let folder = self.temporary("layer")?;
        let root = folder.path().join("fs");
        fs::create_dir(&root).map_err(|e| Error::Failed(format!("layer {diff_id}: {e}")))?;
        let unpacked = layer::unpack(archive, &root, lowers, left)?;
        if unpacked.diff_id != diff_id {
            return Err(Error::Failed(format!(
                "layer {diff_id}: its content has the digest {}, not the one that the image's configuration names",
                unpacked.diff_id
            )));
        }
        let implied = unpacked.implied.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        let key = if unpacked.depends { format!("c-{}", hex_of(chain_id)) } else { hex_of(diff_id).to_string() };
        self.place_layer(&key, folder, &LayerRecord { size: unpacked.size, files: unpacked.files, implied })?;
        Ok(key)
    }

    /// Takes a layer that is in place off what its image may have.
    fn count_layer(&self, key: &str, left: &mut Left) -> Result<()> {
        let record = LayerRecord::read(&self.dir.join("layers").join(key))?;
        left.take(record.size, record.files).map_err(Error::Failed)
    }

    fn write_blob(&self, digest: &str, bytes: &[u8]) -> Result<()> {
        if self.blob(digest).exists() {
            return Ok(());
        }
        let written = index::write_by_way_of(&self.dir.join("tmp"), &self.blob(digest), bytes);
        written.map_err(|e| Error::Failed(format!("blob {digest}: {e}")))
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(hex_of(digest))
    }

    fn layer_root(&self, key: &str) -> PathBuf {
        self.dir.join("layers").join(key).join("fs")
    }

    fn temporary(&self, what: &str) -> Result<Draft> {
        Draft::make(&self.dir.join("tmp"), what)
            .map_err(|e| Error::Failed(format!("image store {}: {e}", self.dir.display())))
    }

    fn pin(&self, names: impl IntoIterator<Item = String>) -> Pins {
        let names: Vec<String> = names.into_iter().collect();
        let mut state = self.state();
        for name in &names {
            *state.pins.entry(name.clone()).or_default() += 1;
        }
        drop(state);
        Pins { store: self.shared(), names }
    }

    fn layer_lock(&self, diff_id: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.layer_locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(diff_id).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(diff_id.to_string(), Arc::downgrade(&lock));
        lock
    }

    fn used(&self) -> BTreeSet<String> {
        let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner).clone();
        in_use.map(|ids| ids()).unwrap_or_default()
    }

    fn shared(&self) -> Arc<ImagesStore> {
        self.me.upgrade().expect("a store is only ever made inside its Arc")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Images for ImagesStore {
    fn list(&self) -> Boxed<'_, Result<Vec<Image>>> {
        let images = self.state().images.values().cloned().collect();
        Box::pin(std::future::ready(Ok(images)))
    }

    fn find(&self, name: &str) -> Boxed<'_, Result<Option<Image>>> {
        Box::pin(std::future::ready(self.look_up(name)))
    }

    fn pull(&self, name: &str, credentials: Vec<Credential>, progress: Progress) -> Boxed<'_, Result<Image>> {
        let name = name.to_string();
        Box::pin(async move { pull::pull(&self.shared(), &name, credentials, progress).await })
    }

    fn load(&self, archive: Reader) -> Boxed<'_, Result<Vec<Image>>> {
        Box::pin(async move {
            let spooled = archive::spool(&self.shared(), archive).await?;
            let store = self.shared();
            blocking(move || archive::load(&store, spooled)).await
        })
    }

    fn remove(&self, name: &str) -> Boxed<'_, Result<()>> {
        let (store, name) = (self.shared(), name.to_string());
        Box::pin(blocking(move || store.forget(&name)))
    }

    fn collect(&self, unused: BTreeSet<String>) -> Boxed<'_, Result<u64>> {
        let store = self.shared();
        Box::pin(blocking(move || ImagesStore::collect(&store, &unused)))
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.dir)
    }

    fn user(&self, image: &str, user: &str) -> Boxed<'_, Result<ImageUser>> {
        let (store, image, user) = (self.shared(), image.to_string(), user.to_string());
        Box::pin(blocking(move || {
            let found = store.look_up(&image)?.ok_or(Error::ImageAbsent(image))?;
            users::look_up(&store.rootfs(&found.id)?, &user)
        }))
    }
}

/// Keeps layers and blobs from being swept.
struct Pins {
    store: Arc<ImagesStore>,
    names: Vec<String>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for name in &self.names {
            if let Some(count) = state.pins.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(name);
                }
            }
        }
    }
}

/// The chain ids of layers (image-spec, config.md): what lies below a layer, told by digests.
fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    use sha2::{Digest, Sha256};
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(below) => format!("sha256:{:x}", Sha256::digest(format!("{below} {diff_id}"))),
        };
        chain.push(next);
    }
    chain
}

/// An image as the node sees it, from its row, its configuration and its layers' records.
fn assemble(dir: &Path, id: &str, row: &Row) -> Result<Image> {
    let context = |e: io::Error| Error::Failed(format!("image store {}: image {id}: {e}", dir.display()));
    let bytes = fs::read(dir.join("blobs/sha256").join(hex_of(id))).map_err(context)?;
    let mut size = bytes.len() as u64;
    for key in row.layers.iter().collect::<BTreeSet<_>>() {
        size += LayerRecord::read(&dir.join("layers").join(key))?.size;
    }
    let image = ImageConfig::parse(&bytes)?.image(id);
    Ok(Image { tags: row.tags.clone(), digests: row.digests.clone(), preloaded: row.preloaded, size, ..image })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Failed(format!("image store: {e}"))),
    }
}
