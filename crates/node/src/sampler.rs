//! What nobody announces, looked at in turn: one table with each look's period and cost.
//!
//! The kernel tells of exits, files and addresses; it does not tell that a folder has grown. A row that
//! has nothing to look at wakes nobody: a node without limits of storage measures nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use runtime::engine::Boxed;

use crate::view as core;
use client::recorder::Type;
use tokio::time::Instant;

use crate::collect::{self, Room};
use crate::limits;
use crate::measure::measure;
use crate::pod;
use crate::pressure::{self, Condition, Eviction, Shortage, Signal, rank};
use crate::register;
use crate::roster::{Entry, Roster};
use crate::shared::Shared;
use crate::subject::Origin;

/// One look.
struct Look {
    /// Whether there is anything to look at.
    applies: fn(&Sampler) -> bool,
    look: for<'a> fn(&'a mut Sampler) -> Boxed<'a, ()>,
    period: Duration,
}

/// Periods are upstream's (the eviction manager's monitoringInterval, ImageGCPeriod).
static SAMPLED: &[Look] = &[
    // A walk over the files of pods with an ephemeral-storage limit or a sized emptyDir; none without such pods.
    Look {
        applies: |sampler| sampler.actors().values().any(|entry| entry.limited),
        look: |sampler| Box::pin(sampler.judge_limits()),
        period: Duration::from_secs(10),
    },
    // A statvfs and reads of /proc/meminfo and /proc/loadavg; every pod is measured while something is short.
    Look {
        applies: |sampler| !sampler.shared.config.thresholds.is_empty(),
        look: |sampler| Box::pin(sampler.judge_pressure()),
        period: Duration::from_secs(10),
    },
    // One statvfs and the list of images; one removal above the high mark.
    Look {
        applies: |sampler| sampler.shared.engine.images().folder().is_some(),
        look: |sampler| Box::pin(sampler.tidy_images()),
        period: Duration::from_secs(300),
    },
];

/// A pod that gave way is waited for no longer (podCleanupTimeout).
const CLEARING_MAX: Duration = Duration::from_secs(30);

struct Sampler {
    shared: Arc<Shared>,
    actors: Roster,
    /// UIDs of pods that were told to end.
    evicted: BTreeSet<String>,
    images: collect::Known,
    seen: pressure::LastSeen,
    /// The pod that gave way last, and until when it is waited for.
    clearing: Option<(String, Instant)>,
    /// Pods were ended for limits of their own: that alone may make room.
    enough: bool,
}

/// For ever.
pub async fn run(shared: Arc<Shared>, actors: Roster) {
    if !shared.config.sampling {
        return;
    }
    let mut sampler = Sampler {
        shared: shared.clone(),
        actors,
        evicted: BTreeSet::new(),
        images: collect::Known::default(),
        seen: pressure::LastSeen::default(),
        clearing: None,
        enough: false,
    };
    // Images that are there now are old; what comes later is known by when it came.
    if let Err(why) = sampler.collect(0).await {
        tracing::warn!("images are not listed: {why}");
    }
    sampler.judge_pressure().await;
    let mut looked: Vec<Option<Instant>> = vec![None; SAMPLED.len()];
    loop {
        let now = Instant::now();
        for (row, looked) in SAMPLED.iter().zip(&mut looked) {
            if !(row.applies)(&sampler) {
                *looked = None;
            } else if looked.is_none_or(|at| now >= at + row.period) {
                // The first look comes a period after there is something to look at.
                if looked.replace(now).is_some() {
                    (row.look)(&mut sampler).await;
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
                self.enough |= self.evict(&uid, &entry, &pod, Eviction { message, ..Eviction::default() });
            }
        }
    }

    /// What is short makes the node's conditions; then one pod at most gives way.
    async fn judge_pressure(&mut self) {
        let enough = std::mem::take(&mut self.enough);
        let shared = self.shared.clone();
        let thresholds = &shared.config.thresholds;
        let shortages = thresholds.judge(&self.observe().await);
        self.note(&shortages);
        let Some(mut shortage) = shortages.first().copied().filter(|_| !enough) else { return };
        if self.is_clearing().await {
            return;
        }
        let resource = shortage.signal.scarce().name();
        let message = format!("Attempting to reclaim {resource}");
        register::event(&shared, Type::Warning, "EvictionThresholdMet", &message);
        if !matches!(shortage.signal, Signal::MemoryAvailable | Signal::PidsAvailable) {
            if let Err(why) = self.collect(u64::MAX).await {
                tracing::warn!("unused images are not collected: {why}");
            }
            let left = thresholds.judge(&self.observe().await);
            let Some(still) = left.first() else { return };
            shortage = *still;
        }
        self.relieve(&shortage).await;
    }

    /// Conditions that begin or end are told as events of the node, and in its status.
    fn note(&mut self, shortages: &[Shortage]) {
        let now = self.shared.config.now();
        self.seen.note(shortages, now);
        let (before, current) = (self.shared.standing.conditions(), self.seen.conditions(now));
        if before == current {
            return;
        }
        for condition in Condition::ALL {
            let short = current.contains(&condition);
            if short != before.contains(&condition) {
                let reason = condition.told(short).0.replacen("Kubelet", "Node", 1);
                let message = format!("Node {} status is now: {reason}", self.shared.config.node_name);
                register::event(&self.shared, Type::Normal, &reason, &message);
            }
        }
        self.shared.standing.set_conditions(current);
    }

    async fn observe(&self) -> BTreeMap<Signal, Room> {
        let mut observed = BTreeMap::new();
        observed.extend(crate::machine::memory_room().map(|room| (Signal::MemoryAvailable, room)));
        observed.extend(crate::machine::process_room().map(|room| (Signal::PidsAvailable, room)));
        let images = self.shared.engine.images().folder().map(Path::to_path_buf);
        let node = Some(self.shared.config.data_dir.clone());
        for (folder, bytes, inodes) in [
            (node, Signal::NodefsAvailable, Signal::NodefsInodes),
            (images, Signal::ImagefsAvailable, Signal::ImagefsInodes),
        ] {
            let Some(folder) = folder else { continue };
            if let Some((room, files)) = rooms(folder).await {
                observed.extend([(bytes, room), (inodes, files)]);
            }
        }
        observed
    }

    /// The pod that gave way last is not gone yet: its room will be free in a moment.
    async fn is_clearing(&mut self) -> bool {
        let Some((uid, until)) = self.clearing.take_if(|(_, until)| Instant::now() < *until) else {
            self.clearing = None;
            return false;
        };
        let runs = self.shared.looker.look(&uid).await.is_ok_and(|seen| seen.sandboxes.iter().any(|s| s.ready));
        self.clearing = runs.then_some((uid, until));
        runs
    }

    /// Ends the pod whose turn it is.
    async fn relieve(&mut self, shortage: &Shortage) {
        let scarce = shortage.signal.scarce();
        let mut candidates = Vec::new();
        for (uid, entry) in self.active(|_| true) {
            let Ok(pod) = entry.object.view::<core::Pod>() else { continue };
            let Ok(seen) = self.shared.looker.look(&uid).await else { continue };
            if seen.any_running() {
                let used = measure(&self.shared, &pod, &seen).await;
                candidates.push((uid, entry, pod, used));
            }
        }
        candidates.sort_by_cached_key(|(_, _, pod, used)| rank::order(scarce, pod, used));
        for (uid, entry, pod, used) in candidates {
            if self.evict(&uid, &entry, &pod, rank::eviction(shortage, &pod, &used)) {
                self.clearing = Some((uid, Instant::now() + CLEARING_MAX));
                return;
            }
        }
        tracing::debug!("the node is short of {}, and there is no pod to evict", scarce.name());
    }

    /// Above the high mark the longest unused images go.
    async fn tidy_images(&mut self) {
        let Some(folder) = self.shared.engine.images().folder().map(Path::to_path_buf) else { return };
        let Some((room, _)) = rooms(folder).await else { return };
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
        self.shared.standing.change();
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

/// Bytes and inodes of a file system.
async fn rooms(folder: PathBuf) -> Option<(Room, Room)> {
    // A file system that no longer answers holds up nobody else.
    let stat = tokio::task::spawn_blocking(move || nix::sys::statvfs::statvfs(&folder)).await.ok()?.ok()?;
    let block = stat.fragment_size();
    let bytes = Room { available: stat.blocks_available() * block, capacity: stat.blocks() * block };
    Some((bytes, Room { available: stat.files_available(), capacity: stat.files() }))
}
