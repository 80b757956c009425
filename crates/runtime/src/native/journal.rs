//! The durable record: one line of JSON for each thing that happened, folded again at the start.
//!
//! A line is written whole before what it tells is acted upon, so it survives any process. `sync` makes
//! it survive power loss too; only exits need that. A torn last line counts as not written.

use std::collections::BTreeMap;
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
    pub boot: String,
    pub sandboxes: BTreeMap<SandboxId, SandboxRecord>,
    pub containers: BTreeMap<ContainerId, ContainerRecord>,
}

pub struct Journal {
    path: PathBuf,
    file: File,
    size: u64,
    /// The size it would have if it were written anew, as last known.
    base: u64,
    unsynced: bool,
}

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
        let (records, size) = fold(&bytes);
        // Or the next line would be lost behind a torn one.
        file.set_len(size)?;
        let base = lines_of(&records).len() as u64;
        // Who wrote the last lines may have ended before they were on the disk.
        Ok((Journal { path, file, size, base, unsynced: true }, records))
    }

    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry).expect("entries hold nothing that JSON cannot");
        line.push(b'\n');
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
    let mut add = |entry: &Entry| {
        serde_json::to_writer(&mut bytes, entry).expect("entries hold nothing that JSON cannot");
        bytes.push(b'\n');
    };
    add(&Entry::Boot(records.boot.clone()));
    for (id, sandbox) in &records.sandboxes {
        add(&Entry::Sandbox(id.clone(), Box::new(sandbox.clone())));
    }
    for (id, container) in &records.containers {
        add(&Entry::Container(id.clone(), Box::new(container.clone())));
    }
    bytes
}

/// What the good lines say, and how many bytes they are.
fn fold(bytes: &[u8]) -> (Records, u64) {
    let mut records = Records::default();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // A torn or damaged line: nothing after it was acknowledged.
        if !line.ends_with(b"\n") {
            break;
        }
        let Ok(entry) = serde_json::from_slice(line) else { break };
        records.apply(entry);
        good += line.len() as u64;
    }
    (records, good)
}

impl Records {
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Boot(boot) => self.boot = boot,
            Entry::Sandbox(id, record) => drop(self.sandboxes.insert(id, *record)),
            Entry::Container(id, record) => drop(self.containers.insert(id, *record)),
            Entry::SandboxGone(id) => drop(self.sandboxes.remove(&id)),
            Entry::ContainerGone(id) => drop(self.containers.remove(&id)),
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
