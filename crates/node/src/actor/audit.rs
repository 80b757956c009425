//! Law 8, asked from outside: what would an actor at rest do if it looked at the machine anew?
//!
//! Nothing, or it missed a change or did not reach what it planned. An actor that has work or mail, or
//! whose time has come, is not at rest and gives no answer. Simulator and tests ask; nobody else does.

use std::sync::PoisonError;

use tokio::sync::oneshot;

use super::{Actor, Inbox, Mail};
use crate::plan::{Action, Situation, plan};

/// Closed without an answer: not at rest.
pub type Answer = oneshot::Sender<Vec<Action>>;

impl Inbox {
    /// Asks the actor what it would do.
    pub fn audit(&self) -> oneshot::Receiver<Vec<Action>> {
        let (answer, answered) = oneshot::channel();
        self.put(|mail| mail.audit.push(answer));
        answered
    }
}

impl Actor {
    /// Before the mail is taken: what arrived together with the question is work to do.
    pub(super) async fn be_audited(&mut self) {
        let answers = {
            let mut mail = self.inbox.mail.lock().unwrap_or_else(PoisonError::into_inner);
            let answers = std::mem::take(&mut mail.audit);
            if mail.is_empty() { answers } else { Vec::new() }
        };
        let now = self.now();
        let waits = self.stale || self.refresh || self.retry_due.is_some() || self.due.is_some_and(|at| now >= at);
        if answers.is_empty() || waits || !self.tasks.is_empty() || !self.adopted {
            return;
        }
        let (Ok(seen), Some(pod)) = (self.shared.looker.look(&self.uid).await, self.view()) else { return };
        let actions = plan(&Situation { seen: &seen, ..self.situation(&pod) }).actions;
        for answer in answers {
            // Whoever asked may have stopped waiting.
            let _ = answer.send(actions.clone());
        }
    }
}

impl Mail {
    pub(super) fn is_empty(&self) -> bool {
        let Mail { object, mirror, unwanted, evicted, look, refresh, audit: _ } = self;
        object.is_none() && mirror.is_none() && evicted.is_none() && !unwanted && !look && !refresh
    }
}
