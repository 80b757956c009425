//! Intent into intent: the CONTROLLERS table, one file each.
//!
//! Every controller is one reconcile loop over the shared caches: it gets a key, looks for itself,
//! decides in a pure function and writes through the API with its own identity. X never knows Y:
//! nothing here knows the server, the store or any machine.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use api::{Clock, Entropy, Resource};
use client::{Cache, Caches, Client, Recorder, Resources};
use futures::future::join_all;

/// Requests to sign: which are approved, what is signed, how long they stay.
mod certificates;
/// How many pods of an application may be evicted now.
mod disruption;
/// What every namespace holds from its first moment.
mod essentials;
/// Objects whose owners are gone.
mod garbage;
/// A namespace that ends is emptied, then let go.
mod namespace;
/// Taints and conditions of nodes: what is heard of them, and what no longer is.
mod node_lifecycle;
/// Each node gets its ranges of pod addresses.
mod nodeipam;
/// Pods that nobody will ever report on again.
mod pod_collection;
/// What is used of quotas.
mod resource_quota;
/// Storage that is used does not go.
mod storage_protection;
/// Pods that do not tolerate their node any longer.
mod taint_eviction;

pub use nodeipam::NodeRange;

/// What the controllers need to know.
#[derive(Clone)]
pub struct Config {
    /// The certificate of the cluster's authority (PEM), for every namespace's `kube-root-ca.crt`.
    pub authority: String,
    /// Its key (PEM), with which the signers of `kubernetes.io` sign; empty: they do not.
    pub authority_key: String,
    /// What nodes' ranges are cut from, at most one a family; none: nodes bring their own.
    pub node_ranges: Vec<NodeRange>,
    /// No node gets addresses of it.
    pub service_range: Option<ipnet::IpNet>,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// One controller: a loop that runs until it is dropped.
pub struct Controller {
    pub name: &'static str,
    run: fn(Arc<Parts>) -> Loop,
}

type Loop = Pin<Box<dyn Future<Output = ()> + Send>>;

pub static CONTROLLERS: &[Controller] = &[
    Controller { name: "essentials", run: |parts| Box::pin(essentials::run(parts)) },
    Controller { name: "node-lifecycle", run: |parts| Box::pin(node_lifecycle::run(parts)) },
    Controller { name: "nodeipam", run: |parts| Box::pin(nodeipam::run(parts)) },
    Controller { name: "namespace", run: |parts| Box::pin(namespace::run(parts)) },
    Controller { name: "taint-eviction", run: |parts| Box::pin(taint_eviction::run(parts)) },
    Controller { name: "resource-quota", run: |parts| Box::pin(resource_quota::run(parts)) },
    Controller { name: "disruption", run: |parts| Box::pin(disruption::run(parts)) },
    Controller { name: "pod-collection", run: |parts| Box::pin(pod_collection::run(parts)) },
    Controller { name: "storage-protection", run: |parts| Box::pin(storage_protection::run(parts)) },
    Controller { name: "csrapproving", run: |parts| Box::pin(certificates::approver::run(parts)) },
    Controller { name: "csrsigning", run: |parts| Box::pin(certificates::signer::run(parts)) },
    Controller { name: "certificate-cleaner", run: |parts| Box::pin(certificates::cleaner::run(parts)) },
    Controller { name: "trust-bundle-publisher", run: |parts| Box::pin(certificates::publisher::run(parts)) },
    Controller { name: "garbage", run: |parts| Box::pin(garbage::run(parts)) },
];

/// Resources without a cache: Events are many and nobody's dependents (cmd/kube-controller-manager,
/// garbagecollector.DefaultIgnoredResources).
const UNCACHED: &[&str] = &["events"];

/// What they share: one client, and one cache of each kind that somebody asked for.
struct Parts {
    client: Client,
    config: Config,
    recorder: Recorder,
    resources: Resources,
    caches: Caches,
}

/// Runs all controllers; returns when one of them ended, which none should. Dropping it ends them.
pub async fn run(client: Client, config: Config) {
    let client = client.named("kube-controller-manager");
    let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
    let recorder = Recorder::new(client.clone(), "node-controller", "", clock, entropy);
    let resources = Resources::of(&client).await;
    let caches = Caches::new(client.clone());
    let parts = Arc::new(Parts { client, config, recorder, resources, caches });
    // Spawned, so that one that computes does not hold up the others; dropped with this future.
    let mut loops = tokio::task::JoinSet::new();
    for controller in CONTROLLERS {
        tracing::debug!(controller = controller.name, "starts");
        loops.spawn((controller.run)(parts.clone()));
    }
    if let Some(Err(error)) = loops.join_next().await {
        tracing::error!(%error, "a controller ended");
    }
}

impl Parts {
    /// None for kinds without one.
    fn cache_of(&self, resource: &Resource) -> Option<Arc<Cache>> {
        is_cached(resource).then(|| self.cache(resource))
    }

    /// The cache of a kind that every server has.
    fn cache(&self, resource: &Resource) -> Arc<Cache> {
        let is_it = |known: &&Resource| known.group == resource.group && known.plural == resource.plural;
        // As the server names it, whoever asks first: nodes of the garbage collector are compared.
        self.caches.of(self.resources.iter().find(is_it).unwrap_or(resource))
    }

    /// Of every kind that has one.
    fn all(&self) -> Vec<Arc<Cache>> {
        let mut seen = BTreeSet::new();
        let cached = self.resources.iter().filter(|resource| is_cached(resource));
        cached.filter(|resource| seen.insert(resource.qualified())).map(|resource| self.cache(resource)).collect()
    }

    async fn synced(&self, caches: &[&Cache]) {
        join_all(caches.iter().map(|cache| cache.synced())).await;
    }

    /// RFC 3339, whole seconds.
    fn now(&self) -> String {
        (self.config.clock)().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn is_cached(resource: &Resource) -> bool {
    resource.can("list") && resource.can("watch") && !UNCACHED.contains(&resource.plural.as_str())
}
