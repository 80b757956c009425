//! Reads a journal and judges it: whole, torn at its very end, or damaged. Changes nothing.
//!
//! Only what nobody was told of may be missing: the last frame of the newest segment, of which a
//! sector was left out, with nothing behind it and beyond what the mark says. All else is damage,
//! named by file and place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::journal::frame::{First, Frame, HEADER, Header, Kind, Reached, Record};
use crate::journal::mark::{self, Reach};
use crate::journal::segment;
use crate::state::Slot;
use crate::{Key, Revision};

const SECTOR: usize = 512;
const ALIGN: usize = 32;

/// A journal that may be opened.
#[derive(Default)]
pub(crate) struct Replay {
    pub id: [u8; 16],
    pub reached: Reached,
    /// Of the last frame.
    pub sequence: u64,
    pub checksum: u64,
    /// In order; all are needed.
    pub segments: Vec<Read>,
    /// The newest version of each key, and the segment in which it stands.
    pub held: BTreeMap<Key, (Slot, u64)>,
    /// Whether something of a frame stands behind the end.
    pub torn: bool,
    /// Numbers of segments that are no longer needed.
    pub superseded: Vec<u64>,
}

/// What was read of a segment.
pub(crate) struct Read {
    pub number: u64,
    pub size: u64,
    pub end: u64,
    /// Of its records; one that was deleted meanwhile may be there twice.
    pub keys: Vec<Key>,
}

/// Why a journal is not opened.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    /// The file, and what is wrong with it.
    Damaged(PathBuf, String),
    /// Written in a format that this version does not know.
    Newer(u32),
}

/// Reads the journal in a folder. None: there is none, and none was ever begun.
pub(crate) fn read(folder: &Path) -> Result<Option<Replay>, Trouble> {
    let mark_path = mark::path_of(folder);
    let reach = match mark::read(&mark_path) {
        Err(why) if why.kind() == io::ErrorKind::InvalidData => {
            return Err(Trouble::Damaged(mark_path, why.to_string()));
        }
        reach => reach?,
    };
    let numbers = segment::numbers(folder)?;
    let Some((newest, _)) = numbers.split_last() else {
        return match reach {
            Some(reach) if reach.sequence > 0 => {
                let why = format!("is missing, as all of them; writes up to revision {} were there", reach.revision.0);
                Err(Trouble::Damaged(segment::path(folder, reach.segment), why))
            }
            _ => Ok(None),
        };
    };
    let Some(reach) = reach else {
        return Err(Trouble::Damaged(mark_path, "is missing: it says how far the journal reached".into()));
    };
    if *newest < reach.segment {
        return Err(Trouble::Damaged(segment::path(folder, reach.segment), "is missing".into()));
    }
    let segment = Segment::load(folder, *newest)?;
    let (oldest, sequence, end) = segment.says()?;
    if sequence < reach.sequence {
        // What it says of the others is old, too.
        let (path, revision) = (&segment.path, reach.revision.0);
        let why = format!("can be read up to byte {end}, but writes up to revision {revision} were acknowledged");
        return Err(Trouble::Damaged(path.clone(), why));
    }
    let (superseded, needed): (Vec<u64>, Vec<u64>) = numbers.iter().partition(|number| **number < oldest);
    for number in oldest..=*newest {
        if !needed.contains(&number) {
            return Err(Trouble::Damaged(segment::path(folder, number), "is missing".into()));
        }
    }
    let mut replay = Replay { superseded, ..Replay::default() };
    let mut marked = false;
    for (at, number) in needed.iter().enumerate() {
        let next = needed.get(at + 1).map(|next| Segment::load(folder, *next)?.first()).transpose()?;
        let segment = Segment::load(folder, *number)?;
        marked |= segment.follow(&mut replay, next, &reach)?;
    }
    let path = segment::path(folder, *newest);
    if replay.id != reach.id {
        return Err(Trouble::Damaged(path, format!("belongs to another store than {}", mark_path.display())));
    }
    if !marked {
        let why = format!("is not the one to which revision {} was written: an older copy?", reach.revision.0);
        return Err(Trouble::Damaged(path, why));
    }
    Ok(Some(replay))
}

/// What can be read at all, for who decides to go on without the rest.
#[derive(Default)]
pub(crate) struct Salvage {
    /// In order.
    pub records: Vec<Record>,
    /// Frames that are known to be lost between those that were read.
    pub lost: u64,
    /// The newest that is known of, lost or not.
    pub revision: Revision,
}

pub(crate) fn salvage(folder: &Path) -> Result<Salvage, Trouble> {
    let mut frames: Vec<(u64, u64, Vec<Record>)> = Vec::new();
    let mut salvage = Salvage::default();
    let mut oldest = 0;
    for number in segment::numbers(folder)? {
        let bytes = fs::read(segment::path(folder, number))?;
        let mut at = 0;
        while at + HEADER <= bytes.len() {
            let Some((header, frame)) = frame_at(&bytes, at) else {
                at += ALIGN;
                continue;
            };
            if header.kind == Kind::Segment {
                // What an earlier segment holds behind its end was never acknowledged.
                frames.retain(|(sequence, ..)| *sequence < header.sequence);
            }
            if let Some(reached) = frame.reached() {
                salvage.revision = salvage.revision.max(reached.revision);
                oldest = oldest.max(reached.oldest);
            }
            let records = if header.kind == Kind::Writes { frame.records().unwrap_or_default() } else { Vec::new() };
            frames.push((header.sequence, number, records));
            at += header.size() as usize;
        }
    }
    if let Ok(Some(reach)) = mark::read(&mark::path_of(folder)) {
        salvage.revision = salvage.revision.max(reach.revision);
        salvage.lost = reach.sequence.saturating_sub(frames.last().map_or(0, |(sequence, ..)| *sequence));
    }
    frames.retain(|(_, number, _)| *number >= oldest);
    let gaps = frames.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0 + 1));
    salvage.lost += gaps.sum::<u64>();
    salvage.records = frames.into_iter().flat_map(|(_, _, records)| records).collect();
    Ok(salvage)
}

impl Replay {
    fn apply(&mut self, records: Vec<Record>, read: &mut Read) {
        for record in records {
            let slot = match record {
                Record::Put(slot) => slot,
                Record::Delete(key) => {
                    self.held.remove(&key);
                    continue;
                }
            };
            let key = slot.entry.key.clone();
            let before = self.held.insert(key.clone(), (slot, read.number));
            if before.is_none_or(|(_, number)| number != read.number) {
                read.keys.push(key);
            }
        }
    }
}

/// A segment's bytes.
struct Segment {
    path: PathBuf,
    number: u64,
    bytes: Vec<u8>,
}

/// How the frames of a segment end.
enum End {
    /// Zeros follow.
    Zeros,
    /// Parts of a frame follow, and nothing else.
    Torn,
    /// What follows was whole once.
    Damaged,
}

impl Segment {
    fn load(folder: &Path, number: u64) -> Result<Segment, Trouble> {
        let path = segment::path(folder, number);
        let bytes = fs::read(&path)?;
        Ok(Segment { path, number, bytes })
    }

    fn damaged(&self, why: String) -> Trouble {
        Trouble::Damaged(self.path.clone(), why)
    }

    /// The oldest segment that is needed, as its last frame that can be read says; that one's sequence
    /// and end.
    fn says(&self) -> Result<(u64, u64, u64), Trouble> {
        let (mut header, first) = self.first()?;
        let (mut oldest, mut at) = (first.state.oldest, header.size());
        while let Some((next, frame)) = frame_at(&self.bytes, at as usize) {
            oldest = frame.reached().map_or(oldest, |reached| reached.oldest);
            (header, at) = (next, at + next.size());
        }
        Ok((oldest, header.sequence, at))
    }

    /// The first frame, and what it says.
    fn first(&self) -> Result<(Header, First), Trouble> {
        let (header, frame) = frame_at(&self.bytes, 0).ok_or_else(|| self.damaged("is damaged at byte 0".into()))?;
        let first = frame.first().map_err(Trouble::Newer)?;
        let first = first.filter(|first| first.number == self.number);
        let first = first.ok_or_else(|| self.damaged("is not the file of its name".into()))?;
        if first.size != self.bytes.len() as u64 {
            return Err(self.damaged(format!("has {} bytes, but had {}", self.bytes.len(), first.size)));
        }
        Ok((header, first))
    }

    /// Adds what this segment holds. `next` is the first frame of the one behind it. Says whether the
    /// frame at which the mark points is among them, or can no longer be.
    fn follow(&self, replay: &mut Replay, next: Option<(Header, First)>, reach: &Reach) -> Result<bool, Trouble> {
        let (header, first) = self.first()?;
        if replay.sequence == 0 {
            // Its predecessor is gone; the mark may be from before it.
            (replay.id, replay.sequence, replay.checksum) = (first.id, header.sequence - 1, header.previous);
        }
        let mut marked = reach.sequence <= replay.sequence;
        let mut read = Read { number: self.number, size: first.size, end: 0, keys: Vec::new() };
        let until = next.map_or(self.bytes.len() as u64, |(_, next)| next.ended.min(first.size));
        while read.end < until {
            let at = read.end as usize;
            let Some((header, frame)) = frame_at(&self.bytes, at) else { break };
            if header.sequence != replay.sequence + 1 || header.previous != replay.checksum || first.id != replay.id {
                return Err(self.damaged(format!("does not follow what was written before it, at byte {at}")));
            }
            replay.reached = frame.reached().ok_or_else(|| self.damaged(format!("cannot be read at byte {at}")))?;
            if header.kind == Kind::Writes {
                let records = frame.records().ok_or_else(|| self.damaged(format!("cannot be read at byte {at}")))?;
                replay.apply(records, &mut read);
            }
            (replay.sequence, replay.checksum) = (header.sequence, frame.checksum);
            marked |= reach.sequence == header.sequence && reach.checksum == frame.checksum;
            read.end += header.size();
        }
        let damaged = |what: &str| Err(self.damaged(format!("is damaged at byte {}: {what}", read.end)));
        match next {
            Some((header, _)) if header.sequence != replay.sequence + 1 || header.previous != replay.checksum => {
                return damaged("the next segment follows on more than can be read here");
            }
            Some((_, next)) if read.end != next.ended => return damaged("it ends where a write stood"),
            Some(_) => {}
            None => match self.end(read.end) {
                End::Zeros => {}
                End::Torn => replay.torn = true,
                End::Damaged => return damaged("what was written cannot be read"),
            },
        }
        replay.segments.push(read);
        Ok(marked)
    }

    /// Judges what follows the last frame that can be read.
    fn end(&self, from: u64) -> End {
        let from = from as usize;
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let rest = &self.bytes[from..];
        if is_zero(rest) {
            return End::Zeros;
        }
        let later = (from..self.bytes.len()).step_by(ALIGN).skip(1);
        let another = later.filter_map(|at| Header::read(self.bytes.get(at..at + HEADER)?)).next();
        let head = rest.get(..HEADER).unwrap_or(rest);
        if another.is_some() {
            // A frame is begun only when the one before it is on the disk.
            return End::Damaged;
        }
        if is_zero(head) {
            return End::Torn;
        }
        let Some(header) = Header::read(head) else { return End::Damaged };
        let until = (from + header.size() as usize).min(self.bytes.len());
        let mut left_out = false;
        let mut at = from;
        while at < until {
            let sector = (at / SECTOR + 1) * SECTOR;
            left_out |= is_zero(&self.bytes[at..sector.min(until)]);
            at = sector;
        }
        match left_out && is_zero(&self.bytes[until..]) {
            true => End::Torn,
            false => End::Damaged,
        }
    }
}

/// The whole frame that begins here.
fn frame_at(bytes: &[u8], at: usize) -> Option<(Header, Frame<'_>)> {
    let header = Header::read(bytes.get(at..at + HEADER)?)?;
    let frame = Frame::read(header, bytes.get(at..at + header.size() as usize)?)?;
    Some((header, frame))
}

impl From<io::Error> for Trouble {
    fn from(why: io::Error) -> Trouble {
        Trouble::Io(why)
    }
}
