//! `apply`: sends each object as a server-side apply patch; the server merges and decides.

use std::path::PathBuf;

use api::{Object, Resource};
use clap::Args;
use client::{Client, PatchKind};

use super::Run;
use crate::discovery::Kinds;
use crate::failure::{Result, all_of, failure};
use crate::manifest::{self, Manifest};
use crate::output;
use crate::resource::shown;
use crate::session::Login;

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
        let (kinds, mut failed) = (session.kinds().await?, Vec::new());
        for manifest in manifest::read(&flags.filename, flags.recursive)? {
            let manager = &flags.field_manager;
            match one(&session.client, kinds, &session.namespace, &manifest, manager, flags.force_conflicts).await {
                Ok(applied) => output::line(format_args!(
                    "{} {}",
                    shown(&applied.kind, &applied.object.meta().name),
                    applied.outcome
                ))?,
                Err(error) if error.is_servers => failed.push(error),
                Err(error) => failed.push(failure(format!("{}: {error}", manifest.file))),
            }
        }
        all_of(failed)
    }
}

/// Applies one object.
pub async fn one(
    client: &Client,
    kinds: &Kinds,
    default_namespace: &str,
    manifest: &Manifest,
    manager: &str,
    force: bool,
) -> Result<Applied> {
    let kind = kinds.of_manifest(&manifest.object)?;
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
    let before = match client.get(&kind, namespace, name).await {
        Ok(object) => Some(object.meta().resource_version.clone()),
        Err(status) if status.reason == api::Reason::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    tracing::trace!(target: "walk", verb = "apply", kind = %kind.kind, name);
    let patch = PatchKind::Apply { manager: manager.to_string(), force };
    let object = client.patch(&kind, namespace, name, "", patch, &manifest.object).await?;
    let outcome = match before {
        None => "created",
        Some(version) if version == object.meta().resource_version => "unchanged",
        Some(_) => "configured",
    };
    Ok(Applied { kind, object, outcome })
}
