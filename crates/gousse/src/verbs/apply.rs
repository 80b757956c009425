//! `apply`: sends each object as a server-side apply patch; the server merges and decides.

use std::path::PathBuf;

use api::{Kind, Object};
use clap::Args;
use client::{Client, PatchKind};

use super::Session;
use super::resource::{kind_in, shown};
use crate::failure::{Result, all_of, failure};
use crate::manifest::{self, Manifest};

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
}

/// What became of one object.
pub struct Applied {
    pub kind: &'static Kind,
    /// As the server has it now.
    pub object: Object,
    /// `created`, `configured`, `unchanged`
    pub outcome: &'static str,
}

pub async fn run(session: &Session, flags: Apply) -> Result<()> {
    if !flags.server_side {
        return Err(failure("objects are only merged by the server here: --server-side=false is not offered"));
    }
    let mut failed = Vec::new();
    for manifest in manifest::read(&flags.filename, flags.recursive)? {
        match one(&session.client, &session.namespace, &manifest, &flags.field_manager, flags.force_conflicts).await {
            Ok(applied) => println!("{} {}", shown(applied.kind, &applied.object.meta().name), applied.outcome),
            Err(error) if error.is_servers => failed.push(error),
            Err(error) => failed.push(failure(format!("{}: {error}", manifest.file))),
        }
    }
    all_of(failed)
}

/// Applies one object.
pub async fn one(
    client: &Client,
    default_namespace: &str,
    manifest: &Manifest,
    manager: &str,
    force: bool,
) -> Result<Applied> {
    let kind = kind_in(&manifest.object)?;
    let meta = |field: &str| manifest.object["metadata"][field].as_str().unwrap_or_default();
    let name = meta("name");
    if name.is_empty() {
        return Err(failure(
            "metadata.name: Required value: an object is applied by its name; `create` makes one by generateName",
        ));
    }
    let namespace = match (kind.namespaced, meta("namespace")) {
        (false, _) => "",
        (true, "") => default_namespace,
        (true, given) => given,
    };
    let before = match client.get(kind, namespace, name).await {
        Ok(object) => Some(object.meta().resource_version.clone()),
        Err(status) if status.reason == api::Reason::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    tracing::trace!(target: "walk", verb = "apply", kind = kind.kind, name);
    let patch = PatchKind::Apply { manager: manager.to_string(), force };
    let object = client.patch(kind, namespace, name, "", patch, &manifest.object).await?;
    let outcome = match before {
        None => "created",
        Some(version) if version == object.meta().resource_version => "unchanged",
        Some(_) => "configured",
    };
    Ok(Applied { kind, object, outcome })
}
