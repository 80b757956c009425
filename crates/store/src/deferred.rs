//! Writes that may wait for the next sync (`Sync::Later`): the newest version of each key.
//!
//! An idle cluster's only writes are heartbeats, each of which would dirty a page and make a sync.
//! They are kept here and go to the disk with the next group. If a crash comes first they are undone,
//! so a store begins `STRIDE` revisions after what its disk holds: no revision is given out twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::state::{Prepared, Slot};
use crate::{Key, Revision};

/// More revisions than are ever handed out without a sync.
const STRIDE: u64 = 1000;
/// How long a heartbeat may wait while others come.
const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(crate) struct Deferred {
    slots: BTreeMap<Key, Slot>,
    /// The newest one that waits, or the one that this store began with.
    revision: Revision,
    writes: u64,
    since: Option<Instant>,
    /// Whether this process has written its own revision to the disk: before that a second crash
    /// would begin where this one did.
    synced: bool,
}

/// Where a store begins whose disk holds this revision.
pub(crate) fn first_free(held: Revision) -> Revision {
    match held {
        Revision(0) => held,
        Revision(held) => Revision(held + STRIDE),
    }
}

impl Deferred {
    /// Of a store that has just been opened at this revision.
    pub fn beginning_at(revision: Revision) -> Deferred {
        Deferred { revision, ..Deferred::default() }
    }

    /// Takes a group that may wait; false if it must be synced now, with all that waits here.
    pub fn takes(&mut self, group: &[Prepared]) -> bool {
        let count = self.writes + group.len() as u64;
        let late = self.since.is_some_and(|since| since.elapsed() >= WAIT_MAX);
        if !self.synced || late || count >= STRIDE || !group.iter().all(|prepared| prepared.later) {
            return false;
        }
        for slot in group.iter().flat_map(|prepared| &prepared.changes).filter_map(|(_, slot)| slot.as_ref()) {
            self.slots.insert(slot.entry.key.clone(), slot.clone());
        }
        self.writes = count;
        self.revision = group.last().map_or(self.revision, |last| last.revision);
        self.since.get_or_insert_with(Instant::now);
        true
    }

    /// What waits and is not written anew by the group.
    pub fn besides<'a>(&'a self, group: &'a [Prepared]) -> impl Iterator<Item = &'a Slot> {
        let is_anew =
            |key: &Key| group.iter().flat_map(|prepared| &prepared.changes).any(|(change, _)| change.entry.key == *key);
        self.slots.values().filter(move |slot| !is_anew(&slot.entry.key))
    }

    pub fn are_synced(&mut self) {
        *self = Deferred { synced: true, ..Deferred::default() };
    }

    /// The newest revision that waits.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision that the disk holds together with what waits here; if it holds more, that was
    /// written along.
    pub fn held_with(&mut self, disk: Revision) -> Revision {
        if disk > self.revision {
            self.are_synced();
        }
        disk.max(self.revision)
    }
}
