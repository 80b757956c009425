//! The vocabulary of the store: keys, entries, the steps of a write, changes and errors.
//!
//! Everything is cheap to clone: keys and bytes are shared with the store's own state.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// When a put must be on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Before it is acknowledged.
    #[default]
    First,
    /// With the next write that is synced, at the latest two minutes later if puts go on, or at the
    /// close: a heartbeat, whose loss reads like one that came late. A crash may undo it; its
    /// revision is never used again (docs/decisions/heartbeats.md).
    Later,
}

/// How much of a full disk a write may use. What does not make the store larger is `Kept` by itself,
/// and a write that only deletes is `Last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Refused when only what is kept is left.
    #[default]
    Free,
    /// What leads to less: it may use what is kept.
    Kept,
    /// All but what the store needs to regain room.
    Last,
}

/// One step of a write; a write is one or more steps, all or none, at one revision. At most one
/// step of a write may change a given key. Two changes under one watched prefix carry the same
/// revision, so a writer whose readers resume by revision puts them in two writes.
#[derive(Clone, Debug)]
pub enum Step {
    Put {
        key: Key,
        expect: Expect,
        value: Value,
        /// Deleted by the store itself when it was not written again for so long; None keeps it.
        ttl: Option<Duration>,
        sync: Sync,
        room: Room,
    },
    /// Deletes; watchers see `last` (the final object) with the deletion's revision spliced in.
    /// With `Expect::Any` the key must still be there.
    Delete { key: Key, expect: Expect, last: Value },
    /// Changes nothing, but the write fails unless this holds.
    Check { key: Key, expect: Expect },
}

/// One change, shared by every watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// After the change; for a deletion the last object with the deletion's revision.
    pub entry: Entry,
    /// Before the change; None for a creation.
    pub previous: Option<Entry>,
    pub deleted: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A step's expectation did not hold; nothing was written.
    #[error("conflict at {key}")]
    Conflict { key: Key, found: Option<Entry> },
    /// The history asked for is gone; `horizon` is the oldest revision still there.
    #[error("revision compacted; the oldest is {}", horizon.0)]
    Compacted { horizon: Revision },
    /// A revision that is not yet written; `current` is the newest.
    #[error("revision is in the future; the newest is {}", current.0)]
    Future { current: Revision },
    /// This watch was read too slowly and is cut off; what it returned so far is complete.
    #[error("watch was too slow and is cut off")]
    Lagged,
    /// The backend refused (a full disk, say): nothing was written.
    #[error("not written: {0}")]
    Refused(String),
    /// The backend failed in a way that leaves the outcome open; writes stop until it is reopened.
    #[error("outcome unknown: {0}")]
    Poisoned(String),
}

impl Key {
    pub fn new(key: impl Into<Arc<str>>) -> Key {
        Key(key.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Key {
        Key(key.into())
    }
}

impl From<String> for Key {
    fn from(key: String) -> Key {
        Key(key.into())
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Value {
    /// The bytes that are served, made once.
    pub(crate) fn splice(&self, revision: Revision) -> Bytes {
        let digits = revision.0.to_string();
        let mut bytes = BytesMut::with_capacity(self.head.len() + digits.len() + self.tail.len());
        bytes.put_slice(&self.head);
        bytes.put_slice(digits.as_bytes());
        bytes.put_slice(&self.tail);
        bytes.freeze()
    }
}

impl Step {
    /// Whether the version at its key (None: there is none) is one that it expects.
    pub fn holds(&self, found: Option<Revision>) -> bool {
        let deletes = matches!(self, Step::Delete { .. });
        match self.expect() {
            Expect::Absent => found.is_none() && !deletes,
            Expect::At(revision) => found == Some(revision),
            Expect::Any => found.is_some() || !deletes,
        }
    }

    /// A key that two of the steps change.
    pub(crate) fn changed_twice(steps: &[Step]) -> Option<&Key> {
        let changed = |step: &&Step| !matches!(step, Step::Check { .. });
        let keys = || steps.iter().filter(changed).map(Step::key);
        keys().enumerate().find(|(n, key)| keys().take(*n).any(|before| before == *key)).map(|(_, key)| key)
    }

    pub fn key(&self) -> &Key {
        match self {
            Step::Put { key, .. } | Step::Delete { key, .. } | Step::Check { key, .. } => key,
        }
    }

    pub(crate) fn expect(&self) -> Expect {
        match self {
            Step::Put { expect, .. } | Step::Delete { expect, .. } | Step::Check { expect, .. } => *expect,
        }
    }
}
