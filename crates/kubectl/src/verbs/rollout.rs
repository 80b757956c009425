//! `rollout`: how a workload's change goes, what it was before, and back to that.
//!
//! Each step is a file below. Which steps a kind has, kubectl says (pkg/polymorphichelpers): here the
//! same three kinds of `apps`.

use api::Resource;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::Run;
use crate::failure::{Result, failure};
use crate::output;
use crate::selection::{Nameless, Objects, Selection};
use crate::session::{Login, Session};

mod history;
mod status;
mod step;
mod undo;

/// Follow, undo or restart the rollout of a workload
#[derive(Args)]
pub struct Rollout {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// The revisions that there were
    History(history::History),
    /// Hold a deployment's changes back
    Pause(step::Changed),
    /// Replace all pods with new ones
    Restart(step::Changed),
    /// Let a paused deployment go on
    Resume(step::Changed),
    /// Follow a rollout until it is done
    Status(status::Status),
    /// Go back to an earlier revision
    Undo(undo::Undo),
}

impl Run for Rollout {
    async fn run(self, login: Login) -> Result<()> {
        let session = &login.session()?;
        match self.step {
            Step::History(flags) => flags.run(session).await,
            Step::Pause(flags) => flags.run(session, step::PAUSE).await,
            Step::Restart(flags) => flags.run(session, step::RESTART).await,
            Step::Resume(flags) => flags.run(session, step::RESUME).await,
            Step::Status(flags) => flags.run(session).await,
            Step::Undo(flags) => flags.run(session).await,
        }
    }
}

/// How far the rollout of an object of that kind is, in kubectl's words, and whether it is done. An error: it has none
/// that can be followed, or its time is over.
pub fn progress(kind: &Resource, object: &Value) -> Result<(String, bool)> {
    match status::progress(viewed(kind)?, object, 0).map_err(failure)? {
        status::Progress::Going(line) => Ok((line, false)),
        status::Progress::Done(line) => Ok((line, true)),
    }
}

/// A kind that has rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Workload {
    Deployment,
    DaemonSet,
    StatefulSet,
}

impl Workload {
    fn of(kind: &Resource) -> Option<Workload> {
        match (kind.group.as_str(), kind.kind.as_str()) {
            ("apps" | "extensions", "Deployment") => Some(Workload::Deployment),
            ("apps" | "extensions", "DaemonSet") => Some(Workload::DaemonSet),
            ("apps", "StatefulSet") => Some(Workload::StatefulSet),
            _ => None,
        }
    }

    /// Its type in the schema.
    fn schema(self) -> &'static str {
        match self {
            Workload::Deployment => "io.k8s.api.apps.v1.Deployment",
            Workload::DaemonSet => "io.k8s.api.apps.v1.DaemonSet",
            Workload::StatefulSet => "io.k8s.api.apps.v1.StatefulSet",
        }
    }
}

/// The workload whose status is followed.
fn viewed(kind: &Resource) -> Result<Workload> {
    Workload::of(kind).ok_or_else(|| failure(format!("no status viewer has been implemented for {}", group_kind(kind))))
}

/// `Deployment.apps`, `Pod` (apimachinery pkg/runtime/schema, GroupKind.String).
fn group_kind(kind: &Resource) -> String {
    if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) }
}

/// The workload that a step of a visitor wants (kubectl pkg/apps/kind_visitor.go): `retrieving` and
/// `missing` name what there is not, `history` and `history viewer`.
fn visited(kind: &Resource, retrieving: &str, missing: &str) -> Result<Workload> {
    const KNOWN: [(&str, &str); 6] = [
        ("batch", "Job"),
        ("", "Pod"),
        ("apps", "ReplicaSet"),
        ("extensions", "ReplicaSet"),
        ("", "ReplicationController"),
        ("batch", "CronJob"),
    ];
    Workload::of(kind).ok_or_else(|| {
        let named = group_kind(kind);
        match KNOWN.contains(&(kind.group.as_str(), kind.kind.as_str())) {
            true => failure(format!("no {missing} has been implemented for {named:?}")),
            false => failure(format!(
                "error retrieving {retrieving} for {named:?}, no visitor method exists for {{{} {}}}",
                kind.group, kind.kind
            )),
        }
    })
}

/// What a step works on; a kind alone means all of it.
async fn chosen(session: &Session, selection: &Selection) -> Result<Objects> {
    if selection.is_empty() {
        return Err(failure("required resource not specified"));
    }
    selection.objects(session, Nameless::All).await
}

/// The same for steps that say so when there is nothing.
async fn chosen_aloud(session: &Session, selection: &Selection) -> Result<Objects> {
    let objects = chosen(session, selection).await?;
    if objects.found.is_empty() && objects.failed.is_empty() {
        output::note(format_args!("No resources found in {} namespace.", session.namespace));
    }
    Ok(objects)
}

fn revision_fits(revision: i64) -> Result<()> {
    match revision < 0 {
        true => Err(failure(format!("revision must be a positive integer: {revision}"))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
