//! Revisions, compare-and-set and watch over bytes, durable before a write returns.
//!
//! Five methods: `get`, `list`, `write`, `watch`, `compact`. All state is in memory as encoded bytes
//! with its history to the compaction horizon; reads never touch the disk. An engine beneath orders,
//! numbers and keeps the writes. X never knows Y: this crate knows no Kubernetes word.
//!
//! Laws: revisions strictly increase, one write one revision; a watch is complete, ordered and
//! without duplicates, or `Compacted`; an acknowledged write survives kill -9 and power loss, unless
//! its writer said that it may wait (`Sync::Later`).

#![forbid(unsafe_code)]

/// Writes that may wait for the next sync.
mod deferred;
/// The seam: what orders writes, and how the store follows it.
mod engine;
/// The vocabulary: keys, entries, steps, changes, errors.
mod entry;
/// Entries with a time to live.
mod expire;
/// A store of an earlier version.
mod import;
/// The durable backend: segments of frames, one sync for each group of writes.
mod journal;
/// What is in memory: the entries, their history, and how a write is judged against them.
mod state;
/// The entry: `Store` and its five methods.
mod store;
/// Changes after a revision, to any number of readers.
mod watch;
/// The one writer: groups writes, commits them, applies them, answers.
mod writer;

pub use engine::{Answer, Engine, Feed, Kept, Mutation, Replica};
pub use entry::{Change, Entry, Error, Expect, Key, Revision, Room, Step, Sync, Value};
pub use store::{Backend, Clock, Listing, Options, Store, Written};
pub use watch::{Sieve, Wanted, Watch};
pub use writer::{Fault, FaultHook};
