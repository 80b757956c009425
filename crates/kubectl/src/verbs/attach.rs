//! `attach`: the streams of a process that runs already.

use clap::Args;

use super::Run;
use crate::failure::Result;
use crate::session::Login;
use crate::streams::{self, Asked};

/// Join the streams of a container's process
#[derive(Args, Default)]
pub struct Attach {
    #[command(flatten)]
    pub asked: Asked,
}

impl Run for Attach {
    async fn run(self, login: Login) -> Result<()> {
        let (session, flags) = (&login.session()?, self);
        streams::run(session, "attach", &flags.asked, &[]).await
    }
}
