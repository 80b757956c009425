//! Law 8, asked from outside: what would an actor at rest do if it looked at the machine anew?
//!
//! Nothing, or it missed a change or did not reach what it planned. An actor that has work or mail, or
//! whose time has come, is not at rest and gives no answer. Simulator and tests ask; nobody else does.

use super::Actor;
use crate::plan::{Situation, plan};

impl Actor {
    /// Before the mail is taken: what arrived together with the question is work to do.
    pub(super) async fn be_audited(&mut self) {
        let questions = self.inbox.questions();
        let (now, agenda) = (self.now(), &self.agenda);
        let waits = agenda.look || agenda.refresh || agenda.look_at.is_some() || agenda.due.is_some_and(|at| now >= at);
        if questions.is_empty() || waits || !self.tasks.is_empty() || !self.adopted {
            return;
        }
        let Ok(seen) = self.shared.looker.look(&self.subject.uid).await else { return };
        let Some(pod) = self.subject.view() else { return };
        let situation = self.scene(&pod).situation(self.teller.is_settled());
        let actions = plan(&Situation { seen: &seen, ..situation }).actions;
        for question in questions {
            // Whoever asked may have stopped waiting.
            let _ = question.send(actions.clone());
        }
    }
}
