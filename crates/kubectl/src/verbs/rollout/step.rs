//! `rollout restart`, `pause`, `resume`: one small patch for each object.

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Workload, chosen_aloud};
use crate::change::{DryRun, OutputFlag, Patch, STRATEGIC_PATCH, Said, aggregate, patch};
use crate::failure::{Failure, Result, failure};
use crate::selection::{Found, Selection, unmanaged};
use crate::session::Session;

/// What all three take
#[derive(Args)]
pub struct Changed {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: OutputFlag,
    /// Name of the field manager
    #[arg(long, default_value = "kubectl-rollout")]
    field_manager: String,
}

/// The word for it when it is done, and the patch that does it.
type Change = (&'static str, fn(Option<Workload>, &Value, Timestamp) -> Result<Value, &'static str>);

pub(super) const RESTART: Change = ("restarted", restart);
pub(super) const PAUSE: Change = ("paused", pause);
pub(super) const RESUME: Change = ("resumed", resume);

const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

impl Changed {
    pub(super) async fn run(self, session: &Session, change: Change) -> Result<()> {
        let said = self.output.said(DryRun::None)?;
        let objects = chosen_aloud(session, &self.selection).await?;
        let mut failed = objects.failed;
        for found in &objects.found {
            if let Err(why) = self.one(session, found, change, &said).await {
                failed.push(why);
            }
        }
        aggregate(failed)
    }

    async fn one(&self, session: &Session, found: &Found, (done, make): Change, said: &Said) -> Result<()> {
        let (kind, name) = (&found.kind, found.name());
        let body = make(Workload::of(kind), &found.object.value(), (session.clock)());
        // The word stands in the sentence itself (cmd/rollout/rollout_restart.go).
        let refused = |why: &str| failure(format!("error: {} {name:?} {why}", kind.qualified()));
        let body = body.map_err(refused)?;
        if body == json!({}) {
            return Err(failure(format!(
                "failed to create patch for {name}: if restart has already been triggered within the past second, please wait before attempting to trigger another"
            )));
        }
        let change = Patch {
            content: STRATEGIC_PATCH,
            body: &body,
            sub: "",
            manager: &self.field_manager,
            dry_run: DryRun::None,
        };
        let changed = patch(session, kind, &found.namespace, name, &change).await;
        let changed = changed.map_err(|status| -> Failure { failure(format!("failed to patch: {status}")) })?;
        said.done(kind, name, &unmanaged(&changed), done)
    }
}

/// kubectl pkg/polymorphichelpers/objectrestarter.go; the time is told in UTC.
fn restart(workload: Option<Workload>, object: &Value, now: Timestamp) -> Result<Value, &'static str> {
    match workload {
        None => return Err("restarting is not supported"),
        Some(Workload::Deployment) if object["spec"]["paused"] == true => {
            return Err("can't restart paused deployment (run rollout resume first)");
        }
        Some(_) => {}
    }
    let now = api::seconds(now);
    match object["spec"]["template"]["metadata"]["annotations"][RESTARTED_AT] == now {
        true => Ok(json!({})),
        false => Ok(json!({"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: now}}}}})),
    }
}

fn pause(workload: Option<Workload>, object: &Value, _: Timestamp) -> Result<Value, &'static str> {
    match workload {
        Some(Workload::Deployment) if object["spec"]["paused"] == true => Err("is already paused"),
        Some(Workload::Deployment) => Ok(json!({"spec": {"paused": true}})),
        _ => Err("pausing is not supported"),
    }
}

fn resume(workload: Option<Workload>, object: &Value, _: Timestamp) -> Result<Value, &'static str> {
    match workload {
        Some(Workload::Deployment) if object["spec"]["paused"] == true => Ok(json!({"spec": {"paused": null}})),
        Some(Workload::Deployment) => Err("is not paused"),
        _ => Err("resuming is not supported"),
    }
}
