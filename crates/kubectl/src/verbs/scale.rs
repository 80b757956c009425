//! `scale`: a new size, through the kind's `scale`; with what it must be before, if that was said.

use std::time::Duration;

use api::{Object, Reason, Status, WatchEvent};
use clap::Args;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};

use super::{Run, wait};
use crate::change::{DryRun, DryRunFlag, MERGE_PATCH, OutputFlag, Patch, aggregate, patch};
use crate::failure::{Failure, Result, failure};
use crate::selection::{Found, Nameless, Selection, unmanaged};
use crate::session::{Login, Session};

/// Set how many replicas a workload has
#[derive(Args)]
pub struct Scale {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// All of the kind in the namespace
    #[arg(long)]
    all: bool,
    /// The new size; it must be given
    #[arg(long, allow_negative_numbers = true)]
    replicas: Option<i32>,
    /// Only from this size; -1: from any
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    current_replicas: i32,
    /// Only from this version of one object
    #[arg(long, default_value = "", hide_default_value = true)]
    resource_version: String,
    /// Longest wait until the size is reached; 0: do not wait
    #[arg(long, default_value = "0s", value_parser = wait::duration)]
    timeout: Duration,
}

/// What kubectl gives a size to be taken while others write (pkg/cmd/scale, NewRetryParams).
const CONFLICTS_WITHIN: Duration = Duration::from_mins(5);
/// Between two tries; there is nothing to be told of (the same).
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

impl Run for Scale {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let dry_run = flags.dry_run.wanted()?;
        let said = flags.output.said(dry_run)?;
        let Some(replicas) = flags.replicas else { return Err(failure("required flag(s) \"replicas\" not set")) };
        if replicas < 0 {
            return Err(failure("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"));
        }
        if flags.current_replicas < -1 {
            return Err(failure("The --current-replicas must specify an integer of -1 or greater"));
        }
        let nameless = if flags.all { Nameless::All } else { Nameless::Refused };
        let objects = flags.selection.objects(session, nameless).await?;
        if !flags.resource_version.is_empty() && objects.found.len() > 1 {
            return Err(failure("cannot use --resource-version with multiple resources"));
        }
        if objects.found.is_empty() && objects.failed.is_empty() {
            return Err(failure("no objects passed to scale"));
        }
        for found in &objects.found {
            let size = match dry_run {
                DryRun::Client => i64::from(replicas),
                _ => flags.one(session, found, replicas, dry_run).await?,
            };
            said.done(&found.kind, found.name(), &sized(found, size), "scaled")?;
        }
        aggregate(objects.failed)
    }
}

impl Scale {
    /// Scales one, and waits for it where a time is given; the size as the server has it.
    async fn one(&self, session: &Session, found: &Found, replicas: i32, dry_run: DryRun) -> Result<i64> {
        if !found.kind.subresources.iter().any(|sub| sub == "scale") {
            return Err(Status::new(Reason::NotFound, "the server could not find the requested resource").into());
        }
        let taken = tokio::time::timeout(CONFLICTS_WITHIN, self.taken(session, found, replicas, dry_run)).await;
        let scale = taken.map_err(|_| failure("context deadline exceeded"))??;
        let size = scale.value()["spec"]["replicas"].as_i64().unwrap_or(0);
        if !self.timeout.is_zero() && dry_run == DryRun::None {
            let reached = tokio::time::timeout(self.timeout, self.reached(session, found, replicas)).await;
            reached.map_err(|_| failure(format!("timed out waiting for {:?} to be synced", found.name())))??;
        }
        Ok(size)
    }

    async fn taken(&self, session: &Session, found: &Found, replicas: i32, dry_run: DryRun) -> Result<Object> {
        let (kind, namespace, name) = (&found.kind, found.namespace.as_str(), found.name());
        loop {
            let written = if self.is_bound() {
                let mut scale = scale_of(session, found).await?.value();
                fits(&scale, self.current_replicas, &self.resource_version).map_err(failure)?;
                scale["spec"]["replicas"] = json!(replicas);
                let path = client::path(kind, namespace, &[name, "scale"]);
                let query = [("dryRun", dry_run.query())];
                let body = Some(("application/json", &scale));
                match session.client.call(Method::PUT, &path, &query, body).await {
                    Ok(reply) => reply.object().await,
                    Err(status) => Err(status),
                }
            } else {
                let body = json!({"spec": {"replicas": replicas}});
                let change = Patch { content: MERGE_PATCH, body: &body, sub: "scale", manager: "", dry_run };
                patch(session, kind, namespace, name, &change).await
            };
            match written {
                // Somebody wrote in between: what it must be before is looked at again.
                Err(status) if status.reason == Reason::Conflict => tokio::time::sleep(AFTER_CONFLICT).await,
                written => return Ok(written?),
            }
        }
    }

    /// Something must be so before.
    fn is_bound(&self) -> bool {
        self.current_replicas != -1 || !self.resource_version.is_empty()
    }

    /// Until the workload has as many as it shall have, or somebody else says otherwise (kubectl
    /// pkg/scale/scale.go, scaleHasDesiredReplicas). What changes the size changes the object.
    async fn reached(&self, session: &Session, found: &Found, replicas: i32) -> Result<()> {
        let is_reached = async || -> Result<bool, Failure> {
            let scale = scale_of(session, found).await?.value();
            let wanted = Some(i64::from(replicas));
            let (spec, status) = (scale["spec"]["replicas"].as_i64().or(Some(0)), &scale["status"]["replicas"]);
            Ok(spec != wanted || status.as_i64().or(Some(0)) == wanted)
        };
        loop {
            let (_, mut watch) = wait::follow(&session.client, &found.kind, &found.namespace, found.name()).await?;
            if is_reached().await? {
                return Ok(());
            }
            while let Some(event) = watch.next().await {
                match event {
                    WatchEvent::Error(_) => break,
                    WatchEvent::Bookmark { .. } => {}
                    _ if is_reached().await? => return Ok(()),
                    _ => {}
                }
            }
        }
    }
}

async fn scale_of(session: &Session, found: &Found) -> Result<Object, Status> {
    let path = client::path(&found.kind, &found.namespace, &[found.name(), "scale"]);
    session.client.call(Method::GET, &path, &[], None).await?.object().await
}

/// Whether a size is what it must be before (kubectl pkg/scale/scale.go, PreconditionError).
fn fits(scale: &Value, size: i32, version: &str) -> Result<(), String> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if size != -1 && replicas != i64::from(size) {
        return Err(format!("Expected replicas to be {size}, was {replicas}"));
    }
    let own = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && own != version {
        return Err(format!("Expected resource version to be {version}, was {own}"));
    }
    Ok(())
}

/// The object as it is printed: only of the built-in kinds is it known where the size stands
/// (cmd/scale/scale.go, updateReplicas).
fn sized(found: &Found, size: i64) -> Value {
    let mut object = unmanaged(&found.object);
    if matches!(found.kind.group.as_str(), "" | "apps") {
        object["spec"]["replicas"] = json!(size);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_so_before_is_told_with_what_is() {
        let scale = json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 3}});
        assert_eq!(fits(&scale, -1, ""), Ok(()));
        assert_eq!(fits(&scale, 3, "7"), Ok(()));
        assert_eq!(fits(&scale, 2, "7"), Err("Expected replicas to be 2, was 3".into()));
        assert_eq!(fits(&scale, 3, "8"), Err("Expected resource version to be 8, was 7".into()));
        // A size of none is left out.
        assert_eq!(fits(&json!({}), 0, ""), Ok(()));
    }
}
