//! `patch`: sends a patch as its author wrote it; the server applies it (kubectl pkg/cmd/patch).

use std::path::PathBuf;

use api::{Reason, Resource, schema, tree};
use clap::Args;
use serde_json::Value;

use super::Run;
use crate::change::{DryRun, DryRunFlag, JSON_PATCH, MERGE_PATCH, OutputFlag, Patch as Change, STRATEGIC_PATCH};
use crate::change::{aggregate, patch};
use crate::failure::{Context, Result, failure};
use crate::selection::{Found, Given, Nameless, Selection, unmanaged};
use crate::session::{Login, Session};

/// Change fields of objects
#[derive(Args)]
pub struct Patch {
    #[command(flatten)]
    given: Given,
    /// The patch, in JSON or YAML
    #[arg(short, long, default_value = "", hide_default_value = true)]
    patch: String,
    /// A file with the patch
    #[arg(long)]
    patch_file: Option<PathBuf>,
    /// json, merge or strategic
    #[arg(long = "type", default_value = "strategic")]
    kind: String,
    /// A part of its own: status, scale, resize
    #[arg(long, default_value = "", hide_default_value = true)]
    subresource: String,
    #[command(flatten)]
    output: OutputFlag,
    #[command(flatten)]
    dry_run: DryRunFlag,
    /// Name of the field manager
    #[arg(long, default_value = "kubectl-patch")]
    field_manager: String,
}

impl Run for Patch {
    async fn run(self, login: Login) -> Result<()> {
        let session = &login.session()?;
        let dry_run = self.dry_run.wanted()?;
        let said = self.output.said(dry_run)?;
        let (content, body) = self.read()?;
        let selection = Selection { given: self.given.clone(), selector: None };
        let objects = selection.objects(session, Nameless::Refused).await?;
        if objects.found.is_empty() && objects.failed.is_empty() {
            return Err(failure("no objects passed to patch"));
        }
        let mut failed = objects.failed;
        for found in objects.found {
            let found = match self.part(session, found).await {
                Ok(part) => part,
                Err(why) => {
                    failed.push(why);
                    continue;
                }
            };
            let found = &found;
            let patched = match dry_run {
                DryRun::Client => here(found, content, &body),
                _ => self.sent(session, found, content, &body, dry_run).await,
            };
            match patched {
                Ok(object) => {
                    let is_same = object == unmanaged(&found.object);
                    let done = if is_same { "patched (no change)" } else { "patched" };
                    said.done(&shown_as(&found.kind, &object), found.name(), &object, done)?;
                }
                Err(why) => failed.push(why),
            }
        }
        aggregate(failed)
    }
}

impl Patch {
    /// What kind of patch, and its tree.
    fn read(&self) -> Result<(&'static str, Value)> {
        let text = match (&self.patch_file, self.patch.as_str()) {
            (Some(_), text) if !text.is_empty() => {
                return Err(failure("cannot specify --patch and --patch-file together"));
            }
            (Some(file), _) => std::fs::read_to_string(file).context("unable to read patch file")?,
            (None, "") => {
                return Err(failure("must specify --patch or --patch-file containing the contents of the patch"));
            }
            (None, text) => text.to_string(),
        };
        let content = match self.kind.to_lowercase().as_str() {
            "json" => JSON_PATCH,
            "merge" => MERGE_PATCH,
            "strategic" | "" => STRATEGIC_PATCH,
            _ => return Err(failure(format!("--type must be one of [json merge strategic], not {:?}", self.kind))),
        };
        let body = api::decode::untyped(text.as_bytes());
        Ok((content, body.context(format_args!("unable to parse {:?}", self.patch))?))
    }

    /// What is patched: the object, or a part of it that has a path of its own.
    async fn part(&self, session: &Session, found: Found) -> Result<Found> {
        if self.subresource.is_empty() {
            return Ok(found);
        }
        let path = client::path(&found.kind, &found.namespace, &[found.name(), &self.subresource]);
        let object = session.client.call(http::Method::GET, &path, &[], None).await?.object().await?;
        Ok(Found { object, ..found })
    }

    async fn sent(
        &self,
        session: &Session,
        found: &Found,
        content: &'static str,
        body: &Value,
        dry_run: DryRun,
    ) -> Result<Value> {
        let change = Change { content, body, sub: &self.subresource, manager: &self.field_manager, dry_run };
        match patch(session, &found.kind, &found.namespace, found.name(), &change).await {
            Ok(object) => Ok(unmanaged(&object)),
            Err(status) if status.reason == Reason::UnsupportedMediaType => {
                Err(failure(format!("{content} is not supported by {}: {status}", versioned(&found.kind))))
            }
            Err(status) => Err(status.into()),
        }
    }
}

/// The object as the patch would make it, as far as that is known here.
fn here(found: &Found, content: &str, body: &Value) -> Result<Value> {
    let (object, bytes) = (unmanaged(&found.object), body.to_string());
    let patched = match content {
        JSON_PATCH => api::patch::json(&object, bytes.as_bytes()),
        MERGE_PATCH => api::patch::merge(&object, bytes.as_bytes()),
        _ => {
            let of = schema::of_kind(&found.kind.api_version(), &found.kind.kind).ok_or_else(|| {
                let kind = versioned(&found.kind);
                failure(format!("strategic merge patch is not supported for {kind} locally, try --type merge"))
            })?;
            api::patch::strategic(of.name, &object, bytes.as_bytes())
        }
    };
    patched.map_err(|status| failure(status.message))
}

/// What an object says that it is: a Scale has another kind than its workload.
fn shown_as(kind: &Resource, object: &Value) -> Resource {
    let (version, name) = (tree::text(object, "apiVersion"), tree::text(object, "kind"));
    if name.is_empty() || kind.is(version, name) { kind.clone() } else { Resource::namespaced(version, name, "") }
}

/// `apps/v1, Kind=Deployment` (apimachinery, GroupVersionKind.String).
fn versioned(kind: &Resource) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}
