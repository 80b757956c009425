//! A store of before November 2026, which an embedded engine (fjall) kept: read once, then put aside.
//!
//! `store/entries` is the store until it is renamed; what an import that was interrupted wrote before
//! is begun anew. The engine cuts a journal at the first thing it cannot read, whatever follows, so
//! it opens a copy, and its journals are looked at before and after (see `journals`).

/// A torn tail or a damaged journal of the engine.
mod journals;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::journal;
use crate::state::Slot;
use crate::store::Options;
use crate::{Entry, Error, Key, Revision};
use journals::Journals;

/// Sorts before every key and is none: under it stands the newest revision.
const REVISION: &[u8] = b"\0revision";
/// Of an entry.
const FORMAT: u8 = 1;
/// format, head length, created, revision, expiry in milliseconds (0: never)
const HEADER: usize = 1 + 4 + 8 + 8 + 8;
/// The engine's folder, also the name of its keyspace; and what it is called afterwards.
const ENTRIES: &str = "entries";
const IMPORTED: &str = "entries.imported";
const COPY: &str = "entries.reading-";

/// Makes a journal of what an engine's folder holds, if there is one.
pub(crate) fn import(dir: &Path, options: &Options) -> Result<(), Error> {
    let (folder, imported) = (dir.join(ENTRIES), dir.join(IMPORTED));
    if !folder.exists() {
        return Ok(());
    }
    let failed =
        |why: String| Error::Refused(format!("the store of an earlier version in {}: {why}", folder.display()));
    if journal::is_begun(dir) {
        return Err(failed("there is a later one beside it; move one of them away".into()));
    }
    let io = |why: std::io::Error| failed(why.to_string());
    let copy = tempfile::Builder::new().prefix(COPY).tempdir_in(dir).map_err(io)?;
    journals::copy(&folder, copy.path()).map_err(io)?;
    let (slots, revision) = read(dir, copy.path()).map_err(failed)?;
    drop(copy);
    for number in journal::numbers(dir).map_err(io)? {
        // Of an import that was interrupted.
        std::fs::remove_file(journal::path(dir, number)).map_err(io)?;
    }
    drop(journal::fill(dir, options, &slots, revision)?);
    std::fs::rename(&folder, &imported).map_err(io)?;
    journal::sync_folder(dir).map_err(io)?;
    tracing::info!("the store has a new format; the old one is in {} and may be removed", imported.display());
    Ok(())
}

fn read(dir: &Path, folder: &Path) -> Result<(Vec<Slot>, Revision), String> {
    if let Ok(why) = std::fs::read_to_string(dir.join("DAMAGED")) {
        return Err(format!("it is damaged: {why}"));
    }
    let io = |why: std::io::Error| why.to_string();
    let journals: Journals = journals::inspect(folder).map_err(io)?;
    // Of some damage the engine does not say that it is damage, it asserts.
    let open = std::panic::catch_unwind(|| open(folder)).map_err(|_| "it is damaged".to_string())?;
    let (_db, entries) = open.map_err(|why| why.to_string())?;
    journals.are_kept().map_err(io)??;
    let found = entries.get(REVISION).map_err(|why| why.to_string())?;
    let revision = found.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    let mut slots = Vec::new();
    for guard in entries.iter() {
        let (key, value) = guard.into_inner().map_err(|why| why.to_string())?;
        if key.as_ref() != REVISION {
            slots.push(decode(&key, &value).ok_or("an entry cannot be read")?);
        }
    }
    Ok((slots, Revision(revision.unwrap_or(0))))
}

fn open(folder: &Path) -> fjall::Result<(Database, Keyspace)> {
    let db = Database::builder(folder)
        .cache_size(256 << 10)
        .max_cached_files(Some(16))
        .worker_threads(1)
        .manual_journal_persist(true)
        .open()?;
    let entries = db.keyspace(ENTRIES, KeyspaceCreateOptions::default)?;
    Ok((db, entries))
}

fn decode(key: &[u8], value: &[u8]) -> Option<Slot> {
    let (header, bytes) = value.split_at_checked(HEADER)?;
    if header[0] != FORMAT {
        return None;
    }
    let number = |at: usize| Some(u64::from_be_bytes(header[at..at + 8].try_into().ok()?));
    let head = u32::from_be_bytes(header[1..5].try_into().ok()?);
    let expires = Some(number(21)?).filter(|ms| *ms > 0).map(Duration::from_millis);
    let key = Key::from(std::str::from_utf8(key).ok()?);
    let (created, revision) = (Revision(number(5)?), Revision(number(13)?));
    Some(Slot { entry: Entry { key, revision, created, bytes: Bytes::copy_from_slice(bytes) }, head, expires })
}
