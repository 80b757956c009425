//! What is chosen for a write that is under way, so that no other chooses it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinds::service::allocation::Holding;

pub type Pending = Mutex<HashSet<Holding>>;

/// Something that is chosen for a write; others choose it no more until this is dropped.
pub struct Held {
    pub pending: Arc<Pending>,
    pub holding: Holding,
}

pub fn lock(pending: &Pending) -> MutexGuard<'_, HashSet<Holding>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.pending).remove(&self.holding);
    }
}
