//! The node's own HTTPS API: logs, streams into containers, statistics, health.
//!
//! Paths, words and codes match upstream's pkg/kubelet/server (server.go, auth.go), since API servers,
//! metrics collectors and tests speak to it. HTTP/1.1 and 2 over TLS; a client shows a certificate of
//! the cluster's authority or a bearer token; who shows neither keeps nobody out (`wire::places`).
//! Everything asks `Control`; nothing is decided here.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Control;

/// Who asks, and whether they may.
mod access;
/// Answers and their bodies.
mod answer;
/// exec, attach and run.
mod exec;
/// `/healthz` on a port of its own.
pub mod health;
/// What containers wrote.
mod logs;
/// Figures for Prometheus.
mod metrics;
/// Changes in folders, for many at once.
mod notices;
/// `/pods` and `/runningpods`.
mod pods;
/// Connections to a pod's ports.
mod port_forward;
/// What pods use.
mod stats;

use access::{Access, Caller};
use answer::Response;
use notices::Notices;
use wire::places::{Place, Places, Proof};
use wire::query::Query;
use wire::serve::TooLarge;

/// Connections, and answers that are not taken. The server and a few collectors of metrics ask a node.
const CONNECTIONS_MAX: usize = 1024;
/// Of these for one of them, in percent.
const SHARE: usize = 25;

/// What the API needs.
pub struct ApiConfig {
    pub control: Control,
    /// What it shows.
    pub certificate: Arc<wire::tls::Presented>,
    /// PEM: whose certificates clients may have.
    pub authority: String,
}

/// What all requests share.
struct Api {
    control: Control,
    access: Access,
    notices: Notices,
    before: stats::Before,
}

/// Serves until it is dropped; connections end with it.
pub async fn serve(listener: TcpListener, config: ApiConfig) -> io::Result<()> {
    let tls = wire::tls::server(config.certificate, Some(&config.authority), &["h2", "http/1.1"])?;
    let acceptor = TlsAcceptor::from(tls);
    let access = Access::new(config.control.client().clone(), &config.control.config().node_name);
    let api =
        Arc::new(Api { control: config.control, access, notices: Notices::open()?, before: stats::Before::default() });
    let places = Places::new(CONNECTIONS_MAX, SHARE);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (api, acceptor, place) = (api.clone(), acceptor.clone(), places.enter(peer.ip()));
                    connections.spawn(async move {
                        if let Err(error) = connection(api, acceptor, stream, place).await {
                            tracing::debug!(%error, "a connection ended");
                        }
                    });
                }
                // Out of descriptors, most likely: the next connection to close frees one.
                Err(error) => {
                    tracing::warn!(%error, "the node's API cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(api: Arc<Api>, acceptor: TlsAcceptor, stream: TcpStream, place: Arc<Place>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let served = async {
        let stream = wire::serve::shake(&acceptor, stream).await?;
        let caller = wire::serve::caller(&stream);
        let caller = caller.map(|(name, groups)| Arc::new(Caller { name, groups, ..Caller::default() }));
        if let Some(caller) = &caller {
            place.known(&caller.name, Proof::Certificate, caller.is_master());
        }
        let known = place.clone();
        let answer = move |request| {
            let (api, caller, place) = (api.clone(), caller.clone(), known.clone());
            async move { answer::until_taken(guarded(&api, caller, &place, request).await, &place) }
        };
        // In net/http's words.
        let body = "431 Request Header Fields Too Large".into();
        let too_large = TooLarge { content_type: "text/plain; charset=utf-8", body };
        wire::serve::http(stream, answer, too_large, std::future::pending()).await
    };
    tokio::select! {
        served = served => served,
        () = place.closed() => Err(io::Error::other("closed: there is no room for it, or for the answers that it does not take")),
    }
}

/// A request that panics costs nobody else anything.
async fn guarded(api: &Api, caller: Option<Arc<Caller>>, place: &Place, request: Request<Incoming>) -> Response {
    let path = request.uri().path().to_owned();
    let served = AssertUnwindSafe(respond(api, caller, place, request)).catch_unwind().await;
    served.unwrap_or_else(|_| {
        tracing::error!(path, "a request panicked");
        answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the node panicked while it served this request")
    })
}

async fn respond(api: &Api, certificate: Option<Arc<Caller>>, place: &Place, request: Request<Incoming>) -> Response {
    let by_token = certificate.is_none();
    let caller = match api.access.caller(certificate, request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    if by_token {
        place.known(&caller.name, Proof::Token, caller.is_master());
    }
    if let Err(refused) = api.access.check(&caller, &request).await {
        return refused;
    }
    let path = request.uri().path().to_owned();
    let words: Vec<&str> = path.trim_matches('/').split('/').collect();
    let query = Query::parse(wire::heads::query(request.uri(), request.extensions()));
    match (request.method(), &words[..]) {
        (&Method::GET | &Method::HEAD, ["healthz"] | ["healthz", "ping" | "log" | "syncloop"]) => {
            answer::text(StatusCode::OK, "ok")
        }
        (&Method::GET, ["pods"]) => pods::all(&api.control),
        (&Method::GET | &Method::POST, ["stats", "summary"]) => {
            let only = query.flag("only_cpu_and_memory");
            told(stats::summary(api, only).await.map(|summary| answer::json(&summary)))
        }
        (&Method::GET, ["metrics"]) => told(metrics::own(api).await.map(answer::metrics)),
        (&Method::GET, ["metrics", "resource"]) => told(metrics::resource(api).await.map(answer::metrics)),
        (&Method::GET, ["metrics", "cadvisor"]) => told(metrics::cadvisor(api).await.map(answer::metrics)),
        (&Method::GET, ["metrics", "probes"]) => {
            answer::text(StatusCode::NOT_IMPLEMENTED, "the results of probes are not counted by this node")
        }
        (&Method::GET, ["configz"]) => answer::json(&configz(api.control.config())),
        (&Method::GET, ["runningpods"]) => pods::running(&api.control).await,
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::serve(api, &query, namespace, pod, container).await
        }
        (_, [verb @ ("exec" | "attach"), namespace, pod, container]) => {
            exec::streamed(&api.control, request, [namespace, pod, container], *verb == "attach").await
        }
        (_, ["portForward", namespace, pod]) => port_forward::serve(&api.control, request, namespace, pod).await,
        (&Method::POST, ["run", namespace, pod, container]) => {
            exec::run(&api.control, &query, [namespace, pod, container]).await
        }
        _ => answer::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// What cannot be told is an error of the node.
fn told(answer: Result<Response, String>) -> Response {
    answer.unwrap_or_else(|why| answer::text(StatusCode::INTERNAL_SERVER_ERROR, why))
}

/// The settings under the names of KubeletConfiguration.
fn configz(config: &crate::Config) -> serde_json::Value {
    let mut settings = serde_json::json!({
        "authentication": {"x509": {}, "webhook": {"enabled": true}, "anonymous": {"enabled": false}},
        "authorization": {"mode": "Webhook"},
        "cgroupRoot": config.cgroup_root,
        "clusterDNS": config.cluster_dns.borrow().clone().unwrap_or_default(),
        "clusterDomain": config.cluster_domain,
        "containerLogMaxFiles": config.log_files_max,
        "containerLogMaxSize": format!("{}", config.log_size_max),
        "enableServer": true,
        "maxPods": config.max_pods,
        "podCIDR": config.pod_cidr.map(|range| range.to_string()).unwrap_or_default(),
        "podPidsLimit": if config.pids_max > 0 { config.pids_max } else { -1 },
        "port": config.port,
        "streamingConnectionIdleTimeout": "4h0m0s",
        "systemReserved": config.reserved,
    });
    if let Some(folder) = &config.manifest_dir {
        settings["staticPodPath"] = serde_json::json!(folder);
    }
    serde_json::json!({"kubeletconfig": settings})
}
