//! A pure fold over stored objects, kept fresh: what decisions ask is computed when it changes.
//!
//! Readers take the value without a lock; the first one after a write takes in what changed. Laws: a value
//! shows every write that was answered before it was asked for; what it shows was true at one revision, of
//! all the kinds that it is of.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use store::{Change, Error, Revision, Store, Watch};

/// What all objects under some prefixes of the store come to. It begins with `T::default()`; a creation has no
/// `previous`, and of a deletion `previous` is what goes. Changes under one prefix come in order.
pub struct View<T> {
    store: Arc<Store>,
    prefixes: Vec<String>,
    fold: fn(&mut T, &Change),
    shown: ArcSwap<Shown<T>>,
    /// One for each prefix; none until somebody asks.
    sources: Mutex<Vec<Source>>,
}

struct Shown<T> {
    value: Arc<T>,
    /// Everything up to here is in it.
    revision: Revision,
}

struct Source {
    watch: Watch,
    /// Later than what was shown.
    next: Option<Arc<Change>>,
}

impl<T: Clone + Default> View<T> {
    /// `prefix` as the kind's keys have it: `priorityclasses.scheduling.k8s.io/`.
    pub fn new(store: &Arc<Store>, prefix: &str, fold: fn(&mut T, &Change)) -> View<T> {
        View::of(store, vec![prefix.into()], fold)
    }

    /// Of several kinds, whose prefixes have nothing in common.
    pub fn of(store: &Arc<Store>, prefixes: Vec<String>, fold: fn(&mut T, &Change)) -> View<T> {
        let shown = ArcSwap::from_pointee(Shown { value: Arc::default(), revision: Revision(0) });
        View { store: store.clone(), prefixes, fold, shown, sources: Mutex::default() }
    }

    pub fn now(&self) -> Arc<T> {
        let shown = self.shown.load();
        match shown.revision >= self.store.published() {
            true => shown.value.clone(),
            false => self.caught_up(),
        }
    }

    fn caught_up(&self) -> Arc<T> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        // The order matters: what is published is queued.
        let mut revision = self.store.published();
        let shown = self.shown.load();
        let mut fresh = None;
        let mut take = |change: &Change| {
            (self.fold)(fresh.get_or_insert_with(|| T::clone(&shown.value)), change);
        };
        let taken = !sources.is_empty() && sources.iter_mut().all(|source| source.take_to(revision, &mut take).is_ok());
        if !taken {
            let (value, at, after) = self.anew();
            (fresh, revision, *sources) = (Some(value), at, after);
        }
        let value = fresh.map_or_else(|| shown.value.clone(), Arc::new);
        self.shown.store(Arc::new(Shown { value: value.clone(), revision }));
        value
    }

    /// From all that is there, for the first time or after changes that were forgotten meanwhile.
    fn anew(&self) -> (T, Revision, Vec<Source>) {
        loop {
            let revision = self.store.revision();
            let lists = self.prefixes.iter().map(|prefix| self.store.list(prefix, None, usize::MAX, Some(revision)));
            // Of a moment that is forgotten already a later one is taken.
            let Ok(lists) = lists.collect::<Result<Vec<_>, _>>() else { continue };
            let mut value = T::default();
            for entry in lists.into_iter().flat_map(|list| list.entries) {
                (self.fold)(&mut value, &Change { entry, previous: None, deleted: false });
            }
            let watches = self.prefixes.iter().map(|prefix| self.store.watch(prefix, revision));
            let sources = watches.map(|watch| watch.map(|watch| Source { watch, next: None }));
            // Where history has gone on already, the next to ask begins anew.
            return (value, revision, sources.collect::<Result<_, _>>().unwrap_or_default());
        }
    }
}

impl Source {
    /// Everything up to a revision; an error where something is lost.
    fn take_to(&mut self, revision: Revision, take: &mut impl FnMut(&Change)) -> Result<(), Error> {
        loop {
            let change = match self.next.take() {
                Some(change) => change,
                None => match self.watch.try_next() {
                    Some(change) => change?,
                    None => return Ok(()),
                },
            };
            if change.entry.revision > revision {
                self.next = Some(change);
                return Ok(());
            }
            take(&change);
        }
    }
}

#[cfg(test)]
mod tests;
