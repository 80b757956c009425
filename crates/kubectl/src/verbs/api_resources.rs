//! `api-resources`: what the server says that it serves.

use api::Resource;
use clap::Args;

use super::Run;
use crate::failure::Result;
use crate::output;
use crate::session::Login;
use crate::table;

/// List the kinds that the server serves
#[derive(Args)]
pub struct ApiResources {
    /// `name`, `wide`
    #[arg(short, long, value_parser = ["name", "wide"])]
    pub output: Option<String>,
    /// Only kinds with or without a namespace
    #[arg(long)]
    pub namespaced: Option<bool>,
    /// Only this group
    #[arg(long)]
    pub api_group: Option<String>,
    #[arg(long)]
    pub no_headers: bool,
}

impl Run for ApiResources {
    async fn run(self, login: Login) -> Result<()> {
        let session = login.session()?;
        let kinds = session.kinds().await?;
        let wanted = |resource: &&Resource| {
            let in_group = self.api_group.as_ref().is_none_or(|group| *group == resource.group);
            let in_scope = self.namespaced.is_none_or(|namespaced| namespaced == resource.namespaced);
            in_group && in_scope
        };
        let mut shown: Vec<&Resource> = kinds.preferred().filter(wanted).collect();
        // By group, as kubectl sorts them.
        shown.sort_by_key(|resource| (!resource.group.is_empty(), resource.api_version()));
        if self.output.as_deref() == Some("name") {
            for resource in shown {
                output::line(resource.qualified())?;
            }
            return Ok(());
        }
        let is_wide = self.output.is_some();
        let mut lines = Vec::new();
        if !self.no_headers {
            let head = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS", "CATEGORIES"];
            lines.push(head[..if is_wide { 7 } else { 5 }].iter().map(|name| name.to_string()).collect());
        }
        for resource in shown {
            let mut line = vec![resource.plural.clone(), resource.short_names.join(","), resource.api_version()];
            line.extend([resource.namespaced.to_string(), resource.kind.clone()]);
            if is_wide {
                line.extend([resource.verbs.join(","), resource.categories.join(",")]);
            }
            lines.push(line);
        }
        output::text(&table::aligned(&lines))?;
        Ok(())
    }
}
