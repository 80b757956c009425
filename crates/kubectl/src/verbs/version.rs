//! `version`: of this client and of the server.

use clap::Args;
use serde_json::{Value, json};

use super::Run;
use crate::failure::{Context, Result, failure};
use crate::output;
use crate::session::Login;

/// Show the versions of client and server
#[derive(Args)]
pub struct Version {
    /// Do not ask the server
    #[arg(long)]
    pub client: bool,
    /// `json`, `yaml`
    #[arg(short, long)]
    pub output: Option<String>,
}

impl Run for Version {
    async fn run(self, login: Login) -> Result<()> {
        if self.output.as_deref().is_some_and(|form| !matches!(form, "" | "json" | "yaml")) {
            return Err(failure("--output must be 'yaml' or 'json'"));
        }
        let asked = if self.client { Ok(None) } else { server(&login).await.map(Some) };
        let own = json!({"gitVersion": concat!("v", env!("CARGO_PKG_VERSION"))});
        let mut all = json!({"clientVersion": own});
        if let Ok(Some(server)) = &asked {
            all["serverVersion"] = server.clone();
        }
        match self.output.as_deref() {
            Some("json") => output::line(serde_json::to_string_pretty(&all).context("printing")?)?,
            Some("yaml") => output::text(&crate::yaml::print(&all))?,
            _ => {
                for (whose, field) in [("Client", "clientVersion"), ("Server", "serverVersion")] {
                    if let Some(version) = all[field]["gitVersion"].as_str() {
                        output::line(format_args!("{whose} Version: {version}"))?;
                    }
                }
            }
        }
        // Our own is known all the same.
        asked.map(drop)
    }
}

async fn server(login: &Login) -> Result<Value> {
    let bytes = login.session()?.client.call(http::Method::GET, "/version", &[], None).await?.bytes().await?;
    serde_json::from_slice(&bytes).context("reading /version")
}
