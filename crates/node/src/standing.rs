//! How the node stands: what it is short of, whether its runtime answers; what its status is made of.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::pressure::Condition;

#[derive(Default)]
pub struct Standing {
    conditions: Mutex<Vec<Condition>>,
    /// For too long.
    runtime_is_away: AtomicBool,
    /// Its network could have been opened by now.
    network_is_late: AtomicBool,
    changed: Notify,
}

impl Standing {
    /// What the node is short of, or was until a moment ago.
    pub fn conditions(&self) -> Vec<Condition> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_conditions(&self, conditions: Vec<Condition>) {
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
        self.change();
    }

    pub fn runtime_answers(&self) -> bool {
        !self.runtime_is_away.load(Ordering::Relaxed)
    }

    pub fn set_runtime_answers(&self, answers: bool) {
        self.runtime_is_away.store(!answers, Ordering::Relaxed);
        self.change();
    }

    pub fn network_is_late(&self) -> bool {
        self.network_is_late.load(Ordering::Relaxed)
    }

    pub fn set_network_is_late(&self) {
        self.network_is_late.store(true, Ordering::Relaxed);
    }

    /// Its images or conditions may be others now.
    pub fn change(&self) {
        self.changed.notify_one();
    }

    /// Until they may be.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}
