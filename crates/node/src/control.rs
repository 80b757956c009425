//! What the node's own API may ask of the agent: pods by name, their containers, where logs are.
//!
//! Names are the API's, so a static pod answers to its mirror's name.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use crate::view as core;
use api::Object;
use runtime::{Container, Engine, SandboxId};

use crate::config::Config;
use crate::observe::Seen;
use crate::plan::Action;
use crate::roster::{Entry, Roster};
use crate::shared::Shared;
use crate::spec::container::log_path;
use crate::subject::Origin;

/// Clone is a reference count.
#[derive(Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
    pub(crate) actors: Roster,
}

/// A pod of this node and what runs of it.
pub struct Found {
    /// The UID on this node (a static pod's mirror has another).
    pub uid: String,
    pub origin: Origin,
    pub object: Object,
    pub seen: Seen,
}

/// One container of a found pod.
pub struct FoundContainer {
    /// The latest instance, and the one before.
    pub current: Option<Container>,
    pub previous: Option<Container>,
    /// Names a container of the pod's spec.
    pub in_spec: bool,
}

impl Control {
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.shared.engine
    }

    pub fn client(&self) -> &client::Client {
        &self.shared.client
    }

    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Every pod that has an actor here.
    pub fn pods(&self) -> Vec<Object> {
        let mut all: Vec<Object> = self.entries().into_iter().map(|(_, e)| e.object).collect();
        all.sort_by_key(|o| (o.meta().namespace.clone(), o.meta().name.clone()));
        all
    }

    /// A pod by the API's name, looked at now. None: no such pod here.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Found>, String> {
        let named = |(_, e): &(String, Entry)| e.namespace == namespace && e.name == name && e.origin != Origin::Orphan;
        let mut entries: Vec<(String, Entry)> = self.entries().into_iter().filter(named).collect();
        // A namesake that is being created comes after the one that still ends.
        entries.sort_by_key(|(_, e)| std::cmp::Reverse(e.object.revision()));
        let Some((uid, entry)) = entries.into_iter().next() else { return Ok(None) };
        let seen = self.shared.looker.look(&uid).await?;
        Ok(Some(Found { uid, origin: entry.origin, object: entry.object, seen }))
    }

    /// Law 8: for every actor at rest, by its pod's UID, what it would do if it looked anew: nothing.
    pub async fn unfinished(&self) -> Vec<(String, Vec<Action>)> {
        let asked: Vec<_> = self.entries().into_iter().map(|(uid, entry)| (uid, entry.inbox.audit())).collect();
        let mut answers = Vec::new();
        for (uid, answered) in asked {
            if let Ok(actions) = answered.await {
                answers.push((uid, actions));
            }
        }
        answers
    }

    fn entries(&self) -> Vec<(String, Entry)> {
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner);
        actors.iter().map(|(uid, e)| (uid.clone(), e.clone())).collect()
    }

    /// Where a container's log of that attempt is.
    pub fn log_path(&self, found: &Found, container: &str, attempt: u32) -> Option<PathBuf> {
        let pod = found.object.view::<core::Pod>().ok()?;
        Some(log_path(&pod, container, attempt, &self.shared.settings))
    }
}

impl Found {
    /// The living sandbox: what port-forward dials into.
    pub fn sandbox(&self) -> Option<SandboxId> {
        self.seen.current().map(|s| s.id.clone())
    }

    pub fn container(&self, name: &str) -> FoundContainer {
        let mut instances = self.seen.logged(name).into_iter().map(|i| i.container.clone());
        let pod = self.object.view::<core::Pod>().unwrap_or_default();
        FoundContainer {
            current: instances.next(),
            previous: instances.next(),
            in_spec: crate::pod::part(&pod, name).is_some(),
        }
    }
}
