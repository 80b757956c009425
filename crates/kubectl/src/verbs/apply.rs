//! `apply`: sends each object as a server-side apply patch; the server merges and decides.

use std::path::PathBuf;

use api::{Object, Resource};
use clap::Args;
use client::{Client, PatchKind};

use super::Run;
use crate::discovery::Kinds;
use crate::failure::{Result, all_of, failure};
use crate::manifest::{self, Manifest, Place};
use crate::output;
use crate::resource::shown;
use crate::session::Login;

mod takeover;

/// The three that kubectl names too (pkg/cmd/apply/apply.go).
const WAYS_OUT: &str = "Another manager set these fields last. There are three ways out:
* to set them here from now on, apply again with --force-conflicts
* to leave them to the other manager, take them out of the manifest
* to own them together, write the values that they have now into the manifest
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// Make objects what the files say
#[derive(Args)]
pub struct Apply {
    /// Files, folders or `-`
    #[arg(short, long = "filename", required = true)]
    pub filename: Vec<PathBuf>,
    /// Folders below folders too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Take over fields that another manager owns
    #[arg(long)]
    pub force_conflicts: bool,
    /// Always on here: accepted for kubectl's sake
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub server_side: bool,
    /// Name of the field manager
    #[arg(long, default_value = "gousse")]
    pub field_manager: String,
    /// `strict` (or true), `warn`, `ignore` (or false): what becomes of fields that are unknown or twice there
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    pub validate: String,
}

/// What became of one object.
pub struct Applied {
    pub kind: Resource,
    /// As the server has it now.
    pub object: Object,
    /// `created`, `configured`, `unchanged`
    pub outcome: &'static str,
}

impl Run for Apply {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        if !flags.server_side {
            return Err(failure("objects are only merged by the server here: --server-side=false is not offered"));
        }
        let client = session.client.clone().validating(manifest::validation(&flags.validate)?);
        let manifests = manifest::read(&flags.filename, flags.recursive)?;
        if manifests.is_empty() {
            return Err(failure("no objects passed to apply"));
        }
        let (kinds, mut failed) = (session.kinds().await?, Vec::new());
        for manifest in manifests {
            let manager = &flags.field_manager;
            match one(&client, kinds, session.place(), &manifest, manager, flags.force_conflicts).await {
                Ok(applied) => output::line(format_args!(
                    "{} {}",
                    shown(&applied.kind, &applied.object.meta().name),
                    applied.outcome
                ))?,
                Err(error) => failed.push(error),
            }
        }
        all_of(failed)
    }
}

/// Applies one object.
pub async fn one(
    client: &Client,
    kinds: &Kinds,
    place: Place<'_>,
    manifest: &Manifest,
    manager: &str,
    force: bool,
) -> Result<Applied> {
    let kind = kinds.of_manifest(manifest)?;
    let name = manifest.meta("name");
    if name.is_empty() {
        return Err(failure(format!(
            "{}: metadata.name: Required value: an object is applied by its name; `create` makes one by generateName",
            manifest.file
        )));
    }
    let namespace = manifest.namespace(&kind, place)?;
    let before = match client.get(&kind, namespace, name).await {
        Ok(object) => Some(takeover::take(client, &kind, object, manager).await?.meta().resource_version.clone()),
        Err(status) if status.reason == api::Reason::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    tracing::trace!(target: "walk", verb = "apply", kind = %kind.kind, name);
    let patch = PatchKind::Apply { manager: manager.to_string(), force };
    let applied = client.patch(&kind, namespace, name, "", patch, &manifest.object).await;
    let object = applied.map_err(|status| match status.reason {
        api::Reason::Conflict if !status.causes.is_empty() => failure(format!("{status}\n{WAYS_OUT}")),
        _ => status.into(),
    })?;
    let outcome = match before {
        None => "created",
        Some(version) if version == object.meta().resource_version => "unchanged",
        Some(_) => "configured",
    };
    Ok(Applied { kind, object, outcome })
}
