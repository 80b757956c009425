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
}

impl Run for Create {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        let (kinds, mut failed) = (session.kinds().await?, Vec::new());
        for manifest in manifest::read(&flags.filename, flags.recursive)? {
            let kind = match kinds.of_manifest(&manifest.object) {
                Ok(kind) => kind,
                Err(error) => {
                    failed.push(failure(format!("{}: {error}", manifest.file)));
                    continue;
                }
            };
            let given = manifest.object["metadata"]["namespace"].as_str().unwrap_or_default();
            let namespace = match (kind.namespaced, given) {
                (false, _) => "",
                (true, "") => &session.namespace,
                (true, given) => given,
            };
            match session.client.create(&kind, namespace, &manifest.object).await {
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
