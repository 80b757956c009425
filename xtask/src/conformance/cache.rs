//! What a run builds once and keeps: programs, Debian roots, layers, the archive of images.
//!
//! Each product stands beside a stamp with the key of the recipe that made it; a product whose stamp says the same key
//! is current. Laws: a product appears whole or not at all (built aside, then renamed), and one process builds at a time.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of build products, locked for as long as this lives.
pub struct Cache {
    dir: PathBuf,
    _lock: File,
}

/// A file or folder of the cache, and the key of its recipe: what is built from it takes the key into its own.
#[derive(Clone, Debug)]
pub struct Product {
    pub path: PathBuf,
    pub key: String,
}

/// Where build products go: `$GOUSSE_CONFORMANCE_CACHE`, or `gousse/conformance` in the user's cache folder.
pub fn folder() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("GOUSSE_CONFORMANCE_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache"),
        (None, None) => bail!("no HOME to keep build products under; set GOUSSE_CONFORMANCE_CACHE to a folder"),
    };
    Ok(base.join("gousse/conformance"))
}

impl Cache {
    /// Opens the cache, and waits for another process that is building in it.
    pub fn open() -> Result<Cache> {
        let dir = folder()?;
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let lock = File::create(dir.join("lock"))?;
        lock.lock().context("locking the conformance cache")?;
        Ok(Cache { dir, _lock: lock })
    }

    /// The product `name` of `recipe`, built by `build` (which gets the path to fill) unless the one at hand is current.
    pub fn product(&self, name: &str, recipe: &[&str], build: impl FnOnce(&Path) -> Result<()>) -> Result<Product> {
        let key = key_of(recipe);
        let path = self.dir.join(name);
        let stamp = self.dir.join(format!("{name}.key"));
        if path.exists() && fs::read_to_string(&stamp).is_ok_and(|kept| kept == key) {
            return Ok(Product { path, key });
        }
        eprintln!("building {name}");
        let aside = self.dir.join(format!("{name}.new"));
        fs::create_dir_all(aside.parent().context("a product has a folder")?)?;
        remove(&aside)?;
        build(&aside).with_context(|| format!("building {name} (left half done in {})", aside.display()))?;
        remove(&stamp)?;
        remove(&path)?;
        fs::rename(&aside, &path)?;
        fs::write(&stamp, &key)?;
        Ok(Product { path, key })
    }
}

/// Runs a command to its end; an error holds the command and the end of what it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("starting {program} (is it installed?)"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let end: Vec<&str> = said.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
        bail!("{command:?}: {}\n{}", output.status, end.join("\n"));
    }
    Ok(output.stdout)
}

/// Removes a file or a folder, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    gone.with_context(|| format!("removing {}", path.display()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_of(recipe: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in recipe {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}
