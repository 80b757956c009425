//! What `up` made of its files: what Ctrl-C deletes again, and nothing else.
//!
//! Objects that were there before belong to somebody else. The list is kept in the data folder, so that
//! an `up` that was killed leaves it to the next one, which finds those objects unchanged. A Namespace
//! is only deleted by the run that made it: whatever came into an older one would go with it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::instance::{Instance, write_private};
use kubectl::failure::{Context, Result};
use kubectl::verbs::apply::Applied;

/// Objects in the order in which they were made.
pub struct Made {
    file: PathBuf,
    /// By this run or by earlier ones.
    known: Vec<One>,
    /// Of these, what the files of this run name.
    ours: Vec<One>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct One {
    /// `pods`, `leases.coordination.k8s.io`
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Made {
    /// With what earlier runs left.
    pub fn of(instance: &Instance) -> Result<Made> {
        let file = instance.data_dir.join("made.json");
        let known = match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => {
                let bytes = read.context(format_args!("reading {}", file.display()))?;
                serde_json::from_slice(&bytes).context(format_args!("reading {}", file.display()))?
            }
        };
        Ok(Made { file, known, ours: Vec::new() })
    }

    /// Takes in what became of one object of the files.
    pub fn note(&mut self, applied: &Applied) -> Result<()> {
        let meta = applied.object.meta();
        let one = One {
            kind: applied.kind.qualified(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        };
        if applied.outcome == "created" {
            self.known.push(one.clone());
            self.ours.push(one);
            return self.write();
        }
        if self.known.contains(&one) && !self.ours.contains(&one) && one.kind != "namespaces" {
            self.ours.push(one);
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.ours.is_empty()
    }

    /// What is to go, the last made first.
    pub fn all(&self) -> impl Iterator<Item = &One> {
        self.ours.iter().rev()
    }

    /// They are gone.
    pub fn forget(&mut self) -> Result<()> {
        let ours = std::mem::take(&mut self.ours);
        self.known.retain(|one| !ours.contains(one));
        self.write()
    }

    fn write(&self) -> Result<()> {
        write_private(&self.file, &serde_json::to_vec(&self.known).context("printing what was made")?)
    }
}
