//! `label`: puts labels on objects and takes them away.

use clap::Args;

use super::Run;
use crate::failure::Result;
use crate::marks::{Mark, Marking};
use crate::session::Login;

/// Put labels on objects (`KEY=VALUE`), or take them away (`KEY-`)
#[derive(Args)]
pub struct Label {
    #[command(flatten)]
    marking: Marking,
}

impl Run for Label {
    async fn run(self, login: Login) -> Result<()> {
        self.marking.run(&login, Mark::Label).await
    }
}
