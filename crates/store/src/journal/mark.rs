//! The mark: how far the journal reached, in a file outside its folder.
//!
//! A journal whose last frames, last segment or whole folder are gone looks like a shorter one; the
//! mark says that it was longer. It is written after every sync of the journal and is itself synced
//! only when a segment begins and at the close: so it never says more than the journal holds, a
//! killed process leaves it exact (its page is the kernel's), and a power loss may leave it as far
//! behind as the kernel writes pages back (half a minute). Two copies take turns, each in a sector
//! of its own: a torn one leaves the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Revision;
use crate::journal::frame::{checksum, u64_at};

const SECTOR: u64 = 512;
const COPY: usize = 64;
const MAGIC: [u8; 8] = *b"GousseM1";

/// What the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub id: [u8; 16],
    /// Of the newest frame that was acknowledged; 0: there is none yet.
    pub sequence: u64,
    pub checksum: u64,
    pub revision: Revision,
    /// The newest one.
    pub segment: u64,
}

pub(crate) struct Mark {
    file: File,
    turn: u64,
}

/// Of the journal in a folder: beside it, so that an emptied folder is noticed.
pub(crate) fn path_of(folder: &Path) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(".mark");
    folder.with_file_name(name)
}

/// None: there is none. A file in which nothing can be read is an error.
pub(crate) fn read(path: &Path) -> io::Result<Option<Reach>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let newest = copies(&file).into_iter().flatten().max_by_key(|reach| reach.sequence);
    newest.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "is damaged"))
}

fn copies(file: &File) -> [Option<Reach>; 2] {
    [0, 1].map(|turn| {
        let mut bytes = [0; COPY];
        file.read_exact_at(&mut bytes, turn * SECTOR).ok()?;
        decode(&bytes)
    })
}

impl Mark {
    /// Says `reach`, synced, whatever it said before.
    pub fn begin(path: &Path, reach: &Reach) -> io::Result<Mark> {
        let is_new = !path.exists();
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let [first, second] = copies(&file).map(|copy| copy.map(|reach| reach.sequence));
        // The newer copy stays until the other one is there.
        let mut mark = Mark { file, turn: u64::from(second > first) };
        mark.write(reach)?;
        if is_new {
            mark.sync()?;
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        } else {
            mark.sync()?;
            mark.write(reach)?;
        }
        Ok(mark)
    }

    pub fn write(&mut self, reach: &Reach) -> io::Result<()> {
        self.turn ^= 1;
        self.file.write_all_at(&encode(reach), self.turn * SECTOR)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn encode(reach: &Reach) -> [u8; COPY] {
    let mut bytes = [0; COPY];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..24].copy_from_slice(&reach.id);
    for (at, number) in [(24, reach.sequence), (32, reach.checksum), (40, reach.revision.0), (48, reach.segment)] {
        bytes[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }
    let sum = checksum(&bytes[..COPY - 8]);
    bytes[COPY - 8..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn decode(bytes: &[u8; COPY]) -> Option<Reach> {
    let whole = bytes[..8] == MAGIC && u64_at(bytes, COPY - 8)? == checksum(&bytes[..COPY - 8]);
    let id = bytes[8..24].try_into().ok()?;
    let (sequence, checksum, revision) = (u64_at(bytes, 24)?, u64_at(bytes, 32)?, Revision(u64_at(bytes, 40)?));
    whole.then_some(Reach { id, sequence, checksum, revision, segment: u64_at(bytes, 48)? })
}
