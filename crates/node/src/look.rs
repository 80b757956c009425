//! Looking at the machine: one list of the runtime and the network answers all who ask meanwhile.
//!
//! A look begins after it was asked for, so an actor sees what it did itself. A hundred pods that
//! start at once share their looks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use runtime::{Engine, Sandbox};
use tokio::sync::{mpsc, oneshot};

use crate::observe::Seen;
use crate::pod::LABEL_POD_UID;

/// All sandboxes by pod UID.
#[derive(Default)]
struct All {
    by_uid: BTreeMap<String, Vec<Sandbox>>,
    uid_of: HashMap<String, String>,
}

/// Where actors ask. Clone is a reference count.
#[derive(Clone)]
pub struct Looker {
    asks: mpsc::UnboundedSender<oneshot::Sender<Result<Arc<All>, String>>>,
    /// Ids of attached networks: kept by who attaches and detaches, filled at the start.
    attached: Arc<Mutex<HashSet<String>>>,
    latest: Arc<Mutex<Arc<All>>>,
}

impl Looker {
    pub fn start(engine: Arc<dyn Engine>) -> Looker {
        let (asks, mut inbox) = mpsc::unbounded_channel::<oneshot::Sender<Result<Arc<All>, String>>>();
        let latest = Arc::new(Mutex::new(Arc::new(All::default())));
        let kept = latest.clone();
        tokio::spawn(async move {
            while let Some(first) = inbox.recv().await {
                let mut waiting = vec![first];
                while let Ok(more) = inbox.try_recv() {
                    waiting.push(more);
                }
                let all = engine.list().await.map(|list| Arc::new(sorted(list))).map_err(|e| e.to_string());
                if let Ok(all) = &all {
                    *kept.lock().unwrap_or_else(PoisonError::into_inner) = all.clone();
                }
                for one in waiting {
                    // Whoever stopped waiting does not need it.
                    let _ = one.send(all.clone());
                }
            }
        });
        Looker { asks, attached: Arc::default(), latest }
    }

    /// What is there of one pod now.
    pub async fn look(&self, uid: &str) -> Result<Seen, String> {
        let all = self.all().await?;
        let sandboxes = all.by_uid.get(uid).cloned().unwrap_or_default();
        let attached = self.attached();
        let ids = sandboxes.iter().map(|s| s.id.0.clone()).filter(|id| attached.contains(id)).collect();
        drop(attached);
        Ok(Seen::new(sandboxes, ids))
    }

    /// UIDs of all pods that have sandboxes here, with one sandbox of each.
    pub async fn pods(&self) -> Result<Vec<(String, Sandbox)>, String> {
        let all = self.all().await?;
        Ok(all.by_uid.iter().filter_map(|(uid, s)| Some((uid.clone(), s.first()?.clone()))).collect())
    }

    /// The pod of a sandbox, if the last look saw it.
    pub fn uid_of(&self, sandbox: &str) -> Option<String> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        latest.uid_of.get(sandbox).cloned()
    }

    pub fn note_attached(&self, id: &str) {
        self.attached().insert(id.to_owned());
    }

    pub fn note_detached(&self, id: &str) {
        self.attached().remove(id);
    }

    fn attached(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn all(&self) -> Result<Arc<All>, String> {
        let (answer, result) = oneshot::channel();
        let gone = || "the runtime is no longer looked at".to_owned();
        self.asks.send(answer).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn sorted(list: Vec<Sandbox>) -> All {
    let mut all = All::default();
    for sandbox in list {
        let uid = sandbox.spec.labels.get(LABEL_POD_UID).cloned().unwrap_or_default();
        all.uid_of.insert(sandbox.id.0.clone(), uid.clone());
        all.by_uid.entry(uid).or_default().push(sandbox);
    }
    all
}
