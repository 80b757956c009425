//! Where the server is and who we are: kubeconfig files, or a pod's service account.
//!
//! Files merge as clientcmd merges them: the first that names a thing wins. What we do not do
//! (credential plugins, proxies, impersonation, passwords) is refused by name, never passed over.

use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;

use crate::https::{Bearer, HttpsConfig};

/// A pod's own credentials.
const IN_CLUSTER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What was found.
#[derive(Clone)]
pub struct Loaded {
    pub https: HttpsConfig,
    /// The context's namespace; `default` where it names none.
    pub namespace: String,
    /// The context's name; empty inside a pod.
    pub context: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("{0}")]
    Missing(String),
    #[error("{0} is not supported; use a certificate or a token")]
    Refused(String),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Config {
    current_context: String,
    clusters: Option<Vec<Named<ClusterSlot>>>,
    users: Option<Vec<Named<UserSlot>>>,
    contexts: Option<Vec<Named<ContextSlot>>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(flatten)]
    slot: T,
}

#[derive(Deserialize)]
struct ClusterSlot {
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct UserSlot {
    user: Option<User>,
}

#[derive(Deserialize)]
struct ContextSlot {
    context: Option<Context>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(alias = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    #[serde(rename = "as")]
    impersonate: Option<String>,
    exec: Option<serde_json::Value>,
    auth_provider: Option<serde_json::Value>,
    #[serde(skip)]
    dir: PathBuf,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

/// Loads `path`; without one the files of `KUBECONFIG`, else `~/.kube/config`, else a pod's service
/// account. `context` overrides the current one.
pub fn load(path: Option<&Path>, context: Option<&str>) -> Result<Loaded, Error> {
    let files = match path {
        Some(path) => vec![path.to_path_buf()],
        None => default_files(),
    };
    let must_exist = path.is_some();
    let existing: Vec<_> = files.into_iter().filter(|file| must_exist || file.exists()).collect();
    if existing.is_empty() {
        return in_cluster();
    }
    let mut merged = Merged::default();
    for file in existing {
        let text =
            std::fs::read_to_string(&file).map_err(|why| Error::File { path: file.clone(), why: why.to_string() })?;
        merged.add(&text, &file)?;
    }
    merged.choose(context)
}

/// Loads from text; `dir` is what its relative paths start from.
pub fn parse(text: &str, dir: &Path, context: Option<&str>) -> Result<Loaded, Error> {
    let mut merged = Merged::default();
    merged.add(text, &dir.join("kubeconfig"))?;
    merged.choose(context)
}

#[derive(Default)]
struct Merged {
    current: String,
    clusters: Vec<(String, Cluster)>,
    users: Vec<(String, User)>,
    contexts: Vec<(String, Context)>,
}

impl Merged {
    fn add(&mut self, text: &str, file: &Path) -> Result<(), Error> {
        let broken = |why: &dyn std::fmt::Display| Error::File { path: file.into(), why: why.to_string() };
        let config: Config = serde_saphyr::from_str(text).map_err(|why| broken(&why))?;
        let dir = file.parent().unwrap_or(Path::new(".")).to_path_buf();
        if self.current.is_empty() {
            self.current = config.current_context;
        }
        for Named { name, slot } in config.clusters.unwrap_or_default() {
            self.clusters.push((name, Cluster { dir: dir.clone(), ..slot.cluster.unwrap_or_default() }));
        }
        for Named { name, slot } in config.users.unwrap_or_default() {
            self.users.push((name, User { dir: dir.clone(), ..slot.user.unwrap_or_default() }));
        }
        for Named { name, slot } in config.contexts.unwrap_or_default() {
            self.contexts.push((name, slot.context.unwrap_or_default()));
        }
        Ok(())
    }

    fn choose(self, wanted: Option<&str>) -> Result<Loaded, Error> {
        let name = wanted.unwrap_or(&self.current).to_string();
        if name.is_empty() {
            return Err(Error::Missing("the kubeconfig has no current-context".into()));
        }
        let context = find(&self.contexts, &name)
            .ok_or_else(|| Error::Missing(format!("context {name:?} does not exist in the kubeconfig")))?;
        let cluster = find(&self.clusters, &context.cluster).ok_or_else(|| {
            Error::Missing(format!(
                "cluster {:?} of context {name:?} does not exist in the kubeconfig",
                context.cluster
            ))
        })?;
        let user = match context.user.as_str() {
            "" => User::default(),
            user => find(&self.users, user).ok_or_else(|| {
                Error::Missing(format!("user {user:?} of context {name:?} does not exist in the kubeconfig"))
            })?,
        };
        let namespace = context.namespace.filter(|ns| !ns.is_empty()).unwrap_or_else(|| "default".into());
        Ok(Loaded { https: https(cluster, user)?, namespace, context: name })
    }
}

fn https(cluster: Cluster, user: User) -> Result<HttpsConfig, Error> {
    let refusals = [
        (cluster.proxy_url.is_some(), "proxy-url"),
        (user.exec.is_some(), "exec (a credential plugin)"),
        (user.auth_provider.is_some(), "auth-provider"),
        (user.username.is_some(), "username"),
        (user.impersonate.is_some(), "as (impersonation)"),
    ];
    if let Some((_, what)) = refusals.iter().find(|(present, _)| *present) {
        return Err(Error::Refused(format!("{what} in the kubeconfig")));
    }
    if cluster.server.is_empty() {
        return Err(Error::Missing("the kubeconfig's cluster has no server".into()));
    }
    let ca = pem(&cluster.certificate_authority_data, &cluster.certificate_authority, &cluster.dir)?;
    let certificate = pem(&user.client_certificate_data, &user.client_certificate, &user.dir)?;
    let key = pem(&user.client_key_data, &user.client_key, &user.dir)?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(wire::Pair { certificate, key }),
        (None, None) => None,
        _ => {
            return Err(Error::Missing(
                "the kubeconfig's user has a client certificate without its key, or the reverse".into(),
            ));
        }
    };
    // A token's file that can be read wins over its text, as upstream's clients have it.
    let file = user.token_file.map(|file| user.dir.join(file));
    let text = user.token.filter(|token| !token.is_empty()).map(Bearer::Token);
    let bearer = match (file, text) {
        (Some(file), Some(text)) if std::fs::File::open(&file).is_err() => Some(text),
        (Some(file), _) => Some(Bearer::File(file)),
        (None, text) => text,
    };
    Ok(HttpsConfig {
        server: cluster.server,
        ca,
        identity,
        bearer,
        insecure: cluster.insecure_skip_tls_verify,
        tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
    })
}

/// Inline data wins over a file; a relative path starts at the kubeconfig's folder.
fn pem(inline: &Option<String>, file: &Option<String>, dir: &Path) -> Result<Option<String>, Error> {
    if let Some(inline) = inline.as_ref().filter(|text| !text.is_empty()) {
        let compact: String = inline.split_whitespace().collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(compact)
            .map_err(|why| Error::Missing(format!("the kubeconfig has data that is no base64: {why}")))?;
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let Some(file) = file.as_ref().filter(|file| !file.is_empty()) else { return Ok(None) };
    let path = dir.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(why) => Err(Error::File { path, why: why.to_string() }),
    }
}

fn default_files() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(list) => std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect(),
    }
}

fn in_cluster() -> Result<Loaded, Error> {
    let dir = Path::new(IN_CLUSTER);
    let (host, port) = (std::env::var("KUBERNETES_SERVICE_HOST"), std::env::var("KUBERNETES_SERVICE_PORT"));
    let (Ok(host), Ok(port), true) = (host, port, dir.join("token").exists()) else {
        return Err(Error::Missing("there is no kubeconfig: set KUBECONFIG, or see `gousse kubeconfig`".into()));
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let path = dir.join("ca.crt");
    let ca = std::fs::read_to_string(&path).map_err(|why| Error::File { path, why: why.to_string() })?;
    let namespace = std::fs::read_to_string(dir.join("namespace")).unwrap_or_else(|_| "default".into());
    let https = HttpsConfig {
        server: format!("https://{host}:{port}"),
        ca: Some(ca),
        bearer: Some(Bearer::File(dir.join("token"))),
        ..HttpsConfig::default()
    };
    Ok(Loaded { https, namespace: namespace.trim().to_string(), context: String::new() })
}

fn find<T: Clone>(list: &[(String, T)], name: &str) -> Option<T> {
    list.iter().find(|(n, _)| n == name).map(|(_, found)| found.clone())
}

#[cfg(test)]
mod tests;
