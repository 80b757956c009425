//! `version`: of this client and of the server.

use clap::Args;
use serde_json::{Value, json};

use super::Run;
use crate::failure::{Context, Result};
use crate::session::Login;

/// Show the versions of client and server
#[derive(Args)]
pub struct Version {
    /// Do not ask the server
    #[arg(long)]
    pub client: bool,
    /// `json`, `yaml`
    #[arg(short, long, value_parser = ["json", "yaml"])]
    pub output: Option<String>,
}

impl Run for Version {
    async fn run(self, login: Login) -> Result<()> {
        // The only verb that may do without a server.
        let session = (!self.client).then(|| login.session()).transpose()?;
        let own = json!({"gitVersion": concat!("v", env!("CARGO_PKG_VERSION"))});
        let mut all = json!({"clientVersion": own});
        if let Some(session) = &session {
            let bytes = session.client.call(http::Method::GET, "/version", &[], None).await?.bytes().await?;
            all["serverVersion"] = serde_json::from_slice(&bytes).context("reading /version")?;
        }
        match self.output.as_deref() {
            Some("json") => println!("{}", serde_json::to_string_pretty(&all).context("printing")?),
            Some(_) => print!("{}", crate::yaml::print(&all)),
            None => {
                let version = |of: &Value| of["gitVersion"].as_str().unwrap_or_default().to_string();
                println!("Client Version: {}", version(&all["clientVersion"]));
                if session.is_some() {
                    println!("Server Version: {}", version(&all["serverVersion"]));
                }
            }
        }
        Ok(())
    }
}
