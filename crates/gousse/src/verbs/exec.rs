//! `exec`: a command in a running container; its exit code is ours.

use clap::Args;

use super::Session;
use super::streams::{self, Asked};
use crate::failure::Result;

#[derive(Args, Default)]
pub struct Exec {
    /// `web` or `pod/web`
    pub target: String,
    /// Which container
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Standard input is a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Only what the command writes
    #[arg(short, long)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

pub async fn run(session: &Session, flags: Exec) -> Result<()> {
    let pod = streams::pod(session, &flags.target).await?;
    let Exec { stdin, tty, quiet, command, container, .. } = &flags;
    let container = container.as_deref();
    let asked = Asked { verb: "exec", container, command, stdin: *stdin, tty: *tty, quiet: *quiet };
    streams::run(session, &pod, asked).await
}
