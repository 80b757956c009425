//! A pod's volumes on its node: made before its containers, refreshed meanwhile, removed after.
//!
//! Disk volumes live below `<data_dir>/pods/<uid>/volumes/`, in upstream's layout; what carries
//! secrets lives in memory below `<run_dir>/volumes`. Every call is idempotent and looks at the disk
//! rather than at what an earlier run did, so that an agent's restart is the ordinary path.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::view::{Pod, Volume};
use runtime::removal::{self, Mounts};

use crate::config::Config;
use crate::downward::Facts;
use crate::pod;
use crate::sources::{Source, Sources};
use crate::spec::Mounted;

/// One volume type: a row.
mod plugin;

/// Files of a ConfigMap.
mod config_map;
/// What a driver beside the node makes.
mod csi;
/// Files about the pod itself.
mod downward_api;
/// Folders that live as long as the pod.
mod empty_dir;
/// Files and folders of the host.
mod host_path;
/// Files of an image.
mod image;
/// Certificates of the pod's own.
mod pod_certificate;
/// What several sources say, in one folder.
mod projected;
/// Files of a Secret.
mod secret;
/// Tokens of the pod's account.
mod token;
/// Anchors by which a signer's work is known.
mod trust_bundle;

/// What several pods share.
mod shares;

/// Files that change as one: `..data` and its timestamped folders.
mod atomic;
/// Volumes whose files the node writes.
mod files;
/// File systems in memory.
mod mounts;
/// Groups that may write to a volume.
mod ownership;
/// What the files of one pod may take.
mod room;

use plugin::{Ask, Medium, Plugin};
use room::Room;
use shares::Shares;

/// Every volume type that this node has; what is not here is refused (docs/adding-a-volume.md).
static PLUGINS: &[Plugin] = &[
    config_map::PLUGIN,
    secret::PLUGIN,
    downward_api::PLUGIN,
    projected::PLUGIN,
    host_path::PLUGIN,
    empty_dir::PLUGIN,
    image::PLUGIN,
    csi::PLUGIN,
];

/// What the files of a pod may take at least and at most, unless it is said otherwise.
const PROJECTED: std::ops::RangeInclusive<u64> = 4 << 20..=64 << 20;

/// In the pod's own folder; mounted into every container, which may write to them.
pub const HOSTS_FILE: &str = "etc-hosts";
pub const HOSTNAME_FILE: &str = "hostname";
pub const RESOLV_FILE: &str = "resolv.conf";

/// Where a container's termination messages are, below the pod's own folder.
pub fn messages_folder(pod_folder: &Path, container: &str) -> PathBuf {
    pod_folder.join("containers").join(container)
}

/// Why a pod's volumes are not there yet; it is tried again. Event FailedMount.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
pub struct VolumeError {
    pub volume: String,
    pub message: String,
}

pub struct Volumes {
    /// `<data_dir>/pods`
    disk: PathBuf,
    /// `<run_dir>/volumes`, a tmpfs.
    memory: PathBuf,
    /// Bytes that the files of one pod may take.
    projected: u64,
    sources: Arc<dyn Sources>,
    clock: api::Clock,
    plugins: &'static [Plugin],
    shares: Shares,
}

impl Volumes {
    pub fn open(config: &Config, sources: Arc<dyn Sources>) -> std::io::Result<Volumes> {
        let (disk, memory) = (config.data_dir.join("pods"), config.run_dir.join("volumes"));
        fs::create_dir_all(&disk)?;
        fs::create_dir_all(&memory)?;
        runtime::disk::spread(fs::File::open(&disk)?);
        mounts::ensure_in_memory(&memory, config.secrets_apart)?;
        // Secrets are root's to read, whatever the folders above allow.
        for folder in [&disk, &memory] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        // However many pods do their worst, each gets its own.
        let share = mounts::size(&memory)? / u64::from(config.max_pods).max(1);
        let projected = config.projected_max.unwrap_or(share.clamp(*PROJECTED.start(), *PROJECTED.end()));
        let (clock, shares) = (config.clock.clone(), Shares::new(config.data_dir.join("shares")));
        Ok(Volumes { disk, memory, projected, sources, clock, plugins: PLUGINS, shares })
    }

    /// The pod's own folder on the disk: volumes and termination messages.
    pub fn pod_folder(&self, uid: &str) -> PathBuf {
        self.disk.join(uid)
    }

    /// The pod's emptyDirs that take disk space, by volume name.
    pub fn on_disk<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = (&'a str, PathBuf)> {
        let on_disk = volumes_of(pod).filter(|volume| empty_dir::is_on_disk(volume));
        on_disk.map(|volume| (volume.name.as_str(), self.folder(&empty_dir::PLUGIN, pod::uid(pod), &volume.name)))
    }

    /// Where the contents of a pod's ConfigMaps are.
    pub fn config_maps(&self, uid: &str) -> PathBuf {
        self.type_folder(&config_map::PLUGIN, uid)
    }

    /// Makes every volume of the pod; by volume name. The first that fails is reported.
    pub async fn prepare(&self, pod: &Pod, facts: &Facts) -> Result<BTreeMap<String, Mounted>, VolumeError> {
        let (mut ready, room) = (BTreeMap::new(), Room::of(self.projected));
        debug_assert!(pod::is_plain_uid(pod::uid(pod)), "agents and manifests refuse others");
        for volume in volumes_of(pod) {
            let made = self.set_up(pod, volume, facts, &room).await.map_err(|why| failed(volume, why))?;
            ready.insert(volume.name.clone(), made);
        }
        Ok(ready)
    }

    /// Brings up to date what follows the API; true if anything changed. Call it when a source or the pod
    /// changes, and when a token or a certificate is due (`Sources::due`).
    pub async fn refresh(&self, pod: &Pod, facts: &Facts) -> Result<bool, VolumeError> {
        let (mut changed, room) = (false, Room::of(self.projected));
        for volume in volumes_of(pod) {
            let Some(plugin) = plugin_of(self.plugins, volume) else { continue };
            let Some(refresh) = plugin.refresh else { continue };
            let folder = self.folder(plugin, pod::uid(pod), &volume.name);
            let ask = self.ask(pod, volume, facts, &room, &folder);
            changed |= refresh(ask).await.map_err(|why| failed(volume, why))?;
        }
        Ok(changed)
    }

    /// Ends every mount and removes every file of the pod's volumes, and what it was the last to share.
    pub async fn tear_down(&self, uid: &str) -> Result<(), String> {
        // Whoever named it: no more than a pod's own folders go.
        if !pod::is_plain_uid(uid) {
            return Err(format!("{uid:?}: {}", pod::PLAIN_UID));
        }
        for plugin in self.plugins {
            let Some(tear_down) = plugin.tear_down else { continue };
            for folder in shares::below(&self.type_folder(plugin, uid)).map_err(|e| e.to_string())? {
                tear_down(&folder).await?;
            }
        }
        let folders = [&self.memory, &self.disk].map(|root| root.join(uid));
        // Containers may have spread mounts of theirs into it (mountPropagation: Bidirectional).
        let remove = move || folders.iter().try_for_each(|folder| removal::remove(folder, Mounts::Detached));
        let removed = tokio::task::spawn_blocking(remove).await.map_err(|why| why.to_string())?;
        removed.map_err(|why| why.to_string())?;
        self.shares.let_go(self.plugins, uid).await
    }

    /// The UIDs of all pods that have a folder or share anything here: what an earlier run left.
    pub fn left(&self) -> std::io::Result<Vec<String>> {
        let mut uids = self.shares.users()?;
        for folder in [&self.disk, &self.memory] {
            for file in fs::read_dir(folder)? {
                uids.extend(file?.file_name().into_string());
            }
        }
        uids.sort();
        uids.dedup();
        Ok(uids)
    }

    async fn set_up(&self, pod: &Pod, volume: &Volume, facts: &Facts, room: &Room) -> Result<Mounted, String> {
        let plugin = plugin_of(self.plugins, volume).ok_or(plugin::NOT_BUILT)?;
        let staged = self.shares.take(plugin, volume, pod::uid(pod)).await?;
        let folder = self.folder(plugin, pod::uid(pod), &volume.name);
        let ask = Ask { staged: staged.as_deref(), ..self.ask(pod, volume, facts, room, &folder) };
        Ok(Mounted { source: (plugin.set_up)(ask).await?, read_only: plugin.read_only })
    }

    fn ask<'a>(
        &'a self,
        pod: &'a Pod,
        volume: &'a Volume,
        facts: &'a Facts,
        room: &'a Room,
        folder: &'a Path,
    ) -> Ask<'a> {
        Ask { pod, volume, folder, staged: None, facts, sources: &*self.sources, room, now: (self.clock)() }
    }

    fn folder(&self, plugin: &Plugin, uid: &str, volume: &str) -> PathBuf {
        self.type_folder(plugin, uid).join(volume)
    }

    /// Of all volumes of the type that a pod has.
    fn type_folder(&self, plugin: &Plugin, uid: &str) -> PathBuf {
        let root = match plugin.medium {
            Medium::Disk => &self.disk,
            Medium::Memory => &self.memory,
        };
        root.join(uid).join("volumes").join(plugin.name)
    }
}

/// The objects whose change changes a volume of this pod.
pub fn sources_of(pod: &Pod) -> Vec<Source> {
    let needs = |volume| plugin_of(PLUGINS, volume).map(|plugin| (plugin.needs)(volume));
    let mut named: Vec<Source> = volumes_of(pod).filter_map(needs).flatten().collect();
    named.sort();
    named.dedup();
    named
}

fn plugin_of(plugins: &'static [Plugin], volume: &Volume) -> Option<&'static Plugin> {
    plugins.iter().find(|plugin| (plugin.is)(volume))
}

fn failed(volume: &Volume, message: String) -> VolumeError {
    VolumeError { volume: volume.name.clone(), message }
}

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten())
}

#[cfg(test)]
mod tests;
