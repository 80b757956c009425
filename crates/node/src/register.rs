//! The Node object: made, kept true, and its lease renewed.
//!
//! One POST carries the whole status where the server keeps it, so a node is Ready with its first
//! write. Later the status is written when it changes, and every five minutes. Upstream:
//! kubelet_node_status.go, nodestatus/setters.go, component-helpers lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::view as core;
use api::{Object, Reason, Resource};
use client::leases::{LeaseConfig, renew};
use client::recorder::Type;
use client::{Cache, ObjectReference, PatchKind, Scope};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::admit::Offer;
use crate::config::Config;
use crate::pressure::Condition;
use crate::shared::Shared;

/// Whether the node is ready.
mod health;
/// What a node has and offers, as quantities.
mod resources;
/// The status as a tree.
mod status;

pub use resources::first_offer;

const HEARTBEAT: Duration = Duration::from_secs(300);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(7);
/// A node that has no range for so long is not ready.
const RANGE_PATIENCE: Duration = Duration::from_secs(2);
const LEASE: Duration = Duration::from_secs(40);
const LEASE_PERIOD: Duration = Duration::from_secs(10);

/// Registers the node and keeps its object true, for ever.
pub async fn keep(shared: Arc<Shared>) {
    let kind = &*api::resource::NODES;
    event(&shared, Type::Normal, "Starting", "Starting kubelet.");
    let mut node = register(&shared, kind).await;
    say_ready(&shared);
    tokio::spawn(health::keep(shared.clone()));
    tokio::spawn(keep_lease(shared.clone(), node.meta().uid.clone()));
    let name = shared.config.node_name.clone();
    let scope = Scope { field_selector: format!("metadata.name={name}"), ..Scope::default() };
    let cache = Cache::start(shared.client.clone(), kind, scope);
    let mut changes = cache.subscribe();
    let mut due = tokio::time::Instant::now() + HEARTBEAT;
    let mut trouble = shared.network.trouble();
    let mut late = trouble.borrow().is_some().then(|| tokio::time::Instant::now() + RANGE_PATIENCE);
    let mut was_given = false;
    let mut is_open = open_network(&shared, &node, &mut was_given).await;
    loop {
        offer(&shared, &node);
        if !is_open {
            due = due.min(tokio::time::Instant::now() + RETRY_MAX);
        }
        let heartbeat = tokio::select! {
            biased;
            change = changes.next() => {
                match change.map(|c| c.new) {
                    Some(Some(newer)) => node = newer,
                    // Somebody deleted it; a node that lives comes back.
                    Some(None) if cache.is_synced() => node = register(&shared, kind).await,
                    _ => {}
                }
                false
            }
            () = shared.standing.changed() => false,
            Ok(()) = trouble.changed() => false,
            () = tokio::time::sleep_until(late.unwrap_or(due)), if late.is_some() => {
                late = None;
                shared.standing.set_network_is_late();
                false
            }
            () = tokio::time::sleep_until(due) => true,
        };
        is_open = open_network(&shared, &node, &mut was_given).await;
        match refresh(&shared, kind, &node, heartbeat).await {
            Ok(Some(written)) => {
                node = written;
                due = tokio::time::Instant::now() + HEARTBEAT;
            }
            Ok(None) => {}
            Err(why) => {
                tracing::warn!("the node's status is not taken: {why}");
                due = tokio::time::Instant::now() + RETRY_MAX;
            }
        }
    }
}

/// The pod network has the ranges that the server gave the node. False: it is to be tried again.
/// `was_given`: since this agent began.
async fn open_network(shared: &Shared, node: &Object, was_given: &mut bool) -> bool {
    let spec = node.view::<core::Node>().ok().and_then(|node| node.spec);
    let ranges = spec.and_then(|spec| spec.pod_cidrs).unwrap_or_default();
    let ranges: Vec<IpNet> = ranges.iter().filter_map(|range| range.parse().ok()).collect();
    // Where it gives none, the node has its own.
    let is_late = || shared.standing.network_is_late() && shared.network.trouble().borrow().is_some();
    let own = || shared.config.pod_cidr.filter(|_| is_late());
    *was_given |= !ranges.is_empty();
    let ranges = if ranges.is_empty() { own().into_iter().collect() } else { ranges };
    // What it had before it was deleted may be another node's by now; what an earlier run left it keeps,
    // until the server says more.
    if ranges.is_empty() && !*was_given {
        return true;
    }
    let opened = shared.network.open(&ranges).await;
    if let Err(why) = &opened {
        shared.standing.set_network_is_late();
        tracing::error!("the pod network: {why}");
    }
    opened.is_ok()
}

/// Until the server has the Node object; says so if the machine was rebooted since it had it last.
async fn register(shared: &Arc<Shared>, kind: &'static Resource) -> Object {
    let mut pause = RETRY_MIN;
    loop {
        match try_register(shared, kind).await {
            Ok(node) => return node,
            Err(why) => {
                tracing::debug!("the node is not registered yet: {why}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn try_register(shared: &Arc<Shared>, kind: &'static Resource) -> Result<Object, api::Status> {
    let config = &shared.config;
    let status = status::status(shared, None).await;
    let body = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": config.node_name,
            "labels": labels(config),
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec(config),
        "status": status,
    });
    let node = match shared.client.create(kind, "", &body).await {
        Ok(node) => node,
        Err(status) if status.reason == Reason::AlreadyExists => adopt(shared, kind).await?,
        Err(status) => return Err(status),
    };
    // The status goes through its own door where the first write did not take it.
    Ok(refresh(shared, kind, &node, false).await?.unwrap_or(node))
}

/// The object of an earlier run: its labels are brought up to date, its boot id compared.
async fn adopt(shared: &Arc<Shared>, kind: &'static Resource) -> Result<Object, api::Status> {
    let config = &shared.config;
    let node = shared.client.get(kind, "", &config.node_name).await?;
    let view = node.view::<core::Node>().unwrap_or_default();
    let before = view.status.and_then(|s| s.node_info).map(|i| i.boot_id).unwrap_or_default();
    if !before.is_empty() && before != config.machine.boot_id {
        let (name, id) = (&config.node_name, &config.machine.boot_id);
        let message = format!("Node {name} has been rebooted, boot id: {id}");
        event(shared, Type::Warning, "Rebooted", &message);
    }
    let wanted = labels(config);
    let has = |(key, value): (&String, &Value)| node.meta().labels.get(key) == value.as_str();
    if wanted.as_object().into_iter().flatten().all(has) {
        return Ok(node);
    }
    let patch = json!({"metadata": {"labels": wanted}});
    shared.client.patch(kind, "", &config.node_name, "", PatchKind::Merge, &patch).await
}

/// Writes the status if it differs, or as a heartbeat. Taints are the node lifecycle controller's.
async fn refresh(
    shared: &Arc<Shared>,
    kind: &'static Resource,
    node: &Object,
    heartbeat: bool,
) -> Result<Option<Object>, api::Status> {
    let name = &shared.config.node_name;
    let tree = node.value();
    let wanted = status::status(shared, Some(&tree["status"])).await;
    if !heartbeat && status::is_same(&tree["status"], &wanted) {
        return Ok(None);
    }
    let mut patch = json!({"status": wanted});
    // Addresses merge by type, so that the second of a type would overwrite the first: the list is replaced as a whole
    // (staging component-helpers/node/util/status.go does the same).
    if let Some(addresses) = patch["status"]["addresses"].as_array_mut() {
        addresses.insert(0, json!({"$patch": "replace"}));
    }
    shared.client.patch(kind, "", name, "status", PatchKind::Strategic, &patch).await.map(Some)
}

fn labels(config: &Config) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": config.machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": config.machine.architecture,
    });
    for (key, value) in &config.labels {
        labels[key] = json!(value);
    }
    labels
}

fn spec(config: &Config) -> Value {
    let mut spec = json!({});
    if !config.taints.is_empty() {
        spec["taints"] = json!(config.taints);
    }
    spec
}

/// What the checks of admission know of this node from now on.
fn offer(shared: &Shared, node: &Object) {
    let taints = node.view::<core::Node>().ok().and_then(|n| n.spec?.taints).unwrap_or_default();
    let labels = BTreeMap::from(&node.meta().labels);
    shared.promises.set_offer(Offer { labels, taints, ..first_offer(&shared.config) });
}

async fn keep_lease(shared: Arc<Shared>, uid: String) {
    let name = shared.config.node_name.clone();
    let config = LeaseConfig {
        namespace: "kube-node-lease".into(),
        name: name.clone(),
        holder: name.clone(),
        duration: LEASE,
        period: LEASE_PERIOD,
        owners: vec![json!({"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid})],
    };
    // Behind statuses that wait for a slow server it would be late, and the node held for lost.
    renew(&shared.client.clone().at_once(), &shared.config.clock, &config).await
}

fn say_ready(shared: &Shared) {
    let name = &shared.config.node_name;
    // What is short was told by who saw it.
    let short = shared.standing.conditions();
    for condition in Condition::ALL.iter().filter(|c| !short.contains(c)) {
        let reason = condition.told(false).0.replacen("Kubelet", "Node", 1);
        event(shared, Type::Normal, &reason, &format!("Node {name} status is now: {reason}"));
    }
    let message = "Updated Node Allocatable limit across pods";
    event(shared, Type::Normal, "NodeAllocatableEnforced", message);
    event(shared, Type::Normal, "NodeReady", &format!("Node {name} status is now: NodeReady"));
}

/// Events of a node carry its name as UID, as a kubelet's do.
pub(crate) fn event(shared: &Shared, class: Type, reason: &str, message: &str) {
    shared.recorder.event(reference(&shared.config.node_name), "", class, reason, message);
}

pub(crate) fn reference(node: &str) -> ObjectReference {
    ObjectReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        uid: node.into(),
        name: node.into(),
        ..ObjectReference::default()
    }
}
