//! What the files of a volume contain: ConfigMaps, Secrets, the downward API, tokens.
//!
//! Matches pkg/volume/{configmap,secret,downwardapi,projected} upstream; the texts are theirs.

use std::collections::BTreeMap;

use api::view::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccountTokenProjection, Volume};

use super::atomic::{Contents, clean};
use super::ownership;
use crate::downward::{self, Facts};
use crate::env;
use crate::sources::{Sources, TokenRequest};

/// By whole pages, and one for the file itself: what a file in memory takes.
const PAGE: usize = 4096;

/// What the files of one pod may still take: who writes a pod's manifest writes how often each object
/// is repeated in it, and no pod's memory is charged for them.
pub(super) struct Room {
    limit: u64,
    left: u64,
}

impl Room {
    pub fn of(limit: u64) -> Room {
        Room { limit, left: limit }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let size = bytes.next_multiple_of(PAGE) + PAGE;
        let left = self.left.checked_sub(size as u64).ok_or_else(|| {
            format!("the files of the pod's volumes take more than {} bytes (--pod-max-projected-bytes)", self.limit)
        })?;
        self.left = left;
        Ok(())
    }
}

/// The files of one volume, as far as there is room.
struct Files<'r> {
    files: BTreeMap<String, Contents>,
    room: &'r mut Room,
}

impl Files<'_> {
    fn insert(&mut self, path: String, contents: Contents) -> Result<(), String> {
        self.room.take(contents.data.len())?;
        self.files.insert(path, contents);
        Ok(())
    }
}

/// Volumes whose files the node writes.
pub(super) fn has_payload(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Every file of the volume, by its path.
pub(super) async fn collect(
    pod: &Pod,
    volume: &Volume,
    facts: &Facts,
    sources: &dyn Sources,
    room: &mut Room,
) -> Result<BTreeMap<String, Contents>, String> {
    let collector =
        Collector { pod, facts, sources, namespace: pod.metadata.namespace.as_deref().unwrap_or("default") };
    let mut files = Files { files: BTreeMap::new(), room };
    if let Some(source) = &volume.config_map {
        let choice = Choice::new(&source.items, source.optional, source.default_mode);
        collector.config_map(&source.name, choice, &mut files).await?;
    } else if let Some(source) = &volume.secret {
        let choice = Choice::new(&source.items, source.optional, source.default_mode);
        collector.secret(source.secret_name.as_deref().unwrap_or_default(), choice, &mut files).await?;
    } else if let Some(source) = &volume.downward_api {
        collector.downward(source.items.iter().flatten(), mode_of(source.default_mode), &mut files)?;
    } else if let Some(source) = &volume.projected {
        let mode = source.default_mode;
        for part in source.sources.iter().flatten() {
            if let Some(from) = &part.config_map {
                let choice = Choice::new(&from.items, from.optional, mode);
                collector.config_map(&from.name, choice, &mut files).await?;
            } else if let Some(from) = &part.secret {
                collector.secret(&from.name, Choice::new(&from.items, from.optional, mode), &mut files).await?;
            } else if let Some(from) = &part.downward_api {
                collector.downward(from.items.iter().flatten(), mode_of(mode), &mut files)?;
            } else if let Some(from) = &part.service_account_token {
                collector.token(from, mode_of(mode), &mut files).await?;
            } else {
                return Err("this node does not support one of the projected volume's sources".into());
            }
        }
    }
    Ok(files.files)
}

struct Collector<'a> {
    pod: &'a Pod,
    facts: &'a Facts,
    sources: &'a dyn Sources,
    namespace: &'a str,
}

/// Which keys of an object become which files.
struct Choice<'a> {
    items: &'a [KeyToPath],
    optional: bool,
    mode: u32,
}

impl<'a> Choice<'a> {
    fn new(items: &'a Option<Vec<KeyToPath>>, optional: Option<bool>, mode: Option<i32>) -> Choice<'a> {
        Choice { items: items.as_deref().unwrap_or_default(), optional: optional.unwrap_or(false), mode: mode_of(mode) }
    }

    /// Without items every key is a file of its name.
    fn pick(&self, data: BTreeMap<String, Vec<u8>>, missing: &str, files: &mut Files<'_>) -> Result<(), String> {
        if self.items.is_empty() {
            let file = |(key, data)| files.insert(key, Contents { data, mode: self.mode, user: None });
            return data.into_iter().try_for_each(file);
        }
        for item in self.items {
            match data.get(&item.key) {
                Some(contents) => {
                    let mode = item.mode.map_or(self.mode, |m| m as u32);
                    files.insert(clean(&item.path), Contents { data: contents.clone(), mode, user: None })?;
                }
                None if self.optional => {}
                None => return Err(format!("{missing}: {}", item.key)),
            }
        }
        Ok(())
    }
}

impl Collector<'_> {
    async fn config_map(&self, name: &str, choice: Choice<'_>, files: &mut Files<'_>) -> Result<(), String> {
        let data = match self.sources.config_map(self.namespace, name).await? {
            Some(found) => {
                let texts = found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
                texts.chain(found.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0))).collect()
            }
            None if choice.optional => BTreeMap::new(),
            None => return Err(format!("configmap \"{name}\" not found")),
        };
        choice.pick(data, "configmap references non-existent config key", files)
    }

    async fn secret(&self, name: &str, choice: Choice<'_>, files: &mut Files<'_>) -> Result<(), String> {
        let data = match self.sources.secret(self.namespace, name).await? {
            Some(found) => found.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect(),
            None if choice.optional => BTreeMap::new(),
            None => return Err(format!("secret \"{name}\" not found")),
        };
        choice.pick(data, "references non-existent secret key", files)
    }

    fn downward<'b>(
        &self,
        items: impl Iterator<Item = &'b DownwardAPIVolumeFile>,
        mode: u32,
        files: &mut Files<'_>,
    ) -> Result<(), String> {
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(reference), _) => downward::field(self.pod, self.facts, &reference.field_path)?,
                (None, Some(reference)) => {
                    let name = reference.container_name.as_deref().unwrap_or_default();
                    let container = env::named(self.pod, name).ok_or_else(|| format!("container {name} not found"))?;
                    downward::resource(container, self.facts, reference)?
                }
                (None, None) => return Err(format!("item {} names neither a field nor a resource", item.path)),
            };
            let mode = item.mode.map_or(mode, |m| m as u32);
            files.insert(clean(&item.path), Contents { data: text.into_bytes(), mode, user: None })?;
        }
        Ok(())
    }

    async fn token(
        &self,
        projection: &ServiceAccountTokenProjection,
        mode: u32,
        files: &mut Files<'_>,
    ) -> Result<(), String> {
        let meta = &self.pod.metadata;
        let account = self.pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default();
        let request = TokenRequest {
            namespace: self.namespace.to_string(),
            service_account: if account.is_empty() { "default".into() } else { account },
            pod_name: meta.name.clone().unwrap_or_default(),
            pod_uid: meta.uid.clone().unwrap_or_default(),
            audience: projection.audience.clone().unwrap_or_default(),
            seconds: projection.expiration_seconds.unwrap_or(3600),
        };
        let token = self.sources.token(&request).await.map_err(|e| format!("failed to fetch token: {e}"))?;
        let user = ownership::user_of(self.pod);
        // Whoever may read it is its owner or its group, and nobody else.
        let mode = if user.is_some() || ownership::group_of(self.pod).is_some() { 0o600 } else { mode };
        files.insert(clean(&projection.path), Contents { data: token.token.into_bytes(), mode, user })
    }
}

/// 0644 unless given.
fn mode_of(mode: Option<i32>) -> u32 {
    mode.map_or(0o644, |mode| mode as u32)
}
