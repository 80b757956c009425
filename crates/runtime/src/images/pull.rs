//! Pulls one image: manifest, configuration, then the layers that this machine lacks.
//!
//! Layers download in parallel into the blob folder (a `.part` until the digest is right, so that the
//! next try resumes there) and are unpacked in order, each as soon as it and those below are there.
//! Dropping the future cancels: what was whole stays until swept, what was not stays resumable.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::engine::{Credential, Error, Progress, Result};
use crate::images::archive::pinned;
use crate::images::bounds::{self, Left};
use crate::images::manifest::{Descriptor, ImageConfig, Manifest, Search, Unfit};
use crate::images::reference::hex_of;
use crate::images::registry::{Conversation, Source};
use crate::images::{ImagesStore, NewImage, Reference, blocking, chain_ids};
use crate::state::Image;

const PARALLEL: usize = 3;
const TRIES: u32 = 5;
/// Before the second retry, doubled each time; the first is immediate.
const PAUSE: Duration = Duration::from_millis(500);

pub async fn pull(
    store: &Arc<ImagesStore>,
    name: &str,
    credentials: Vec<Credential>,
    progress: Progress,
) -> Result<Image> {
    let reference = Reference::parse(name).map_err(Error::Failed)?;
    if reference.is_builtin() {
        // Its registry is the binary: being there is being pulled, so that policy Always works offline.
        return store.look_up(name)?.ok_or_else(|| {
            Error::NotFound(format!(
                "{reference} is no image built into this program, and {} is no registry;",
                reference.registry
            ))
        });
    }
    let pulled = attempt(store, reference, &credentials, progress).await;
    if pulled.is_err() {
        let store = store.clone();
        blocking(move || {
            store.sweep_layers();
            Ok(())
        })
        .await?;
    }
    pulled
}

async fn attempt(
    store: &Arc<ImagesStore>,
    reference: Reference,
    credentials: &[Credential],
    progress: Progress,
) -> Result<Image> {
    let talk = Arc::new(store.registry.converse(reference.clone(), credentials));
    let (bytes, digest, source) = talk.manifest(reference.version()).await?;
    let told = |unfit: Unfit| match unfit {
        Unfit::Foreign(why) => Error::Failed(format!("{reference}: {why}")),
        Unfit::Failed(Error::Failed(why)) if !why.contains(&reference.path) => {
            Error::Failed(format!("{reference}: {why}"))
        }
        Unfit::Failed(error) => error,
    };
    let top = digest;
    let chosen = choose(&talk, &source, Manifest::parse(&bytes)?, &mut Search::new()).await;
    let Chosen { manifest, id, config: parsed, bytes } = chosen.map_err(told)?;
    let refused = |why: String| Error::Failed(format!("{reference}: {why}"));
    let diff_ids = parsed.layers(manifest.layers.len()).map_err(refused)?;
    let compressed = manifest.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
    if compressed > store.bounds.size {
        return Err(refused(bounds::too_large(store.bounds.size)));
    }
    let chain = chain_ids(diff_ids);
    let mut needed = pinned(&id, diff_ids, &chain);
    needed.extend(manifest.layers.iter().map(|layer| hex_of(&layer.digest).to_string()));
    let pins = store.pin(needed);

    let sum = Sum::new(&manifest.layers, progress);
    let mut downloads = JoinSet::new();
    let mut arrivals = Vec::new();
    let slots = Arc::new(Semaphore::new(PARALLEL));
    for (index, (layer, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
        let (arrived, arrival) = oneshot::channel();
        arrivals.push(arrival);
        let work = Layer {
            store: store.clone(),
            talk: talk.clone(),
            source: source.clone(),
            layer: layer.clone(),
            diff_id: diff_id.clone(),
            sum: sum.clone(),
            index,
        };
        let slots = slots.clone();
        downloads.spawn(async move {
            let _slot = slots.acquire_owned().await.expect("the semaphore is never closed");
            // The puller is gone: nobody is left to tell.
            let _ = arrived.send(work.fetch().await);
        });
    }
    let (mut layers, mut lowers) = (Vec::new(), Vec::new());
    let mut left = Left::of(store.bounds);
    for (index, arrival) in arrivals.into_iter().enumerate() {
        arrival.await.map_err(|_| Error::Failed(format!("{reference}: a download ended without an answer")))??;
        let work = Layer {
            store: store.clone(),
            talk: talk.clone(),
            source: source.clone(),
            layer: manifest.layers[index].clone(),
            diff_id: diff_ids[index].clone(),
            sum: sum.clone(),
            index,
        };
        let key = work.unpack(&chain[index], &lowers, left).await?;
        store.count_layer(&key, &mut left).map_err(|why| refused(why.to_string()))?;
        lowers.insert(0, store.layer_root(&key));
        layers.push(key);
    }
    let new = NewImage {
        id,
        config: bytes,
        layers,
        tags: reference.tagged().filter(|_| reference.digest.is_none()).into_iter().collect(),
        digests: vec![reference.at(&top)],
        preloaded: false,
    };
    let store = store.clone();
    blocking(move || {
        let image = store.commit(new);
        drop(pins);
        // The layers' archives have served.
        store.sweep();
        image
    })
    .await
}

/// An image's manifest and configuration.
struct Chosen {
    manifest: Manifest,
    id: String,
    config: ImageConfig,
    /// The configuration as it stands.
    bytes: Vec<u8>,
}

/// Follows indexes to the image for this machine.
fn choose<'a>(
    talk: &'a Conversation,
    source: &'a Source,
    manifest: Manifest,
    search: &'a mut Search,
) -> Pin<Box<dyn Future<Output = Result<Chosen, Unfit>> + Send + 'a>> {
    Box::pin(async move {
        if manifest.manifests.is_empty() {
            let id = manifest.image_config()?.digest.clone();
            let bytes = talk.document(source, &id).await?;
            let config = ImageConfig::for_this_machine(&bytes)?;
            return Ok(Chosen { manifest, id, config, bytes });
        }
        search.descend()?;
        let mut found = Vec::new();
        for candidate in manifest.candidates() {
            search.look()?;
            let (bytes, _, _) = talk.manifest(&candidate.digest).await?;
            match choose(talk, source, Manifest::parse(&bytes)?, search).await {
                Err(Unfit::Foreign(why)) => found.push(why),
                other => return other,
            }
        }
        search.ascend();
        Err(manifest.none_is_ours(found))
    })
}

/// Bytes done over all layers.
#[derive(Clone)]
struct Sum {
    done: Arc<Vec<AtomicU64>>,
    total: u64,
    tell: Progress,
}

impl Sum {
    fn new(layers: &[Descriptor], tell: Progress) -> Sum {
        let done = Arc::new(layers.iter().map(|_| AtomicU64::new(0)).collect());
        Sum { done, total: layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size)), tell }
    }

    fn set(&self, index: usize, done: u64) {
        self.done[index].store(done, Ordering::Relaxed);
        let all = self.done.iter().map(|d| d.load(Ordering::Relaxed)).sum();
        (self.tell)(all, self.total);
    }
}

/// One layer of one pull.
struct Layer {
    store: Arc<ImagesStore>,
    talk: Arc<Conversation>,
    source: Source,
    layer: Descriptor,
    diff_id: String,
    sum: Sum,
    index: usize,
}

impl Layer {
    /// Sees to it that the layer's archive or the unpacked layer is on this machine. Pulls that share a
    /// layer wait here for the first of them.
    async fn fetch(&self) -> Result<()> {
        let held = self.store.layer_lock(&self.diff_id).lock_owned().await;
        let held = Arc::new(held);
        let unpacked = self.store.layer_root(hex_of(&self.diff_id)).exists();
        if !unpacked && !self.store.blob(&self.layer.digest).exists() {
            self.download(held).await?;
        }
        self.sum.set(self.index, self.layer.size);
        Ok(())
    }

    async fn unpack(&self, chain_id: &str, lowers: &[PathBuf], left: Left) -> Result<String> {
        let held = Arc::new(self.store.layer_lock(&self.diff_id).lock_owned().await);
        if let Some(key) = self.store.present_layer(&self.diff_id, chain_id, lowers)? {
            return Ok(key);
        }
        let fresh = !self.store.blob(&self.layer.digest).exists();
        if fresh {
            self.download(held.clone()).await?;
        }
        match self.unpack_blob(held.clone(), chain_id, lowers, left).await {
            Err(_) if !fresh && self.discard_damaged().await? => {
                self.download(held.clone()).await?;
                self.unpack_blob(held, chain_id, lowers, left).await
            }
            unpacked => unpacked,
        }
    }

    async fn unpack_blob(
        &self,
        held: Arc<tokio::sync::OwnedMutexGuard<()>>,
        chain_id: &str,
        lowers: &[PathBuf],
        left: Left,
    ) -> Result<String> {
        let (store, digest, diff_id) = (self.store.clone(), self.layer.digest.clone(), self.diff_id.clone());
        let reference = self.talk.reference.to_string();
        let (chain_id, lowers) = (chain_id.to_string(), lowers.to_vec());
        blocking(move || {
            let _held = held;
            let archive = fs::File::open(store.blob(&digest)).map_err(|e| Error::Failed(format!("{digest}: {e}")))?;
            let unpacked = store.unpack_layer(archive, &diff_id, &chain_id, &lowers, &left);
            unpacked.map_err(|why| Error::Failed(format!("{reference}: {why}")))
        })
        .await
    }

    /// Removes the archive of an earlier try if it is not what its name says. Archives are not synced, as
    /// they are only needed until they are unpacked: a machine that lost power may have kept the name
    /// and lost the bytes.
    async fn discard_damaged(&self) -> Result<bool> {
        let (place, digest) = (self.store.blob(&self.layer.digest), self.layer.digest.clone());
        blocking(move || {
            let part = Part::open(place.clone())?;
            let damaged = format!("sha256:{:x}", part.hash.finalize()) != digest;
            if damaged {
                tracing::warn!(
                    layer = digest,
                    "the archive kept from an earlier pull is damaged; it is downloaded again"
                );
                fs::remove_file(&place).map_err(|e| Error::Failed(format!("{digest}: {e}")))?;
            }
            Ok(damaged)
        })
        .await
    }

    async fn download(&self, held: Arc<tokio::sync::OwnedMutexGuard<()>>) -> Result<()> {
        let mut pause = PAUSE;
        let mut last = Error::Failed(String::new());
        for attempt in 0..TRIES {
            if attempt > 1 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            match self.download_once(held.clone()).await {
                Ok(()) => return Ok(()),
                Err(Interrupted::Refused(e)) => return Err(e),
                Err(Interrupted::Broken(e)) => {
                    tracing::debug!(layer = self.layer.digest, "download interrupted, to be resumed: {e}");
                    last = Error::Failed(format!("{}: layer {}: {e}", self.talk.reference, self.layer.digest));
                }
            }
        }
        Err(last)
    }

    async fn download_once(&self, held: Arc<tokio::sync::OwnedMutexGuard<()>>) -> Result<(), Interrupted> {
        let place = self.store.blob(&self.layer.digest);
        let part = place.with_extension("part");
        let start = {
            let part = part.clone();
            blocking(move || Part::open(part)).await.map_err(Interrupted::Refused)?
        };
        let asked = start.length;
        if asked > self.layer.size {
            let _ = fs::remove_file(&part);
            return Err(Interrupted::Broken("what was there already was too long".into()));
        }
        let (mut reply, resumed) = if asked == self.layer.size {
            return self.complete(start, asked > 0);
        } else {
            self.talk.blob(&self.source, &self.layer.digest, asked).await.map_err(|why| self.refused(why))?
        };
        let (pieces, mut incoming) = mpsc::channel::<bytes::Bytes>(32);
        let (sum, index, size) = (self.sum.clone(), self.index, self.layer.size);
        // Its own thread writes and hashes; it holds the layer's lock until the file is at rest.
        let writer = tokio::task::spawn_blocking(move || -> Result<Part, String> {
            let mut part = start;
            if !resumed {
                part.restart().map_err(|e| e.to_string())?;
            }
            while let Some(piece) = incoming.blocking_recv() {
                part.append(&piece).map_err(|e| e.to_string())?;
                if part.length > size {
                    return Err(format!("more than the {size} bytes that the manifest states came"));
                }
                sum.set(index, part.length);
            }
            drop(held);
            Ok(part)
        });
        let mut broken = None;
        loop {
            match reply.piece().await {
                Ok(Some(piece)) => {
                    // The writer stops listening when it found fault.
                    if pieces.send(piece).await.is_err() {
                        break;
                    }
                }
                Ok(None) => {
                    self.talk.put_back(reply);
                    break;
                }
                Err(e) => {
                    broken = Some(e);
                    break;
                }
            }
        }
        drop(pieces);
        let written = writer.await.map_err(|e| Interrupted::Broken(e.to_string()))?;
        let written = written.map_err(|e| {
            let _ = fs::remove_file(&part);
            Interrupted::Refused(Error::Failed(format!("{}: layer {}: {e}", self.talk.reference, self.layer.digest)))
        })?;
        match broken {
            Some(e) => Err(Interrupted::Broken(e)),
            None if written.length < size => Err(Interrupted::Broken("the connection ended early".into())),
            None => self.complete(written, resumed),
        }
    }

    fn refused(&self, why: Error) -> Interrupted {
        Interrupted::Refused(match why {
            Error::NotFound(_) if self.layer.is_elsewhere() => Error::Failed(format!(
                "{}: layer {} is not in the registry: its publisher gives it away elsewhere ({}), where this node does \
                 not ask",
                self.talk.reference, self.layer.digest, self.layer.media_type
            )),
            other => other,
        })
    }

    /// All bytes are there: right, or gone.
    fn complete(&self, part: Part, resumed: bool) -> Result<(), Interrupted> {
        let place = self.store.blob(&self.layer.digest);
        let path = place.with_extension("part");
        let found = format!("sha256:{:x}", part.hash.finalize());
        if found == self.layer.digest {
            let moved = fs::rename(path, place);
            return moved.map_err(|e| Interrupted::Refused(Error::Failed(format!("{}: {e}", self.layer.digest))));
        }
        let _ = fs::remove_file(path);
        let text = format!("layer {} came with the digest {found}", self.layer.digest);
        // What a crash left of an earlier try may be to blame: once more from the start.
        if resumed {
            return Err(Interrupted::Broken(text));
        }
        Err(Interrupted::Refused(Error::Failed(format!("{}: {text}", self.talk.reference))))
    }
}

enum Interrupted {
    /// Worth another try, from where it stopped.
    Broken(String),
    Refused(Error),
}

/// A blob on its way, with the digest of what is there.
struct Part {
    file: fs::File,
    hash: Sha256,
    length: u64,
}

impl Part {
    fn open(path: PathBuf) -> Result<Part> {
        let context = |e: std::io::Error| Error::Failed(format!("{}: {e}", path.display()));
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(context)?;
        let mut part = Part { file, hash: Sha256::new(), length: 0 };
        let mut buffer = vec![0; 1 << 17];
        loop {
            let n = part.file.read(&mut buffer).map_err(context)?;
            if n == 0 {
                return Ok(part);
            }
            part.hash.update(&buffer[..n]);
            part.length += n as u64;
        }
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }
}
