//! `api-resources`: what the server says that it serves.

use clap::Args;
use serde_json::Value;

use super::{Session, table};
use crate::failure::{Context, Result};

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

pub async fn run(session: &Session, flags: ApiResources) -> Result<()> {
    let groups = document(session, "/apis").await?;
    let versions = groups["groups"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let mut paths: Vec<(String, String)> = vec![("v1".into(), "/api/v1".into())];
    paths.extend(
        versions
            .filter_map(|g| g["preferredVersion"]["groupVersion"].as_str())
            .map(|v| (v.into(), format!("/apis/{v}"))),
    );
    // By group, as kubectl sorts them.
    paths[1..].sort();
    let mut lines = Vec::new();
    for (version, path) in paths {
        let group = version.rsplit_once('/').map_or("", |(group, _)| group);
        if flags.api_group.as_ref().is_some_and(|wanted| wanted != group) {
            continue;
        }
        let found = document(session, &path).await?;
        for resource in found["resources"].as_array().into_iter().flatten() {
            let name = resource["name"].as_str().unwrap_or_default();
            let namespaced = resource["namespaced"].as_bool().unwrap_or(false);
            if name.contains('/') || flags.namespaced.is_some_and(|wanted| wanted != namespaced) {
                continue;
            }
            let kind = resource["kind"].as_str().unwrap_or_default().to_string();
            let mut line =
                vec![name.to_string(), joined(&resource["shortNames"]), version.clone(), namespaced.to_string(), kind];
            match flags.output.as_deref() {
                Some("name") => {
                    println!("{}", if group.is_empty() { name.to_string() } else { format!("{name}.{group}") });
                    continue;
                }
                Some(_) => line.extend([joined(&resource["verbs"]), joined(&resource["categories"])]),
                None => {}
            }
            lines.push(line);
        }
    }
    if !flags.no_headers && flags.output.as_deref() != Some("name") {
        let mut head = vec!["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"];
        if flags.output.is_some() {
            head.extend(["VERBS", "CATEGORIES"]);
        }
        lines.insert(0, head.into_iter().map(str::to_string).collect());
    }
    print!("{}", table::aligned(&lines));
    Ok(())
}

async fn document(session: &Session, path: &str) -> Result<Value> {
    let bytes = session.client.call(http::Method::GET, path, &[], None).await?.bytes().await?;
    serde_json::from_slice(&bytes).context(format_args!("reading {path}"))
}

fn joined(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}
