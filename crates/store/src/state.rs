//! What is in memory: the entries, the history to its horizon, and how a write is judged.
//!
//! Only the writer changes it, and only with what is durable; readers hold its lock for one walk.
//! The log of changes is the history: the state at an older revision is the present one with the
//! later changes undone, so no key carries a chain of versions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::{Change, Entry, Error, Expect, Key, Listing, Mutation, Revision, Room, Step, Sync, Value};

/// One key's present version and what the store itself must know about it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub entry: Entry,
    /// Length of the value's head: where the revision begins in the bytes.
    pub head: u32,
    /// When the store deletes it, since the epoch.
    pub expires: Option<Duration>,
}

/// How much history is kept: whichever is reached first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub time: Duration,
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    entries: BTreeMap<Key, Slot>,
    log: VecDeque<Logged>,
    log_bytes: usize,
    /// Bytes of all entries.
    stored: usize,
    revision: Revision,
    /// The oldest revision that can be listed, or watched after.
    horizon: Revision,
    deadlines: BTreeSet<(Duration, Key)>,
}

#[derive(Debug)]
struct Logged {
    change: Arc<Change>,
    at: Duration,
}

/// A write that was judged and only waits to become durable.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub revision: Revision,
    pub changes: Vec<(Arc<Change>, Option<Slot>)>,
    /// One per step; None for a check.
    pub entries: Vec<Option<Entry>>,
    /// None of its changes must be synced first.
    pub later: bool,
    pub room: Room,
}

/// Writes of the same batch, seen by the later ones: None is a deletion.
pub(crate) type Overlay = HashMap<Key, Option<Slot>>;

impl State {
    /// What a backend found on its disk. Its history is gone with the process that made it.
    pub fn load(slots: impl Iterator<Item = Slot>, revision: Revision) -> State {
        let mut state = State { revision, horizon: revision, ..State::default() };
        for slot in slots {
            assert!(slot.entry.revision <= revision, "an entry is newer than the store's revision");
            if let Some(at) = slot.expires {
                state.deadlines.insert((at, slot.entry.key.clone()));
            }
            state.stored += slot.entry.bytes.len();
            let twice = state.entries.insert(slot.entry.key.clone(), slot);
            state.stored -= twice.map_or(0, |slot| slot.entry.bytes.len());
        }
        state
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that history reaches.
    pub fn horizon(&self) -> Revision {
        self.horizon
    }

    pub fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).map(|slot| slot.entry.clone())
    }

    pub fn list(&self, prefix: &str, from: Option<&str>, limit: usize, at: Revision) -> Listing {
        let start = from.map_or(prefix, |from| from.max(prefix));
        let range = (Bound::Included(start), Bound::Unbounded);
        let present =
            self.entries.range::<str, _>(range).map(|(_, s)| &s.entry).take_while(|e| e.key.0.starts_with(prefix));
        let undone = self.undone(prefix, start, at);
        let mut listing = Listing { entries: Vec::new(), revision: at, remaining: 0 };
        let mut take = |entry: &Entry| match listing.entries.len() < limit {
            true => listing.entries.push(entry.clone()),
            false => listing.remaining += 1,
        };
        let mut undone = undone.into_iter().peekable();
        for entry in present {
            while let Some((key, before)) = undone.next_if(|(key, _)| *key < entry.key.as_str()) {
                debug_assert!(key >= start);
                before.into_iter().for_each(&mut take);
            }
            match undone.next_if(|(key, _)| *key == entry.key.as_str()) {
                Some((_, before)) => before.into_iter().for_each(&mut take),
                None => take(entry),
            }
        }
        undone.filter_map(|(_, before)| before).for_each(&mut take);
        listing
    }

    /// What the keys changed after `at` held at `at`.
    fn undone<'a>(&'a self, prefix: &str, start: &str, at: Revision) -> BTreeMap<&'a str, Option<&'a Entry>> {
        let mut undone = BTreeMap::new();
        for change in self.after(at).filter(|c| c.entry.key.0.starts_with(prefix) && c.entry.key.as_str() >= start) {
            undone.entry(change.entry.key.as_str()).or_insert(change.previous.as_ref());
        }
        undone
    }

    /// The changes after a revision, oldest first; complete only from the horizon on.
    pub fn after(&self, revision: Revision) -> impl Iterator<Item = &Arc<Change>> {
        let first = self.log.partition_point(|logged| logged.change.entry.revision <= revision);
        self.log.range(first..).map(|logged| &logged.change)
    }

    /// Whether a revision can be listed or watched after.
    pub fn reach(&self, revision: Revision) -> Result<(), Error> {
        if revision < self.horizon {
            return Err(Error::Compacted { horizon: self.horizon });
        }
        if revision > self.revision {
            return Err(Error::Future { current: self.revision });
        }
        Ok(())
    }

    pub fn compact(&mut self, before: Revision) {
        while self.log.front().is_some_and(|logged| logged.change.entry.revision <= before) {
            self.forget_oldest();
        }
        self.horizon = self.horizon.max(before.min(self.revision));
    }

    pub fn slot(&self, key: &Key) -> Option<Slot> {
        self.entries.get(key).cloned()
    }

    /// How much of a full disk a write may use.
    pub fn room(&self, overlay: &Overlay, steps: &[Step]) -> Room {
        let (mut before, mut after) = (0, 0);
        let mut room = Room::Last;
        for step in steps {
            let Step::Put { key, value, room: given, .. } = step else { continue };
            let value_of = |slot: &Slot| slot.entry.bytes.len() - slot.entry.revision.0.to_string().len();
            before += self.present(overlay, key).map_or(0, value_of);
            after += value.head.len() + value.tail.len();
            room = room.min(*given);
        }
        if after > before { room } else { room.max(Room::Kept) }
    }

    /// Judges one write against the state and the batch's earlier writes; changes nothing but the overlay.
    pub fn prepare(
        &self,
        overlay: &mut Overlay,
        steps: Vec<Step>,
        revision: Revision,
        now: Duration,
    ) -> Result<Prepared, Error> {
        let room = self.room(overlay, &steps);
        for step in &steps {
            let found = self.present(overlay, step.key()).map(|slot| &slot.entry);
            if !step.holds(found.map(|entry| entry.revision)) {
                return Err(Error::Conflict { key: step.key().clone(), found: found.cloned() });
            }
        }
        let later = steps.iter().all(|step| matches!(step, Step::Put { sync: Sync::Later, .. } | Step::Check { .. }));
        let mut prepared = Prepared { revision, changes: Vec::new(), entries: Vec::new(), later, room };
        for step in steps {
            let before = self.present(overlay, step.key()).map(|slot| slot.entry.clone());
            let (change, slot) = match step {
                Step::Check { .. } => {
                    prepared.entries.push(None);
                    continue;
                }
                Step::Put { key, value, ttl, .. } => put(before, key, &value, revision, ttl.map(|ttl| now + ttl)),
                Step::Delete { key, last, .. } => (delete(before, key, &last, revision), None),
            };
            overlay.insert(change.entry.key.clone(), slot.clone());
            prepared.entries.push(Some(change.entry.clone()));
            prepared.changes.push((Arc::new(change), slot));
        }
        Ok(prepared)
    }

    /// What another kept at a revision, as a write that is durable.
    pub fn adopt(&self, overlay: &mut Overlay, mutations: Vec<Mutation>, revision: Revision) -> Prepared {
        let mut adopted =
            Prepared { revision, changes: Vec::new(), entries: Vec::new(), later: false, room: Room::Free };
        for mutation in mutations {
            let (Mutation::Put { key, .. } | Mutation::Delete { key, .. }) = &mutation;
            let present = self.present(overlay, key);
            let before = present.map(|slot| slot.entry.clone());
            let (change, slot) = match mutation {
                Mutation::Put { key, value, expires } => put(before, key, &value, revision, expires),
                Mutation::Delete { key, last } => {
                    let Some(last) = last.or(present.map(Slot::value)) else { continue };
                    (delete(before, key, &last, revision), None)
                }
            };
            overlay.insert(change.entry.key.clone(), slot.clone());
            adopted.changes.push((Arc::new(change), slot));
        }
        adopted
    }

    /// What a step made that was kept at a revision.
    pub fn written(&self, step: &Step, revision: Revision) -> Option<Entry> {
        let value = match step {
            Step::Check { .. } => return None,
            Step::Put { value, .. } => value,
            Step::Delete { last, .. } => last,
        };
        let made =
            self.after(Revision(revision.0.saturating_sub(1))).take_while(|change| change.entry.revision == revision);
        let made = made.map(|change| &change.entry).find(|entry| entry.key == *step.key());
        Some(made.cloned().unwrap_or_else(|| {
            // History has forgotten it already.
            let present = self.entries.get(step.key()).map(|slot| slot.entry.created);
            let created = present.filter(|created| *created < revision && step.expect() != Expect::Absent);
            let bytes = value.splice(revision);
            Entry { key: step.key().clone(), revision, created: created.unwrap_or(revision), bytes }
        }))
    }

    /// Takes over a write that is durable.
    pub fn apply(&mut self, prepared: &Prepared, now: Duration, budget: Budget) {
        assert!(prepared.revision > self.revision, "revisions must increase");
        for (change, slot) in &prepared.changes {
            let before = match slot {
                Some(slot) => {
                    if let Some(at) = slot.expires {
                        self.deadlines.insert((at, slot.entry.key.clone()));
                    }
                    self.entries.insert(slot.entry.key.clone(), slot.clone())
                }
                None => self.entries.remove(&change.entry.key),
            };
            self.stored += slot.as_ref().map_or(0, |slot| slot.entry.bytes.len());
            self.stored -= before.as_ref().map_or(0, |slot| slot.entry.bytes.len());
            if let Some(Slot { entry, expires: Some(at), .. }) = before
                && slot.as_ref().and_then(|s| s.expires) != Some(at)
            {
                self.deadlines.remove(&(at, entry.key));
            }
            self.log_bytes += cost(change);
            self.log.push_back(Logged { change: change.clone(), at: now });
        }
        self.revision = prepared.revision;
        let old = |logged: &Logged| logged.at + budget.time < now;
        let bytes = budget.bytes.max(self.stored);
        while self.log.front().is_some_and(|front| self.log_bytes > bytes || old(front)) {
            self.forget_oldest();
        }
    }

    /// The next time that an entry expires.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Deletions of what has expired by `now`, at most `limit`.
    pub fn expired(&self, now: Duration, limit: usize) -> Vec<Step> {
        let due = self.deadlines.iter().take_while(|(at, _)| *at <= now).take(limit);
        due.filter_map(|(_, key)| self.entries.get(key)).map(Slot::deletion).collect()
    }

    fn present<'a>(&'a self, overlay: &'a Overlay, key: &Key) -> Option<&'a Slot> {
        match overlay.get(key) {
            Some(slot) => slot.as_ref(),
            None => self.entries.get(key),
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(logged) = self.log.pop_front() {
            self.log_bytes -= cost(&logged.change);
            self.horizon = logged.change.entry.revision;
        }
    }
}

impl Slot {
    pub fn new(entry: Entry, value: &Value, expires: Option<Duration>) -> Slot {
        let head = u32::try_from(value.head.len()).expect("the server bounds an object to a few MiB");
        Slot { entry, head, expires }
    }

    /// What was put.
    fn value(&self) -> Value {
        let head = self.head as usize;
        let digits = self.entry.revision.0.to_string().len();
        Value { head: self.entry.bytes.slice(..head), tail: self.entry.bytes.slice(head + digits..) }
    }

    /// A deletion whose last object is the present one.
    fn deletion(&self) -> Step {
        Step::Delete { key: self.entry.key.clone(), expect: Expect::At(self.entry.revision), last: self.value() }
    }
}

fn put(
    before: Option<Entry>,
    key: Key,
    value: &Value,
    revision: Revision,
    expires: Option<Duration>,
) -> (Change, Option<Slot>) {
    let change = change(before, key, value, revision, false);
    let slot = Slot::new(change.entry.clone(), value, expires);
    (change, Some(slot))
}

fn delete(before: Option<Entry>, key: Key, last: &Value, revision: Revision) -> Change {
    change(before, key, last, revision, true)
}

/// The key's own bytes are those that are in memory already.
fn change(previous: Option<Entry>, key: Key, value: &Value, revision: Revision, deleted: bool) -> Change {
    let key = previous.as_ref().map_or(key, |entry| entry.key.clone());
    let created = previous.as_ref().map_or(revision, |entry| entry.created);
    Change { entry: Entry { key, revision, created, bytes: value.splice(revision) }, previous, deleted }
}

/// What a change holds in memory: its own bytes, those before it, and the bookkeeping around them.
fn cost(change: &Change) -> usize {
    change.entry.bytes.len() + change.previous.as_ref().map_or(0, |before| before.bytes.len()) + 256
}
