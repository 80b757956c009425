//! The caches of one process: of each kind one, started by the first who needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::Kind;

use crate::{Cache, Client, Scope};

/// All of a kind's objects, shared by whoever asks for them.
pub struct Caches {
    client: Client,
    started: Mutex<BTreeMap<(&'static str, &'static str), Arc<Cache>>>,
}

impl Caches {
    /// Nothing is asked for yet.
    pub fn new(client: Client) -> Caches {
        Caches { client, started: Mutex::default() }
    }

    /// The cache of a kind; it may not be synced yet.
    pub fn of(&self, kind: &'static Kind) -> Arc<Cache> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Cache::start(self.client.clone(), kind, Scope::default());
        started.entry((kind.group, kind.plural)).or_insert_with(start).clone()
    }
}
