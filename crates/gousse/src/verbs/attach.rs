//! `attach`: the streams of a process that runs already.

use clap::Args;

use super::Session;
use super::streams::{self, Asked};
use crate::failure::Result;

#[derive(Args, Default)]
pub struct Attach {
    #[command(flatten)]
    pub asked: Asked,
}

pub async fn run(session: &Session, flags: Attach) -> Result<()> {
    streams::run(session, "attach", &flags.asked, &[]).await
}
