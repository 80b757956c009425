//! `annotate`: puts annotations on objects and takes them away.

use clap::Args;

use super::Run;
use crate::failure::Result;
use crate::marks::{Mark, Marking};
use crate::session::Login;

/// Put annotations on objects (`KEY=VALUE`), or take them away (`KEY-`)
#[derive(Args)]
pub struct Annotate {
    #[command(flatten)]
    marking: Marking,
}

impl Run for Annotate {
    async fn run(self, login: Login) -> Result<()> {
        self.marking.run(&login, Mark::Annotation).await
    }
}
