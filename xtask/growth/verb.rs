//! `health`: whether the server says that it is well.

use clap::Args;

use super::Run;
use crate::failure::{Context, Result, failure};
use crate::session::Login;

/// Ask the server whether it is well
#[derive(Args)]
pub struct Health {}

impl Run for Health {
    async fn run(self, login: Login) -> Result<()> {
        let session = login.session()?;
        let answer = session.client.call(http::Method::GET, "/readyz", &[], None).await?.bytes().await;
        match &*answer.context("reading /readyz")? {
            b"ok" => Ok(()),
            other => Err(failure(String::from_utf8_lossy(other))),
        }
    }
}
