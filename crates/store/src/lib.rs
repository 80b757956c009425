//! Revisions, compare-and-set and watch over bytes, durable before a write returns.
//!
//! Five methods: `get`, `list`, `write`, `watch`, `compact`. All state is in memory as encoded bytes
//! with its history to the compaction horizon; reads never touch the disk. A backend beneath makes
//! writes durable. X never knows Y: this crate knows no Kubernetes word.
//!
//! Laws: revisions strictly increase, one write one revision; a watch is complete, ordered and
//! without duplicates, or `Compacted`; an acknowledged write survives kill -9 and power loss.

#![forbid(unsafe_code)]

use std::sync::Arc;

use bytes::Bytes;

/// A position in the history of all writes; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Where an entry lives, bytewise ordered: `pods/default/web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Arc<str>);

/// What a writer hands over: the encoded object without its revision. What is served is
/// `head ++ revision in decimal ++ tail`, made once, when the revision is known.
#[derive(Clone, Debug)]
pub struct Value {
    pub head: Bytes,
    pub tail: Bytes,
}

/// One version of one key, as it is served.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Key,
    /// The write that made this version.
    pub revision: Revision,
    /// The write that created the key.
    pub created: Revision,
    pub bytes: Bytes,
}

/// What a compare-and-set expects to find at its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    At(Revision),
    Any,
}

/// One step of a write; a write is one or more steps, all or none, at one revision.
#[derive(Clone, Debug)]
pub enum Step {
    Put {
        key: Key,
        expect: Expect,
        value: Value,
    },
    /// Deletes; watchers see `last` (the final object) with the deletion's revision spliced in.
    Delete {
        key: Key,
        expect: Expect,
        last: Value,
    },
    /// Changes nothing, but the write fails unless this holds.
    Check {
        key: Key,
        expect: Expect,
    },
}

/// One change, shared by every watcher.
#[derive(Clone, Debug)]
pub struct Change {
    /// After the change; for a deletion the last object with the deletion's revision.
    pub entry: Entry,
    /// Before the change; None for a creation.
    pub previous: Option<Entry>,
    pub deleted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step's expectation did not hold; nothing was written.
    #[error("conflict at {key:?}")]
    Conflict { key: Key, found: Option<Entry> },
    /// The history asked for is gone; `horizon` is the oldest revision still there.
    #[error("revision compacted; the oldest is {horizon:?}")]
    Compacted { horizon: Revision },
    /// The backend refused (a full disk, say): nothing was written.
    #[error("not written: {0}")]
    Refused(String),
    /// The backend failed in a way that leaves the outcome open; writes stop until it is reopened.
    #[error("outcome unknown: {0}")]
    Poisoned(String),
}
