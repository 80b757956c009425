//! The pods of this node that have an actor, by UID.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::Object;

use crate::inbox::Inbox;
use crate::subject::Origin;

pub type Roster = Arc<Mutex<BTreeMap<String, Entry>>>;

/// A pod that has an actor.
#[derive(Clone)]
pub struct Entry {
    pub origin: Origin,
    pub namespace: String,
    pub name: String,
    /// As it was when the actor was last told.
    pub object: Object,
    /// Its manifest is gone.
    pub ending: bool,
    pub inbox: Arc<Inbox>,
    /// Its use of the disk has to be measured.
    pub limited: bool,
}

impl Entry {
    /// Namespace and name.
    pub fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }
}
