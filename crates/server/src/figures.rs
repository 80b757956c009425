//! What nodes and pods use: asked of the nodes when somebody asks, and kept as long as it is fresh.
//!
//! metrics-server's part (its pkg/scraper, pkg/storage, pkg/api) without its clock: nothing is asked while nobody asks,
//! so that an idle cluster stays silent (docs/decisions/figures). A rate needs two looks; who asks for the first time
//! in a while waits for a short window. Law: of a pod only its own node's word counts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use api::quantity::{Format, Quantity};
use api::{Object, Status, tree};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Entry, Revision};
use tokio::time::Instant;

use crate::answer::Body;
use crate::filter::Filter;
use crate::nodes::{self, Outgoing};
use crate::rendition::Rendition;
use crate::sought::Sought;
use crate::{Server, records};

/// What a node says, read.
mod read;
#[cfg(test)]
mod tests;
/// Of two looks, what was used between them.
mod usage;

use read::{Look, Place};
use usage::Used;

/// Younger looks are answered with as they are: an autoscaler that asks every 15 seconds always gets a new one.
const FRESH: Duration = Duration::from_secs(10);
/// From an older one no window begins (metrics-server's own period, if it is told none).
const STALE: Duration = Duration::from_secs(60);
/// The window where none has begun.
const SHORT: Duration = Duration::from_secs(1);
/// How long a node is waited for (metrics-server --kubelet-request-timeout).
const PATIENCE: Duration = Duration::from_secs(10);
/// What a node can say at most.
const TEXT_MAX: usize = 2 << 20;
/// Nodes that are asked at once.
const AT_ONCE: usize = 64;

/// What each node last said.
#[derive(Default)]
pub struct Figures(Mutex<HashMap<String, Arc<tokio::sync::Mutex<Kept>>>>);

/// One who looks at a node; others wait and see what they saw.
#[derive(Default)]
struct Kept {
    /// When it was last asked, whether or not anybody waited for what it says.
    asked: Option<Instant>,
    looks: Arc<Looks>,
}

/// The last two looks at a node; none is there that failed.
#[derive(Default)]
struct Looks {
    before: Option<Look>,
    last: Option<Look>,
    /// When the last was taken.
    at: Option<Instant>,
}

impl Looks {
    /// Whether a window can begin at the last.
    fn is_young(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() <= STALE)
    }
}

/// What of a pod decides whether it has figures.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Seen {
    spec: Spec,
    status: PodStatus,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodStatus {
    phase: String,
}

/// PodMetrics of pods that run (pkg/api/pod.go).
pub async fn pods(sought: Sought<'_>, filter: &Filter) -> Vec<Entry> {
    let (server, snapshot) = (sought.server, &sought.server.0.snapshot);
    let all = match sought.name {
        "" => snapshot.all("pods", sought.namespace),
        name => snapshot.entry("pods", sought.namespace, name).into_iter().collect(),
    };
    let running = passing(all, filter).filter_map(|pod| {
        let Seen { spec, status } = pod.view().unwrap_or_default();
        (status.phase == "Running" && !spec.node_name.is_empty()).then_some((pod, spec.node_name))
    });
    let running: Vec<(Object, String)> = running.collect();
    let looks = looks(server, running.iter().map(|(_, node)| node.clone()).collect()).await;
    let tell = |(pod, node): &(Object, String)| {
        let (looks, meta) = (looks.get(node)?, pod.meta());
        let place = (meta.namespace.clone(), meta.name.clone());
        let (last, before) = (looks.last.as_ref()?, looks.before.as_ref());
        let containers = usage::of_pod(before.and_then(|look| look.pods.get(&place)), last.pods.get(&place)?)?;
        let earliest = containers.iter().map(|(_, used)| used).min_by_key(|used| used.at)?;
        let mut told = told(server, sought, pod, earliest)?;
        let container = |(name, used): &(&str, Used)| json!({"name": name, "usage": amounts(used)});
        told["containers"] = containers.iter().map(container).collect();
        Some(entry(sought, pod, &told))
    };
    running.iter().filter_map(tell).collect()
}

/// NodeMetrics (pkg/api/node.go).
pub async fn nodes(sought: Sought<'_>, filter: &Filter) -> Vec<Entry> {
    let (server, snapshot) = (sought.server, &sought.server.0.snapshot);
    let all = match sought.name {
        "" => snapshot.all("nodes", ""),
        name => snapshot.entry("nodes", "", name).into_iter().collect(),
    };
    let all: Vec<Object> = passing(all, filter).collect();
    let looks = looks(server, all.iter().map(|node| node.meta().name.clone()).collect()).await;
    let tell = |node: &Object| {
        let looks = looks.get(&node.meta().name)?;
        let before = looks.before.as_ref().and_then(|look| look.node.as_ref());
        let used = usage::between(before, looks.last.as_ref()?.node.as_ref()?)?;
        let mut told = told(server, sought, node, &used)?;
        told["usage"] = amounts(&used);
        Some(entry(sought, node, &told))
    };
    all.iter().filter_map(tell).collect()
}

/// `podmetrics.metrics.k8s.io "n/p" not found`, or what is said of a pod that is not there.
pub fn unknown_pod(sought: Sought<'_>) -> Status {
    let (namespace, name) = (sought.namespace, sought.name);
    match sought.server.0.snapshot.entry("pods", namespace, name) {
        None => Status::not_found("", "pods", name),
        Some(_) => Status::not_found("metrics.k8s.io", "podmetrics", &format!("{namespace}/{name}")),
    }
}

/// `nodemetrics.metrics.k8s.io "n" not found`, or what is said of a node that is not there.
pub fn unknown_node(sought: Sought<'_>) -> Status {
    match sought.server.0.snapshot.entry("nodes", "", sought.name) {
        None => Status::not_found("", "nodes", sought.name),
        Some(_) => Status::not_found("metrics.k8s.io", "nodemetrics", sought.name),
    }
}

/// The objects whose figures are asked for: a filter passes figures for the labels and names of what they are of.
fn passing(all: Vec<Entry>, filter: &Filter) -> impl Iterator<Item = Object> {
    all.into_iter().map(Rendition::new).filter(|one| filter.passes(one)).filter_map(|one| one.object().cloned())
}

/// The head of figures, or nothing where a node's clock cannot be told.
fn told(server: &Server, sought: Sought<'_>, of: &Object, used: &Used) -> Option<Value> {
    let at = api::seconds(Timestamp::from_millisecond(used.at).ok()?);
    let meta = of.meta();
    let mut metadata = json!({"name": meta.name, "creationTimestamp": server.now()});
    if !meta.namespace.is_empty() {
        metadata["namespace"] = json!(meta.namespace);
    }
    if meta.labels.iter().len() > 0 {
        metadata["labels"] = meta.labels.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    }
    let window = api::proto::duration(used.window.saturating_mul(1_000_000));
    Some(json!({"kind": sought.kind().kind, "apiVersion": sought.served.api_version(), "metadata": metadata,
        "timestamp": at, "window": window}))
}

fn amounts(used: &Used) -> Value {
    let memory = Quantity::from_units(i64::try_from(used.memory).unwrap_or(i64::MAX), Format::BinarySi);
    let cpu = Quantity::parse(&format!("{}n", used.cpu)).unwrap_or(Quantity::ZERO);
    json!({"cpu": cpu.to_string(), "memory": memory.to_string()})
}

fn entry(sought: Sought<'_>, of: &Object, told: &Value) -> Entry {
    let key = records::key(sought.kind(), &of.meta().namespace, &of.meta().name);
    Entry { key, revision: Revision(0), created: Revision(0), bytes: told.to_string().into() }
}

/// Fresh looks at these nodes, each asked at most once; those that do not answer have none.
async fn looks(server: &Server, names: BTreeSet<String>) -> BTreeMap<String, Arc<Looks>> {
    let kept: Vec<_> = {
        let mut all = server.0.figures.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| server.0.snapshot.entry("nodes", "", name).is_some());
        names.iter().map(|name| (all.entry(name.clone()).or_default().clone(), name.clone())).collect()
    };
    let (own, nobody) = (OnceLock::new(), HashSet::new());
    let (own, names, nobody) = (&own, &names, &nobody);
    let one = async move |(kept, name): (Arc<tokio::sync::Mutex<Kept>>, String)| {
        let mut kept = kept.lock().await;
        if kept.asked.is_none_or(|asked| asked.elapsed() >= FRESH) {
            // Of who goes away while it is asked, the next ones shall not wait as long again.
            kept.asked = Some(Instant::now());
            if !kept.looks.is_young() {
                kept.looks = Arc::default();
            }
            let own = own.get_or_init(|| bound(server, names)).get(&name).unwrap_or(nobody);
            let after = tokio::time::timeout(PATIENCE, again(server, &name, own, &kept.looks)).await;
            kept.looks = match after {
                Ok(Ok(looks)) => looks,
                Ok(Err(why)) => {
                    tracing::debug!(node = name, "it does not say what is used: {why}");
                    Arc::default()
                }
                Err(_) => {
                    tracing::debug!(node = name, "it does not say in time what is used");
                    Arc::default()
                }
            };
            kept.asked = Some(Instant::now());
        }
        (name, kept.looks.clone())
    };
    futures::stream::iter(kept).map(one).buffer_unordered(AT_ONCE).collect().await
}

/// The pods bound to each of these nodes.
fn bound(server: &Server, nodes: &BTreeSet<String>) -> HashMap<String, HashSet<Place>> {
    let mut all: HashMap<String, HashSet<Place>> = HashMap::new();
    for entry in server.0.snapshot.all("pods", "") {
        let pod = Rendition::new(entry);
        let Some(pod) = pod.object() else { continue };
        let Seen { spec, .. } = pod.view().unwrap_or_default();
        if nodes.contains(&spec.node_name) {
            let place = (pod.meta().namespace.clone(), pod.meta().name.clone());
            all.entry(spec.node_name).or_default().insert(place);
        }
    }
    all
}

/// The next look; where there is none to begin a window with, two.
async fn again(server: &Server, node: &str, own: &HashSet<Place>, looks: &Looks) -> Result<Arc<Looks>, Status> {
    let value = server.0.snapshot.value("nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    let conditions = tree::list(&value, "status.conditions");
    // Its lease is over (node lifecycle): who asks for others shall not wait for it.
    if conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "Unknown") {
        return Err(Status::internal("nothing is heard of it"));
    }
    let next = look(server, node, own).await?;
    let (before, last) = match looks.last.clone().filter(|_| looks.is_young()) {
        Some(before) => (before, next),
        None => {
            tokio::time::sleep(SHORT).await;
            (next, look(server, node, own).await?)
        }
    };
    Ok(Arc::new(Looks { before: Some(before), last: Some(last), at: Some(Instant::now()) }))
}

async fn look(server: &Server, node: &str, own: &HashSet<Place>) -> Result<Look, Status> {
    let (method, path, headers) = (Method::GET, "/metrics/resource".to_owned(), HeaderMap::new());
    let outgoing = Outgoing { method, path, query: Vec::new(), headers, body: Bytes::new(), unverified: false };
    let response = nodes::send(server, node, outgoing, false).await?;
    if !response.status.is_success() {
        return Err(Status::internal(format!("it answers with {}", response.status)));
    }
    Ok(read::look(&text(response.body).await?, own, (server.0.config.clock)()))
}

async fn text(body: Body) -> Result<String, Status> {
    let broken = |why: &dyn std::fmt::Display| Status::internal(format!("its answer cannot be read: {why}"));
    match nodes::start_of(body, TEXT_MAX).await {
        (_, Some(why)) => Err(broken(&why)),
        (all, None) if all.len() > TEXT_MAX => Err(broken(&"it has no end")),
        (all, None) => String::from_utf8(all).map_err(|why| broken(&why)),
    }
}
