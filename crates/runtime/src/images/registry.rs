//! The registry protocol (distribution-spec): manifests and blobs by name or digest, and who may.
//!
//! A registry answers 401 with a challenge; a token is fetched (or the password sent) and kept for the
//! pull. Sources are tried in order: each mirror, then the registry, each with every credential that
//! applies and last with none.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::engine::{Credential, Error, Result};
use crate::images::Reference;
use crate::images::credentials::{self, matching};
use crate::images::dial::{Http, Reply};
use crate::images::manifest::{DOCUMENT_SIZE_MAX, MANIFEST_TYPES};
use crate::images::reference::is_digest;
use crate::images::registries::{Endpoint, Registries};

const USER_AGENT: &str = concat!("gousse/", env!("CARGO_PKG_VERSION"));
const TOKEN_SIZE_MAX: u64 = 1 << 20;
/// How often a registry is asked that says it is busy (429, 503).
const TRIES: u32 = 4;
/// Before the second try, doubled each time, unless the registry says how long (Retry-After).
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What is configured about registries.
pub struct Client {
    registries: Registries,
    docker_config: Option<PathBuf>,
}

/// One image's conversation with its registry and mirrors.
pub struct Conversation {
    pub reference: Reference,
    http: Http,
    sources: Vec<Source>,
    /// `Authorization` by source.
    tokens: Mutex<HashMap<Source, HeaderValue>>,
    /// A likely cause, should the registry refuse.
    note: Option<String>,
}

/// A place to ask, and as whom.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Source {
    url: String,
    mirror: bool,
    username: String,
    password: String,
    identity_token: String,
}

/// What a source answered instead of content.
#[derive(Debug)]
enum Refusal {
    Absent,
    Denied(String),
    Other(String),
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Client {
    pub fn new(registries: Registries, docker_config: Option<PathBuf>) -> Client {
        Client { registries, docker_config }
    }

    pub fn converse(&self, reference: Reference, given: &[Credential]) -> Conversation {
        let mut applying = matching(given, &reference);
        let mut note = None;
        if let Some(path) = &self.docker_config {
            let found = credentials::read_docker_config(path, &reference);
            applying.extend(found.credentials);
            note = found.note;
        }
        let mut sources = Vec::new();
        for endpoint in self.registries.endpoints(&reference) {
            let host = endpoint.url.split_once("://").map_or("", |(_, host)| host);
            let host = host.split('/').next().unwrap_or(host);
            let own = self.registries.credential(host);
            // A mirror does not get to see the registry's passwords.
            let others = applying.iter().filter(|_| !endpoint.mirror).cloned();
            for credential in own.into_iter().chain(others) {
                sources.push(Source::new(&endpoint, credential));
            }
            sources.push(Source::new(&endpoint, Credential::default()));
        }
        let http = Http::new(self.registries.clone());
        Conversation { reference, http, sources, tokens: Mutex::default(), note }
    }
}

impl Source {
    fn new(endpoint: &Endpoint, credential: Credential) -> Source {
        let Credential { username, password, identity_token, .. } = credential;
        Source { url: endpoint.url.clone(), mirror: endpoint.mirror, username, password, identity_token }
    }

    fn is_anonymous(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty()
    }
}

impl Conversation {
    /// A manifest, its digest, and the source that had it. `version` is a tag or digest.
    pub async fn manifest(&self, version: &str) -> Result<(Vec<u8>, String, Source)> {
        let mut refusals = Vec::new();
        for source in &self.sources {
            match self.manifest_from(source, version).await {
                Ok((bytes, digest)) => return Ok((bytes, digest, source.clone())),
                Err(refusal) => {
                    tracing::debug!(source = source.url, "{refusal:?}");
                    refusals.push((source, refusal));
                }
            }
        }
        Err(self.explain(refusals))
    }

    async fn manifest_from(&self, source: &Source, version: &str) -> Result<(Vec<u8>, String), Refusal> {
        let reply = self.get(source, &format!("manifests/{version}"), MANIFEST_TYPES, None).await?;
        let named = reply.text_header("docker-content-digest").to_string();
        let bytes = self.http.whole(reply, DOCUMENT_SIZE_MAX).await.map_err(Refusal::Other)?;
        let digest = format!("sha256:{:x}", Sha256::digest(&bytes));
        let wanted = if is_digest(version) { version } else { named.as_str() };
        if is_digest(wanted) && wanted != digest {
            return Err(Refusal::Other(format!("the manifest {wanted} came with the digest {digest}")));
        }
        Ok((bytes, digest))
    }

    /// A small blob, whole and verified.
    pub async fn document(&self, first: &Source, digest: &str) -> Result<Vec<u8>> {
        let (reply, _) = self.blob(first, digest, 0).await?;
        let bytes = match self.http.whole(reply, DOCUMENT_SIZE_MAX).await {
            Ok(bytes) => bytes,
            // A connection that broke is worth another try.
            Err(e) => {
                tracing::debug!("{}: blob {digest}: {e}", self.reference);
                let (reply, _) = self.blob(first, digest, 0).await?;
                let failed = |e| Error::Failed(format!("{}: blob {digest}: {e}", self.reference));
                self.http.whole(reply, DOCUMENT_SIZE_MAX).await.map_err(failed)?
            }
        };
        let found = format!("sha256:{:x}", Sha256::digest(&bytes));
        if found != digest {
            return Err(Error::Failed(format!("{}: blob {digest} came with the digest {found}", self.reference)));
        }
        Ok(bytes)
    }

    /// A blob from an offset on; says whether the registry went along with the offset.
    pub async fn blob(&self, first: &Source, digest: &str, offset: u64) -> Result<(Reply, bool)> {
        let mut refusals = Vec::new();
        let others = self.sources.iter().filter(|source| *source != first);
        for source in std::iter::once(first).chain(others) {
            match self.get(source, &format!("blobs/{digest}"), "*/*", Some(offset).filter(|o| *o > 0)).await {
                Ok(reply) => {
                    let start = format!("bytes {offset}-");
                    let resumed = reply.status == StatusCode::PARTIAL_CONTENT
                        && reply.text_header(header::CONTENT_RANGE).starts_with(&start);
                    return Ok((reply, resumed));
                }
                Err(refusal) => refusals.push((source, refusal)),
            }
        }
        Err(self.explain(refusals))
    }

    pub fn put_back(&self, reply: Reply) {
        self.http.put_back(reply);
    }

    async fn get(&self, source: &Source, path: &str, accept: &str, offset: Option<u64>) -> Result<Reply, Refusal> {
        let Reference { path: repository, registry, .. } = &self.reference;
        // containerd's way to tell a mirror for whom it speaks.
        let namespace = if source.mirror { format!("?ns={registry}") } else { String::new() };
        let url = format!("{}/v2/{repository}/{path}{namespace}", source.url);
        for attempt in 0.. {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            headers.insert(header::ACCEPT, accept.parse().map_err(|_| Refusal::Other("a bad Accept".into()))?);
            if let Some(offset) = offset {
                let range = format!("bytes={offset}-").parse().map_err(|_| Refusal::Other("a bad Range".into()))?;
                headers.insert(header::RANGE, range);
            }
            if let Some(token) = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(source) {
                headers.insert(header::AUTHORIZATION, token.clone());
            }
            let reply = self.send(source, Method::GET, &url, headers, Bytes::new()).await?;
            match reply.status.as_u16() {
                200 | 206 => return Ok(reply),
                401 if attempt == 0 => self.authenticate(source, reply).await?,
                401 | 403 => return Err(Refusal::Denied(self.words(reply).await)),
                404 => {
                    self.http.drained(reply).await;
                    return Err(Refusal::Absent);
                }
                // Nothing beyond the offset: begin anew.
                416 if offset.is_some() => {
                    self.http.drained(reply).await;
                    return Box::pin(self.get(source, path, accept, None)).await;
                }
                _ => {
                    let status = reply.status;
                    let words = self.words(reply).await;
                    return Err(Refusal::Other(format!("{url}: unexpected status {status}{words}")));
                }
            }
        }
        unreachable!("the second answer always returns")
    }

    /// One request; to the registry itself again where it asks for patience. In a mirror's place others serve.
    async fn send(
        &self,
        source: &Source,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, Refusal> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let reply = self.http.send(method.clone(), url, headers.clone(), body.clone()).await;
            let reply = reply.map_err(Refusal::Other)?;
            let busy = matches!(reply.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            if !busy || source.mirror || attempt == TRIES {
                return Ok(reply);
            }
            let asked = reply.text_header(header::RETRY_AFTER).parse().map(Duration::from_secs);
            tracing::debug!(url, status = %reply.status, ?asked, "the registry is busy");
            self.http.drained(reply).await;
            tokio::time::sleep(asked.unwrap_or(pause).min(PAUSE_MAX)).await;
            pause *= 2;
        }
        unreachable!("the last try always returns")
    }

    /// Answers a challenge, so that the next request carries an `Authorization`.
    async fn authenticate(&self, source: &Source, reply: Reply) -> Result<(), Refusal> {
        let challenges: Vec<String> = reply
            .headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(str::to_string))
            .collect();
        self.http.drained(reply).await;
        let scheme = |name: &str| {
            challenges.iter().find(|c| c.len() > name.len() && c[..name.len()].eq_ignore_ascii_case(name)).cloned()
        };
        let authorization = if let Some(challenge) = scheme("bearer") {
            format!("Bearer {}", self.token(source, &parameters(&challenge)).await?)
        } else if scheme("basic").is_some() && !source.username.is_empty() {
            basic(source)
        } else {
            return Err(Refusal::Denied(": it asks for credentials".into()));
        };
        let mut value: HeaderValue =
            authorization.parse().map_err(|_| Refusal::Other("the token has strange characters".into()))?;
        value.set_sensitive(true);
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(source.clone(), value);
        Ok(())
    }

    /// Docker's token protocol (distribution/docs/spec/auth): GET with basic credentials, or OAuth2 for an
    /// identity token.
    async fn token(&self, source: &Source, challenge: &HashMap<String, String>) -> Result<String, Refusal> {
        let realm = challenge.get("realm").ok_or_else(|| Refusal::Other("a challenge without realm".into()))?;
        let plain = source.url.starts_with("http://");
        let secure = realm.starts_with("https://");
        if !(secure || plain && realm.starts_with("http://")) {
            return Err(Refusal::Other(format!("the token service {realm:?} is not reached over HTTPS")));
        }
        let scope = format!("repository:{}:pull", self.reference.path);
        let service = challenge.get("service").map(String::as_str).unwrap_or_default();
        let mut query = vec![("service", service), ("scope", scope.as_str())];
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let reply = if source.identity_token.is_empty() {
            if !source.username.is_empty() {
                query.push(("account", &source.username));
                let value = basic(source).parse().map_err(|_| Refusal::Other("strange credentials".into()))?;
                headers.insert(header::AUTHORIZATION, value);
            }
            let joint = if realm.contains('?') { '&' } else { '?' };
            let url = format!("{realm}{joint}{}", form(&query));
            self.send(source, Method::GET, &url, headers, Bytes::new()).await?
        } else {
            query.extend([
                ("grant_type", "refresh_token"),
                ("client_id", "gousse"),
                ("refresh_token", &source.identity_token),
            ]);
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, kind);
            self.send(source, Method::POST, realm, headers, form(&query).into()).await?
        };
        if matches!(reply.status.as_u16(), 401 | 403) {
            return Err(Refusal::Denied(self.words(reply).await));
        }
        if reply.status != StatusCode::OK {
            return Err(Refusal::Other(format!("the token service {realm} answered {}", reply.status)));
        }
        let bytes = self.http.whole(reply, TOKEN_SIZE_MAX).await.map_err(Refusal::Other)?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|e| Refusal::Other(format!("the token service {realm} answered no token: {e}")))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() {
            Err(Refusal::Other(format!("the token service {realm} gave no token")))
        } else {
            Ok(token)
        }
    }

    /// The registry's own words for an error, if it has any.
    async fn words(&self, reply: Reply) -> String {
        let bytes = self.http.whole(reply, 1 << 16).await.unwrap_or_default();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let message = json["errors"][0]["message"].as_str().or_else(|| json["details"].as_str()).unwrap_or_default();
        if message.is_empty() { String::new() } else { format!(": {message}") }
    }

    /// One error for all that was tried: the registry's own answer, the most telling one.
    fn explain(&self, refusals: Vec<(&Source, Refusal)>) -> Error {
        let name = &self.reference;
        let note = self.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let mut all: Vec<&(&Source, Refusal)> = refusals.iter().filter(|(source, _)| !source.mirror).collect();
        if all.is_empty() {
            all = refusals.iter().collect();
        }
        let denied = all.iter().find_map(|(source, refusal)| match refusal {
            Refusal::Denied(words) => Some((source, words)),
            _ => None,
        });
        if all.iter().any(|(_, refusal)| matches!(refusal, Refusal::Absent)) {
            return Error::NotFound(format!("failed to pull and unpack image \"{name}\": {name}: image"));
        }
        if let Some((source, words)) = denied {
            let who = if source.is_anonymous() { "anonymously" } else { "with the given credentials" };
            return Error::Failed(format!(
                "failed to pull and unpack image \"{name}\": pull access denied {who}, repository does not exist or may require authorization{words}{note}"
            ));
        }
        let words: Vec<String> = all
            .iter()
            .filter_map(|(_, refusal)| match refusal {
                Refusal::Other(words) => Some(words.clone()),
                _ => None,
            })
            .collect();
        let last = words.last().cloned().unwrap_or_else(|| "no source is configured".into());
        Error::Failed(format!("failed to pull and unpack image \"{name}\": {last}{note}"))
    }
}

/// `Bearer realm="…",service="…"`
fn parameters(challenge: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut rest = challenge.split_once(' ').map_or("", |(_, rest)| rest).trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.insert(name.trim().to_ascii_lowercase(), value.to_string());
        rest = next.trim_start_matches([',', ' ']);
    }
    found
}

fn basic(source: &Source) -> String {
    let pair = format!("{}:{}", source.username, source.password);
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn form(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
                _ => format!("%{b:02X}"),
            })
            .collect()
    };
    let set = pairs.iter().filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| format!("{name}={}", escape(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests;
