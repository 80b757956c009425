//! `exec`: a command in a running container; its exit code is ours.

use clap::Args;

use super::Run;
use crate::failure::Result;
use crate::session::Login;
use crate::streams::{self, Asked};

/// Run a command in a container
#[derive(Args, Default)]
pub struct Exec {
    #[command(flatten)]
    pub asked: Asked,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

impl Run for Exec {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        streams::run(session, "exec", &flags.asked, &flags.command).await
    }
}
