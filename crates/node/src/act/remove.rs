//! The end of a pod on this machine: volumes, sandboxes, logs, and the object at the server.
//!
//! The object goes last, with grace 0 and its UID as precondition: once it is gone, nothing of the
//! pod is left here.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::view as core;
use api::Reason;
use api::resource::PODS;
use client::DeleteOptions;
use runtime::SandboxId;
use runtime::removal::{self, Mounts};
use rustix::fs::{AtFlags, Dir, FileType, readlinkat, statat, unlinkat};
use rustix::io::Errno;

use crate::act::{Act, Effect, Scene, sandbox};
use crate::pod;
use crate::progress::Job;
use crate::shared::Shared;
use crate::spec::container::log_folder;
use crate::subject::Origin;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

pub(super) fn volumes(scene: &Scene<'_>) -> Act {
    let (shared, uid) = (scene.shared.clone(), scene.subject.uid.clone());
    Act::job(Job::Teardown, async move {
        let gone = shared.volumes.tear_down(&uid).await;
        Effect::TornDown(gone.map_err(|why| format!("taking volumes down: {why}")))
    })
}

pub(super) fn all(scene: &Scene<'_>) -> Act {
    let (shared, subject) = (scene.shared.clone(), scene.subject);
    // The latest last: what a next agent sees after a kill in between, it tells.
    let sandboxes: Vec<String> = scene.seen.sandboxes.iter().rev().map(|s| s.id.0.clone()).collect();
    let meta = subject.object.meta().clone();
    let delete = subject.wanted && subject.origin == Origin::Api;
    let logs = subject.object.view::<core::Pod>().ok().map(|pod| log_folder(&pod, &shared.settings));
    Act::job(Job::Finish, async move {
        let mut pause = RETRY_MIN;
        while let Err(why) = remove_all(&shared, &sandboxes).await {
            tracing::warn!(pod = %meta.name, "{why}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        if let Some(folder) = logs {
            let log_dir = shared.config.log_dir.clone();
            blocking(move || forget_logs(&folder, &log_dir)).await;
        }
        if delete {
            delete_object(&shared, &meta.namespace, &meta.name, &meta.uid).await;
        }
        Effect::Finished
    })
}

async fn remove_all(shared: &Shared, sandboxes: &[String]) -> Result<(), String> {
    for id in sandboxes {
        match shared.engine.remove_sandbox(&SandboxId(id.clone())).await {
            Ok(()) | Err(runtime::Error::NotFound(_)) => {}
            Err(why) => return Err(format!("a sandbox was not removed: {why}")),
        }
        sandbox::detach(shared, id).await?;
    }
    Ok(())
}

/// Until the server has let the object go, or has another one of its name.
async fn delete_object(shared: &Shared, namespace: &str, name: &str, uid: &str) {
    let options =
        DeleteOptions { grace_period_seconds: Some(0), uid: Some(uid.to_owned()), ..DeleteOptions::default() };
    let mut pause = RETRY_MIN;
    loop {
        match shared.client.delete(&PODS, namespace, name, &options).await {
            Ok(_) => return,
            Err(status) if matches!(status.reason, Reason::NotFound | Reason::Gone) => return,
            // Of a namesake's UID, or of something else: then it is asked again.
            Err(status) if status.reason == Reason::Conflict && !is_there(shared, namespace, name, uid).await => {
                return;
            }
            Err(status) => tracing::warn!(pod = name, "the server does not delete a pod that has ended: {status}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Whether the pod of this UID is there; what cannot be asked is.
pub async fn is_there(shared: &Shared, namespace: &str, name: &str, uid: &str) -> bool {
    match shared.client.get(&PODS, namespace, name).await {
        Ok(pod) => pod.meta().uid == uid,
        Err(status) => status.reason != Reason::NotFound,
    }
}

/// The logs of a pod, and the links to them.
fn forget_logs(folder: &Path, log_dir: &Path) {
    // What cannot be removed is left to whoever cleans /var/log.
    if let (Some(root), Some(name)) = (folder.parent(), folder.file_name())
        && let Ok(root) = runtime::native::open_log_root(root, false)
    {
        let _ = removal::remove_at(root, name, folder, Mounts::Refused);
    }
    // `<namespace>_<name>_<uid>`, and links begin with `<name>_<namespace>_`.
    let mut parts = folder.file_name().and_then(OsStr::to_str).unwrap_or_default().split('_');
    let prefix = parts.next().zip(parts.next()).map(|(namespace, name)| format!("{name}_{namespace}_"));
    let is_ones = |name: &str| prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix));
    unlink(log_dir, is_ones, |log| log.starts_with(folder));
}

/// Names of pods' folders below the root of all logs.
pub(crate) fn log_folders(root: &Path) -> Vec<String> {
    let Ok(folder) = runtime::native::open_log_root(root, false) else { return Vec::new() };
    let entries = Dir::read_from(&folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| matches!(entry.file_type(), FileType::Directory | FileType::Unknown));
    let names = folders.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| uid_of(name).is_some()).collect()
}

/// Of `<namespace>_<name>_<uid>`, which is how a pod's folder is called; all else there is somebody else's.
pub(crate) fn uid_of(folder: &str) -> Option<&str> {
    let mut parts = folder.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_name =
        |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    let plain = is_name(namespace) && is_name(name) && !namespace.is_empty() && !name.is_empty();
    (plain && parts.next().is_none() && pod::is_plain_uid(uid)).then_some(uid)
}

/// The logs of pods that nobody knows any more, and the links to what is not there (kuberuntime_gc.go
/// evictPodLogsDirectories): an agent may have ended between a pod's end and their removal.
pub(crate) fn forget_strays(root: &Path, log_dir: &Path, strays: &[String]) {
    for name in strays {
        tracing::info!("logs of a former pod are removed: {name}");
        forget_logs(&root.join(name), log_dir);
    }
    let Ok(folder) = runtime::native::open_log_root(root, false) else { return };
    let leads_nowhere = |log: &Path| {
        let Ok(below) = log.strip_prefix(root) else { return false };
        let pod = below.components().next().and_then(|first| first.as_os_str().to_str());
        // A log is there before the link to it.
        pod.is_some_and(|pod| uid_of(pod).is_some())
            && statat(&folder, below, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
    };
    unlink(log_dir, |_| true, leads_nowhere);
}

/// The files of one instance: the current one, rotated ones, the link.
pub(super) async fn forget_log(path: PathBuf, log_dir: PathBuf, id: String) {
    blocking(move || {
        runtime::native::remove_log(&path);
        let ending = format!("-{id}.log");
        unlink(&log_dir, |name| name.ends_with(&ending), |_| true);
    })
    .await;
}

/// As many files as others care to put there: not on a thread that everybody waits for.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    if let Err(why) = tokio::task::spawn_blocking(work).await {
        tracing::error!("removing logs broke off: {why}");
    }
}

/// `/var/log/containers`, where it was when the agent began.
pub(super) fn links_folder(log_dir: &Path, make: bool) -> io::Result<OwnedFd> {
    runtime::native::open_log_root(&log_dir.join("containers"), make)
}

/// Removes those links of which the name and what they lead to are such; what is no link stays.
fn unlink(log_dir: &Path, is_such: impl Fn(&str) -> bool, leads_there: impl Fn(&Path) -> bool) {
    let Ok(folder) = links_folder(log_dir, false) else { return };
    for link in Dir::read_from(&folder).into_iter().flatten().flatten() {
        // A node has many: most are told by their names.
        if !link.file_name().to_str().is_ok_and(&is_such) {
            continue;
        }
        let Ok(to) = readlinkat(&folder, link.file_name(), Vec::new()) else { continue };
        if leads_there(Path::new(OsStr::from_bytes(to.to_bytes()))) {
            let _ = unlinkat(&folder, link.file_name(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests;
