//! What nobody announces, looked at in turn: one table with each look's period and cost.
//!
//! The kernel tells of exits, files and addresses; it does not tell that a folder has grown. A row that
//! has nothing to look at wakes nobody: a node without limits of storage measures nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::view::api::core::v1 as core;
use client::recorder::Type;
use tokio::time::Instant;

use crate::actor::{Eviction, Origin};
use crate::agent::Entry;
use crate::collect;
use crate::limits;
use crate::measure::measure;
use crate::pod;
use crate::register;
use crate::shared::Shared;

/// One look.
pub struct Row {
    pub what: What,
    pub period: Duration,
    /// What one look costs, and when it costs nothing.
    pub cost: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Volumes, logs and layers of pods that have limits of storage.
    Storage,
    /// The file system of images.
    Images,
}

/// Periods are upstream's (the eviction manager's monitoringInterval, ImageGCPeriod).
pub static SAMPLED: &[Row] = &[
    Row {
        what: What::Storage,
        period: Duration::from_secs(10),
        cost: "a walk over the files of pods with an ephemeral-storage limit or a sized emptyDir; none without such pods",
    },
    Row {
        what: What::Images,
        period: Duration::from_secs(300),
        cost: "one statvfs and the list of images; one removal above the high mark",
    },
];

struct Sampler {
    shared: Arc<Shared>,
    actors: Arc<Mutex<BTreeMap<String, Entry>>>,
    /// UIDs of pods that were told to end.
    evicted: BTreeSet<String>,
    images: collect::Known,
}

/// For ever.
pub async fn run(shared: Arc<Shared>, actors: Arc<Mutex<BTreeMap<String, Entry>>>) {
    if !shared.config.sampling {
        return;
    }
    let mut sampler =
        Sampler { shared: shared.clone(), actors, evicted: BTreeSet::new(), images: collect::Known::default() };
    // Images that are there now are old; what comes later is known by when it came.
    if let Err(why) = sampler.collect(0).await {
        tracing::warn!("images are not listed: {why}");
    }
    let mut looked: Vec<Option<Instant>> = vec![None; SAMPLED.len()];
    loop {
        let now = Instant::now();
        for (row, looked) in SAMPLED.iter().zip(&mut looked) {
            if !sampler.applies(row.what) {
                *looked = None;
            } else if looked.is_none_or(|at| now >= at + row.period) {
                // The first look comes a period after there is something to look at.
                if looked.replace(now).is_some() {
                    sampler.look(row.what).await;
                }
            }
        }
        let due = SAMPLED.iter().zip(&looked).filter_map(|(row, at)| Some((*at)? + row.period)).min();
        tokio::select! {
            biased;
            () = shared.sampled.notified() => {}
            () = async { tokio::time::sleep_until(due.unwrap_or(now)).await }, if due.is_some() => {}
        }
    }
}

impl Sampler {
    fn applies(&self, what: What) -> bool {
        match what {
            What::Storage => self.actors().values().any(|entry| entry.limited),
            What::Images => self.shared.engine.images().folder().is_some(),
        }
    }

    async fn look(&mut self, what: What) {
        match what {
            What::Storage => self.judge_limits().await,
            What::Images => self.tidy_images().await,
        }
    }

    /// Ends every pod that broke one of its limits.
    async fn judge_limits(&mut self) {
        for (uid, entry) in self.active(|entry| entry.limited) {
            let Ok(pod) = entry.object.view::<core::Pod>() else { continue };
            let seen = match self.shared.looker.look(&uid).await {
                Ok(seen) => seen,
                Err(why) => return tracing::warn!("use of the disk is not measured: {why}"),
            };
            let used = measure(&self.shared, &pod, &seen).await;
            if let Some(message) = limits::exceeded(&pod, &used) {
                // Its own fault: no DisruptionTarget (KEP 3329).
                self.evict(&uid, &entry, &pod, Eviction { message, ..Eviction::default() });
            }
        }
    }

    /// Above the high mark the longest unused images go.
    async fn tidy_images(&mut self) {
        let Some(folder) = self.shared.engine.images().folder().map(Path::to_path_buf) else { return };
        let Some(room) = room(folder).await else { return };
        let excess = room.excess();
        let freed = match self.collect(excess).await {
            Ok(freed) => freed,
            Err(why) => return tracing::warn!("unused images are not collected: {why}"),
        };
        if freed < excess {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {excess} bytes, but only found \
                 {freed} bytes eligible to free."
            );
            register::event(&self.shared, Type::Warning, "FreeDiskSpaceFailed", &message);
        }
    }

    /// Looks at what images are there and used, and removes unused ones for so many bytes.
    async fn collect(&mut self, excess: u64) -> Result<u64, runtime::Error> {
        let images = self.shared.engine.images();
        let in_use = collect::in_use(&self.shared.engine.list().await?);
        let (present, now) = (images.list().await?, self.shared.config.now());
        self.images.note(&present, &in_use, now);
        let unused = self.images.choose(&present, &in_use, excess, now);
        if unused.is_empty() {
            return Ok(0);
        }
        tracing::info!(?unused, "unused images are removed for {excess} bytes of room");
        let freed = images.collect(unused).await?;
        self.shared.images_changed.notify_one();
        Ok(freed)
    }

    /// False where the pod may not be touched.
    fn evict(&mut self, uid: &str, entry: &Entry, pod: &core::Pod, eviction: Eviction) -> bool {
        if pod::is_critical(pod) {
            tracing::error!(pod = %entry.name, "a critical pod is not evicted: {}", eviction.message);
            return false;
        }
        tracing::info!(pod = %entry.name, "evicted: {}", eviction.message);
        self.evicted.insert(uid.to_owned());
        entry.inbox.evict(eviction);
        true
    }

    /// Pods that are not over, nor told to end by us.
    fn active(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<(String, Entry)> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        self.evicted.retain(|uid| actors.contains_key(uid));
        let over = |entry: &Entry| {
            let phase = entry.object.view::<core::Pod>().ok().and_then(|pod| pod.status?.phase);
            pod::is_terminal(phase.as_deref().unwrap_or(""))
        };
        let alive = |(uid, entry): &(&String, &Entry)| {
            entry.origin != Origin::Orphan && !self.evicted.contains(*uid) && which(entry) && !over(entry)
        };
        actors.iter().filter(alive).map(|(uid, entry)| (uid.clone(), entry.clone())).collect()
    }

    fn actors(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn room(folder: PathBuf) -> Option<collect::Room> {
    // A file system that no longer answers holds up nobody else.
    let stat = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&folder)).await.ok()?.ok()?;
    let block = stat.fragment_size();
    Some(collect::Room { available: stat.blocks_available() * block, capacity: stat.blocks() * block })
}
