//! `rollout status`: a line for every change until the rollout is done.

use std::time::Duration;

use api::{Object, WatchEvent, tree};
use clap::Args;
use futures::StreamExt;
use serde_json::Value;

use super::{Workload, chosen_aloud, revision_fits, viewed};
use crate::change::aggregate;
use crate::failure::{Failure, Result, failure};
use crate::output;
use crate::selection::{Found, Selection};
use crate::session::Session;
use crate::verbs::wait;

/// Follow a rollout until it is done
#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    selection: Selection,
    /// Until it is done
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
    watch: bool,
    /// Only this revision; 0: the last one
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    revision: i64,
    /// Longest wait; 0: as long as it takes
    #[arg(long, default_value = "0s", value_parser = wait::duration)]
    timeout: Duration,
}

/// How far a rollout is, in kubectl's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Going(String),
    Done(String),
}

impl Status {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        revision_fits(self.revision)?;
        let objects = chosen_aloud(session, &self.selection).await?;
        let mut failed = objects.failed;
        for found in objects.found {
            if let Err(why) = self.follow_within(session, &found).await {
                failed.push(why);
            }
        }
        aggregate(failed)
    }

    async fn follow_within(&self, session: &Session, found: &Found) -> Result<()> {
        let following = self.follow(session, found);
        match self.timeout {
            Duration::ZERO => following.await,
            limit => match tokio::time::timeout(limit, following).await {
                Ok(done) => done,
                Err(_) => Err(failure("timed out waiting for the condition")),
            },
        }
    }

    async fn follow(&self, session: &Session, found: &Found) -> Result<()> {
        let workload = viewed(&found.kind)?;
        let mut told = String::new();
        let mut tell = |object: &Object| -> Result<bool> {
            // A list after a watch that ended brings what was told already.
            if told == object.meta().resource_version {
                return Ok(false);
            }
            told.clone_from(&object.meta().resource_version);
            match progress(workload, &object.value(), self.revision).map_err(failure)? {
                Progress::Going(line) => output::line(line).map(|()| !self.watch),
                Progress::Done(line) => output::line(line).map(|()| true),
            }
        };
        loop {
            let (listed, mut watch) =
                wait::follow(&session.client, &found.kind, &found.namespace, found.name()).await?;
            if tell(&listed.ok_or_else(deleted)?)? {
                return Ok(());
            }
            while let Some(event) = watch.next().await {
                match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        if tell(&object)? {
                            return Ok(());
                        }
                    }
                    // Another of its name is not what was asked for.
                    WatchEvent::Deleted(_) => return Err(deleted()),
                    WatchEvent::Error(_) => break,
                    WatchEvent::Bookmark { .. } => {}
                }
            }
        }
    }
}

fn deleted() -> Failure {
    failure("object has been deleted")
}

/// What an object says of its rollout; an error ends the waiting (kubectl
/// pkg/polymorphichelpers/rollout_status.go).
pub(super) fn progress(workload: Workload, object: &Value, revision: i64) -> Result<Progress, String> {
    match workload {
        Workload::Deployment => deployment(object, revision),
        Workload::DaemonSet => daemon_set(object),
        Workload::StatefulSet => stateful_set(object),
    }
}

const NOT_ROLLING: &str = "rollout status is only available for RollingUpdate strategy type";

fn deployment(object: &Value, revision: i64) -> Result<Progress, String> {
    let name = tree::text(object, "metadata.name");
    if revision > 0 {
        let annotation = &object["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
        let running = annotation.as_str().unwrap_or("0").parse::<i64>();
        let running = running.map_err(|why| format!("cannot get the revision of deployment {name:?}: {why}"))?;
        if running != revision {
            return Err(format!("desired revision ({revision}) is different from the running revision ({running})"));
        }
    }
    if !is_observed(object) {
        return Ok(Progress::Going("Waiting for deployment spec update to be observed...".into()));
    }
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let progressing = tree::list(object, "status.conditions").iter().find(|c| c["type"] == "Progressing");
    if progressing.is_some_and(|condition| condition["reason"] == "ProgressDeadlineExceeded") {
        return Err(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let (updated, available) = (status("updatedReplicas"), status("availableReplicas"));
    let going =
        |what: String| Ok(Progress::Going(format!("Waiting for deployment {name:?} rollout to finish: {what}")));
    match object["spec"]["replicas"].as_i64() {
        Some(wanted) if updated < wanted => {
            going(format!("{updated} out of {wanted} new replicas have been updated..."))
        }
        _ if status("replicas") > updated => {
            going(format!("{} old replicas are pending termination...", status("replicas") - updated))
        }
        _ if available < updated => going(format!("{available} of {updated} updated replicas are available...")),
        _ => Ok(Progress::Done(format!("deployment {name:?} successfully rolled out"))),
    }
}

fn daemon_set(object: &Value) -> Result<Progress, String> {
    if object["spec"]["updateStrategy"]["type"] != "RollingUpdate" {
        return Err(NOT_ROLLING.into());
    }
    if !is_observed(object) {
        return Ok(Progress::Going("Waiting for daemon set spec update to be observed...".into()));
    }
    let name = tree::text(object, "metadata.name");
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    let (wanted, updated) = (status("desiredNumberScheduled"), status("updatedNumberScheduled"));
    let available = status("numberAvailable");
    let going =
        |what: String| Ok(Progress::Going(format!("Waiting for daemon set {name:?} rollout to finish: {what}")));
    if updated < wanted {
        going(format!("{updated} out of {wanted} new pods have been updated..."))
    } else if available < wanted {
        going(format!("{available} of {wanted} updated pods are available..."))
    } else {
        Ok(Progress::Done(format!("daemon set {name:?} successfully rolled out")))
    }
}

fn stateful_set(object: &Value) -> Result<Progress, String> {
    let strategy = &object["spec"]["updateStrategy"];
    if strategy["type"] != "RollingUpdate" {
        return Err(NOT_ROLLING.into());
    }
    let status = |field: &str| object["status"][field].as_i64().unwrap_or(0);
    if status("observedGeneration") == 0 || !is_observed(object) {
        return Ok(Progress::Going("Waiting for statefulset spec update to be observed...".into()));
    }
    let (wanted, updated) = (object["spec"]["replicas"].as_i64(), status("updatedReplicas"));
    if let Some(missing) = wanted.map(|wanted| wanted - status("readyReplicas")).filter(|missing| *missing > 0) {
        return Ok(Progress::Going(format!("Waiting for {missing} pods to be ready...")));
    }
    if strategy["rollingUpdate"].is_object() {
        let above = wanted.zip(strategy["rollingUpdate"]["partition"].as_i64()).map(|(wanted, from)| wanted - from);
        return Ok(match above.filter(|above| updated < *above) {
            Some(above) => Progress::Going(format!(
                "Waiting for partitioned roll out to finish: {updated} out of {above} new pods have been updated..."
            )),
            None => Progress::Done(format!("partitioned roll out complete: {updated} new pods have been updated...")),
        });
    }
    let (next, current) = (tree::text(object, "status.updateRevision"), tree::text(object, "status.currentRevision"));
    Ok(match next == current {
        false => Progress::Going(format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {next}..."
        )),
        true => Progress::Done(format!(
            "statefulset rolling update complete {} pods at revision {current}...",
            status("currentReplicas")
        )),
    })
}

/// Whether the status speaks of the spec as it is.
fn is_observed(object: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    number(&object["metadata"]["generation"]) <= number(&object["status"]["observedGeneration"])
}
