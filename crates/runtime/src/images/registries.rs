//! Mirrors, insecure registries, certificates and credentials of registries: `registries.yaml`.
//!
//! The form is k3s's, so that a file written for it serves: `mirrors.<registry>.endpoint` is a list of
//! URLs tried in order before the registry itself (`*` for all; a plain-HTTP registry is an endpoint
//! `http://…`), `configs.<host>` has `auth` and `tls`. Unknown keys are an error (docs/registries).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::{Credential, Error, Result};
use crate::images::Reference;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registries {
    mirrors: BTreeMap<String, Mirror>,
    configs: BTreeMap<String, HostConfig>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Mirror {
    endpoint: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostConfig {
    auth: Option<HostAuth>,
    tls: Option<Tls>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HostAuth {
    username: String,
    password: String,
    identity_token: String,
}

/// How a host's certificate is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub insecure_skip_verify: bool,
}

/// Where a registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://registry-1.docker.io`, without `/v2`
    pub url: String,
    /// Another host than the image's own: it is told which registry it stands for.
    pub mirror: bool,
}

impl Registries {
    /// Reads the file; absent means empty.
    pub fn read(path: &Path) -> Result<Registries> {
        match std::fs::read_to_string(path) {
            Ok(text) => Registries::parse(&text).map_err(|e| Error::Failed(format!("{}: {e}", path.display()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Registries::default()),
            Err(e) => Err(Error::Failed(format!("{}: {e}", path.display()))),
        }
    }

    pub fn parse(text: &str) -> Result<Registries, String> {
        if text.trim().is_empty() {
            return Ok(Registries::default());
        }
        let registries: Registries = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let endpoints = registries.mirrors.values().flat_map(|m| &m.endpoint);
        match endpoints.into_iter().find(|e| !e.starts_with("https://") && !e.starts_with("http://")) {
            Some(bad) => Err(format!("endpoint {bad:?} is no http:// or https:// URL")),
            None => Ok(registries),
        }
    }

    /// In the order to try them.
    pub fn endpoints(&self, reference: &Reference) -> Vec<Endpoint> {
        let own = own_url(&reference.registry);
        let mirror = self.mirrors.get(&reference.registry).or_else(|| self.mirrors.get("*"));
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for url in mirror.iter().flat_map(|m| &m.endpoint) {
            let url = url.trim_end_matches('/').trim_end_matches("/v2").to_string();
            let itself = url.split_once("://").is_some_and(|(_, host)| host == reference.registry);
            endpoints.push(Endpoint { url, mirror: !itself });
        }
        // An endpoint that names the registry itself says how to reach it, so no guess is added.
        if !endpoints.iter().any(|e| !e.mirror) {
            endpoints.push(Endpoint { url: own, mirror: false });
        }
        endpoints
    }

    pub fn tls(&self, host: &str) -> Tls {
        self.configs.get(host).and_then(|c| c.tls.clone()).unwrap_or_default()
    }

    pub fn credential(&self, host: &str) -> Option<Credential> {
        let auth = self.configs.get(host)?.auth.clone()?;
        Some(Credential {
            registry: host.to_string(),
            username: auth.username,
            password: auth.password,
            identity_token: auth.identity_token,
        })
    }
}

/// As containerd guesses: plain HTTP for this machine itself, unless the port says otherwise.
fn own_url(registry: &str) -> String {
    if registry == "docker.io" {
        return "https://registry-1.docker.io".into();
    }
    let (host, port) = registry.rsplit_once(':').unwrap_or((registry, ""));
    let loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let scheme = if loopback && port != "443" { "http" } else { "https" };
    format!("{scheme}://{registry}")
}
