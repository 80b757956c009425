//! HTTP in: one generic set of verbs over the kind table; the only crate that sees the store.
//!
//! A request is routed, authenticated, authorized, then served by one function per verb; a write is
//! defaulted, admitted and validated before the store orders it and makes it durable. The same path
//! serves HTTPS and the parts inside the process. X never knows Y: it knows no runtime and no pod
//! but what its table says.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use api::{Clock, Entropy, Status};
use arc_swap::ArcSwap;
use store::Store;
use wire::tls::Presented;

/// Which form of an answer a client wants.
mod accept;
/// The machine's own addresses.
mod addresses;
/// What a write must pass beside its kind's rules.
mod admission;
/// Addresses and ports that services have.
mod allocations;
/// What the server answers.
mod answer;
/// APIServices of what is served here.
mod api_services;
/// From what a request shows to who it is.
mod authenticate;
/// Whether they may.
mod authorize;
/// A request's body, read once its head is allowed.
mod body;
/// Our own certificate authority.
mod certificates;
/// What a write costs quotas.
mod charges;
/// How the parts beside the server are.
mod component_status;
/// What the API has: groups, versions, resources.
mod discovery;
/// From a tree to the bytes that are stored.
mod encode;
/// What nodes and pods use, asked of their nodes.
mod figures;
/// Which objects a list or watch is about.
mod filter;
/// How much may be under way from outside.
mod flow;
/// How the server is.
mod health;
/// What writes under way have chosen.
mod held;
/// Who asks.
mod identity;
/// Whom `Impersonate-*` headers ask to be.
mod impersonate;
/// How a node joins.
mod join;
/// Connections, TLS and HTTP.
mod listen;
/// Counters.
mod metrics;
/// Which keys speak for a node.
mod node_keys;
/// Requests to a node's own API.
mod nodes;
/// The documents that describe the API's types.
mod openapi;
/// What is served outside the API's resources.
mod paths;
/// The order of groups and versions.
mod priorities;
/// Bodies and answers in protobuf.
mod protobuf;
/// What is served now.
mod published;
/// Where objects lie in the store.
mod records;
/// An answer as bytes, and as Objects.
mod render;
/// One version of one object in every form that was asked for.
mod rendition;
/// The way of a request, from who asks to its answer.
mod request;
/// Kinds that are only asked, never stored.
mod reviews;
/// A path of the API, taken apart.
pub mod route;
/// Objects that every cluster has from the start.
mod seed;
/// Bodies that are slow to read.
mod slow;
/// Answers as messages of a websocket.
mod sockets;
/// What a read of told objects wants.
mod sought;
/// What is special to one subresource.
mod subresources;
/// Service-account tokens.
mod tokens;
/// Kinds whose objects are told and never stored.
mod told;
/// One generic set of verbs over the kind table.
mod verbs;
/// Folds over what is stored.
mod view;
/// Who asks for what outside the API's resources.
mod visit;
/// A watch under way.
mod watching;
/// From a finished tree to a durable revision.
mod write;

pub use admission::Admission;
pub use answer::{Body, Response};
pub use authorize::Attributes;
pub use flow::Limits;
pub use identity::{Component, Identity};
pub use join::{JoinToken, TOKEN_LIFETIME, token_secret};
pub use kinds::service::allocation::PortRange;
pub use route::{AUTHORITY_PATH, JOIN_PATH};
pub use store::Backend;

use certificates::{Authority, Kept, Subject};
use published::Published;
use records::Snapshot;
use rendition::Renditions;
use tokens::Tokens;

/// Of a node's name, and a name or address.
pub type MayBear = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What a server is made of.
#[derive(Clone)]
pub struct Config {
    /// Certificates and tokens lie in `data_dir/pki`, the store in `data_dir/store`.
    pub data_dir: PathBuf,
    /// None: the embedded store in `data_dir/store`.
    pub backend: Option<Backend>,
    /// Where clients reach the server: goes into the kubeconfig, the `kubernetes` Service and discovery.
    pub advertise: SocketAddr,
    /// Names and addresses for the serving certificate, beside localhost, the machine's own and the Service's.
    pub names: Vec<String>,
    /// The range of Service addresses; its first is the API's own.
    pub service_cidr: String,
    /// The ports of nodes that services may have.
    pub node_ports: PortRange,
    pub allow_privileged: bool,
    /// Which steps of admission are on.
    pub admission: Admission,
    /// How much may be under way from outside at once.
    pub limits: Limits,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// The API server. Clone is a reference count.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub config: Config,
    pub store: Arc<Store>,
    pub snapshot: Snapshot,
    pub authorizer: authorize::Authorizer,
    pub classes: admission::Classes,
    /// The parts beside the server.
    pub parts: component_status::Parts,
    /// What nodes last said of what is used.
    pub figures: figures::Figures,
    /// What services may have.
    pub allocations: allocations::Allocations,
    /// Whose write is charged to quotas.
    pub turns: charges::Turns,
    /// Policies and webhooks.
    pub outside: ArcSwap<admission::OutsideAll>,
    pub renditions: Renditions,
    pub tokens: Tokens,
    pub authority: Authority,
    pub serving: Arc<Presented>,
    /// Certificates that are made anew while the server runs.
    pub kept: Vec<Kept>,
    /// Nodes that are parts of this process.
    pub own_nodes: Mutex<BTreeSet<String>>,
    /// For connections to nodes: our authority, our certificate; `nodes` looks at whose theirs is.
    pub node_tls: Arc<rustls::ClientConfig>,
    /// The same without a look at theirs.
    pub any_node_tls: Arc<rustls::ClientConfig>,
    /// For proxied HTTPS to pods and services, whose certificates nobody vouches for.
    pub any_tls: Arc<rustls::ClientConfig>,
    /// Connections to nodes that wait for the next request.
    pub idle: nodes::Idle,
    pub metrics: metrics::Metrics,
    pub flow: Arc<flow::Flow>,
    pub places: Arc<wire::places::Places>,
    /// What is served now.
    pub published: ArcSwap<Published>,
    /// There once what every cluster has from the start is there.
    pub seeded: OnceLock<()>,
    /// True once the server ends: watches end, readiness fails.
    pub stopped: tokio::sync::watch::Sender<bool>,
}

impl Server {
    /// Opens the store, makes or reads certificates, and writes what every cluster has from the start.
    pub async fn open(config: Config) -> io::Result<Server> {
        let pki = config.data_dir.join("pki");
        let authority = Authority::open(&pki, config.clock.clone(), config.entropy.clone())?;
        let to_nodes = Subject::new("kube-apiserver-kubelet-client", &[identity::MASTERS], Vec::new());
        let own = Subject::new("kube-apiserver", &[], hosts(&config));
        // Side by side: each waits for the disk, and a first start for all of them.
        let (tokens, own_pair, nodes_pair, admin, store) = std::thread::scope(|scope| {
            let tokens = scope.spawn(|| Tokens::open(&pki, config.entropy.clone()));
            let own = scope.spawn(|| authority.keep("server", &own));
            let to_nodes = scope.spawn(|| authority.keep("kubelet-client", &to_nodes));
            let admin = scope.spawn(|| authority.keep("admin", &admin()));
            let store = open_store(&config);
            (joined(tokens), joined(own), joined(to_nodes), joined(admin), store)
        });
        admin?;
        let (tokens, store) = (tokens?, Arc::new(store?));
        let (serving, at_nodes) = (Presented::new(&own_pair?)?, Presented::new(&nodes_pair?)?);
        let kept = [("server", own, &serving), ("kubelet-client", to_nodes, &at_nodes)];
        let kept = kept.map(|(file, subject, shown)| Kept { file: file.into(), subject, shown: shown.clone() });
        let at_nodes = |trust| wire::tls::client(trust, Some(at_nodes.clone()), &[]);
        let node_tls = at_nodes(wire::Trust::Holders(authority.certificate()))?;
        let any_node_tls = at_nodes(wire::Trust::Anybody)?;
        let server = Server(Arc::new(Inner {
            snapshot: Snapshot::new(store.clone()),
            authorizer: authorize::Authorizer::new(&store),
            classes: admission::classes(&store),
            parts: component_status::Parts::default(),
            figures: figures::Figures::default(),
            allocations: allocations::Allocations::new(&store),
            turns: charges::Turns::default(),
            outside: ArcSwap::default(),
            renditions: Renditions::new(),
            any_tls: wire::tls::client(wire::Trust::Anybody, None, &[])?,
            idle: nodes::Idle::default(),
            metrics: metrics::Metrics::default(),
            flow: flow::Flow::new(config.limits),
            places: wire::places::Places::new(config.limits.connections, config.limits.share),
            published: ArcSwap::from_pointee(Published::new(kinds::built_in().clone())),
            seeded: OnceLock::new(),
            stopped: tokio::sync::watch::Sender::new(false),
            config,
            store,
            tokens,
            authority,
            serving,
            kept: kept.into(),
            own_nodes: Mutex::default(),
            node_tls,
            any_node_tls,
        }));
        seed::seed(&server).await.map_err(io::Error::other)?;
        server.0.seeded.get_or_init(|| ());
        Ok(server)
    }

    /// Serves HTTPS on a listener until `shutdown` ends; then watches end and requests finish.
    pub async fn serve(&self, listener: tokio::net::TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        listen::listen(self, listener, shutdown).await
    }

    /// Serves one request inside the process. Lists and watches are handed over as Objects, unless
    /// the request asks for another form (a Table, YAML). It is counted as those from outside are.
    pub async fn handle(&self, identity: &Identity, request: http::Request<bytes::Bytes>) -> Response {
        let (verb, resource) = listen::labels(self, &request);
        let (mut head, body) = request.into_parts();
        let outcome = request::from_inside(self, identity, &mut head, body).await;
        let response = outcome.local(self).await;
        self.0.metrics.count(verb, resource, response.status.as_u16());
        response
    }

    /// The identity of one of our own parts; nobody else can make one.
    pub fn internal(&self, component: Component) -> Identity {
        Identity::component(component)
    }

    /// The authority itself: for the controllers in this process, which sign what was approved.
    pub fn authority_pair(&self) -> wire::Pair {
        self.0.authority.pair()
    }

    /// Whether an identity may do what it asks.
    pub fn may(&self, identity: &Identity, asked: &Attributes) -> bool {
        self.0.authorizer.decide(identity, asked).is_allowed()
    }

    /// The authority's certificate (PEM): what clients and nodes trust.
    pub fn authority(&self) -> &str {
        self.0.authority.certificate()
    }

    /// An administrator's kubeconfig for a server URL, with its certificate embedded.
    pub fn kubeconfig(&self, url: &str, context: &str) -> io::Result<String> {
        let pair = self.0.authority.keep("admin", &admin())?;
        Ok(join::kubeconfig(url, context, self.authority(), &pair))
    }

    /// The first certificate of a node of this process, with its key: for a client, and for these `hosts` (names and
    /// addresses of the node). Kept under `data_dir/pki`; its agent asks for those that follow.
    pub fn node_pair(&self, node: &str, hosts: Vec<String>) -> io::Result<wire::Pair> {
        let subject = Subject::new(&format!("{}{node}", identity::NODE_PREFIX), &[identity::NODES], hosts);
        let pair = self.0.authority.keep(&format!("node-{node}"), &subject)?;
        self.0.own_nodes.lock().unwrap_or_else(PoisonError::into_inner).insert(node.into());
        Ok(pair)
    }

    /// Whether the node is a part of this process.
    pub(crate) fn is_node_of_this_process(&self, node: &str) -> bool {
        self.0.own_nodes.lock().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    /// Whether the certificate of a node may name a host, for whoever approves it.
    pub fn may_bear(&self) -> MayBear {
        let server = self.clone();
        Arc::new(move |node, host| join::bears(&server, node, host))
    }

    /// A new token that nodes join with (`agent --token-file`): the authority's fingerprint and a bootstrap
    /// token, which ends after `lifetime`.
    pub async fn join_token(&self, lifetime: jiff::SignedDuration) -> Result<JoinToken, Status> {
        join::token(self, lifetime).await
    }

    /// A sign of life for a part beside the server (`scheduler`, `controller-manager`) to hold as long as it runs.
    pub fn part(&self, name: &'static str) -> Arc<()> {
        self.0.parts.begin(name)
    }

    /// The newest revision of the store.
    pub fn revision(&self) -> u64 {
        self.0.store.revision().0
    }

    /// RFC 3339, whole seconds.
    pub(crate) fn now(&self) -> String {
        api::seconds((self.0.config.clock)())
    }

    pub(crate) fn authorize(&self, identity: &Identity, asked: &Attributes) -> Result<(), Status> {
        match self.0.authorizer.decide(identity, asked) {
            authorize::Decision::Allow(_) => Ok(()),
            authorize::Decision::Deny(why) => Err(authorize::refusal(identity, asked, &why)),
        }
    }
}

/// A write under the server's own name.
pub(crate) async fn own_write(
    server: &Server,
    method: http::Method,
    path: &str,
    object: serde_json::Value,
) -> Result<(), Status> {
    // A patch of the server's own is an apply.
    let media = if method == http::Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
    let request = http::Request::builder().method(method).uri(path).header("user-agent", "kube-apiserver/1.37");
    let request = request.header("content-type", media);
    let body = if object.is_null() { String::new() } else { object.to_string() };
    let request = request.body(body.into()).map_err(|e| Status::internal(e.to_string()))?;
    let response = server.handle(&Identity::component(Component::Admin), request).await;
    if response.status.is_success() {
        return Ok(());
    }
    let text = match response.body {
        Body::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        _ => String::new(),
    };
    Err(Status::internal(format!("{path}: {text}")))
}

/// Whom the administrator's certificate names.
fn admin() -> Subject {
    Subject::new("kubernetes-admin", &[identity::MASTERS], Vec::new())
}

fn open_store(config: &Config) -> io::Result<Store> {
    let clock = config.clock.clone();
    let options = store::Options::new(Arc::new(move || {
        let now = clock();
        Duration::from_millis(u64::try_from(now.as_millisecond()).unwrap_or_default())
    }));
    let backend =
        config.backend.clone().unwrap_or(Backend::Embedded { dir: config.data_dir.join("store"), accept_loss: false });
    Store::open(backend, options).map_err(io::Error::other)
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread that makes certificates panicked")))
}

/// What pods know the server by: the names and the address of its Service.
fn names_of_service(config: &Config) -> Vec<String> {
    let kubernetes = "kubernetes.default.svc.cluster.local";
    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", kubernetes].map(String::from);
    let address = addresses::first_of(&config.service_cidr).map(|a| a.to_string());
    names.into_iter().chain(address).collect()
}

/// All that the serving certificate must name.
fn hosts(config: &Config) -> Vec<String> {
    let mut hosts = names_of_service(config);
    hosts.push("localhost".into());
    let local = addresses::local().into_iter().chain([config.advertise.ip()]);
    hosts.extend(local.filter(|a| !a.is_unspecified()).map(|a| a.to_string()));
    // A host name that is no DNS name cannot stand in a certificate.
    hosts.extend([addresses::hostname()].into_iter().filter(|n| api::names::dns_subdomain(n).is_empty()));
    hosts.extend(config.names.iter().cloned());
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests;
