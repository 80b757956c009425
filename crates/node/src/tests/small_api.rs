//! An API server of a few lines for the agent's tests: objects, watches, patches of status, deletion.
//!
//! It keeps what was written as it came; it validates and defaults nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::{Object, Reason, Status, WatchEvent};
use bytes::Bytes;
use client::transport::Boxed;
use client::{Body, Client, Reply, Transport};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

/// Dotted paths and what they must be.
type Selectors = Vec<(String, String)>;

#[derive(Clone, Default)]
pub struct SmallApi {
    state: Arc<Mutex<State>>,
    pub changed: Arc<Notify>,
    /// Tokens are made and not handed out yet.
    tokens_held: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct State {
    revision: u64,
    /// By plural, namespace, name.
    objects: BTreeMap<(String, String, String), Value>,
    /// By plural and field selectors.
    watchers: Vec<(String, Selectors, mpsc::UnboundedSender<WatchEvent>)>,
    /// `DELETE pods/x`, `PATCH pods/x/status`, in order.
    writes: Vec<String>,
    /// Every version of every object.
    history: Vec<Value>,
    down: bool,
    /// Writes that are still to be refused, as `writes` tells them.
    refused: BTreeMap<String, usize>,
    /// Without one tokens live for ever.
    clock: Option<api::Clock>,
}

impl SmallApi {
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    pub fn get(&self, plural: &str, ns: &str, name: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(&(plural.into(), ns.into(), name.into())).cloned()
    }

    pub fn all(&self, plural: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state.objects.iter().filter(|(k, _)| k.0 == plural).map(|(_, v)| v.clone()).collect()
    }

    pub fn put(&self, plural: &str, object: Value) {
        let mut state = self.state.lock().unwrap();
        state.store(plural, object);
        self.changed.notify_waiters();
    }

    pub fn delete(&self, plural: &str, ns: &str, name: &str) {
        self.state.lock().unwrap().remove(plural, ns, name);
        self.changed.notify_waiters();
    }

    /// Asks for deletion as a client does.
    pub fn delete_gracefully(&self, ns: &str, name: &str, grace: i64, now: jiff::Timestamp) {
        let mut pod = self.get("pods", ns, name).expect("a pod to delete");
        let at = now + jiff::SignedDuration::from_secs(grace);
        pod["metadata"]["deletionTimestamp"] = json!(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        self.put("pods", pod);
    }

    /// Nobody is answered and every watch ends.
    pub fn set_down(&self, down: bool) {
        let mut state = self.state.lock().unwrap();
        state.down = down;
        state.watchers.clear();
    }

    /// Refuses a write (`POST pods`) so many times.
    pub fn refuse(&self, write: &str, times: usize) {
        self.state.lock().unwrap().refused.insert(write.to_owned(), times);
    }

    /// Tokens expire from now on.
    pub fn keep_time(&self, clock: api::Clock) {
        self.state.lock().unwrap().clock = Some(clock);
    }

    pub fn hold_tokens(&self, hold: bool) {
        self.tokens_held.send_replace(hold);
    }

    pub fn writes(&self) -> Vec<String> {
        self.state.lock().unwrap().writes.clone()
    }

    /// Some version of an object was so.
    pub fn saw(&self, name: &str, holds: impl Fn(&Value) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        state.history.iter().any(|o| o["metadata"]["name"] == name && holds(o))
    }

    fn answer(&self, request: &http::Request<Bytes>) -> Result<Reply, Status> {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Err(Status::new(Reason::ServiceUnavailable, "down"));
        }
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let path = if path[0] == "api" { &path[2..] } else { &path[3..] };
        let (ns, path) = match path {
            ["namespaces", ns, rest @ ..] if !rest.is_empty() => (*ns, rest),
            rest => ("", rest),
        };
        let plural = path[0];
        let name = path.get(1).copied().unwrap_or("");
        let sub = path.get(2).copied().unwrap_or("");
        let query = request.uri().query().unwrap_or("").replace("%3D", "=");
        let selectors: Selectors = query
            .split('&')
            .filter_map(|q| q.strip_prefix("fieldSelector=")?.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        if !matches!(request.method().as_str(), "GET") {
            let write = format!("{} {}", request.method(), path.join("/"));
            state.writes.push(write.clone());
            if let Some(times) = state.refused.get_mut(&write).filter(|times| **times > 0) {
                *times -= 1;
                return Err(Status::new(Reason::Forbidden, "refused"));
            }
        }
        let key = (plural.to_owned(), ns.to_owned(), name.to_owned());
        let absent = || Err(Status::new(Reason::NotFound, format!("{plural} \"{name}\" not found")));
        let reply = match request.method().as_str() {
            "GET" if query.contains("watch=true") => {
                let (send, mut receive) = mpsc::unbounded_channel();
                state.watchers.push((plural.to_owned(), selectors, send));
                let events = futures::stream::poll_fn(move |cx| receive.poll_recv(cx));
                return Ok(reply(Body::Events(Box::pin(events))));
            }
            "GET" if name.is_empty() => {
                let of = |(k, v): (&(String, String, String), &Value)| {
                    (k.0 == plural && (ns.is_empty() || k.1 == ns) && selected(v, &selectors)).then(|| v.clone())
                };
                let objects = state.objects.iter().filter_map(of);
                let objects = objects.map(|v| Object::from_value(&v).unwrap()).collect();
                let revision = state.revision;
                return Ok(reply(Body::List { objects, revision, continue_token: String::new() }));
            }
            "GET" => match state.objects.get(&key) {
                Some(found) => found.clone(),
                None => return absent(),
            },
            "POST" if sub == "token" => {
                let life = jiff::SignedDuration::from_secs(body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600));
                let expires = state.clock.as_ref().map(|clock| clock() + life);
                let expires = expires.map_or("2099-01-01T00:00:00Z".into(), |at| at.to_string());
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "metadata": {}, "status": {"token": "t", "expirationTimestamp": expires}})
            }
            "POST" => {
                let mut body = body;
                if let Some(prefix) = body["metadata"]["generateName"].as_str() {
                    body["metadata"]["name"] = json!(format!("{prefix}{}", state.revision));
                }
                let name = body["metadata"]["name"].as_str().unwrap_or("").to_owned();
                if state.objects.contains_key(&(plural.to_owned(), ns.to_owned(), name)) {
                    return Err(Status::new(Reason::AlreadyExists, "exists"));
                }
                body["metadata"]["namespace"] = json!(ns);
                state.store(plural, body)
            }
            "PATCH" => {
                let Some(mut object) = state.objects.get(&key).cloned() else { return absent() };
                let wanted = body["metadata"]["uid"].as_str();
                if wanted.is_some_and(|uid| object["metadata"]["uid"] != uid) {
                    return Err(Status::new(Reason::Conflict, "another uid"));
                }
                merge(&mut object, &body);
                state.store(plural, object)
            }
            "PUT" => state.store(plural, body),
            "DELETE" => match state.remove(plural, ns, name) {
                Some(gone) => gone,
                None => return absent(),
            },
            other => panic!("{other} is not answered here"),
        };
        Ok(self::reply(Body::Bytes(reply.to_string().into())))
    }
}

impl State {
    fn store(&mut self, plural: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let key = (plural.to_owned(), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        if text(&object["metadata"]["uid"]).is_empty() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.revision));
        }
        self.history.push(object.clone());
        let known = self.objects.insert(key, object.clone()).is_some();
        self.tell(plural, &object, |o| if known { WatchEvent::Modified(o) } else { WatchEvent::Added(o) });
        object
    }

    fn remove(&mut self, plural: &str, ns: &str, name: &str) -> Option<Value> {
        let mut object = self.objects.remove(&(plural.into(), ns.into(), name.into()))?;
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.tell(plural, &object, WatchEvent::Deleted);
        Some(object)
    }

    fn tell(&mut self, plural: &str, object: &Value, event: impl Fn(Object) -> WatchEvent) {
        let parsed = Object::from_value(object).unwrap();
        self.watchers.retain(|(kind, selectors, send)| {
            let wanted = kind == plural && selected(object, selectors);
            !wanted || send.send(event(parsed.clone())).is_ok()
        });
    }
}

impl Transport for SmallApi {
    fn call(&self, request: http::Request<Bytes>) -> Boxed<'_, Result<Reply, Status>> {
        let reply = self.answer(&request);
        self.changed.notify_waiters();
        let mut held = self.tokens_held.subscribe();
        let of_token = request.uri().path().ends_with("/token");
        Box::pin(async move {
            if of_token {
                let _ = held.wait_for(|held| !held).await;
            }
            match reply {
                Err(status) if status.reason != Reason::ServiceUnavailable => Ok(Reply {
                    status: http::StatusCode::from_u16(status.code).unwrap(),
                    headers: http::HeaderMap::new(),
                    body: Body::Bytes(status.to_value().to_string().into()),
                }),
                other => other,
            }
        })
    }
}

fn reply(body: Body) -> Reply {
    Reply { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body }
}

fn selected(object: &Value, selectors: &[(String, String)]) -> bool {
    selectors.iter().all(|(path, value)| {
        let found = path.split('.').fold(object, |v, key| &v[key]);
        found == value.as_str()
    })
}

/// As much of a strategic merge as statuses need.
fn merge(object: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().into_iter().flatten() {
        match value {
            _ if key.starts_with('$') => {}
            Value::Null => {
                object.as_object_mut().map(|o| o.remove(key));
            }
            Value::Object(_) if object[key].is_object() => merge(&mut object[key], value),
            Value::Array(list) if key == "conditions" => {
                let mut old = object[key].as_array().cloned().unwrap_or_default();
                for c in list {
                    if c["$patch"] == "delete" {
                        old.retain(|o| o["type"] != c["type"]);
                        continue;
                    }
                    match old.iter_mut().find(|o| o["type"] == c["type"]) {
                        Some(known) => merge(known, c),
                        None => old.push(c.clone()),
                    }
                }
                object[key] = Value::Array(old);
            }
            Value::Array(list) => {
                let kept = list.iter().filter(|v| v.get("$patch").is_none()).cloned().collect();
                object[key] = Value::Array(kept);
            }
            _ => object[key] = value.clone(),
        }
    }
}
