//! A pure fold over stored objects, kept fresh: what decisions ask is computed when it changes.
//!
//! Readers take the value without a lock; the first one after a write takes in what changed. Law: a value
//! shows every write that was answered before it was asked for.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use store::{Change, Revision, Store, Watch};

/// What all objects under a prefix of the store come to. It begins with `T::default()`; a creation has no
/// `previous`, and of a deletion `previous` is what goes.
pub struct View<T> {
    store: Arc<Store>,
    prefix: String,
    fold: fn(&mut T, &Change),
    shown: ArcSwap<Shown<T>>,
    /// None until somebody asks.
    watch: Mutex<Option<Watch>>,
}

struct Shown<T> {
    value: Arc<T>,
    /// Everything up to here is in it.
    revision: Revision,
}

impl<T: Clone + Default> View<T> {
    /// `prefix` as the kind's keys have it: `priorityclasses.scheduling.k8s.io/`.
    pub fn new(store: &Arc<Store>, prefix: &str, fold: fn(&mut T, &Change)) -> View<T> {
        let shown = ArcSwap::from_pointee(Shown { value: Arc::default(), revision: Revision(0) });
        View { store: store.clone(), prefix: prefix.into(), fold, shown, watch: Mutex::default() }
    }

    pub fn now(&self) -> Arc<T> {
        let shown = self.shown.load();
        match shown.revision >= self.store.published() {
            true => shown.value.clone(),
            false => self.caught_up(),
        }
    }

    fn caught_up(&self) -> Arc<T> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        // The order matters: what is published is queued.
        let mut revision = self.store.published();
        let shown = self.shown.load();
        let mut fresh = None;
        let taken = watch.as_mut().is_some_and(|watch| {
            while let Some(change) = watch.try_next() {
                let Ok(change) = change else { return false };
                (self.fold)(fresh.get_or_insert_with(|| T::clone(&shown.value)), &change);
            }
            true
        });
        if !taken {
            let (value, at, after) = self.anew();
            (fresh, revision, *watch) = (Some(value), at, after);
        }
        let value = fresh.map_or_else(|| shown.value.clone(), Arc::new);
        self.shown.store(Arc::new(Shown { value: value.clone(), revision }));
        value
    }

    /// From all that is there, for the first time or after changes that were forgotten meanwhile.
    fn anew(&self) -> (T, Revision, Option<Watch>) {
        let listed = self.store.list(&self.prefix, None, usize::MAX, None).expect("the newest revision is reached");
        let mut value = T::default();
        for entry in listed.entries {
            (self.fold)(&mut value, &Change { entry, previous: None, deleted: false });
        }
        // Where history has gone on already, the next to ask begins anew.
        (value, listed.revision, self.store.watch(&self.prefix, listed.revision).ok())
    }
}

#[cfg(test)]
mod tests;
