//! The requests that every part makes: get, list, create, update, patch, delete, watch.
//!
//! Paths come from the resource's names. A namespace is empty for cluster-scoped kinds and, in lists and
//! watches, for all namespaces. Answers that refuse are an `Err(Status)` with the server's words.

use std::sync::Arc;
use wire::query::encoded;

use api::{Object, Resource, Status};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::answer::{List, WatchStream};
use crate::backoff::seed_of;
use crate::{Reply, Transport, answer};

/// Speaks to one server as one user. Clone is a reference count.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    agent: Arc<str>,
    warned: Option<Warned>,
    validation: &'static str,
    /// Writes that may be under way at once.
    turns: Option<Arc<Semaphore>>,
}

/// Told each warning that comes with an answer.
type Warned = Arc<dyn Fn(&str) + Send + Sync>;

/// `labelSelector` and its like; empty and 0 leave a parameter out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    pub limit: usize,
    pub continue_token: String,
    pub resource_version: String,
    /// `Exact`, `NotOlderThan`
    pub resource_version_match: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WatchOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Everything after this revision; empty: what is there first, then what changes.
    pub resource_version: String,
    pub bookmarks: bool,
    /// `sendInitialEvents=true` with `resourceVersionMatch=NotOlderThan`.
    pub send_initial_events: bool,
    pub timeout_seconds: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    /// Preconditions.
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// `Background`, `Foreground`, `Orphan`; empty: the server's choice.
    pub propagation_policy: String,
    pub dry_run: bool,
}

/// What the body of a patch means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply { manager: String, force: bool },
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>) -> Client {
        Client {
            transport,
            agent: concat!("gousse/", env!("CARGO_PKG_VERSION")).into(),
            warned: None,
            validation: "",
            turns: None,
        }
    }

    /// The `User-Agent`, which also names the field manager of what it writes: `kubelet`, `scheduler`.
    pub fn named(mut self, agent: &str) -> Client {
        self.agent = agent.into();
        self
    }

    /// Hands over what the server warns about (`Warning: 299 - "…"`), once per answer and text.
    pub fn warning(mut self, warned: impl Fn(&str) + Send + Sync + 'static) -> Client {
        self.warned = Some(Arc::new(warned));
        self
    }

    /// What becomes of fields that the server does not know, or finds twice: `Strict`: refused, `Warn`: told,
    /// `Ignore`: dropped; else the server's choice.
    pub fn validating(mut self, how: &'static str) -> Client {
        self.validation = how;
        self
    }

    /// So many writes are under way at once, of all clones together; the others wait their turn. A server takes no
    /// more from one user than its share, and answers more of them with 429, which costs a second each.
    pub fn writing(mut self, at_once: usize) -> Client {
        self.turns = Some(Arc::new(Semaphore::new(at_once)));
        self
    }

    /// Writes wait for no turn: for what must not come late, a lease.
    pub fn at_once(mut self) -> Client {
        self.turns = None;
        self
    }

    pub fn agent(&self) -> &str {
        &self.agent
    }

    pub async fn get(&self, kind: &Resource, ns: &str, name: &str) -> Result<Object, Status> {
        let path = path(kind, ns, &[name]);
        answer::object(self.call(Method::GET, &path, &[], None).await?).await
    }

    pub async fn list(&self, kind: &Resource, ns: &str, options: &ListOptions) -> Result<List, Status> {
        let limit = decimal(options.limit as u64);
        let query = [
            ("labelSelector", options.label_selector.as_str()),
            ("fieldSelector", &options.field_selector),
            ("limit", &limit),
            ("continue", &options.continue_token),
            ("resourceVersion", &options.resource_version),
            ("resourceVersionMatch", &options.resource_version_match),
        ];
        answer::list(self.call(Method::GET, &path(kind, ns, &[]), &query, None).await?).await
    }

    pub async fn create(&self, kind: &Resource, ns: &str, object: &Value) -> Result<Object, Status> {
        self.write(Method::POST, &path(kind, ns, &[]), object).await
    }

    pub async fn update(&self, kind: &Resource, ns: &str, name: &str, object: &Value) -> Result<Object, Status> {
        self.write(Method::PUT, &path(kind, ns, &[name]), object).await
    }

    /// GET of a subresource: `scale`.
    pub async fn get_sub(&self, kind: &Resource, ns: &str, name: &str, sub: &str) -> Result<Object, Status> {
        let path = path(kind, ns, &[name, sub]);
        answer::object(self.call(Method::GET, &path, &[], None).await?).await
    }

    /// POST to a subresource: `binding`, `eviction`, `token`.
    pub async fn create_sub(
        &self,
        kind: &Resource,
        ns: &str,
        name: &str,
        sub: &str,
        object: &Value,
    ) -> Result<Object, Status> {
        self.write(Method::POST, &path(kind, ns, &[name, sub]), object).await
    }

    /// PUT to a subresource: `status`, `finalize`.
    pub async fn update_sub(
        &self,
        kind: &Resource,
        ns: &str,
        name: &str,
        sub: &str,
        object: &Value,
    ) -> Result<Object, Status> {
        self.write(Method::PUT, &path(kind, ns, &[name, sub]), object).await
    }

    async fn write(&self, method: Method, path: &str, object: &Value) -> Result<Object, Status> {
        let query = [("fieldValidation", self.validation)];
        answer::object(self.call(method, path, &query, Some((JSON, object))).await?).await
    }

    /// `sub` is empty for the object itself.
    pub async fn patch(
        &self,
        kind: &Resource,
        ns: &str,
        name: &str,
        sub: &str,
        patch: PatchKind,
        body: &Value,
    ) -> Result<Object, Status> {
        let (content, manager, force) = match &patch {
            PatchKind::Json => ("application/json-patch+json", "", false),
            PatchKind::Merge => ("application/merge-patch+json", "", false),
            PatchKind::Strategic => ("application/strategic-merge-patch+json", "", false),
            PatchKind::Apply { manager, force } => ("application/apply-patch+yaml", manager.as_str(), *force),
        };
        let force = if force { "true" } else { "" };
        let query = [("fieldManager", manager), ("force", force), ("fieldValidation", self.validation)];
        let path = path(kind, ns, &[name, sub]);
        answer::object(self.call(Method::PATCH, &path, &query, Some((content, body))).await?).await
    }

    /// The object as it stands afterwards, or a `Status` of success.
    pub async fn delete(
        &self,
        kind: &Resource,
        ns: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Object, Status> {
        let path = path(kind, ns, &[name]);
        answer::object(self.call(Method::DELETE, &path, &[], Some((JSON, &options.to_value()))).await?).await
    }

    pub async fn watch(&self, kind: &Resource, ns: &str, options: &WatchOptions) -> Result<WatchStream, Status> {
        let timeout = decimal(u64::from(options.timeout_seconds));
        let initial = options.send_initial_events;
        let query = [
            ("watch", "true"),
            ("labelSelector", options.label_selector.as_str()),
            ("fieldSelector", &options.field_selector),
            ("resourceVersion", &options.resource_version),
            ("resourceVersionMatch", if initial { "NotOlderThan" } else { "" }),
            ("allowWatchBookmarks", if options.bookmarks { "true" } else { "" }),
            ("sendInitialEvents", if initial { "true" } else { "" }),
            ("timeoutSeconds", &timeout),
        ];
        answer::watch(self.call(Method::GET, &path(kind, ns, &[]), &query, None).await?)
    }

    /// Any other request: a path below the server's root, query parameters (empty values are left
    /// out), and a body with its content type.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<(&str, &Value)>,
    ) -> Result<Reply, Status> {
        let mut request = Request::builder().method(method).uri(with_query(path, query));
        request = request.header(http::header::ACCEPT, JSON).header(http::header::USER_AGENT, &*self.agent);
        let bytes = match body {
            None => Bytes::new(),
            Some((content, value)) => {
                request = request.header(http::header::CONTENT_TYPE, content);
                serde_json::to_vec(value).map_err(|why| Status::bad_request(why.to_string()))?.into()
            }
        };
        let request = request.body(bytes).map_err(|why| Status::bad_request(why.to_string()))?;
        self.send(request).await
    }

    /// A request as it is; an answer that refuses is an `Err`.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Reply, Status> {
        let turns = self.turns.as_ref().filter(|_| !request.method().is_safe());
        let _turn = match turns {
            Some(turns) => Some(turns.acquire().await.map_err(|why| Status::internal(why.to_string()))?),
            None => None,
        };
        let reply = self.transport.call(request).await?;
        if let Some(warned) = &self.warned {
            answer::warnings(&reply.headers).iter().for_each(|text| warned(text));
        }
        answer::checked(reply).await
    }

    /// What this client's pauses are jittered by.
    pub(crate) fn seed(&self) -> u64 {
        seed_of(&self.agent)
    }
}

impl DeleteOptions {
    /// `metav1.DeleteOptions`.
    pub fn to_value(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = json!(version);
        }
        if !self.propagation_policy.is_empty() {
            body["propagationPolicy"] = json!(self.propagation_policy);
        }
        if self.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        body
    }
}

impl Reply {
    /// The whole body as bytes, whichever way it came; not for lists and watches handed over.
    pub async fn bytes(self) -> Result<Bytes, Status> {
        answer::whole(self.body).await
    }

    /// The body as an object.
    pub async fn object(self) -> Result<Object, Status> {
        answer::object(self).await
    }
}

const JSON: &str = "application/json";

/// `/api/v1/namespaces/default/pods/web/status`; empty parts are left out.
pub fn path(kind: &Resource, ns: &str, parts: &[&str]) -> String {
    let mut path = match kind.group.as_str() {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    if kind.namespaced && !ns.is_empty() {
        path.push_str("/namespaces/");
        path.push_str(&encoded(ns));
    }
    path.push('/');
    path.push_str(&kind.plural);
    for part in parts.iter().filter(|part| !part.is_empty()) {
        path.push('/');
        path.push_str(&encoded(part));
    }
    path
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let mut uri = path.to_string();
    let mut mark = if path.contains('?') { '&' } else { '?' };
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        uri.push(mark);
        uri.push_str(name);
        uri.push('=');
        uri.push_str(&encoded(value));
        mark = '&';
    }
    uri
}

/// 0 is left out.
fn decimal(number: u64) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

#[cfg(test)]
mod tests;
