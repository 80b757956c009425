//! What the node offers, and what it promised of that to which pod.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::view as core;
use tokio::sync::watch;

use crate::admit::{Ledger, Offer};
use crate::progress::{Pending, Verdict};
use crate::spec::Settings;

pub struct Promises {
    ledger: Mutex<Ledger>,
    offer: Mutex<Arc<Offer>>,
    /// Counts what was given back, and new offers.
    freed: watch::Sender<u64>,
}

impl Promises {
    pub fn new(offer: Offer) -> Promises {
        Promises { ledger: Mutex::default(), offer: Mutex::new(Arc::new(offer)), freed: watch::Sender::new(0) }
    }

    pub fn offer(&self) -> Arc<Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_offer(&self, offer: Offer) {
        *self.offer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(offer);
        self.free();
    }

    /// Judges a pod, and holds what it needs if it is taken.
    pub fn admit(&self, pod: &core::Pod, settings: &Settings) -> Result<(), Verdict> {
        self.ledger().admit(pod, &self.offer(), settings)
    }

    /// A pod that already runs holds what it needs.
    pub fn enter(&self, pod: &core::Pod) {
        self.ledger().enter(pod, &self.offer());
    }

    /// New resources of an admitted pod: given, or why not.
    pub fn resize(&self, pod: &core::Pod) -> Result<(), Pending> {
        let given = self.ledger().resize(pod, &self.offer());
        if given.is_ok() {
            self.free();
        }
        given
    }

    /// New resources are asked for no more, though they may have been promised since.
    pub fn withdraw(&self, pod: &core::Pod) {
        self.enter(pod);
        self.free();
    }

    /// A pod no longer holds what it was promised.
    pub fn release(&self, uid: &str) {
        self.ledger().release(uid);
        self.free();
    }

    /// Changes when a deferred resize is to be judged anew.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    fn free(&self) {
        self.freed.send_modify(|times| *times += 1);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
