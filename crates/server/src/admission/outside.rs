//! Steps outside of the program: policies and webhooks, which users bring; they may take their time.
//!
//! A seam: whoever implements `Outside` is awaited at its place in the table. The rounds are upstream's
//! (webhook/mutating/dispatcher.go, reinvocation.go): what one changed is seen again by the built-in steps,
//! and by those before it that ask for it. What comes back is decoded like any body, and stays who it was.

use std::sync::Arc;

use api::Status;
use api::decode::{self, FieldValidation};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Ask, Findings, Operation};

/// One policy or webhook.
pub trait Outside: Send + Sync {
    /// Its name, for people.
    fn name(&self) -> &str;

    /// Whether it is asked about this at all.
    fn concerns(&self, ask: &Ask<'_>, object: &Value) -> bool;

    /// Whether it is asked again about what others changed after it (`reinvocationPolicy: IfNeeded`).
    fn reinvoked(&self) -> bool;

    /// Changes the object as the client sent it, defaulted; or refuses it.
    fn mutate<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        object: &'a mut Value,
        findings: &'a mut Findings,
    ) -> BoxFuture<'a, Result<(), Status>>;

    /// Judges the object as it will be written.
    fn validate<'a>(
        &'a self,
        ask: &'a Ask<'a>,
        object: &'a Value,
        findings: &'a mut Findings,
    ) -> BoxFuture<'a, Result<(), Status>>;
}

/// Those there are, in their order.
pub type All = Vec<Arc<dyn Outside>>;

/// One object on its way past the mutating ones.
pub struct Rounds<'a> {
    all: &'a All,
    second: bool,
    changed: bool,
    /// Who was asked and wants to be again, and whether there is a reason.
    asked: Vec<(&'a dyn Outside, bool)>,
    /// As the last one left it.
    left: Value,
}

impl<'a> Rounds<'a> {
    pub fn new(all: &'a All) -> Rounds<'a> {
        Rounds { all, second: false, changed: false, asked: Vec::new(), left: Value::Null }
    }

    pub async fn mutate(&mut self, ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
        if self.second {
            // Built-in steps changed it, or one that came later: whoever was not asked before is not asked now.
            let changed = *object != self.left;
            for (step, needed) in std::mem::take(&mut self.asked) {
                if (needed || changed) && step.concerns(ask, object) {
                    change(step, ask, object, findings).await?;
                }
            }
            return Ok(());
        }
        for step in self.all.iter().map(|step| &**step) {
            if !step.concerns(ask, object) {
                continue;
            }
            if change(step, ask, object, findings).await? {
                self.asked.iter_mut().for_each(|(_, needed)| *needed = true);
                self.changed = true;
            }
            if step.reinvoked() {
                self.asked.push((step, false));
            }
        }
        if self.changed {
            self.left = object.clone();
        }
        Ok(())
    }

    /// Whether the table is to be gone through again; it is at most once.
    pub fn again(&mut self) -> bool {
        let again = self.changed && !self.second;
        self.second = true;
        again
    }
}

/// Asks one; whether it changed the object.
async fn change(
    step: &dyn Outside,
    ask: &Ask<'_>,
    object: &mut Value,
    findings: &mut Findings,
) -> Result<bool, Status> {
    let before = object.clone();
    step.mutate(ask, object, findings).await?;
    if *object == before {
        return Ok(false);
    }
    let broken = |why: &str| Status::internal(format!("admission webhook {:?} {why}", step.name()));
    if !matches!(ask.operation, Operation::Create | Operation::Update) {
        return Err(broken("attempted to modify the object, which is not supported for this operation"));
    }
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]].map(Value::clone)
    };
    if identity(object) != identity(&before) {
        return Err(broken("attempted to make it another object"));
    }
    let sent = decode::tree(object.take(), ask.schema, FieldValidation::Ignore);
    *object = sent.map_err(|status| broken(&format!("sent what cannot be decoded: {}", status.message)))?.value;
    ask.default(object);
    Ok(*object != before)
}

/// All of them, in order (upstream calls webhooks side by side; the first refusal counts there too).
pub async fn validate(all: &All, ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    for step in all.iter().filter(|step| step.concerns(ask, object)) {
        step.validate(ask, object, findings).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
