//! The readers, found by the keys and values that they want: a change costs who reads it.
//!
//! Of ten thousand readers nearly all wait for something else. They stand under their prefix, and below that
//! under the value that they want; those for whom something waits are looked at with every write, the
//! others never.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use super::{End, Queue, Sieve, Wanted, locked};
use crate::{Change, Entry, Revision};

#[derive(Debug)]
pub(super) struct Reader {
    prefix: Box<str>,
    wanted: Option<Wanted>,
    queue: Arc<Mutex<Queue>>,
    limit: usize,
    /// Everything up to here is in the backlog.
    seen: Revision,
}

/// Readers have numbers in the order of their registration, which is that in which they are woken: a simulated
/// run replays.
#[derive(Debug, Default)]
pub(super) struct Readers {
    all: BTreeMap<u64, Reader>,
    last: u64,
    groups: HashMap<Box<str>, Group>,
    /// How many groups have a prefix of that length.
    lengths: BTreeMap<usize, usize>,
    /// Those for whom something waited when they were last looked at.
    behind: BTreeSet<u64>,
    /// Registered since those that nobody reads were last looked for.
    fresh: usize,
}

/// All readers of one prefix.
#[derive(Debug, Default)]
struct Group {
    open: BTreeSet<u64>,
    sifted: BTreeMap<&'static str, Sifted>,
}

/// Those that want changes of entries with a value of their own.
#[derive(Debug)]
struct Sifted {
    sieve: Sieve,
    by_value: HashMap<Box<str>, BTreeSet<u64>>,
}

impl Reader {
    pub fn new(prefix: &str, wanted: Option<Wanted>, queue: Arc<Mutex<Queue>>, limit: usize, seen: Revision) -> Reader {
        Reader { prefix: prefix.into(), wanted, queue, limit, seen }
    }

    fn is_read(&self) -> bool {
        Arc::strong_count(&self.queue) > 1
    }

    /// Whether something still waits for it; None: nothing is to be done for it any more.
    fn look(&self, horizon: Revision) -> Option<bool> {
        if !self.is_read() {
            return None;
        }
        let mut queue = locked(&self.queue);
        if queue.changes.front().is_some_and(|oldest| oldest.entry.revision <= horizon) {
            queue.changes = Default::default();
            queue.end(End::Lagged);
        }
        let waits = !queue.changes.is_empty();
        (queue.end.is_none() || waits).then_some(waits)
    }

    /// Queues a change; false if it has it, or gets no more.
    fn take(&self, change: &Arc<Change>) -> bool {
        let mut queue = locked(&self.queue);
        if change.entry.revision <= self.seen || queue.end.is_some() {
            return false;
        }
        if queue.changes.len() >= self.limit {
            queue.end(End::Lagged);
            return false;
        }
        queue.changes.push_back(change.clone());
        queue.wake();
        true
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut queue = locked(&self.queue);
        if queue.end.is_none() {
            queue.end(End::Gone);
        }
    }
}

impl Readers {
    pub fn add(&mut self, reader: Reader) {
        self.fresh += 1;
        if self.fresh > self.all.len() {
            self.fresh = 0;
            let unread: Vec<u64> = self.all.iter().filter(|(_, reader)| !reader.is_read()).map(|(id, _)| *id).collect();
            unread.into_iter().for_each(|id| self.remove(id));
        }
        self.last += 1;
        let id = self.last;
        if !self.groups.contains_key(&reader.prefix) {
            *self.lengths.entry(reader.prefix.len()).or_default() += 1;
        }
        self.groups.entry(reader.prefix.clone()).or_default().add(id, reader.wanted.as_ref());
        // It may have a backlog.
        self.behind.insert(id);
        self.all.insert(id, reader);
    }

    /// Hands changes to whoever wants them. History goes back to `horizon`.
    pub fn send<'a>(&mut self, changes: impl Iterator<Item = &'a Arc<Change>>, horizon: Revision) {
        for id in std::mem::take(&mut self.behind) {
            match self.all.get(&id).map(|reader| reader.look(horizon)) {
                Some(Some(true)) => drop(self.behind.insert(id)),
                Some(None) => self.remove(id),
                _ => {}
            }
        }
        let Readers { all, groups, lengths, behind, .. } = self;
        for change in changes {
            let key = &*change.entry.key.0;
            for (length, _) in lengths.range(..=key.len()) {
                let Some(group) = key.get(..*length).and_then(|prefix| groups.get(prefix)) else { continue };
                group.each(change, |id| {
                    if all.get(&id).is_some_and(|reader| reader.take(change)) {
                        behind.insert(id);
                    }
                });
            }
        }
    }

    pub fn cut_off(&mut self) {
        for reader in std::mem::take(self).all.into_values() {
            locked(&reader.queue).end(End::Lagged);
        }
    }

    fn remove(&mut self, id: u64) {
        self.behind.remove(&id);
        let Some(reader) = self.all.remove(&id) else { return };
        let Some(group) = self.groups.get_mut(&reader.prefix) else { return };
        group.remove(id, reader.wanted.as_ref());
        if group.open.is_empty() && group.sifted.is_empty() {
            self.groups.remove(&reader.prefix);
            if let Some(count) = self.lengths.get_mut(&reader.prefix.len()) {
                *count -= 1;
            }
            self.lengths.retain(|_, count| *count > 0);
        }
    }
}

impl Group {
    fn add(&mut self, id: u64, wanted: Option<&Wanted>) {
        let Some(Wanted { sieve, value }) = wanted else {
            self.open.insert(id);
            return;
        };
        let sifted = || Sifted { sieve: *sieve, by_value: HashMap::new() };
        let sifted = self.sifted.entry(sieve.name).or_insert_with(sifted);
        sifted.by_value.entry(value.clone()).or_default().insert(id);
    }

    fn remove(&mut self, id: u64, wanted: Option<&Wanted>) {
        self.open.remove(&id);
        let Some(Wanted { sieve, value }) = wanted else { return };
        let Some(sifted) = self.sifted.get_mut(sieve.name) else { return };
        if let Some(readers) = sifted.by_value.get_mut(value) {
            readers.remove(&id);
            if readers.is_empty() {
                sifted.by_value.remove(value);
            }
        }
        if sifted.by_value.is_empty() {
            self.sifted.remove(sieve.name);
        }
    }

    /// Whoever wants the change, each once: by what the entry holds, or held before.
    fn each(&self, change: &Change, mut tell: impl FnMut(u64)) {
        self.open.iter().copied().for_each(&mut tell);
        for sifted in self.sifted.values() {
            let of = |entry: &Entry| (sifted.sieve.of)(&entry.bytes);
            let (now, before) = (of(&change.entry), change.previous.as_ref().and_then(of));
            let readers = |value: &Option<String>| sifted.by_value.get(value.as_deref()?);
            readers(&now).into_iter().flatten().copied().for_each(&mut tell);
            if now != before {
                readers(&before).into_iter().flatten().copied().for_each(&mut tell);
            }
        }
    }
}
