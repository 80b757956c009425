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

use api::view::api::core::v1::{Pod, Volume};
use runtime::MountSource;
use runtime::removal::{self, Mounts};

use crate::config::Config;
use crate::downward::Facts;
use crate::pod;
use crate::sources::Sources;

/// Files that change as one: `..data` and its timestamped folders.
mod atomic;
/// Folders that live as long as the pod.
mod empty_dir;
/// Files and folders of the host.
mod host_path;
/// File systems in memory.
mod mounts;
/// Groups that may write to a volume.
mod ownership;
/// What the files of a volume contain.
mod payload;

use payload::Room;

/// What the files of a pod may take at least and at most, unless it is said otherwise.
const PROJECTED: std::ops::RangeInclusive<u64> = 4 << 20..=64 << 20;

const EMPTY_DIR: &str = "kubernetes.io~empty-dir";
const CONFIG_MAP: &str = "kubernetes.io~configmap";

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

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, PartialEq)]
pub struct Mounted {
    /// For an image volume: the reference as the pod names it, yet to be pulled and resolved.
    pub source: MountSource,
    /// Contents that only the node writes: read-only in every container.
    pub read_only: bool,
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
        Ok(Volumes { disk, memory, projected, sources, clock: config.clock.clone() })
    }

    /// The pod's own folder on the disk: volumes and termination messages.
    pub fn pod_folder(&self, uid: &str) -> PathBuf {
        self.disk.join(uid)
    }

    /// The pod's emptyDirs that take disk space, by volume name.
    pub fn on_disk<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = (&'a str, PathBuf)> {
        let plain = |v: &&Volume| v.empty_dir.as_ref().is_some_and(|e| e.medium.as_deref().unwrap_or("").is_empty());
        volumes_of(pod).filter(plain).map(|v| (v.name.as_str(), self.folder(&self.disk, pod, EMPTY_DIR, &v.name)))
    }

    /// Where the contents of a pod's ConfigMaps are.
    pub fn config_maps(&self, uid: &str) -> PathBuf {
        self.disk.join(uid).join("volumes").join(CONFIG_MAP)
    }

    /// Makes every volume of the pod; by volume name. The first that fails is reported.
    pub async fn prepare(&self, pod: &Pod, facts: &Facts) -> Result<BTreeMap<String, Mounted>, VolumeError> {
        let (mut ready, mut room) = (BTreeMap::new(), Room::of(self.projected));
        debug_assert!(pod::is_plain_uid(pod::uid(pod)), "agents and manifests refuse others");
        for volume in volumes_of(pod) {
            let failed = |message: String| VolumeError { volume: volume.name.clone(), message };
            ready.insert(volume.name.clone(), self.set_up(pod, volume, facts, &mut room).await.map_err(failed)?);
        }
        Ok(ready)
    }

    /// Brings the files of configMap, secret, downwardAPI and projected volumes up to date; true if
    /// any changed. Call it when a source or the pod changes, and when a token is due (`Sources::token_due`).
    pub async fn refresh(&self, pod: &Pod, facts: &Facts) -> Result<bool, VolumeError> {
        let (mut changed, mut room) = (false, Room::of(self.projected));
        for volume in volumes_of(pod).filter(|v| payload::has_payload(v)) {
            let failed = |message: String| VolumeError { volume: volume.name.clone(), message };
            changed |= self.write_payload(pod, volume, facts, &mut room).await.map_err(failed)?;
        }
        Ok(changed)
    }

    /// Ends every mount and removes every file of the pod's volumes.
    pub fn teardown(&self, uid: &str) -> std::io::Result<()> {
        // Whoever named it: no more than a pod's own folders go.
        if !pod::is_plain_uid(uid) {
            return Err(std::io::Error::other(format!("{uid:?}: {}", pod::PLAIN_UID)));
        }
        for folder in [self.memory.join(uid), self.disk.join(uid)] {
            // Containers may have spread mounts of theirs into it (mountPropagation: Bidirectional).
            removal::remove(&folder, Mounts::Detached)?;
        }
        Ok(())
    }

    /// The UIDs of all pods that have a folder here: what an earlier run left.
    pub fn left(&self) -> std::io::Result<Vec<String>> {
        let mut uids = Vec::new();
        for folder in [&self.disk, &self.memory] {
            for file in fs::read_dir(folder)? {
                uids.extend(file?.file_name().into_string());
            }
        }
        uids.sort();
        uids.dedup();
        Ok(uids)
    }

    async fn set_up(&self, pod: &Pod, volume: &Volume, facts: &Facts, room: &mut Room) -> Result<Mounted, String> {
        let at_host = |path: PathBuf, read_only| Mounted { source: MountSource::Host(path), read_only };
        if payload::has_payload(volume) {
            self.write_payload(pod, volume, facts, room).await?;
            return Ok(at_host(self.payload_folder(pod, volume), true));
        }
        if let Some(source) = &volume.host_path {
            return host_path::check(source).map(|path| at_host(path, false));
        }
        if let Some(source) = &volume.empty_dir {
            let folder = self.folder(&self.disk, pod, EMPTY_DIR, &volume.name);
            empty_dir::set_up(&folder, pod, source, ownership::group_of(pod))?;
            return Ok(at_host(folder, false));
        }
        if let Some(source) = &volume.image {
            let reference = source.reference.clone().unwrap_or_default();
            return Ok(Mounted { source: MountSource::Image(reference), read_only: true });
        }
        Err("this node does not support the volume's type".into())
    }

    async fn write_payload(&self, pod: &Pod, volume: &Volume, facts: &Facts, room: &mut Room) -> Result<bool, String> {
        let files = payload::collect(pod, volume, facts, &*self.sources, room).await?;
        let folder = self.payload_folder(pod, volume);
        fs::create_dir_all(&folder).map_err(|e| format!("making {}: {e}", folder.display()))?;
        ownership::open_to_all(&folder).map_err(|e| format!("opening {}: {e}", folder.display()))?;
        atomic::write(&folder, &files, ownership::group_of(pod), (self.clock)())
            .map_err(|e| format!("writing {}: {e}", folder.display()))
    }

    fn payload_folder(&self, pod: &Pod, volume: &Volume) -> PathBuf {
        // ConfigMaps are no secrets; everything else may carry one.
        let (root, plugin) = match volume {
            Volume { config_map: Some(_), .. } => (&self.disk, CONFIG_MAP),
            Volume { secret: Some(_), .. } => (&self.memory, "kubernetes.io~secret"),
            Volume { downward_api: Some(_), .. } => (&self.memory, "kubernetes.io~downward-api"),
            _ => (&self.memory, "kubernetes.io~projected"),
        };
        self.folder(root, pod, plugin, &volume.name)
    }

    fn folder(&self, root: &Path, pod: &Pod, plugin: &str, volume: &str) -> PathBuf {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        root.join(uid).join("volumes").join(plugin).join(volume)
    }
}

/// The objects (`true`: a ConfigMap, else a Secret) whose change changes a volume of this pod.
pub fn sources_of(pod: &Pod) -> Vec<(bool, String)> {
    let mut named = Vec::new();
    for volume in volumes_of(pod) {
        named.extend(volume.config_map.iter().map(|s| (true, s.name.clone())));
        named.extend(volume.secret.iter().filter_map(|s| Some((false, s.secret_name.clone()?))));
        for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            named.extend(source.config_map.iter().map(|s| (true, s.name.clone())));
            named.extend(source.secret.iter().map(|s| (false, s.name.clone())));
        }
    }
    named.sort();
    named.dedup();
    named
}

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|s| s.volumes.iter().flatten())
}

#[cfg(test)]
mod tests;
