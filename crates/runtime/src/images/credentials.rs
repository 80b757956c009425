//! Registry credentials: which apply to an image, and what ~/.docker/config.json holds.
//!
//! Matching follows upstream's keyring (pkg/credentialprovider): host, optionally a port and a path
//! prefix; `*` stands for one label. Credential helpers are programs; they are not run, and that is said.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use serde::Deserialize;

use crate::engine::Credential;
use crate::images::Reference;

/// Docker's own name for its registry in configuration files.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

/// What a docker configuration gives for an image, and what it would have given had a helper been run.
#[derive(Debug, Default)]
pub struct Found {
    pub credentials: Vec<Credential>,
    /// Appended to a refusal, so that its likely cause is seen.
    pub note: Option<String>,
}

/// Those that apply, in the order given.
pub fn matching(credentials: &[Credential], reference: &Reference) -> Vec<Credential> {
    let applies = |c: &&Credential| c.registry.is_empty() || matches(&c.registry, reference);
    credentials.iter().filter(applies).cloned().collect()
}

/// Reads ~/.docker/config.json (or a `.dockerconfigjson` secret's content); an absent file gives nothing.
pub fn read_docker_config(path: &Path, reference: &Reference) -> Found {
    match std::fs::read(path) {
        Ok(bytes) => from_docker_config(&bytes, reference).unwrap_or_else(|e| Found {
            note: Some(format!("{} cannot be read: {e}", path.display())),
            ..Found::default()
        }),
        Err(_) => Found::default(),
    }
}

pub fn from_docker_config(json: &[u8], reference: &Reference) -> Result<Found, serde_json::Error> {
    let config: DockerConfig = serde_json::from_slice(json)?;
    let mut found = Found::default();
    for (registry, auth) in &config.auths {
        let credential = auth.credential(registry);
        let empty = credential.username.is_empty() && credential.identity_token.is_empty();
        if !empty && matches(registry, reference) {
            found.credentials.push(credential);
        }
    }
    // The longest key is the most particular one.
    found.credentials.sort_by_key(|c| std::cmp::Reverse(c.registry.len()));
    let helper = config.cred_helpers.iter().find(|(registry, _)| matches(registry, reference)).map(|(_, h)| h);
    let helper = helper.or(Some(&config.creds_store).filter(|s| !s.is_empty() && found.credentials.is_empty()));
    found.note = helper.map(|helper| {
        format!("docker's configuration leaves this registry to the credential helper {helper:?}, and Gousse runs none; give the credentials under \"auths\" or as a pull secret")
    });
    Ok(found)
}

impl Auth {
    fn credential(&self, registry: &str) -> Credential {
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.auth.trim()).unwrap_or_default();
        let decoded = String::from_utf8(decoded).unwrap_or_default();
        let (username, password) = decoded.split_once(':').unwrap_or((&self.username, &self.password));
        Credential {
            registry: registry.to_string(),
            username: username.to_string(),
            password: password.trim_end_matches('\0').to_string(),
            identity_token: self.identitytoken.clone(),
        }
    }
}

fn matches(registry: &str, reference: &Reference) -> bool {
    let rest = registry.split_once("://").map_or(registry, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    // `https://index.docker.io/v1/` names the registry, not a path in it.
    let path = path.trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let hub = DOCKER_HUB.contains(&host) && reference.registry == "docker.io";
    let below = path.is_empty() || reference.path == path || reference.path.starts_with(&format!("{path}/"));
    (hub || host_matches(host, &reference.registry)) && below
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let split = |text: &str| -> (Vec<String>, String) {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        (host.split('.').map(str::to_ascii_lowercase).collect(), port.to_string())
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let label = |(p, h): (&String, &String)| p == h || p == "*";
    pattern_port == port && pattern.len() == host.len() && pattern.iter().zip(&host).all(label)
}

#[cfg(test)]
mod tests;
