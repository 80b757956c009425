//! What several pods share: staged for the first, unstaged after the last; one owner a node.
//!
//! `<data_dir>/shares/<plugin>/<digest of the name>/` has a folder `staged` and, in `users`, a file for each
//! pod that uses it: a restarted agent knows who does, and stages again what a reboot took away.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::view::Volume;
use runtime::removal::{self, Mounts};
use sha2::{Digest, Sha256};

use crate::volumes::plugin::Plugin;

/// True once it was staged by this agent.
type Staged = Arc<tokio::sync::Mutex<bool>>;

pub(super) struct Shares {
    root: PathBuf,
    /// By folder: what is done to one of them is done one after the other.
    staged: Mutex<BTreeMap<PathBuf, Staged>>,
}

impl Shares {
    pub fn new(root: PathBuf) -> Shares {
        Shares { root, staged: Mutex::default() }
    }

    /// Where what a pod's volume shares is staged. None: it shares nothing.
    pub async fn take(&self, plugin: &Plugin, volume: &Volume, uid: &str) -> Result<Option<PathBuf>, String> {
        let Some(share) = &plugin.share else { return Ok(None) };
        let digest = Sha256::digest((share.name)(volume));
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = self.root.join(plugin.name).join(name);
        let lock = self.lock(&folder);
        let mut is_staged = lock.lock().await;
        let place = folder.join("staged");
        let told = |e: io::Error| format!("{}: {e}", folder.display());
        // Known as a user before there is anything to undo.
        make(&folder.join("users")).and_then(|()| fs::write(folder.join("users").join(uid), "")).map_err(told)?;
        make(&place).map_err(told)?;
        if !*is_staged {
            (share.stage)(volume, &place).await?;
            *is_staged = true;
        }
        Ok(Some(place))
    }

    /// A pod uses nothing of it any more.
    pub async fn let_go(&self, plugins: &[Plugin], uid: &str) -> Result<(), String> {
        for plugin in plugins {
            let Some(share) = &plugin.share else { continue };
            for folder in below(&self.root.join(plugin.name)).map_err(|e| e.to_string())? {
                let users = folder.join("users");
                let lock = self.lock(&folder);
                let mut is_staged = lock.lock().await;
                let told = |e: io::Error| format!("{}: {e}", folder.display());
                let using = below(&users).map_err(told)?;
                let own = users.join(uid);
                if !using.contains(&own) {
                    continue;
                }
                if using.len() == 1 {
                    *is_staged = false;
                    (share.unstage)(&folder.join("staged")).await?;
                    // What is still mounted there is not ours to remove.
                    removal::remove(&folder.join("staged"), Mounts::Refused).map_err(told)?;
                }
                fs::remove_file(own).map_err(told)?;
                if using.len() == 1 {
                    removal::remove(&folder, Mounts::Refused).map_err(told)?;
                }
            }
        }
        let idle = |staged: &Staged| Arc::strong_count(staged) == 1 && staged.try_lock().is_ok_and(|staged| !*staged);
        self.staged.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, staged| !idle(staged));
        Ok(())
    }

    /// The UIDs of all pods that use anything.
    pub fn users(&self) -> io::Result<Vec<String>> {
        let mut uids = Vec::new();
        for plugin in below(&self.root)? {
            for folder in below(&plugin)? {
                let users = below(&folder.join("users"))?;
                uids.extend(users.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)));
            }
        }
        Ok(uids)
    }

    fn lock(&self, folder: &Path) -> Staged {
        let mut all = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(folder.to_owned()).or_default().clone()
    }
}

/// Root's alone: a shared file system is as secret as its secretest pod.
fn make(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// What is in a folder; nothing where there is none.
pub(super) fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests;
