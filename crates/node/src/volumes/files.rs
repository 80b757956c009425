//! Volumes whose files the node writes: how many there may be, which keys become which files.
//!
//! Matches pkg/volume/{configmap,secret,downwardapi,projected} upstream; the texts are theirs.

use std::collections::BTreeMap;
use std::fs;

use crate::view::{KeyToPath, Pod, VolumeProjection};
use runtime::MountSource;

use crate::sources::Source;
use crate::volumes::atomic::{self, Contents, clean};
use crate::volumes::ownership;
use crate::volumes::plugin::{Ask, Done};
use crate::volumes::room::Room;

/// The files of one volume, as far as there is room.
pub(super) struct Files<'r> {
    files: BTreeMap<String, Contents>,
    room: &'r Room,
}

impl Files<'_> {
    pub fn insert(&mut self, path: String, contents: Contents) -> Result<(), String> {
        self.room.take(contents.data.len())?;
        self.files.insert(path, contents);
        Ok(())
    }
}

/// Every file of the volume, by its path.
pub(super) type Collect = for<'a> fn(Ask<'a>, &'a mut Files<'_>) -> Done<'a>;

/// One sort of source of a projected volume: a row of its `PROJECTIONS`.
pub(super) struct Projection {
    pub is: fn(&VolumeProjection) -> bool,
    /// The objects whose change changes the files.
    pub needs: fn(&VolumeProjection) -> Vec<Source>,
    /// Its files, by the volume's mode where an item has none of its own.
    pub collect: for<'a> fn(Ask<'a>, &'a VolumeProjection, Option<i32>, &'a mut Files<'_>) -> Done<'a>,
}

/// The volume with its files.
pub(super) async fn set_up(ask: Ask<'_>, collect: Collect) -> Result<MountSource, String> {
    refresh(ask, collect).await?;
    Ok(MountSource::Host(ask.folder.to_owned()))
}

/// Writes what is new; true if anything is.
pub(super) async fn refresh(ask: Ask<'_>, collect: Collect) -> Result<bool, String> {
    let mut files = Files { files: BTreeMap::new(), room: ask.room };
    collect(ask, &mut files).await?;
    let folder = ask.folder;
    fs::create_dir_all(folder).map_err(|e| format!("making {}: {e}", folder.display()))?;
    ownership::open_to_all(folder).map_err(|e| format!("opening {}: {e}", folder.display()))?;
    atomic::write(folder, &files.files, ownership::group_of(ask.pod), ask.now)
        .map_err(|e| format!("writing {}: {e}", folder.display()))
}

/// Which keys of an object become which files.
pub(super) struct Choice<'a> {
    items: &'a [KeyToPath],
    pub optional: bool,
    mode: u32,
}

impl<'a> Choice<'a> {
    pub fn new(items: &'a Option<Vec<KeyToPath>>, optional: Option<bool>, mode: Option<i32>) -> Choice<'a> {
        Choice { items: items.as_deref().unwrap_or_default(), optional: optional.unwrap_or(false), mode: mode_of(mode) }
    }

    /// Without items every key is a file of its name.
    pub fn pick(&self, data: BTreeMap<String, Vec<u8>>, missing: &str, files: &mut Files<'_>) -> Result<(), String> {
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

/// A file that only its owner or the pod's group may read, where there is one: of a token, a key.
pub(super) fn guarded(pod: &Pod, data: Vec<u8>, mode: u32) -> Contents {
    let user = ownership::user_of(pod);
    let mode = if user.is_some() || ownership::group_of(pod).is_some() { 0o600 } else { mode };
    Contents { data, mode, user }
}

/// 0644 unless given.
pub(super) fn mode_of(mode: Option<i32>) -> u32 {
    mode.map_or(0o644, |mode| mode as u32)
}
