//! What an actor is told by others: changes of its pod, hints of the machine, questions.
//!
//! One of each kind at most: what is newer takes the place of what was not read yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use api::Object;
use tokio::sync::{Notify, oneshot};

use crate::plan::Action;
use crate::pressure::Eviction;

/// Where an actor is rung.
#[derive(Default)]
pub struct Inbox {
    mail: Mutex<Mail>,
    bell: Notify,
}

/// What has come since it was last read.
#[derive(Default)]
pub struct Mail {
    pub object: Option<Object>,
    pub mirror: Option<Option<Object>>,
    pub unwanted: bool,
    pub evicted: Option<Eviction>,
    pub look: bool,
    pub refresh: bool,
    audit: Vec<oneshot::Sender<Vec<Action>>>,
}

impl Inbox {
    fn put(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.mail());
        self.bell.notify_one();
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that has come. Whoever asked meanwhile hears nothing: the actor is not at rest.
    pub fn take(&self) -> Mail {
        std::mem::take(&mut self.mail())
    }

    /// Who asks what the actor would do (law 8); nobody, where there is other mail.
    pub fn questions(&self) -> Vec<oneshot::Sender<Vec<Action>>> {
        let mut mail = self.mail();
        let questions = std::mem::take(&mut mail.audit);
        if mail.is_empty() { questions } else { Vec::new() }
    }

    /// Until there is more than a version that is known: an actor's own writes come back to it.
    pub async fn news(&self, known: Option<u64>) {
        loop {
            self.bell.notified().await;
            let mut mail = self.mail();
            mail.object.take_if(|object| known.is_some_and(|known| object.revision() <= known));
            if !mail.is_empty() || !mail.audit.is_empty() {
                return;
            }
        }
    }

    /// A newer version of the pod.
    pub fn object(&self, object: Object) {
        self.put(|m| m.object = Some(object));
    }

    /// The mirror of a static pod, or that there is none.
    pub fn mirror(&self, mirror: Option<Object>) {
        self.put(|m| m.mirror = Some(mirror));
    }

    /// The pod is gone from where it came from.
    pub fn unwanted(&self) {
        self.put(|m| m.unwanted = true);
    }

    /// The pod is to end: Failed, reason Evicted.
    pub fn evict(&self, eviction: Eviction) {
        self.put(|m| m.evicted = Some(eviction));
    }

    /// Something changed on the machine.
    pub fn look(&self) {
        self.put(|m| m.look = true);
    }

    /// A source of its volumes changed.
    pub fn refresh(&self) {
        self.put(|m| m.refresh = true);
    }

    /// Asks the actor what it would do; closed without an answer where it is not at rest.
    pub fn audit(&self) -> oneshot::Receiver<Vec<Action>> {
        let (answer, answered) = oneshot::channel();
        self.put(|mail| mail.audit.push(answer));
        answered
    }
}

impl Mail {
    fn is_empty(&self) -> bool {
        let Mail { object, mirror, unwanted, evicted, look, refresh, audit: _ } = self;
        object.is_none() && mirror.is_none() && evicted.is_none() && !unwanted && !look && !refresh
    }
}
