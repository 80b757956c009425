//! The durable backend: fjall, one batch and one sync for each group of writes.
//!
//! One keyspace holds the present version of every key, and under `REVISION` the newest revision,
//! so that a deletion's revision survives too. History lives only in memory. fjall's own threads
//! sleep unless a memtable is full: small tables keep memory low, and nothing here is ever read
//! back but at the start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fjall::config::{FilterPolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::deferred::{self, Deferred};
use crate::journal::Journals;
use crate::reserve::Reserve;
use crate::state::{Prepared, Slot, State};
use crate::writer::{Disk, Failure, Loaded};
use crate::{Entry, Error, Key, Revision};

/// Sorts before every key of ours and is none.
pub(crate) const REVISION: &[u8] = b"\0revision";
/// Of the layout in this file; a newer one is refused.
const FORMAT: u8 = 1;
/// format, head length, created, revision, expiry in milliseconds (0: never)
const HEADER: usize = 1 + 4 + 8 + 8 + 8;
/// fjall's folder, and the file that says why it is not opened.
const ENTRIES: &str = "entries";
const DAMAGED: &str = "DAMAGED";
/// What an opening found whole: the engine may cut it, and the process end before it says so.
const OPENING: &str = "OPENING";
const MEMTABLE: u64 = 4 << 20;

pub(crate) struct Embedded {
    dir: PathBuf,
    reserve: Reserve,
    open: Option<Open>,
    deferred: Deferred,
}

struct Open {
    db: Database,
    entries: Keyspace,
}

/// Opens or creates the store in a directory and loads all of it.
pub(crate) fn load(dir: &Path, reserve: u64) -> Result<Loaded, Error> {
    std::fs::create_dir_all(dir).map_err(|why| Error::Refused(format!("{}: {why}", dir.display())))?;
    let open = open_whole(dir)?;
    let revision = deferred::first_free(open.revision().map_err(|why| refused(dir, &why))?);
    let slots = open.slots().map_err(|why| refused(dir, &why))?;
    let state = State::load(slots.into_iter(), revision);
    let reserve = Reserve::take(dir, reserve);
    Ok(Loaded {
        state,
        disk: Box::new(Embedded {
            dir: dir.into(),
            reserve,
            open: Some(open),
            deferred: Deferred::beginning_at(revision),
        }),
    })
}

/// Opens the engine, but not at the price of writes that were acknowledged: a journal that is
/// damaged in its midst is refused, now and until somebody decides.
fn open_whole(dir: &Path) -> Result<Open, Error> {
    let mark = dir.join(DAMAGED);
    let failed = |why: std::io::Error| Error::Refused(format!("the store in {}: {why}", dir.display()));
    if let Ok(why) = std::fs::read_to_string(&mark) {
        let mark = mark.display();
        return Err(Error::Refused(format!("the store is damaged: {why}; remove {mark} to go on without them")));
    }
    let (folder, opening) = (dir.join(ENTRIES), dir.join(OPENING));
    let refuse = |why: String| {
        let written = write_synced(&mark, &why).and_then(|()| remove(&opening));
        written.map_or_else(failed, |()| Error::Refused(format!("the store is damaged: {why}")))
    };
    if let Ok(before) = std::fs::read_to_string(&opening)
        && let Err(why) = Journals::read(&folder, &before).are_kept().map_err(failed)?
    {
        return Err(refuse(why));
    }
    let journals = crate::journal::inspect(&folder).map_err(failed)?;
    let text = journals.text();
    if !text.is_empty()
        && let Err(why) = write_synced(&opening, &text)
    {
        // A full disk is opened too, for deletions to make room.
        tracing::warn!("{}: {why}; damage found now is not remembered if this process is killed", opening.display());
        remove(&opening).map_err(failed)?;
    }
    // Of some damage the engine does not say that it is damage, it asserts.
    let open = std::panic::catch_unwind(|| Open::new(dir));
    let open = open.map_err(|_| Error::Refused(format!("the store in {} is damaged", dir.display())))?;
    let open = open.map_err(|why| refused(dir, &why))?;
    if let Err(why) = journals.are_kept().map_err(failed)? {
        return Err(refuse(why));
    }
    remove(&opening).map_err(failed)?;
    Ok(open)
}

/// On the disk when it returns, its name too.
fn write_synced(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

impl Disk for Embedded {
    fn commit(&mut self, group: &[Prepared]) -> Result<(), Failure> {
        if self.deferred.takes(group) {
            return Ok(());
        }
        let (bytes, puts) = size_of(group);
        self.reserve.admit(bytes, puts).map_err(Failure::Refused)?;
        let result = match self.attempt(group) {
            // A flush in the background failed some time ago; the engine says so before it writes.
            Err(fjall::Error::Poisoned) => {
                let refused = |why: fjall::Error| Failure::Refused(format!("the engine failed: {}", describe(&why)));
                tracing::warn!("the engine stopped after a failure in the background and is opened anew");
                self.reserve.make_room();
                self.open = None;
                self.open = Some(Open::new(&self.dir).map_err(refused)?);
                match self.attempt(group) {
                    Err(why @ fjall::Error::Poisoned) => Err(refused(why)),
                    result => result.map_err(|why| Failure::Unknown(describe(&why))),
                }
            }
            result => result.map_err(|why| Failure::Unknown(describe(&why))),
        };
        if result.is_ok() {
            self.deferred.are_synced();
        }
        result
    }

    fn close(&mut self) {
        if self.deferred.are_none() {
            return;
        }
        match self.attempt(&[]) {
            Ok(()) => self.deferred.are_synced(),
            Err(why) => tracing::warn!("the last heartbeats are not on the disk: {}", describe(&why)),
        }
    }

    fn reopen(&mut self) -> Result<Revision, Failure> {
        // The lock file and the threads of the old one go first.
        self.open = None;
        self.reserve.make_room();
        // A failed sync may have left pages that look clean and are not on the disk.
        crate::journal::rewrite(&self.dir.join(ENTRIES)).map_err(|why| Failure::Unknown(why.to_string()))?;
        let unknown = |why: fjall::Error| Failure::Unknown(describe(&why));
        let open = Open::new(&self.dir).map_err(unknown)?;
        let revision = open.revision().map_err(unknown)?;
        self.open = Some(open);
        Ok(self.deferred.held_with(revision))
    }
}

impl Embedded {
    fn attempt(&self, group: &[Prepared]) -> fjall::Result<()> {
        let last = group.last().map_or(self.deferred.revision(), |last| last.revision);
        let Some(Open { db, entries }) = &self.open else { return Err(fjall::Error::Poisoned) };
        let mut batch = db.batch().durability(Some(PersistMode::SyncData));
        for slot in self.deferred.besides(group) {
            batch.insert(entries, slot.entry.key.as_str(), encode(slot));
        }
        for (change, slot) in group.iter().flat_map(|prepared| &prepared.changes) {
            let key = change.entry.key.as_str();
            match slot {
                Some(slot) => batch.insert(entries, key, encode(slot)),
                None => batch.remove(entries, key),
            }
        }
        // Last, so that the end of a batch can be told (see `journal`).
        batch.insert(entries, REVISION, last.0.to_be_bytes());
        batch.commit()
    }
}

/// What a group takes on the disk, about, and whether any of it is a put.
fn size_of(group: &[Prepared]) -> (u64, bool) {
    let changes = || group.iter().flat_map(|prepared| &prepared.changes);
    let bytes = changes().map(|(change, slot)| {
        let value = slot.as_ref().map_or(0, |slot| slot.entry.bytes.len());
        change.entry.key.as_str().len() + value + HEADER + 64
    });
    (bytes.sum::<usize>() as u64, changes().any(|(_, slot)| slot.is_some()))
}

impl Open {
    fn new(dir: &Path) -> fjall::Result<Open> {
        let db = Database::builder(dir.join(ENTRIES))
            .cache_size(256 << 10)
            .max_cached_files(Some(16))
            .worker_threads(1)
            .manual_journal_persist(true)
            .open()?;
        let entries = db.keyspace(ENTRIES, || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE)
                .manual_journal_persist(true)
                .filter_policy(FilterPolicy::disabled())
                .index_block_pinning_policy(PinningPolicy::all(false))
        })?;
        Ok(Open { db, entries })
    }

    fn revision(&self) -> fjall::Result<Revision> {
        let found = self.entries.get(REVISION)?;
        Ok(Revision(
            found.map_or(0, |bytes| u64::from_be_bytes(bytes.as_ref().try_into().expect("written as eight bytes"))),
        ))
    }

    fn slots(&self) -> fjall::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        for guard in self.entries.iter() {
            let (key, value) = guard.into_inner()?;
            if key.as_ref() != REVISION {
                slots.push(decode(&key, &value).ok_or(fjall::Error::Unrecoverable)?);
            }
        }
        Ok(slots)
    }
}

fn encode(slot: &Slot) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + slot.entry.bytes.len());
    out.push(FORMAT);
    out.extend(slot.head.to_be_bytes());
    out.extend(slot.entry.created.0.to_be_bytes());
    out.extend(slot.entry.revision.0.to_be_bytes());
    out.extend((slot.expires.map_or(0, |at| at.as_millis() as u64)).to_be_bytes());
    out.extend(&slot.entry.bytes);
    out
}

fn decode(key: &[u8], value: &[u8]) -> Option<Slot> {
    let (header, bytes) = value.split_at_checked(HEADER)?;
    if header[0] != FORMAT {
        tracing::error!("an entry has format {}, this version reads {FORMAT}", header[0]);
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(header[at..at + 8].try_into().ok()?));
    let head = u32::from_be_bytes(header[1..5].try_into().ok()?);
    let expires = Some(number(21)?).filter(|ms| *ms > 0).map(Duration::from_millis);
    let key = Key::from(std::str::from_utf8(key).ok()?);
    let (created, revision) = (Revision(number(5)?), Revision(number(13)?));
    Some(Slot { entry: Entry { key, revision, created, bytes: Bytes::copy_from_slice(bytes) }, head, expires })
}

fn refused(dir: &Path, why: &fjall::Error) -> Error {
    let hint = match why {
        fjall::Error::Locked => ": another process has it open",
        fjall::Error::JournalRecovery(_) => ": its journal is damaged",
        fjall::Error::InvalidVersion(_) => ": it was written by another version",
        _ => "",
    };
    Error::Refused(format!("the store in {} cannot be opened{hint} ({})", dir.display(), describe(why)))
}

fn describe(why: &fjall::Error) -> String {
    match why {
        fjall::Error::Io(io) => io.to_string(),
        other => other.to_string(),
    }
}
