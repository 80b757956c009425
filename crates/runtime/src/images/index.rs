//! The index of images on the disk, and each layer's record: written aside, synced, renamed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::{Error, Result};

const FILE: &str = "index.json";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    version: u32,
    /// By id, `sha256:…`.
    pub images: BTreeMap<String, Row>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    /// Keys, the bottom layer first.
    pub layers: Vec<String>,
    pub preloaded: bool,
}

/// What is known of an unpacked layer; it lies beside its root.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRecord {
    pub size: u64,
    /// Entries of its archive; records of earlier versions do not say.
    #[serde(default)]
    pub files: u64,
    /// Parents that its archive did not name, so that they may look otherwise above other layers.
    pub implied: Vec<String>,
}

impl Index {
    pub fn read(dir: &Path) -> Result<Index> {
        let path = dir.join(FILE);
        let context = |e: String| Error::Failed(format!("{}: {e}", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(Index { version: VERSION, images: BTreeMap::new() });
            }
            Err(e) => return Err(context(e.to_string())),
        };
        let index: Index = serde_json::from_slice(&bytes).map_err(|e| context(e.to_string()))?;
        if index.version != VERSION {
            return Err(context(format!("its version is {}, this program reads {VERSION}", index.version)));
        }
        Ok(index)
    }

    pub fn write(&self, dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        let path = dir.join(FILE);
        write_durably(&path, &bytes).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))
    }
}

impl LayerRecord {
    pub fn read(folder: &Path) -> Result<LayerRecord> {
        let path = folder.join("layer.json");
        let bytes = fs::read(&path).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).expect("strings and numbers are always JSON");
        let path = folder.join("layer.json");
        write_durably(&path, &bytes).map_err(|e| Error::Failed(format!("{}: {e}", path.display())))
    }
}

/// Either the old content or the new one is there after a crash, and the new one once this returned.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_by_way_of(path.parent().unwrap_or(Path::new(".")), path, bytes)
}

/// The same, written aside in another folder of that file system: where others sweep what they do not know.
pub fn write_by_way_of(aside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(aside)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    sync_folder(folder)
}

pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
