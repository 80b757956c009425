//! Who asks the node, and whether they may: certificates here, everything else is asked of the server.
//!
//! Matches pkg/kubelet/server/auth.go: `system:masters` may all; others need the request's verb on
//! `nodes/<subresource>` of this node. Answers are remembered as long as upstream remembers them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::Client;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{self, Response};

const MASTERS: &str = "system:masters";
/// webhook authentication and authorization of KubeletConfiguration: cacheTTL and its like.
const TOKEN_AGE: Duration = Duration::from_secs(120);
const ALLOWED_AGE: Duration = Duration::from_secs(300);
const REFUSED_AGE: Duration = Duration::from_secs(30);
/// Beyond this the oldest answers are forgotten all at once.
const REMEMBERED_MAX: usize = 1024;

/// Somebody who proved who they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    pub name: String,
    pub groups: Vec<String>,
    pub uid: String,
    pub extra: Value,
}

impl Caller {
    /// Whether they may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

pub struct Access {
    client: Client,
    node: String,
    /// By token.
    callers: Remembered<Arc<Caller>>,
    /// By caller, verb and subresource.
    allowed: Remembered<bool>,
}

type Remembered<T> = Mutex<HashMap<String, (T, Instant)>>;

impl Access {
    pub fn new(client: Client, node: &str) -> Access {
        Access { client, node: node.into(), callers: Mutex::default(), allowed: Mutex::default() }
    }

    /// Who asks: by certificate, or else by token. Err: the refusal.
    pub async fn caller(
        &self,
        certificate: Option<Arc<Caller>>,
        headers: &http::HeaderMap,
    ) -> Result<Arc<Caller>, Response> {
        match certificate {
            Some(caller) => Ok(caller),
            None => self.of_token(headers).await,
        }
    }

    /// Whether they may. Err: the refusal.
    pub async fn check<B>(&self, caller: &Caller, request: &Request<B>) -> Result<(), Response> {
        if caller.is_master() {
            return Ok(());
        }
        let verb = verb_of(request.method(), request.uri().path());
        let subresources = subresources_of(request.uri().path());
        for subresource in subresources {
            if self.allowed(caller, verb, subresource).await? {
                return Ok(());
            }
        }
        let (name, listed) = (&caller.name, subresources.join(" "));
        let text = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{listed}])\n");
        Err(answer::text(StatusCode::FORBIDDEN, text))
    }

    async fn of_token(&self, headers: &http::HeaderMap) -> Result<Arc<Caller>, Response> {
        let refused = || answer::text(StatusCode::UNAUTHORIZED, "Unauthorized");
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = header.and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(refused());
        }
        if let Some(caller) = remembered(&self.callers, token) {
            return Ok(caller);
        }
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
        let status = self.review(path, &review).await?;
        if status["authenticated"] != true {
            return Err(refused());
        }
        let user = &status["user"];
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let caller = Arc::new(Caller {
            name: text(&user["username"]),
            groups: user["groups"].as_array().into_iter().flatten().map(text).collect(),
            uid: text(&user["uid"]),
            extra: user["extra"].clone(),
        });
        remember(&self.callers, token.into(), caller.clone(), TOKEN_AGE);
        Ok(caller)
    }

    async fn allowed(&self, caller: &Caller, verb: &str, subresource: &str) -> Result<bool, Response> {
        let key = format!("{}\n{:?}\n{}\n{verb}\n{subresource}", caller.name, caller.groups, caller.uid);
        if let Some(allowed) = remembered(&self.allowed, &key) {
            return Ok(allowed);
        }
        let attributes =
            json!({"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": self.node});
        let mut review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": caller.name, "groups": caller.groups, "resourceAttributes": attributes},
        });
        if !caller.uid.is_empty() {
            review["spec"]["uid"] = json!(caller.uid);
        }
        if caller.extra.is_object() {
            review["spec"]["extra"] = caller.extra.clone();
        }
        let status = self.review("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        let allowed = status["allowed"] == true;
        remember(&self.allowed, key, allowed, if allowed { ALLOWED_AGE } else { REFUSED_AGE });
        Ok(allowed)
    }

    async fn review(&self, path: &str, review: &Value) -> Result<Value, Response> {
        let asked = async {
            let reply = self.client.call(Method::POST, path, &[], Some(("application/json", review))).await?;
            reply.bytes().await
        };
        let failed =
            |why: String| answer::text(StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error: {why}"));
        let bytes = asked.await.map_err(|status| failed(status.message))?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
        Ok(answer["status"].clone())
    }
}

/// A WebSocket begins with a GET: what runs or reaches something in a pod is no reading, whatever the method.
/// (A kubelet lets `get nodes/proxy` suffice there.)
fn verb_of(method: &Method, path: &str) -> &'static str {
    let first = path.trim_matches('/').split('/').next().unwrap_or_default();
    if ["exec", "attach", "run", "portForward"].contains(&first) {
        return "create";
    }
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Any of these suffices.
fn subresources_of(path: &str) -> &'static [&'static str] {
    let below = |root: &str| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
    match path {
        _ if below("/stats") => &["stats"],
        _ if below("/metrics") => &["metrics"],
        _ if below("/logs") => &["log"],
        _ if below("/pods") || below("/runningpods") => &["pods", "proxy"],
        _ if below("/healthz") => &["healthz", "proxy"],
        _ if below("/configz") => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

fn remembered<T: Clone>(memory: &Remembered<T>, key: &str) -> Option<T> {
    let memory = lock(memory);
    memory.get(key).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
}

fn remember<T>(memory: &Remembered<T>, key: String, value: T, age: Duration) {
    let mut memory = lock(memory);
    let now = Instant::now();
    if memory.len() >= REMEMBERED_MAX {
        memory.retain(|_, (_, until)| *until > now);
    }
    if memory.len() >= REMEMBERED_MAX {
        memory.clear();
    }
    memory.insert(key, (value, now + age));
}

fn lock<T>(memory: &Mutex<T>) -> MutexGuard<'_, T> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_a_pod_needs_create_by_every_method() {
        for path in ["/exec/ns/p/c", "//exec/ns/p/c", "/attach/ns/p/c", "/run/ns/p/c", "/portForward/ns/p"] {
            for method in [Method::GET, Method::POST, Method::HEAD, Method::CONNECT] {
                assert_eq!(verb_of(&method, path), "create", "{method} {path}");
            }
        }
        let plain = [("/pods", "get"), ("/containerLogs/ns/p/c", "get"), ("/stats/exec", "get"), ("/execute", "get")];
        for (path, verb) in plain {
            assert_eq!(verb_of(&Method::GET, path), verb, "{path}");
        }
    }
}
