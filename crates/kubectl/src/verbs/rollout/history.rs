//! `rollout history`: a workload's revisions with what caused them, or one's pod template.

use api::{Object, Resource, selector, tree};
use clap::Args;
use client::ListOptions;
use serde_json::Value;

use super::{Workload, chosen, revision_fits, visited};
use crate::change::{DryRun, OutputFlag, Said, aggregate};
use crate::failure::{Result, failure};
use crate::selection::{Found, Selection, unmanaged};
use crate::session::Session;
use crate::verbs::describe;

/// The revisions that there were
#[derive(Args)]
pub struct History {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: OutputFlag,
    /// One revision with its pod template
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    revision: i64,
}

/// A workload and its revisions, the oldest first.
pub(super) struct Revisions {
    pub workload: Workload,
    pub owner: Object,
    /// What a revision is shown as: ReplicaSet, or the workload's own kind.
    pub shown_as: Resource,
    /// By number: ReplicaSets of a Deployment, else ControllerRevisions.
    pub all: Vec<(i64, Object)>,
}

const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";

impl History {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        revision_fits(self.revision)?;
        let said = self.output.said(DryRun::None)?;
        let objects = chosen(session, &self.selection).await?;
        let mut failed = objects.failed;
        for found in &objects.found {
            if let Err(why) = self.one(session, found, &said).await {
                failed.push(why);
            }
        }
        aggregate(failed)
    }

    async fn one(&self, session: &Session, found: &Found, said: &Said) -> Result<()> {
        let workload = visited(&found.kind, "history", "history viewer")?;
        let revisions = of(session, workload, &found.namespace, found.name()).await?;
        let wanted = |(number, _): &&(i64, Object)| self.revision == 0 || *number == self.revision;
        let shown: Vec<&(i64, Object)> = revisions.all.iter().filter(wanted).collect();
        if self.revision > 0 && shown.is_empty() && !revisions.all.is_empty() {
            return Err(failure("unable to find the specified revision"));
        }
        if said.is_form() {
            for (_, object) in shown {
                let shown = applied(&revisions, object)?;
                said.done(&revisions.shown_as, tree::text(&shown, "metadata.name"), &shown, "")?;
            }
            return Ok(());
        }
        let text = match (shown.as_slice(), self.revision) {
            ([], _) => "No rollout history found.".into(),
            ([(_, only), ..], 1..) => describe::template(&template_of(&revisions, only)?),
            (shown, _) => table(shown.iter().map(|(number, object)| (*number, object))),
        };
        let of = if self.revision > 0 { format!("with revision #{}", self.revision) } else { String::new() };
        said.done(&found.kind, found.name(), &Value::Null, &format!("{of}\n{text}"))
    }
}

/// A workload's revisions, as the server has them now.
pub(super) async fn of(session: &Session, workload: Workload, namespace: &str, name: &str) -> Result<Revisions> {
    let kinds = session.kinds().await?;
    let (kind, of, called) = match workload {
        Workload::Deployment => ("deployments.apps", "replicasets.apps", "Deployment"),
        Workload::DaemonSet => ("daemonsets.apps", "controllerrevisions.apps", "DaemonSet"),
        Workload::StatefulSet => ("statefulsets.apps", "controllerrevisions.apps", "StatefulSet"),
    };
    let (kind, of) = (kinds.named(kind)?, kinds.named(of)?);
    let owner = session.client.get(&kind, namespace, name).await;
    let owner = owner.map_err(|status| failure(format!("failed to retrieve {called} {name}: {status}")))?;
    let label_selector = selector::line(&owner.value()["spec"]["selector"])
        .map_err(|status| failure(format!("failed to create selector for {called} {name}: {status}")))?;
    let options = ListOptions { label_selector, ..ListOptions::default() };
    let listed = session.client.list(&of, namespace, &options).await;
    let listed =
        listed.map_err(|status| failure(format!("unable to find history controlled by {called} {name}: {status}")))?;
    let own = |object: &Object| object.meta().controller().is_some_and(|controller| controller.uid == owner.meta().uid);
    let mut all: Vec<(i64, Object)> = listed.objects.into_iter().filter(own).filter_map(numbered(workload)).collect();
    all.sort_by_key(|(number, _)| *number);
    all.dedup_by_key(|(number, _)| *number);
    let shown_as = if workload == Workload::Deployment { of } else { kind };
    Ok(Revisions { workload, owner, shown_as, all })
}

/// A revision with its number; None for one that has none.
fn numbered(workload: Workload) -> impl Fn(Object) -> Option<(i64, Object)> {
    move |object| {
        let number = match workload {
            Workload::Deployment => {
                object.annotation("deployment.kubernetes.io/revision").map_or(Some(0), |text| text.parse().ok())
            }
            _ => object.value()["revision"].as_i64(),
        };
        Some((number?, object))
    }
}

/// `REVISION  CHANGE-CAUSE` and a line for each.
pub(super) fn table<'a>(revisions: impl Iterator<Item = (i64, &'a Object)>) -> String {
    let mut rows = vec![("REVISION".to_string(), "CHANGE-CAUSE".to_string())];
    rows.extend(revisions.map(|(number, object)| {
        let of_template =
            || object.value()["spec"]["template"]["metadata"]["annotations"][CHANGE_CAUSE].as_str().map(String::from);
        let cause = object.annotation(CHANGE_CAUSE).or_else(of_template).filter(|cause| !cause.is_empty());
        (number.to_string(), cause.unwrap_or_else(|| "<none>".into()))
    }));
    let width = rows.iter().map(|(number, _)| number.len()).max().unwrap_or(0) + 2;
    rows.iter().map(|(number, cause)| format!("{number:width$}{cause}\n")).collect()
}

/// A revision's pod template.
pub(super) fn template_of(revisions: &Revisions, revision: &Object) -> Result<Value> {
    let mut template = applied(revisions, revision)?["spec"]["template"].take();
    if let (Workload::Deployment, Some(cause)) = (revisions.workload, revision.annotation(CHANGE_CAUSE)) {
        template["metadata"]["annotations"][CHANGE_CAUSE] = cause.into();
    }
    Ok(template)
}

/// The ReplicaSet, or the workload as it was.
fn applied(revisions: &Revisions, revision: &Object) -> Result<Value> {
    if revisions.workload == Workload::Deployment {
        return Ok(unmanaged(revision));
    }
    let patch = revision.value()["data"].to_string();
    let patched = api::patch::strategic(revisions.workload.schema(), &unmanaged(&revisions.owner), patch.as_bytes());
    patched.map_err(|_| failure(format!("unable to parse history {}", revision.meta().name)))
}
