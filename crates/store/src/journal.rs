//! The durable backend: a journal of our own, one frame and one sync for each group of writes.
//!
//! It is a ring of segments. What is still needed of the oldest one is written once more along with
//! later groups, then its file goes: nothing is ever read back but at an opening, and the disk holds
//! about twice what the store does. All that is in memory can be made from the segments in order.
//! An opening changes no byte of them (see `replay` and docs/decisions/journal.md).

/// Bytes of the journal: frames and records.
mod frame;
/// How far the journal reached, beside it.
mod mark;
/// Opening; or going on without what is lost.
mod open;
/// Reading and judging.
mod replay;
/// Files.
mod segment;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::deferred::Deferred;
use crate::state::{Prepared, Slot};
use crate::writer::{Disk, Failure, Look};
use crate::{Key, Revision, Room};
use frame::{Draft, First, Kind, Reached};
use mark::{Mark, Reach};
use segment::Spares;

use open::Lock;
pub(crate) use open::{fill, is_begun, open};
pub(crate) use segment::{numbers, path, sync_folder};

/// Segments that are kept before any room is regained.
const SEGMENTS_MIN: u64 = 8;
/// Bytes of the oldest segment that are written along with a group while room is regained.
const ALONG: u64 = 64 << 10;
/// Segments regained at once when the disk is full.
const AT_ONCE: usize = 4;
/// Spares that only deletions take, and one that only the regaining of room takes.
const FOR_DELETIONS: usize = 2;
const FOR_REGAINING: usize = 1;
/// A frame without its records, at most.
const OVERHEAD: u64 = 256;

pub(crate) struct Journal {
    folder: PathBuf,
    /// Held while the store is open.
    _lock: Lock,
    id: [u8; 16],
    mark: Mark,
    spares: Spares,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    active: File,
    held: HashMap<Key, Place>,
    sequence: u64,
    checksum: u64,
    revision: Revision,
    /// Bytes of a segment.
    size: u64,
    /// Bytes of the disk that puts leave free.
    reserve: u64,
    /// Where the oldest segment's regaining has got to.
    cursor: usize,
    /// A frame failed: what follows stands in another segment.
    failed: bool,
    /// The mark is behind by a segment.
    begun: bool,
    deferred: Deferred,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    size: u64,
    end: u64,
    /// Keys whose newest record was written to it once, each once.
    keys: Vec<Key>,
    /// How many of them still have it here, and its bytes.
    live: usize,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    segment: u64,
    bytes: u64,
}

impl Disk for Journal {
    fn admits(&mut self, bytes: u64, look: Look<'_>) -> Result<Room, String> {
        let need = bytes + OVERHEAD;
        for _ in 0..=AT_ONCE {
            self.spares.restore();
            let free = self.free().map_err(|why| format!("cannot ask for the disk's free space: {why}"))?;
            // Full is full, also for what would fit at the end of a segment.
            if self.spares.are_complete() && free >= self.reserve + self.size.max(need) {
                return Ok(Room::Free);
            }
            if !self.is_wasteful() || self.regain(look).is_err() {
                break;
            }
        }
        let left = self.spares.left() + usize::from(self.fits(need));
        Ok(match left {
            _ if self.reserve == 0 => Room::Free,
            left if left > FOR_DELETIONS => Room::Kept,
            _ => Room::Last,
        })
    }

    fn commit(&mut self, group: &[Prepared], look: Look<'_>) -> Result<(), Failure> {
        if self.deferred.takes(group) {
            return Ok(());
        }
        let last = group.last().map_or(self.deferred.revision(), |last| last.revision);
        let deferred: Vec<Slot> = self.deferred.besides(group).cloned().collect();
        let is_renewal = !group.is_empty() && group.iter().all(|prepared| prepared.later);
        let along = match self.is_due() && !group.is_empty() {
            true => self.along(ALONG + 2 * size_of(group), group, look),
            false => Vec::new(),
        };
        let kept = match group.iter().map(|prepared| prepared.room).min() {
            Some(Room::Free) => usize::MAX,
            Some(Room::Kept) | None => FOR_DELETIONS,
            Some(Room::Last) => FOR_REGAINING,
        };
        self.write(&along, &deferred, group, last, kept)?;
        self.deferred.are_synced();
        if !is_renewal {
            self.say();
        }
        Ok(())
    }

    fn close(&mut self) {
        let deferred: Vec<Slot> = self.deferred.besides(&[]).cloned().collect();
        if !deferred.is_empty()
            && let Err(why) = self.write(&[], &deferred, &[], self.deferred.revision(), FOR_DELETIONS)
        {
            tracing::warn!("the last heartbeats are not on the disk: {why:?}");
        }
        self.deferred.are_synced();
        self.say();
        if let Err(why) = self.mark.sync() {
            tracing::warn!("the mark of the store is not on the disk: {why}");
        }
    }

    fn reopen(&mut self) -> Result<Revision, Failure> {
        if self.failed {
            // What failed may stand behind the end; the next segment says where that is.
            self.begin(self.size, 0).map_err(|why| Failure::Unknown(why.to_string()))?;
            self.failed = false;
        }
        Ok(self.deferred.held_with(self.revision))
    }
}

impl Journal {
    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    fn newest(&self) -> &Segment {
        self.segments.back().expect("a journal has a segment")
    }

    fn fits(&self, bytes: u64) -> bool {
        let newest = self.newest();
        !self.failed && newest.end + bytes <= newest.size
    }

    fn sizes(&self) -> (u64, u64) {
        let sum = |of: fn(&Segment) -> u64| self.segments.iter().map(of).sum();
        (sum(|segment| segment.size), sum(|segment| segment.bytes))
    }

    /// Whether room is regained in the course of writing.
    fn is_due(&self) -> bool {
        let (size, live) = self.sizes();
        size > (SEGMENTS_MIN * self.size).max(2 * live + 4 * self.size)
            || (!self.spares.are_complete() && self.is_wasteful())
    }

    /// Whether there is more to regain than it takes.
    fn is_wasteful(&self) -> bool {
        let sealed = self.segments.len() - 1;
        let waste: u64 = self.segments.iter().take(sealed).map(|segment| segment.end - segment.bytes).sum();
        waste >= 2 * self.size
    }

    /// What must be written once more of the oldest segment, as it is now: about `budget` bytes, so
    /// that the newest one is used to its end.
    fn along(&mut self, budget: u64, group: &[Prepared], look: Look<'_>) -> Vec<Slot> {
        let changed: HashSet<&Key> =
            group.iter().flat_map(|prepared| &prepared.changes).map(|(change, _)| &change.entry.key).collect();
        let mut slots = Vec::new();
        let mut bytes = size_of(group);
        let room = (self.newest().size - self.newest().end).saturating_sub(OVERHEAD);
        let budget = bytes + budget.min(self.size / 4);
        let budget = if bytes + ALONG / 4 < room { budget.min(room) } else { budget };
        let oldest = &self.segments[0];
        let keys = if self.segments.len() > 1 { &oldest.keys[self.cursor..] } else { &[] };
        let mut passed = 0;
        for key in keys {
            if self.held.get(key).is_some_and(|place| place.segment == oldest.number) && !changed.contains(key) {
                let slot = look(key).expect("what the disk holds is in memory");
                bytes += frame::weight(&slot);
                if bytes > budget && passed > 0 {
                    break;
                }
                slots.push(slot);
            }
            passed += 1;
        }
        self.cursor += passed;
        slots
    }

    /// Regains the oldest segment at once.
    fn regain(&mut self, look: Look<'_>) -> Result<(), Failure> {
        let oldest = self.segments[0].number;
        while self.segments[0].number == oldest {
            let along = self.along(self.size, &[], look);
            let done = along.is_empty();
            self.write(&along, &[], &[], self.revision, 0)?;
            if done && self.segments[0].number == oldest {
                return Err(Failure::Refused("the oldest part of the store cannot be given up".into()));
            }
        }
        self.say();
        Ok(())
    }

    /// Writes and syncs one frame; `kept`: the spares that it leaves.
    fn write(
        &mut self,
        along: &[Slot],
        deferred: &[Slot],
        group: &[Prepared],
        revision: Revision,
        kept: usize,
    ) -> Result<(), Failure> {
        // A heartbeat that waits may be among what is written along.
        let revision = along.iter().map(|slot| slot.entry.revision).fold(revision.max(self.revision), Revision::max);
        let mut draft = Draft::writes(Reached { revision, oldest: 0 });
        let mut changes: Vec<(&Key, Option<u64>)> = Vec::new();
        for slot in along.iter().chain(deferred) {
            draft.put(slot);
            changes.push((&slot.entry.key, Some(frame::weight(slot))));
        }
        for (change, slot) in group.iter().flat_map(|prepared| &prepared.changes) {
            match slot {
                Some(slot) => draft.put(slot),
                None => draft.delete(&change.entry.key),
            }
            changes.push((&change.entry.key, slot.as_ref().map(frame::weight)));
        }
        if !self.fits(draft.size()) {
            let size = self.size.max((draft.size() + OVERHEAD).next_multiple_of(4096));
            self.begin(size, kept).map_err(|why| {
                self.cursor = 0;
                Failure::Refused(format!("the disk is full: {why}"))
            })?;
        }
        let oldest = self.oldest_with(&changes);
        draft.set_oldest(oldest);
        let (bytes, checksum) = draft.sealed(Kind::Writes, self.sequence + 1, self.checksum);
        let end = self.newest().end;
        let written = self.active.write_all_at(&bytes, end).and_then(|()| self.active.sync_data());
        if let Err(why) = written {
            (self.failed, self.cursor) = (true, 0);
            return Err(Failure::Unknown(why.to_string()));
        }
        self.segments.back_mut().expect("a journal has a segment").end = end + bytes.len() as u64;
        (self.sequence, self.checksum, self.revision) = (self.sequence + 1, checksum, revision);
        for (key, bytes) in changes {
            self.place(key, bytes);
        }
        if self.newest().end > self.newest().size / 2 && self.free().is_ok_and(|free| free >= self.reserve + self.size)
        {
            self.spares.make_ahead();
        }
        self.retire(oldest);
        Ok(())
    }

    /// The oldest segment that is needed once these changes are written.
    fn oldest_with(&self, changes: &[(&Key, Option<u64>)]) -> u64 {
        let mut leaving: HashMap<u64, HashSet<&Key>> = HashMap::new();
        for (key, _) in changes {
            if let Some(place) = self.held.get(*key) {
                leaving.entry(place.segment).or_default().insert(key);
            }
        }
        let newest = self.newest().number;
        let is_needed = |segment: &&Segment| {
            segment.number == newest || segment.live > leaving.get(&segment.number).map_or(0, HashSet::len)
        };
        self.segments.iter().find(is_needed).map_or(newest, |segment| segment.number)
    }

    /// The newest record of a key stands in the newest segment now, or there is none.
    fn place(&mut self, key: &Key, bytes: Option<u64>) {
        let newest = self.newest().number;
        let before = match bytes {
            Some(bytes) => self.held.insert(key.clone(), Place { segment: newest, bytes }),
            None => self.held.remove(key),
        };
        let first = self.segments[0].number;
        if let Some(before) = before {
            let segment = &mut self.segments[(before.segment - first) as usize];
            segment.live -= 1;
            segment.bytes -= before.bytes;
        }
        if let Some(bytes) = bytes {
            let segment = self.segments.back_mut().expect("a journal has a segment");
            segment.live += 1;
            segment.bytes += bytes;
            if before.is_none_or(|before| before.segment != newest) {
                segment.keys.push(key.clone());
            }
        }
    }

    /// Gives back the files of segments before this one: a synced frame says that they are not needed.
    fn retire(&mut self, oldest: u64) {
        while self.segments[0].number < oldest {
            let segment = self.segments.pop_front().expect("it is older than the oldest that is needed");
            self.cursor = 0;
            if let Err(why) = self.spares.retire(&segment::path(&self.folder, segment.number), segment.size) {
                tracing::warn!("a part of the store that is no longer needed is not removed: {why}");
            }
        }
    }

    /// Begins a segment of a size, leaving so many spares.
    fn begin(&mut self, size: u64, kept: usize) -> io::Result<()> {
        let (number, ended) = (self.newest().number + 1, self.newest().end);
        let state = Reached { revision: self.revision, oldest: self.segments[0].number };
        let first = First { id: self.id, number, size, ended, state };
        let (bytes, checksum) = Draft::first(&first).sealed(Kind::Segment, self.sequence + 1, self.checksum);
        self.active = self.spares.begin(number, size, &bytes, kept)?;
        (self.sequence, self.checksum, self.failed, self.begun) = (self.sequence + 1, checksum, false, true);
        self.segments.push_back(Segment::new(number, size, bytes.len() as u64));
        Ok(())
    }

    /// Writes the mark.
    fn say(&mut self) {
        let reach = Reach {
            id: self.id,
            sequence: self.sequence,
            checksum: self.checksum,
            revision: self.revision,
            segment: self.newest().number,
        };
        let said = self.mark.write(&reach).and_then(|()| match self.begun {
            true => self.mark.sync(),
            false => Ok(()),
        });
        match said {
            Ok(()) => self.begun = false,
            Err(why) => tracing::warn!("the mark of the store is not written: {why}"),
        }
    }
}

impl Segment {
    fn new(number: u64, size: u64, end: u64) -> Segment {
        Segment { number, size, end, keys: Vec::new(), live: 0, bytes: 0 }
    }
}

/// What a group takes on the disk, about.
fn size_of(group: &[Prepared]) -> u64 {
    group.iter().flat_map(|prepared| &prepared.changes).filter_map(|(_, slot)| slot.as_ref()).map(frame::weight).sum()
}
