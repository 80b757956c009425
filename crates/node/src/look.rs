//! Looking at the machine: what the runtime lists of one pod, and which networks are attached.
//!
//! A look begins when it is asked for, so an actor sees what it did itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::{Engine, Sandbox};

use crate::observe::Seen;
use crate::pod::LABEL_POD_UID;

/// Where actors ask.
pub struct Looker {
    engine: Arc<dyn Engine>,
    /// Ids of attached networks: kept by who attaches and detaches, filled at the start.
    attached: Mutex<HashSet<String>>,
    /// Pods' UIDs by the ids of sandboxes that were seen: what a hint of the runtime is about.
    uids: Mutex<HashMap<String, String>>,
}

impl Looker {
    pub fn new(engine: Arc<dyn Engine>) -> Looker {
        Looker { engine, attached: Mutex::default(), uids: Mutex::default() }
    }

    /// What is there of one pod now.
    pub async fn look(&self, uid: &str) -> Result<Seen, String> {
        let sandboxes = self.engine.labelled(LABEL_POD_UID, uid).await.map_err(|e| e.to_string())?;
        let mut uids = lock(&self.uids);
        uids.retain(|id, of| of != uid || sandboxes.iter().any(|s| s.id.0 == *id));
        uids.extend(sandboxes.iter().map(|s| (s.id.0.clone(), uid.to_owned())));
        drop(uids);
        let attached = lock(&self.attached);
        let ids = sandboxes.iter().map(|s| s.id.0.clone()).filter(|id| attached.contains(id)).collect();
        drop(attached);
        Ok(Seen::new(sandboxes, ids))
    }

    /// UIDs of all pods that have sandboxes here, in order, with one sandbox of each.
    pub async fn pods(&self) -> Result<Vec<(String, Sandbox)>, String> {
        let list = self.engine.list().await.map_err(|e| e.to_string())?;
        let uid_of = |s: &Sandbox| s.spec.labels.get(LABEL_POD_UID).cloned().unwrap_or_default();
        let mut pods: Vec<(String, Sandbox)> = list.into_iter().map(|s| (uid_of(&s), s)).collect();
        *lock(&self.uids) = pods.iter().map(|(uid, s)| (s.id.0.clone(), uid.clone())).collect();
        pods.sort_by(|(a, _), (b, _)| a.cmp(b));
        pods.dedup_by(|(next, _), (kept, _)| next == kept);
        Ok(pods)
    }

    /// The pod of a sandbox, if a look has seen it.
    pub fn uid_of(&self, sandbox: &str) -> Option<String> {
        lock(&self.uids).get(sandbox).cloned()
    }

    /// Nothing of the pod is left.
    pub fn forget(&self, uid: &str) {
        lock(&self.uids).retain(|_, of| of != uid);
    }

    pub fn note_attached(&self, id: &str) {
        lock(&self.attached).insert(id.to_owned());
    }

    pub fn note_detached(&self, id: &str) {
        lock(&self.attached).remove(id);
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
