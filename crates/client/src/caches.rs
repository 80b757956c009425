//! The caches of one process: of each kind one, started by the first who needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::Resource;

use crate::{Cache, Client, Scope};

/// All of a kind's objects, shared by whoever asks for them.
pub struct Caches {
    client: Client,
    /// By qualified name: of a kind with several versions one is followed.
    started: Mutex<BTreeMap<String, Arc<Cache>>>,
}

impl Caches {
    /// Nothing is asked for yet.
    pub fn new(client: Client) -> Caches {
        Caches { client, started: Mutex::default() }
    }

    /// The cache of a kind; it may not be synced yet.
    pub fn of(&self, resource: &Resource) -> Arc<Cache> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Cache::start(self.client.clone(), resource, Scope::default());
        started.entry(resource.qualified()).or_insert_with(start).clone()
    }
}
