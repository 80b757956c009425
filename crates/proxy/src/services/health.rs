//! Balancers ask whether this node serves: one service (healthCheckNodePort), or at all (/healthz).
//!
//! Paths, headers, codes and bodies are upstream's (pkg/proxy/healthcheck).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use api::{Clock, Object};
use bytes::Bytes;
use client::Key;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use super::served::Asked;

/// How long a change may wait until the proxy counts as ill: twice upstream's syncPeriod.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD_MAX: Duration = Duration::from_secs(10);
/// Connections at a time, of anybody who reaches the node.
const CONNECTIONS_MAX: usize = 64;

/// What is known of this node's proxy.
pub struct Health {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    updated: Option<Timestamp>,
    /// Of the oldest change that is not in force.
    pending: Option<Timestamp>,
    /// The Node is there and stays.
    eligible: bool,
    asked: HashMap<Key, Service>,
}

struct Service {
    asked: Asked,
    task: AbortHandle,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Response<Full<Bytes>>;

impl Health {
    pub fn new(clock: Clock) -> Arc<Health> {
        Arc::new(Health { clock, state: Mutex::default() })
    }

    /// Serves `/healthz` and `/livez` until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let health = self.clone();
        serve(listener, move |path| match path {
            "/healthz" => health.healthz(true),
            "/livez" => health.healthz(false),
            _ => answer(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".into()),
        })
        .await;
    }

    pub(super) fn node(&self, node: Option<&Object>) {
        self.state().eligible = NodeView::stays(node);
    }

    pub(super) fn pending(&self) {
        let now = (self.clock)();
        self.state().pending.get_or_insert(now);
    }

    pub(super) fn updated(&self) {
        let now = (self.clock)();
        let mut state = self.state();
        (state.updated, state.pending) = (Some(now), None);
    }

    /// Answers for a service at its port from now on; None: not any more.
    pub(super) fn asked(self: &Arc<Health>, key: &Key, asked: Option<Asked>) {
        let mut state = self.state();
        match (asked, state.asked.get_mut(key)) {
            (None, _) => drop(state.asked.remove(key)),
            (Some(asked), Some(service)) if service.asked.port == asked.port => service.asked = asked,
            (Some(asked), _) => {
                state.asked.remove(key);
                let task = tokio::spawn(listen(Arc::downgrade(self), key.clone(), asked.port)).abort_handle();
                state.asked.insert(key.clone(), Service { asked, task });
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    /// Everything that is served is as it should be, or is late by less than a minute.
    fn is_well(&self) -> bool {
        let now = (self.clock)();
        let state = self.state();
        state.pending.is_none_or(|since| now.duration_since(since).unsigned_abs() < PATIENCE)
    }

    /// `of_node`: whether the Node stays counts as well.
    fn healthz(&self, of_node: bool) -> Answer {
        let (now, proxy) = ((self.clock)(), self.is_well());
        let (eligible, updated) = {
            let state = self.state();
            (state.eligible, state.updated)
        };
        let is_well = proxy && (eligible || !of_node);
        // Go's zero time: never.
        let updated = updated.map_or_else(|| "0001-01-01T00:00:00Z".to_string(), |at| at.to_string());
        let last = if is_well { now.to_string() } else { updated.clone() };
        let mut body = json!({ "lastUpdated": last, "currentTime": now.to_string(), "healthy": is_well });
        if of_node {
            body["nodeEligible"] = eligible.into();
        }
        body["status"] = json!({ "IPv4": { "lastUpdated": updated, "healthy": proxy } });
        answer(code(is_well), JSON, body.to_string())
    }

    /// As a service's port answers.
    fn of_service(&self, key: &Key) -> Answer {
        let is_well = self.is_well();
        let local = self.state().asked.get(key).map_or(0, |service| service.asked.local);
        let body = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{}\",\n\t\t\"name\": \"{}\"\n\t}},\n\t\"localEndpoints\": {local},\n\t\"serviceProxyHealthy\": {is_well}\n}}",
            key.namespace, key.name
        );
        let mut answer = answer(code(is_well && local > 0), JSON, body);
        let weight = local.to_string().parse().expect("a number is a header");
        answer.headers_mut().insert("X-Load-Balancing-Endpoint-Weight", weight);
        answer
    }
}

const JSON: &str = "application/json";

fn code(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn answer(code: StatusCode, kind: &str, body: String) -> Answer {
    let answer = Response::builder().status(code).header("Content-Type", kind);
    answer.header("X-Content-Type-Options", "nosniff").body(Full::from(body)).expect("plain headers are valid")
}

/// Another program may have the port: the service is served all the same.
async fn listen(health: Weak<Health>, key: Key, port: u16) {
    match TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await {
        Ok(listener) => {
            let of = key.clone();
            serve(listener, move |_| match health.upgrade() {
                Some(health) => health.of_service(&of),
                None => answer(StatusCode::SERVICE_UNAVAILABLE, JSON, String::new()),
            })
            .await;
        }
        Err(error) => tracing::warn!(%error, "nobody is told at port {port} whether {key} is served here"),
    }
}

async fn serve(listener: TcpListener, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let answer = answer(request.uri().path());
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let mut builder = http1::Builder::new();
                    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
                    connections.spawn(builder.serve_connection(TokioIo::new(stream), service));
                }
                Err(error) => {
                    tracing::warn!(%error, "whoever asks for the proxy's health is not heard");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What of a Node says whether balancers should send to it.
#[derive(Default, Deserialize)]
struct NodeView {
    #[serde(default)]
    spec: NodeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    key: String,
}

impl NodeView {
    /// Upstream's ToBeDeletedTaint (pkg/proxy/healthcheck/proxy_health.go): an autoscaler takes it away.
    fn stays(node: Option<&Object>) -> bool {
        let Some(node) = node.filter(|node| !node.meta().is_deleting()) else { return false };
        let view: NodeView = node.view().unwrap_or_default();
        !view.spec.taints.iter().any(|taint| taint.key == "ToBeDeletedByClusterAutoscaler")
    }
}

#[cfg(test)]
mod tests;
