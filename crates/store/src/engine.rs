//! The seam between the store and what orders its writes.
//!
//! An engine judges writes, numbers them and keeps them; the store shows what the engine has handed
//! over, and nothing else. Engines: the one writer over a journal or memory (`writer`), which numbers
//! by itself and shares the store's own state; and what orders the writes of several stores (etcd, say;
//! docs/decisions/engines.md), which gives a `Feed` what happened, whoever did it.
//!
//! Laws of an engine: revisions strictly increase, in whatever steps; what one write changes has one
//! revision; every change is handed over, in order; a write answers when it is durable and shown.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::state::{Overlay, Slot, State};
use crate::store::Shared;
use crate::{Entry, Error, Key, Revision, Step, Value, Written};

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What orders, numbers and keeps writes.
pub trait Engine: Send + Sync {
    /// Keeps all steps, at one revision, or none. Answers when that is durable and the store shows it;
    /// with a conflict when the store shows what was in the way.
    fn write(&self, steps: Vec<Step>) -> Answer<'_, Written>;

    /// The newest revision that anybody was told of before this was called; None where the store is
    /// never behind.
    fn newest(&self) -> Option<Answer<'_, Revision>>;

    /// Whether writes can still succeed.
    fn is_writable(&self) -> bool;
}

/// One change of a write, as an engine kept it.
#[derive(Clone, Debug)]
pub enum Mutation {
    Put {
        key: Key,
        value: Value,
        /// Since the epoch; every store deletes what is over, and one of them succeeds.
        expires: Option<Duration>,
    },
    /// Watchers see `last`; None is what was there before.
    Delete { key: Key, last: Option<Value> },
}

/// An entry as an engine keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    pub key: Key,
    pub value: Value,
    pub created: Revision,
    pub revision: Revision,
    pub expires: Option<Duration>,
}

/// Where an engine hands over what happened. There is one: what it says is in order.
pub struct Feed(Weak<Shared>);

/// What the store shows of the engine so far.
#[derive(Clone)]
pub struct Replica(Weak<Shared>);

impl Feed {
    pub(crate) fn new(shared: &Arc<Shared>) -> Feed {
        Feed(Arc::downgrade(shared))
    }

    pub fn replica(&self) -> Replica {
        Replica(self.0.clone())
    }

    /// Shows writes, each with its revision and all that it changed. One that changed nothing here says
    /// how far the engine has got. What is shown already is passed over: whose connection broke may
    /// begin a little earlier.
    pub fn take(&mut self, writes: Vec<(Revision, Vec<Mutation>)>) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut group = Vec::new();
        {
            let (state, mut overlay) = (shared.read(), Overlay::new());
            let mut newest = state.revision();
            for (revision, mutations) in writes {
                if revision > newest {
                    newest = revision;
                    group.push(state.adopt(&mut overlay, mutations, revision));
                }
            }
        }
        if !group.is_empty() {
            shared.apply(&group, shared.now());
        }
    }

    /// Shows all that there is at a revision, where what happened in between is not to be had: at the
    /// beginning, or when the engine has forgotten it. Whoever watches is cut off. Refused when the
    /// revision is before what is shown: no revision is given out twice.
    pub fn reload(&mut self, entries: Vec<Kept>, revision: Revision) -> Result<(), Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let shown = shared.read().revision();
        if revision < shown {
            let (there, here) = (revision.0, shown.0);
            return Err(Error::Refused(format!("the engine is at revision {there}, which is before {here}")));
        }
        shared.reload(State::load(entries.into_iter().map(Slot::from), revision));
        Ok(())
    }
}

impl Replica {
    fn shared(&self) -> Result<Arc<Shared>, Error> {
        self.0.upgrade().ok_or_else(|| Error::Refused("the store is closed".into()))
    }

    /// The store's clock.
    pub fn now(&self) -> Result<Duration, Error> {
        Ok(self.shared()?.now())
    }

    pub fn revision(&self) -> Result<Revision, Error> {
        Ok(self.shared()?.read().revision())
    }

    /// Waits until a revision is shown.
    pub async fn reached(&self, revision: Revision) -> Result<(), Error> {
        let published = self.shared()?.watchers.published().clone();
        published.reached(revision).await;
        Ok(())
    }

    /// The answer to a write that was kept at a revision, once that is shown.
    pub async fn written(&self, steps: &[Step], revision: Revision) -> Result<Written, Error> {
        self.reached(revision).await?;
        let shared = self.shared()?;
        let state = shared.read();
        let entries = steps.iter().map(|step| state.written(step, revision)).collect();
        Ok(Written { revision, entries })
    }

    /// The answer to a write that met something else at a key, judged at a revision, once that is shown.
    pub async fn conflict(&self, key: &Key, judged: Revision) -> Error {
        if let Err(closed) = self.reached(judged).await {
            return closed;
        }
        match self.shared() {
            Ok(shared) => Error::Conflict { key: key.clone(), found: shared.read().get(key.as_str()) },
            Err(closed) => closed,
        }
    }
}

impl From<Kept> for Slot {
    fn from(kept: Kept) -> Slot {
        let Kept { key, value, created, revision, expires } = kept;
        Slot::new(Entry { key, revision, created, bytes: value.splice(revision) }, &value, expires)
    }
}
