//! Measuring what one pod uses: all that it can write on the disk, its containers' memory.
//!
//! Nothing announces these, so `sampler` asks in turn; walking the trees is blocking work and stands
//! beside the runtime's threads.

use std::path::{Path, PathBuf};

use crate::view as core;
use runtime::disk::{DiskUse, used_below, used_by, used_in};

use crate::limits::{ContainerUsed, Used};
use crate::observe::{Seen, is_running};
use crate::pod;
use crate::shared::Shared;
use crate::spec::container::log_folder;
use crate::volumes::{HOSTNAME_FILE, HOSTS_FILE, RESOLV_FILE, messages_folder};

/// A container that ends meanwhile is left out, as it is upstream.
pub async fn measure(shared: &Shared, pod: &core::Pod, seen: &Seen) -> Used {
    let mut used = Used::default();
    for container in seen.containers().filter(|c| is_running(c)) {
        let Ok(usage) = shared.engine.usage(&container.id).await else { continue };
        let layer = DiskUse { bytes: usage.writable_layer, inodes: usage.writable_inodes };
        let name = container.spec.name.clone();
        used.containers.push(ContainerUsed {
            name,
            memory: usage.memory_working_set,
            pids: usage.pids,
            layer,
            ..Default::default()
        });
    }
    let logs = log_folder(pod, &shared.settings);
    let volumes: Vec<(String, PathBuf)> =
        shared.volumes.on_disk(pod).map(|(name, folder)| (name.to_owned(), folder)).collect();
    let folder = shared.volumes.pod_folder(pod::uid(pod));
    let contents = shared.volumes.config_maps(pod::uid(pod));
    let walked = tokio::task::spawn_blocking(move || {
        used.contents = used_below(&contents);
        for file in [HOSTS_FILE, HOSTNAME_FILE, RESOLV_FILE] {
            used.files += used_by(&folder.join(file));
        }
        used.volumes = volumes.into_iter().map(|(name, folder)| (name, used_below(&folder))).collect();
        for container in &mut used.containers {
            container.logs = logs_of(&logs, &container.name);
            container.messages = used_below(&messages_folder(&folder, &container.name));
        }
        used
    });
    walked.await.unwrap_or_else(|why| {
        tracing::error!("measuring a pod broke off: {why}");
        Used::default()
    })
}

/// The logs of one container.
fn logs_of(folder: &Path, container: &str) -> DiskUse {
    // The folder of whatever its logs are called.
    let folder = runtime::native::open_log_folder(&folder.join(container).join("0.log"), false);
    folder.map(used_in).unwrap_or_default()
}

#[cfg(test)]
mod tests;
