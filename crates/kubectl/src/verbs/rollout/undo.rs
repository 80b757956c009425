//! `rollout undo`: an earlier revision's template becomes the workload's again.
//!
//! A Deployment's revisions are its ReplicaSets; a DaemonSet's and a StatefulSet's are ControllerRevisions,
//! whose data is the patch itself (kubectl pkg/polymorphichelpers/rollback.go).

use api::{Object, tree};
use clap::Args;
use serde_json::{Map, Value, json};

use super::history::{self, Revisions};
use super::{Workload, chosen, visited};
use crate::change::{DryRun, DryRunFlag, JSON_PATCH, OutputFlag, Patch, STRATEGIC_PATCH, Said, aggregate, patch};
use crate::failure::{Result, failure};
use crate::output;
use crate::selection::{Found, Selection, unmanaged};
use crate::session::Session;
use crate::verbs::describe;

/// Go back to an earlier revision
#[derive(Args)]
pub struct Undo {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Which revision; 0: the one before the last
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    to_revision: i64,
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A Deployment's own annotations, which no revision brings back.
const KEPT: [&str; 6] = [
    LAST_APPLIED,
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

impl Undo {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let dry_run = self.dry_run.wanted()?;
        let said = self.output.said(dry_run)?;
        let objects = chosen(session, &self.selection).await?;
        let mut failed = objects.failed;
        for found in &objects.found {
            if let Err(why) = self.one(session, found, dry_run, &said).await {
                failed.push(why);
            }
        }
        aggregate(failed)
    }

    async fn one(&self, session: &Session, found: &Found, dry_run: DryRun, said: &Said) -> Result<()> {
        if found.object.annotation(LAST_APPLIED).is_some() {
            output::note(format_args!(
                "Warning: resource {}/{} was previously managed with 'kubectl apply'. Rolling back will not update the {LAST_APPLIED} annotation, which may cause unexpected behavior on future 'kubectl apply' operations. Consider using 'kubectl apply' with your previous configuration file instead.",
                found.kind.plural,
                found.name()
            ));
        }
        let workload = visited(&found.kind, "rollbacker", "rollbacker")?;
        let revisions = history::of(session, workload, &found.namespace, found.name()).await?;
        let what = self.back(session, found, &revisions, dry_run).await?;
        said.done(&found.kind, found.name(), &unmanaged(&found.object), &what)
    }

    /// Does it; the words for it.
    async fn back(&self, session: &Session, found: &Found, revisions: &Revisions, dry_run: DryRun) -> Result<String> {
        let (workload, current) = (revisions.workload, revisions.owner.value());
        let to = chosen_revision(revisions, self.to_revision).map_err(failure)?;
        if dry_run == DryRun::Client {
            let page = describe::template(&history::template_of(revisions, to)?);
            return Ok(match workload {
                Workload::Deployment => page,
                _ => format!("will roll back to {page}"),
            });
        }
        if workload == Workload::Deployment && current["spec"]["paused"] == true {
            return Err(failure(
                "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
            ));
        }
        let Some((content, body)) = restoring(workload, &current, &to.value()) else {
            return Ok(format!("skipped rollback (current template already matches revision {})", self.to_revision));
        };
        let change = Patch { content, body: &body, sub: "", manager: "", dry_run };
        let patched = patch(session, &found.kind, &found.namespace, found.name(), &change).await;
        patched.map_err(|status| failure(format!("failed restoring revision {}: {status}", self.to_revision)))?;
        Ok("rolled back".into())
    }
}

/// The revision to go back to: of that number, or, with 0, the second newest.
fn chosen_revision(revisions: &Revisions, number: i64) -> Result<&Object, String> {
    let Revisions { workload, owner, all, .. } = revisions;
    let found = match number {
        // `all` is sorted by its numbers.
        0 => all.len().checked_sub(2).and_then(|at| all.get(at)),
        number => all.iter().find(|(own, _)| *own == number),
    };
    found.map(|(_, object)| object).ok_or_else(|| match (number, workload) {
        (0, Workload::Deployment) => format!("no rollout history found for deployment {:?}", owner.meta().name),
        (0, _) => "no last revision to roll back to".into(),
        _ => format!("unable to find specified revision {number} in history"),
    })
}

/// The patch that brings a revision back; None where the workload has its template already.
pub(super) fn restoring(workload: Workload, current: &Value, to: &Value) -> Option<(&'static str, Value)> {
    if workload != Workload::Deployment {
        let mut own = current["spec"]["template"].clone();
        own["$patch"] = json!("replace");
        let is_same = plain(&json!({"spec": {"template": own}})) == plain(&to["data"]);
        return (!is_same).then(|| (STRATEGIC_PATCH, to["data"].clone()));
    }
    let template = unhashed(&to["spec"]["template"]);
    if plain(&template) == plain(&unhashed(&current["spec"]["template"])) {
        return None;
    }
    let kept = |name: &str| KEPT.contains(&name);
    let of = |object: &Value, wanted: &dyn Fn(&str) -> bool| -> Map<String, Value> {
        let pairs = tree::entries(object, "metadata.annotations").filter(|(name, _)| wanted(name));
        pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut annotations = of(current, &kept);
    annotations.extend(of(to, &|name| !kept(name)));
    let body = json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        {"op": "replace", "path": "/metadata/annotations", "value": annotations},
    ]);
    Some((JSON_PATCH, body))
}

/// A template without the label that the controller adds.
fn unhashed(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(TEMPLATE_HASH);
        if labels.is_empty() {
            template["metadata"].as_object_mut().map(|meta| meta.remove("labels"));
        }
    }
    template
}

/// A tree without what says nothing (`creationTimestamp: null`).
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let said = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(said.map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        other => other.clone(),
    }
}
