//! `attach`: the streams of a process that runs already.

use clap::Args;

use super::Session;
use super::streams::{self, Asked};
use crate::failure::Result;

#[derive(Args, Default)]
pub struct Attach {
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
    /// Only what the process writes
    #[arg(short, long)]
    pub quiet: bool,
}

pub async fn run(session: &Session, flags: Attach) -> Result<()> {
    let pod = streams::pod(session, &flags.target).await?;
    let Attach { stdin, tty, quiet, container, .. } = &flags;
    let container = container.as_deref();
    let asked = Asked { verb: "attach", container, command: &[], stdin: *stdin, tty: *tty, quiet: *quiet };
    streams::run(session, &pod, asked).await
}
