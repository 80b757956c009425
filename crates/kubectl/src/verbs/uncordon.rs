//! `uncordon`: new pods go to the nodes again.

use clap::Args;

use super::Run;
use super::cordon::Cordon;
use crate::failure::Result;
use crate::session::Login;

/// Let new pods go to nodes again
#[derive(Args)]
pub struct Uncordon {
    #[command(flatten)]
    flags: Cordon,
}

impl Run for Uncordon {
    async fn run(self, login: Login) -> Result<()> {
        self.flags.marked(&login.session()?, "uncordon", false).await
    }
}
