//! What a write costs its namespace's quotas: written with it, or given back.
//!
//! One charge goes in the write's own transaction. Two changes of one kind at one revision would be lost to a
//! watch that resumes between them: further ones are written before, each by itself, and given back when the
//! write fails (upstream charges all before, resourcequota/controller.go). A crash between leaves them
//! charged; the quota controller counts anew when it starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::Status;
use serde_json::Value;
use store::{Entry, Error, Expect, Revision, Step, Store, Written};
use tokio::sync::OwnedMutexGuard;

use crate::{Server, write};

/// Whose turn it is, by namespace.
#[derive(Default)]
pub struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// Until it is dropped nothing else of its namespace is charged.
pub type Turn = Arc<OwnedMutexGuard<()>>;

/// What a write costs, and the turn in which that holds.
#[derive(Clone, Default)]
pub struct Bill {
    pub charges: Vec<Charge>,
    pub turn: Option<Turn>,
}

/// One quota's next version.
#[derive(Clone)]
pub struct Charge {
    put: Step,
    /// As it was.
    back: Step,
}

impl Turns {
    /// In the order of their coming.
    pub async fn wait(&self, namespace: &str) -> Turn {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, lock| Arc::strong_count(lock) > 1);
            turns.entry(namespace.to_owned()).or_default().clone()
        };
        Arc::new(lock.lock_owned().await)
    }
}

impl Charge {
    pub fn new(server: &Server, entry: &Entry, old: &Value, new: Value) -> Result<Charge, Status> {
        let kinds = server.kinds();
        let kind = kinds.by_kind("v1", "ResourceQuota").expect("a built-in kind");
        let put = write::replace(kind, entry, old, &new)?;
        Ok(Charge { put, back: write::put(kind, entry.key.clone(), Expect::Any, old)? })
    }

    /// Undoes it, unless somebody has written the quota since: then it is counted anew.
    fn undone(mut self, at: Revision) -> Step {
        if let Step::Put { expect, .. } = &mut self.back {
            *expect = Expect::At(at);
        }
        self.back
    }
}

/// Writes an object's steps, the first its own, and what they cost. Whoever asked may go away meanwhile.
pub async fn write(store: &Arc<Store>, mut steps: Vec<Step>, bill: &Bill) -> Result<Written, Error> {
    let mut before = bill.charges.clone();
    let of = |step: &Step| step.key().as_str().split('/').next().map(str::to_owned);
    let fits = |last: &mut Charge| of(&last.put) != of(&steps[0]);
    if let Some(last) = before.pop_if(fits) {
        steps.push(last.put);
    }
    if before.is_empty() {
        return store.write(steps).await;
    }
    let (store, turn) = (store.clone(), bill.turn.clone());
    let task = tokio::spawn(async move {
        let written = with_charges(&store, before, steps).await;
        drop(turn);
        written
    });
    task.await.unwrap_or_else(|error| Err(Error::Poisoned(error.to_string())))
}

async fn with_charges(store: &Store, before: Vec<Charge>, steps: Vec<Step>) -> Result<Written, Error> {
    let mut done: Vec<(Charge, Revision)> = Vec::new();
    let mut failed = None;
    for charge in before {
        match store.write(vec![charge.put.clone()]).await {
            Ok(written) => done.push((charge, written.revision)),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let error = match failed {
        Some(error) => error,
        None => match store.write(steps).await {
            Ok(written) => return Ok(written),
            Err(error) => error,
        },
    };
    for (charge, revision) in done {
        if let Err(error) = store.write(vec![charge.undone(revision)]).await {
            tracing::debug!(%error, "a charge is left to be counted anew");
        }
    }
    Err(error)
}
