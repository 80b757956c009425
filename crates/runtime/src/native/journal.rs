//! The durable record: one line of JSON for each thing that happened, folded again at the start.
//!
//! A line is written whole before what it tells is acted upon, so it survives any process. `sync` makes
//! it survive power loss too; only exits need that. A last line without its end was torn and counts as not
//! written. Each line begins with a checksum; any other line that does not fit its own is damage: it is
//! passed over, named, and nothing of the file is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::protocol::Layers;
use crate::spec::{ContainerId, Resources, SandboxId, SandboxSpec};
use crate::state::{Container, Phase};

/// One line. Absence of a thing at the end of the journal means it was forgotten.
#[derive(Serialize, Deserialize)]
pub enum Entry {
    /// The machine's boot; everything that ran in another one is gone.
    Boot(String),
    Sandbox(SandboxId, Box<SandboxRecord>),
    Container(ContainerId, Box<ContainerRecord>),
    /// A process exists and may become the container's program.
    Born(ContainerId, Process),
    Phase(ContainerId, Phase),
    SandboxLost(SandboxId),
    SandboxLimits(SandboxId, Resources),
    ContainerLimits(ContainerId, Resources),
    ContainerGone(ContainerId),
    SandboxGone(SandboxId),
}

#[derive(Clone, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub spec: SandboxSpec,
    pub created_at: i128,
    pub ready: bool,
    /// The init of a shared PID namespace.
    pub init: Option<Process>,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub sandbox: SandboxId,
    pub container: Container,
    pub layers: Layers,
    pub process: Option<Process>,
}

/// A process: the number may come again, `unique` does not before the next boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub unique: u64,
}

/// What the journal says now.
#[derive(Default)]
pub struct Records {
    /// Empty: not known.
    pub boot: String,
    pub sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    pub containers: BTreeMap<ContainerId, ContainerRecord>,
    /// Those that were forgotten since it was last written anew.
    pub gone: BTreeSet<ContainerId>,
}

pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// The size it would have if it were written anew, as last known.
    base: u64,
    unsynced: bool,
    /// Where lines begin that cannot be read.
    damage: Vec<u64>,
}

/// Between a line's checksum and its text.
const CHECKED: u8 = b' ';
/// Bytes of the digest that a line carries, and how many digits they are.
const SUM: usize = 8;
const DIGITS: usize = 2 * SUM;

/// Rewritten when it has grown by this much over what it says.
const GROWTH_MAX: u64 = 4 << 20;

impl Journal {
    /// Reads what is there and goes on behind it. Nothing is written: a full disk must not keep from
    /// starting those who could make room on it.
    pub fn open(folder: &Path) -> io::Result<(Journal, Records)> {
        let path = folder.join("journal");
        let new = !path.exists();
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&path)?;
        if new {
            File::open(folder)?.sync_all()?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let (records, size, damage) = fold(&bytes);
        // Or the next line would be lost behind a torn one.
        file.set_len(size)?;
        let base = lines_of(&records).len() as u64;
        // Who wrote the last lines may have ended before they were on the disk.
        Ok((Journal { path, file, size, base, unsynced: true, damage }, records))
    }

    /// What is wrong with it, and what to do about it.
    pub fn complaint(&self) -> Option<String> {
        let (first, more) = self.damage.split_first()?;
        let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
        let (path, kept) = (self.path.display(), self.kept());
        Some(format!(
            "{path} is damaged: the record at byte {first}{more} cannot be read, so containers may be missing in it; \
             the rest holds, what runs unrecorded is ended, and their pods are started anew. The damaged file is kept \
             as {} when it is next written anew; look at the disk, then remove that",
            kept.display()
        ))
    }

    /// Where a damaged one is kept: a name that nothing has.
    fn kept(&self) -> PathBuf {
        let names = (1u32..).map(|number| self.path.with_extension(format!("damaged-{number}")));
        names.into_iter().find(|path| !path.exists()).expect("there are more numbers than files")
    }

    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = Vec::new();
        add_line(&mut line, entry);
        if let Err(error) = self.file.write_all(&line) {
            // Whatever part of the line got there must not run into the next one.
            let _ = self.file.set_len(self.size);
            return Err(error);
        }
        self.size += line.len() as u64;
        self.unsynced |= matches!(entry, Entry::Phase(_, Phase::Exited { .. }));
        Ok(())
    }

    pub fn needs_sync(&self) -> bool {
        self.unsynced
    }

    /// Onto the disk. After an error only a rewrite helps: the kernel has given up what it could not write.
    pub fn sync(&mut self) -> io::Result<()> {
        self.unsynced = false;
        self.file.sync_data()
    }

    /// Whether it has become much longer than what it says.
    pub fn is_long(&self) -> bool {
        self.size.saturating_sub(self.base) > GROWTH_MAX.max(self.base)
    }

    /// Long as it is, it stays so until it has grown as much again.
    pub fn stay_long(&mut self) {
        self.base = self.size;
    }

    /// Writes it anew with only these records, which are what it says.
    pub fn rewrite(&mut self, records: &Records) -> io::Result<()> {
        let bytes = lines_of(records);
        let fresh = self.path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&fresh)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if written.is_ok() && !self.damage.is_empty() {
            std::fs::hard_link(&self.path, self.kept())?;
            self.damage.clear();
        }
        written.and_then(|()| std::fs::rename(&fresh, &self.path)).inspect_err(|_| {
            // On a full disk it is in the way.
            let _ = std::fs::remove_file(&fresh);
        })?;
        self.file = file;
        self.size = bytes.len() as u64;
        self.base = self.size;
        self.unsynced = false;
        match self.path.parent() {
            // Else the old file could be back after a power loss, without what the new one got.
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn lines_of(records: &Records) -> Vec<u8> {
    let mut bytes = Vec::new();
    add_line(&mut bytes, &Entry::Boot(records.boot.clone()));
    for (id, sandbox) in &records.sandboxes {
        add_line(&mut bytes, &Entry::Sandbox(id.clone(), Box::new(sandbox.clone())));
    }
    for (id, container) in &records.containers {
        add_line(&mut bytes, &Entry::Container(id.clone(), Box::new(container.clone())));
    }
    bytes
}

fn add_line(bytes: &mut Vec<u8>, entry: &Entry) {
    let text = serde_json::to_vec(entry).expect("entries hold nothing that JSON cannot");
    bytes.extend_from_slice(checksum(&text).as_bytes());
    bytes.push(CHECKED);
    bytes.extend_from_slice(&text);
    bytes.push(b'\n');
}

fn checksum(text: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text)[..SUM].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the good lines say, how many bytes the whole lines are, and where bad ones begin.
fn fold(bytes: &[u8]) -> (Records, u64, Vec<u64>) {
    let (mut records, mut damage) = (Records::default(), Vec::new());
    let mut at = 0;
    // A last line without its end was torn: nothing that followed from it was acted upon.
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        match entry_of(&line[..line.len() - 1]) {
            Some(entry) => records.apply(entry),
            None => damage.push(at),
        }
        at += line.len() as u64;
    }
    (records, at, damage)
}

fn entry_of(line: &[u8]) -> Option<Entry> {
    let text = match line.first()? {
        // As versions before December 2026 wrote it.
        b'{' => line,
        _ => {
            let (sum, text) = line.split_at_checked(DIGITS)?;
            text.strip_prefix(&[CHECKED]).filter(|text| checksum(text).as_bytes() == sum)?
        }
    };
    serde_json::from_slice(text).ok()
}

impl Records {
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Boot(boot) => self.boot = boot,
            Entry::Sandbox(id, record) => drop(self.sandboxes.insert(id, *record)),
            Entry::Container(id, record) => drop(self.containers.insert(id, *record)),
            Entry::SandboxGone(id) => drop(self.sandboxes.remove(&id)),
            Entry::ContainerGone(id) => {
                self.containers.remove(&id);
                self.gone.insert(id);
            }
            Entry::Born(id, process) => {
                if let Some(record) = self.containers.get_mut(&id) {
                    record.process = Some(process);
                }
            }
            Entry::Phase(id, phase) => {
                if let Some(record) = self.containers.get_mut(&id) {
                    record.container.phase = phase;
                }
            }
            Entry::SandboxLost(id) => {
                if let Some(record) = self.sandboxes.get_mut(&id) {
                    record.ready = false;
                    record.init = None;
                }
            }
            Entry::SandboxLimits(id, resources) => {
                if let Some(record) = self.sandboxes.get_mut(&id) {
                    record.spec.resources = resources;
                }
            }
            Entry::ContainerLimits(id, resources) => {
                if let Some(record) = self.containers.get_mut(&id) {
                    record.container.spec.resources = resources;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
