//! `exec`: a command in a running container; its exit code is ours.

use clap::Args;

use super::Session;
use super::streams::{self, Asked};
use crate::failure::Result;

#[derive(Args, Default)]
pub struct Exec {
    #[command(flatten)]
    pub asked: Asked,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

pub async fn run(session: &Session, flags: Exec) -> Result<()> {
    streams::run(session, "exec", &flags.asked, &flags.command).await
}
