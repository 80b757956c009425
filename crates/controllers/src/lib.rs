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

/// Secrets that hold an account's token.
mod account_tokens;
/// Requests to sign: which are approved, what is signed, how long they stay.
mod certificates;
/// Which of them run.
mod chosen;
/// A Job for each time of a schedule.
mod cron_job;
/// A pod on each node that fits.
mod daemon_set;
/// A ReplicaSet for each template, of which the newest takes over.
mod deployment;
/// How many pods of an application may be evicted now.
mod disruption;
/// The pods of a Service, in slices.
mod endpoint_slices;
/// The pods of a Service, in the older form.
mod endpoints;
/// What every namespace holds from its first moment.
mod essentials;
/// Objects whose owners are gone.
mod garbage;
/// How many pods there shall be, by what they use.
mod horizontal;
/// Pods run until so many have succeeded.
mod job;
/// Addresses for services of type LoadBalancer.
mod load_balancer;
/// Endpoints that others write, in slices.
mod mirroring;
/// A namespace that ends is emptied, then let go.
mod namespace;
/// Taints and conditions of nodes: what is heard of them, and what no longer is.
mod node_lifecycle;
/// Each node gets its ranges of pod addresses.
mod nodeipam;
/// Pods that nobody will ever report on again.
mod pod_collection;
/// As many pods as there shall be.
mod replicas;
/// What is used of quotas.
mod resource_quota;
/// ClusterRoles that are gathered of others.
mod role_aggregation;
/// Ranges of services' addresses.
mod service_cidr;
/// What services hold is as it should be.
mod service_repair;
/// Services, and the pods behind them.
mod services;
/// Pods with names of their own, one after the other.
mod stateful_set;
/// Storage that is used does not go.
mod storage_protection;
/// Pods that do not tolerate their node any longer.
mod taint_eviction;
/// Finished Jobs go when their time is over.
mod ttl_after_finished;
/// What all controllers of pods share.
mod workload;

pub use chosen::Chosen;
pub use load_balancer::AddressPool;
pub use node_lifecycle::NodeMonitor;
pub use nodeipam::NodeRange;

/// Of a node's name, and a name or address.
pub type MayBear = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What the controllers need to know.
#[derive(Clone)]
pub struct Config {
    /// The certificate of the cluster's authority (PEM), for every namespace's `kube-root-ca.crt`.
    pub authority: String,
    /// Its key (PEM), with which the signers of `kubernetes.io` sign; empty: they do not.
    pub authority_key: String,
    /// Whether the serving certificate of a node may name a host, if that is what its Node says.
    pub may_bear: MayBear,
    /// What nodes' ranges are cut from, at most one a family; none: nodes bring their own.
    pub node_ranges: Vec<NodeRange>,
    /// No node gets addresses of it.
    pub service_range: Option<ipnet::IpNet>,
    /// The first and last port of nodes that services may have.
    pub node_ports: (u16, u16),
    /// What load balancers have their addresses of; none: they have those of the nodes.
    pub load_balancer_pool: Vec<AddressPool>,
    /// How failing nodes are found, and how fast their pods are driven away.
    pub node_monitor: NodeMonitor,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// One controller: a loop that runs until it is dropped.
pub struct Controller {
    /// Upstream's (cmd/kube-controller-manager/names), where it does the same.
    pub name: &'static str,
    /// Whose rights it has: an account of kube-system, which the role `system:controller:ACCOUNT` is bound to. Empty:
    /// those of `system:kube-controller-manager`.
    pub account: &'static str,
    run: fn(Arc<Parts>) -> Loop,
}

type Loop = Pin<Box<dyn Future<Output = ()> + Send>>;

pub static CONTROLLERS: &[Controller] = &[
    Controller {
        name: "serviceaccount-controller",
        account: "service-account-controller",
        run: |parts| Box::pin(essentials::accounts(parts)),
    },
    Controller {
        name: "root-ca-certificate-publisher-controller",
        account: "root-ca-cert-publisher",
        run: |parts| Box::pin(essentials::authority(parts)),
    },
    Controller {
        name: "serviceaccount-token-controller",
        account: "",
        run: |parts| Box::pin(account_tokens::run(parts)),
    },
    Controller {
        name: "node-lifecycle-controller",
        account: "node-controller",
        run: |parts| Box::pin(node_lifecycle::run(parts)),
    },
    Controller {
        name: "node-ipam-controller",
        account: "node-controller",
        run: |parts| Box::pin(nodeipam::run(parts)),
    },
    Controller {
        name: "namespace-controller",
        account: "namespace-controller",
        run: |parts| Box::pin(namespace::run(parts)),
    },
    Controller {
        name: "taint-eviction-controller",
        account: "node-controller",
        run: |parts| Box::pin(taint_eviction::run(parts)),
    },
    Controller {
        name: "pod-garbage-collector-controller",
        account: "pod-garbage-collector",
        run: |parts| Box::pin(pod_collection::run(parts)),
    },
    Controller {
        name: "resourcequota-controller",
        account: "resourcequota-controller",
        run: |parts| Box::pin(resource_quota::run(parts)),
    },
    Controller {
        name: "disruption-controller",
        account: "disruption-controller",
        run: |parts| Box::pin(disruption::run(parts)),
    },
    Controller {
        name: "persistentvolumeclaim-protection-controller",
        account: "pvc-protection-controller",
        run: |parts| Box::pin(storage_protection::claims(parts)),
    },
    Controller {
        name: "persistentvolume-protection-controller",
        account: "pv-protection-controller",
        run: |parts| Box::pin(storage_protection::volumes(parts)),
    },
    Controller {
        name: "volumeattributesclass-protection-controller",
        account: "volumeattributesclass-protection-controller",
        run: |parts| Box::pin(storage_protection::classes(parts)),
    },
    Controller {
        name: "certificatesigningrequest-approving-controller",
        account: "certificate-controller",
        run: |parts| Box::pin(certificates::approver::run(parts)),
    },
    Controller {
        name: "certificatesigningrequest-signing-controller",
        account: "certificate-controller",
        run: |parts| Box::pin(certificates::signer::run(parts)),
    },
    Controller {
        name: "certificatesigningrequest-cleaner-controller",
        account: "certificate-controller",
        run: |parts| Box::pin(certificates::cleaner::requests(parts)),
    },
    Controller {
        name: "podcertificaterequest-cleaner-controller",
        account: "podcertificaterequestcleaner",
        run: |parts| Box::pin(certificates::cleaner::of_pods(parts)),
    },
    Controller {
        name: "kube-apiserver-serving-clustertrustbundle-publisher-controller",
        account: "kube-apiserver-serving-clustertrustbundle-publisher",
        run: |parts| Box::pin(certificates::publisher::run(parts)),
    },
    Controller {
        name: "service-cidr-controller",
        account: "service-cidrs-controller",
        run: |parts| Box::pin(service_cidr::run(parts)),
    },
    // Of upstream's server.
    Controller {
        name: "service-repair-controller",
        account: "service-repair-controller",
        run: |parts| Box::pin(service_repair::run(parts)),
    },
    // Of clouds.
    Controller {
        name: "service-lb-controller",
        account: "service-controller",
        run: |parts| Box::pin(load_balancer::run(parts)),
    },
    Controller {
        name: "daemonset-controller",
        account: "daemon-set-controller",
        run: |parts| Box::pin(daemon_set::run(parts)),
    },
    Controller {
        name: "deployment-controller",
        account: "deployment-controller",
        run: |parts| Box::pin(deployment::run(parts)),
    },
    Controller {
        name: "replicaset-controller",
        account: "replicaset-controller",
        run: |parts| Box::pin(replicas::sets(parts)),
    },
    Controller {
        name: "replicationcontroller-controller",
        account: "replication-controller",
        run: |parts| Box::pin(replicas::controllers(parts)),
    },
    Controller {
        name: "horizontal-pod-autoscaler-controller",
        account: "horizontal-pod-autoscaler",
        run: |parts| Box::pin(horizontal::run(parts)),
    },
    Controller {
        name: "cronjob-controller",
        account: "cronjob-controller",
        run: |parts| Box::pin(cron_job::run(parts)),
    },
    Controller { name: "job-controller", account: "job-controller", run: |parts| Box::pin(job::run(parts)) },
    Controller {
        name: "ttl-after-finished-controller",
        account: "ttl-after-finished-controller",
        run: |parts| Box::pin(ttl_after_finished::run(parts)),
    },
    Controller {
        name: "statefulset-controller",
        account: "statefulset-controller",
        run: |parts| Box::pin(stateful_set::run(parts)),
    },
    Controller {
        name: "endpoints-controller",
        account: "endpoint-controller",
        run: |parts| Box::pin(endpoints::run(parts)),
    },
    Controller {
        name: "endpointslice-controller",
        account: "endpointslice-controller",
        run: |parts| Box::pin(endpoint_slices::run(parts)),
    },
    Controller {
        name: "endpointslice-mirroring-controller",
        account: "endpointslicemirroring-controller",
        run: |parts| Box::pin(mirroring::run(parts)),
    },
    Controller {
        name: "garbage-collector-controller",
        account: "generic-garbage-collector",
        run: |parts| Box::pin(garbage::run(parts)),
    },
    Controller {
        name: "clusterrole-aggregation-controller",
        account: "clusterrole-aggregation-controller",
        run: |parts| Box::pin(role_aggregation::run(parts)),
    },
];

/// Resources without a cache: Events are many and nobody's dependents (cmd/kube-controller-manager,
/// garbagecollector.DefaultIgnoredResources).
const UNCACHED: &[&str] = &["events"];

/// A client with the rights of an account of kube-system; of the whole (`system:kube-controller-manager`) under the
/// empty name.
pub type Clients = Arc<dyn Fn(&str) -> Client + Send + Sync>;

/// What a controller works with: a client of its own, and what all share, one cache of each kind that somebody
/// asked for.
#[derive(Clone)]
struct Parts {
    client: Client,
    clients: Clients,
    config: Config,
    recorder: Recorder,
    resources: Resources,
    caches: Arc<Caches>,
}

/// Runs all controllers; returns when one of them ended, which none should. Dropping it ends them.
pub async fn run(clients: Clients, config: Config) {
    run_chosen(clients, config, &Chosen::default()).await;
}

/// Runs those that are chosen, of which there is one at least.
pub async fn run_chosen(clients: Clients, config: Config, chosen: &Chosen) {
    let clients: Clients = Arc::new(move |account| clients(account).named("kube-controller-manager"));
    let client = clients("");
    let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
    let recorder = Recorder::new(client.clone(), "node-controller", "", clock, entropy);
    let resources = Resources::of(&client).await;
    let caches = Arc::new(Caches::new(client.clone()));
    let parts = Parts { client, clients, config, recorder, resources, caches };
    // Spawned, so that one that computes does not hold up the others; dropped with this future.
    let mut loops = tokio::task::JoinSet::new();
    for controller in CONTROLLERS.iter().filter(|controller| chosen.has(controller.name)) {
        tracing::debug!(controller = controller.name, "starts");
        let own = Parts { client: (parts.clients)(controller.account), ..parts.clone() };
        loops.spawn((controller.run)(Arc::new(own)));
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

    /// Tells events as that component.
    fn recorder(&self, component: &str) -> Recorder {
        let (clock, entropy) = (self.config.clock.clone(), self.config.entropy.clone());
        Recorder::new(self.client.clone(), component, "", clock, entropy)
    }

    /// RFC 3339, whole seconds.
    fn now(&self) -> String {
        api::seconds((self.config.clock)())
    }
}

fn is_cached(resource: &Resource) -> bool {
    resource.can("list") && resource.can("watch") && !UNCACHED.contains(&resource.plural.as_str())
}
