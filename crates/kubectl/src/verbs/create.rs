//! `create -f`: makes objects; one that is there already is an error.

use std::path::PathBuf;

use clap::Args;

use super::Run;
use crate::failure::{Result, all_of, failure, refused};
use crate::manifest;
use crate::output;
use crate::resource::shown;
use crate::session::Login;

/// Make objects that are not there yet
#[derive(Args)]
pub struct Create {
    /// Files, folders or `-`
    #[arg(short, long = "filename", required = true)]
    pub filename: Vec<PathBuf>,
    /// Folders below folders too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// `strict` (or true), `warn`, `ignore` (or false): what becomes of fields that are unknown or twice there
    #[arg(long, default_value = "strict", num_args = 0..=1, require_equals = true, default_missing_value = "strict")]
    pub validate: String,
}

impl Run for Create {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let client = session.client.clone().validating(manifest::validation(&flags.validate)?);
        let manifests = manifest::read(&flags.filename, flags.recursive)?;
        if manifests.is_empty() {
            return Err(failure("no objects passed to create"));
        }
        let (kinds, mut failed) = (session.kinds().await?, Vec::new());
        for manifest in manifests {
            let kind = kinds.of_manifest(&manifest);
            let placed = kind.and_then(|kind| manifest.namespace(&kind, session.place()).map(|place| (kind, place)));
            let (kind, namespace) = match placed {
                Ok(placed) => placed,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            };
            match client.create(&kind, namespace, &manifest.object).await {
                Ok(object) => output::line(format_args!("{} created", shown(&kind, &object.meta().name)))?,
                Err(status) => {
                    let doing = format!("error when creating {:?}: ", manifest.file);
                    let doing = if status.reason == api::Reason::Invalid { "" } else { &doing };
                    failed.push(refused(&status, doing));
                }
            }
        }
        all_of(failed)
    }
}
