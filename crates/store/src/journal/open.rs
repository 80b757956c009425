//! Opens a journal, or begins one; on demand goes on without what is damaged.

use std::collections::BTreeMap;
use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, RenameFlags};

use crate::deferred::{self, Deferred};
use crate::journal::frame::{self, Draft, First, Kind, Reached, Record};
use crate::journal::mark::{self, Mark, Reach};
use crate::journal::replay::{self, Trouble};
use crate::journal::segment::{self, Spares};
use crate::journal::{Journal, Place, Segment};
use crate::state::Slot;
use crate::store::Options;
use crate::{Error, Key, Revision};

/// Keeps a second process out.
const LOCK: &str = "lock";

/// A folder that no other process opens.
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A process that is just being started may hold the descriptor for a moment longer.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

pub(crate) struct Opened {
    pub journal: Journal,
    pub slots: Vec<Slot>,
    /// Where the store begins.
    pub revision: Revision,
}

/// Whether a folder has, or may have had, a journal in which something was acknowledged.
pub(crate) fn is_begun(folder: &Path) -> bool {
    mark::read(&mark::path_of(folder)).map_or(true, |reach| reach.is_some_and(|reach| reach.sequence > 0))
}

/// Opens the journal in a folder, or begins one there.
pub(crate) fn open(folder: &Path, options: &Options, accept_loss: bool) -> Result<Opened, Error> {
    let failed = |why: io::Error| Error::Refused(format!("the store in {}: {why}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let lock = lock(folder)?;
    let (file, why) = match replay::read(folder) {
        Ok(Some(replay)) => return resume(folder, options, lock, replay).map_err(failed),
        Ok(None) => return begin(folder, options, lock, Revision(0)).map_err(failed),
        Err(Trouble::Io(why)) => return Err(failed(why)),
        Err(Trouble::Newer(format)) => {
            let why = format!("the store in {} has format {format}, written by a newer version", folder.display());
            return Err(Error::Refused(why));
        }
        Err(Trouble::Damaged(file, why)) => (file, why),
    };
    let file = file.display();
    if accept_loss {
        tracing::warn!("the store is damaged: {file} {why}; what can be read is kept");
        return go_on(folder, options, lock);
    }
    let (store, mark) = (folder.display(), mark::path_of(folder));
    Err(Error::Refused(format!(
        "the store is damaged: {file} {why}. Nothing was changed. Put {store} and {} back from a copy of both, or start \
         once with --accept-loss to go on with what can be read",
        mark.display()
    )))
}

/// A new journal that holds these entries, in a folder that has none.
pub(crate) fn fill(folder: &Path, options: &Options, slots: &[Slot], revision: Revision) -> Result<Journal, Error> {
    let failed = |why: String| Error::Refused(format!("the store in {}: {why}", folder.display()));
    fs::create_dir_all(folder).map_err(|why| failed(why.to_string()))?;
    let lock = lock(folder)?;
    let mut journal = begin(folder, options, lock, revision).map_err(|why| failed(why.to_string()))?.journal;
    let mut rest = slots;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |slot: &&Slot| {
            bytes += frame::weight(slot);
            bytes <= options.segment / 4
        };
        let (now, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        journal.write(now, &[], &[], revision, usize::MAX).map_err(|why| failed(format!("{why:?}")))?;
        rest = later;
    }
    Ok(journal)
}

fn lock(folder: &Path) -> Result<Lock, Error> {
    let path = folder.join(LOCK);
    let refused = |why: String| Error::Refused(format!("{}: {why}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|why| refused(why.to_string()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::AGAIN) => Err(refused("another process has it open".into())),
        Err(why) => Err(refused(why.to_string())),
    }
}

/// The first segment of a journal that begins at a revision.
fn begin(folder: &Path, options: &Options, lock: Lock, revision: Revision) -> io::Result<Opened> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    // First, so that a folder without a segment is known to be no older one.
    let mark = Mark::begin(&mark::path_of(folder), &Reach { id, ..Reach::default() })?;
    let size = options.segment;
    let mut spares = Spares::of(folder, size, (options.reserve / size) as usize)?;
    let state = Reached { revision, oldest: 1 };
    let first = First { id, number: 1, size, ended: 0, state };
    let (bytes, checksum) = Draft::first(&first).sealed(Kind::Segment, 1, 0);
    let active = spares.begin(1, size, &bytes, 0)?;
    let journal = Journal {
        folder: folder.into(),
        _lock: lock,
        id,
        mark,
        spares,
        segments: VecDeque::from([Segment::new(1, size, bytes.len() as u64)]),
        active,
        held: HashMap::new(),
        sequence: 1,
        checksum,
        revision,
        size,
        reserve: options.reserve,
        cursor: 0,
        failed: false,
        begun: false,
        deferred: Deferred::beginning_at(deferred::first_free(revision)),
    };
    Ok(Opened { journal, slots: Vec::new(), revision: deferred::first_free(revision) })
}

fn resume(folder: &Path, options: &Options, lock: Lock, replay: replay::Replay) -> io::Result<Opened> {
    let Reached { revision, .. } = replay.reached;
    let last = replay.segments.last().map_or(0, |segment| segment.number);
    let reach = Reach { id: replay.id, sequence: replay.sequence, checksum: replay.checksum, revision, segment: last };
    let size = options.segment;
    let active = File::options().read(true).write(true).open(segment::path(folder, last))?;
    let begins = deferred::first_free(revision);
    let mut segments: VecDeque<Segment> = VecDeque::new();
    for read in replay.segments {
        segments.push_back(Segment { keys: read.keys, ..Segment::new(read.number, read.size, read.end) });
    }
    let first = segments.front().map_or(0, |segment| segment.number);
    let (mut slots, mut held) = (Vec::new(), HashMap::new());
    for (key, (slot, number)) in replay.held {
        let (bytes, segment) = (frame::weight(&slot), &mut segments[(number - first) as usize]);
        (segment.live, segment.bytes) = (segment.live + 1, segment.bytes + bytes);
        held.insert(key, Place { segment: number, bytes });
        slots.push(slot);
    }
    let mut journal = Journal {
        folder: folder.into(),
        _lock: lock,
        id: replay.id,
        mark: Mark::begin(&mark::path_of(folder), &reach)?,
        spares: Spares::of(folder, size, (options.reserve / size) as usize)?,
        segments,
        active,
        held,
        sequence: replay.sequence,
        checksum: replay.checksum,
        revision,
        size,
        reserve: options.reserve,
        cursor: 0,
        failed: false,
        begun: false,
        deferred: Deferred::beginning_at(begins),
    };
    for number in replay.superseded {
        // Of an end between a group and the removal of what it made needless.
        let path = segment::path(folder, number);
        journal.spares.retire(&path, path.metadata()?.len())?;
    }
    if replay.torn {
        // It stays where it is, behind the end that the next segment names.
        tracing::warn!(
            "{}: its last write was torn by a crash, before anybody was told that it succeeded",
            segment::path(folder, last).display()
        );
        journal.begin(size, 0)?;
    } else if let Err(why) = segment::allocate(&journal.active, journal.newest().size) {
        // A copy of a store may have holes.
        tracing::warn!("{}: {why}", segment::path(folder, last).display());
    }
    Ok(Opened { journal, slots, revision: begins })
}

/// A new journal of what can be read of this one, which is put aside.
fn go_on(folder: &Path, options: &Options, lock: Lock) -> Result<Opened, Error> {
    let failed = |why: io::Error| Error::Refused(format!("the store in {}: {why}", folder.display()));
    let beside = |end: &str| {
        let mut name = folder.file_name().unwrap_or_default().to_os_string();
        name.push(end);
        folder.with_file_name(name)
    };
    let aside = (1..).map(|n| beside(&format!(".damaged-{n}"))).find(|path| !path.exists());
    let aside = aside.expect("a free name among all numbers");
    let salvaged = beside(".salvaged");
    if salvaged.exists() {
        // Of an earlier attempt; it may be all there is.
        fs::rename(&salvaged, &aside).map_err(failed)?;
        return go_on(folder, options, lock);
    }
    let salvage = match replay::salvage(folder) {
        Ok(salvage) => salvage,
        Err(Trouble::Io(why)) => return Err(failed(why)),
        Err(other) => return Err(failed(io::Error::other(format!("{other:?}")))),
    };
    let slots = newest_of(salvage.records);
    let journal = fill(&salvaged, options, &slots, salvage.revision)?;
    drop(journal);
    let mark = mark::path_of(&salvaged);
    let exchange = || {
        rustix::fs::renameat_with(rustix::fs::CWD, &salvaged, rustix::fs::CWD, folder, RenameFlags::EXCHANGE)?;
        fs::rename(&mark, mark::path_of(folder))?;
        fs::rename(&salvaged, &aside)?;
        segment::sync_folder(folder.parent().unwrap_or(Path::new("/")))
    };
    exchange().map_err(failed)?;
    drop(lock);
    tracing::warn!(
        "the store goes on with {} objects; at least {} groups of writes are lost; what was there is in {}",
        slots.len(),
        salvage.lost,
        aside.display()
    );
    open(folder, options, false)
}

/// What the records make, in key order.
fn newest_of(records: Vec<Record>) -> Vec<Slot> {
    let mut slots: BTreeMap<Key, Slot> = BTreeMap::new();
    for record in records {
        match record {
            Record::Put(slot) => slots.insert(slot.entry.key.clone(), slot),
            Record::Delete(key) => slots.remove(&key),
        };
    }
    slots.into_values().collect()
}
