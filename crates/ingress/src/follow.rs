//! The controller: caches into tables, addresses into statuses, troubles into events.
//!
//! Nothing listens, and nothing but classes is asked for, until there is an IngressClass of ours; on a node that joined
//! not even that until its Node bears `INGRESS_EDGE`, which it cannot give to itself. Secrets are followed one by one,
//! those that an Ingress of ours names. One look decides everything anew from what the caches show (`plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api::names::INGRESS_EDGE;
use api::resource::{INGRESS_CLASSES, INGRESSES, NODES, Named, SECRETS, SERVICES};
use api::{Clock, Entropy, Object, Reason, Resource, Status};
use client::cache::index::SERVICE;
use client::recorder::Type;
use client::{Cache, Change, Client, Key, PatchKind, Recorder, Scope};
use futures::stream::SelectAll;
use futures::{FutureExt, StreamExt};
use ipnet::IpNet;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::certificates::Certificate;
use crate::listeners::Listeners;
pub use crate::listeners::{Ports, Scheme};
use crate::plan::{self, Plan, Secret, Seen, Trouble};
use crate::proxy::Proxy;

/// Addresses in statuses, and what is read of Nodes.
mod addresses;

/// How long the first table waits for the certificates that it is to show.
const SECRETS_TIMEOUT: Duration = Duration::from_secs(2);
/// Between tries to write a status that was refused.
const RETRY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(60)];

static SLICES: Named = LazyLock::new(|| Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"));

pub struct Config {
    pub client: Client,
    /// The Node on which it runs; empty: on none, so that it serves nothing and only writes and tells.
    pub node: String,
    /// Only while the Node bears `INGRESS_EDGE`: on a node that joined.
    pub is_edge: bool,
    pub ports: Ports,
    /// Proxies before us whose `X-Forwarded-…` counts.
    pub trusted: Vec<IpNet>,
    /// Connections of clients at most.
    pub connections: usize,
    pub clock: Clock,
    pub entropy: Entropy,
}

/// Runs until it is dropped. `opened` is told each port that takes requests from then on.
pub async fn run(config: Config, opened: impl Fn(Scheme, SocketAddr) + Send + Sync) {
    if !config.is_edge {
        return classes(&config, &opened).await;
    }
    let own = Scope { field_selector: format!("metadata.name={}", config.node), ..Scope::default() };
    let node = Cache::start(config.client.clone(), &NODES, own);
    loop {
        node.until(bears_label).await;
        tokio::select! {
            () = classes(&config, &opened) => {}
            () = node.until(|node| !bears_label(node)) => {}
        }
    }
}

fn bears_label(node: &Cache) -> bool {
    node.visit(|mut nodes| Iterator::any(&mut nodes, |node| node.meta().labels.contains_key(INGRESS_EDGE)))
}

/// Serves while there is a class of ours.
async fn classes(config: &Config, opened: &(impl Fn(Scheme, SocketAddr) + Send + Sync)) {
    let classes = Cache::start(config.client.clone(), &INGRESS_CLASSES, Scope::default());
    loop {
        classes.until(|classes| !plan::classes(&classes.list()).is_empty()).await;
        let mut follow = Follow::start(config, classes.clone()).await;
        tokio::select! {
            () = follow.run(opened) => {}
            () = classes.until(|classes| plan::classes(&classes.list()).is_empty()) => {}
        }
        follow.end().await;
    }
}

/// What has changed.
enum Heard {
    Ingress,
    Class,
    Service(Key),
    Secret,
    Node,
}

type Ear = std::pin::Pin<Box<dyn futures::Stream<Item = Heard> + Send>>;

struct Follow<'a> {
    config: &'a Config,
    classes: Arc<Cache>,
    ingresses: Arc<Cache>,
    services: Arc<Cache>,
    slices: Arc<Cache>,
    nodes: Arc<Cache>,
    /// One for each Secret that is named.
    secrets: BTreeMap<Key, Arc<Cache>>,
    /// As they were read, with the version.
    read: BTreeMap<Key, (String, Secret)>,
    heard: SelectAll<Ear>,
    proxy: Arc<Proxy>,
    listeners: Listeners,
    recorder: Recorder,
    plan: Plan,
    /// Ingresses that were ours; their statuses may still have our address.
    left: BTreeSet<Key>,
    serial: usize,
    /// Ports that could not be opened, as it was told.
    closed: Vec<String>,
}

impl<'a> Follow<'a> {
    async fn start(config: &'a Config, classes: Arc<Cache>) -> Follow<'a> {
        let cache = |resource: &Resource| Cache::start(config.client.clone(), resource, Scope::default());
        let (ingresses, services) = (cache(&INGRESSES), cache(&SERVICES));
        let (slices, nodes) = (cache(&SLICES), cache(&NODES));
        for cache in [&ingresses, &services, &slices, &nodes] {
            cache.synced().await;
        }
        let mut heard: SelectAll<Ear> = SelectAll::new();
        heard.push(ear(&classes, |_| Heard::Class));
        heard.push(ear(&ingresses, |_| Heard::Ingress));
        heard.push(ear(&services, |change| Heard::Service(change.key)));
        heard.push(ear(&slices, |change| {
            // The label never changes: a slice is of one Service.
            let object = change.new.or(change.old);
            let service =
                object.and_then(|slice| Some(slice.meta().labels.get("kubernetes.io/service-name")?.to_owned()));
            Heard::Service(Key::new(&change.key.namespace, &service.unwrap_or_default()))
        }));
        heard.push(ear(&nodes, |_| Heard::Node));
        let proxy = Proxy::new(config.trusted.clone(), config.connections);
        let listeners = Listeners::new(proxy.clone(), config.ports.clone());
        let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
        let recorder = Recorder::new(config.client.clone(), "gousse-ingress", &config.node, clock, entropy);
        Follow {
            config,
            classes,
            ingresses,
            services,
            slices,
            nodes,
            secrets: BTreeMap::new(),
            read: BTreeMap::new(),
            heard,
            proxy,
            listeners,
            recorder,
            plan: Plan::default(),
            left: BTreeSet::new(),
            serial: 0,
            closed: Vec::new(),
        }
    }

    async fn run(&mut self, opened: &(impl Fn(Scheme, SocketAddr) + Send + Sync)) {
        let (mut replan, mut try_ports, mut failures) = (true, true, 0u32);
        loop {
            if replan {
                self.replan().await;
            }
            if try_ports {
                self.open(opened).await;
            }
            failures = if self.statuses(true).await { 0 } else { failures + 1 };
            // What has come meanwhile is one change.
            let pause = (failures > 0).then(|| RETRY[1].min(RETRY[0] * 2u32.saturating_pow(failures.min(16))));
            let again = async {
                match pause {
                    Some(pause) => sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            (replan, try_ports) = (false, false);
            let mut next = tokio::select! {
                heard = self.heard.next() => heard,
                () = again => None,
            };
            while let Some(heard) = next {
                match heard {
                    Heard::Ingress | Heard::Class => (replan, try_ports) = (true, true),
                    Heard::Secret => replan = true,
                    Heard::Service(key) => replan |= self.plan.services.contains(&key),
                    Heard::Node => {}
                }
                next = self.heard.next().now_or_never().flatten();
            }
        }
    }

    /// Looks at everything, and serves it from then on.
    async fn replan(&mut self) {
        let mut plan = self.look();
        if self.follow_secrets(&plan.secrets).await {
            plan = self.look();
        }
        self.proxy.replace(plan.table());
        // Once in a cluster: by the one beside the server.
        if !self.config.is_edge {
            plan.troubles.difference(&self.plan.troubles).for_each(|trouble| self.tell(trouble));
        }
        self.left.extend(self.plan.served.iter().cloned());
        self.left.retain(|key| !plan.served.contains(key));
        self.plan = plan;
    }

    fn look(&mut self) -> Plan {
        self.serial = self.serial.wrapping_add(1);
        self.read_secrets();
        let nodes = addresses::Nodes::of(&self.nodes, &self.config.node, self.config.is_edge);
        let ports: Vec<u16> = self.config.ports.wanted.values().copied().collect();
        let own = nodes.own.iter().filter_map(|address| address.parse::<IpAddr>().ok());
        let own: Vec<SocketAddr> =
            own.flat_map(|address| ports.iter().map(move |port| SocketAddr::new(address, *port))).collect();
        plan::plan(&Seen {
            classes: &self.classes.list(),
            ingresses: &self.ingresses.list(),
            service: &|namespace, name| self.services.get(namespace, name),
            slices: &|namespace, name| self.slices.by(&SERVICE, &format!("{namespace}/{name}")),
            secret: &|namespace, name| {
                let known = self.read.get(&Key::new(namespace, name));
                known.map_or(Secret::Asked, |(_, secret)| secret.clone())
            },
            own: &own,
            serial: self.serial,
        })
    }

    /// Follows these Secrets and no others; whether something new is known of them.
    async fn follow_secrets(&mut self, named: &BTreeSet<Key>) -> bool {
        self.secrets.retain(|key, _| named.contains(key));
        self.read.retain(|key, _| named.contains(key));
        let new: Vec<Key> = named.iter().filter(|key| !self.secrets.contains_key(*key)).cloned().collect();
        let mut caches = Vec::new();
        for key in new {
            let namespace = key.namespace.to_string();
            let scope = Scope { namespace, field_selector: format!("metadata.name={}", key.name), ..Scope::default() };
            let cache = Cache::start(self.config.client.clone(), &SECRETS, scope);
            self.heard.push(ear(&cache, |_| Heard::Secret));
            caches.push(cache.clone());
            self.secrets.insert(key, cache);
        }
        let all = futures::future::join_all(caches.iter().map(|cache| cache.synced()));
        let in_time = timeout(SECRETS_TIMEOUT, all).await.is_ok();
        if !in_time {
            // Whichever is late has an empty list first, of which nobody hears: it is looked at when that is in.
            for cache in caches.iter().filter(|cache| !cache.is_synced()) {
                let cache = cache.clone();
                let late = async move {
                    cache.synced().await;
                    Heard::Secret
                };
                self.heard.push(Box::pin(futures::stream::once(late)));
            }
        }
        !caches.is_empty()
    }

    /// Reads the versions that were not read yet: a key costs more than a plan.
    fn read_secrets(&mut self) {
        for (key, cache) in self.secrets.iter().filter(|(_, cache)| cache.is_synced()) {
            let object = cache.get(&key.namespace, &key.name);
            let version = object.as_ref().map(|object| object.meta().resource_version.clone()).unwrap_or_default();
            if self.read.get(key).is_some_and(|(known, _)| *known == version) {
                continue;
            }
            let secret = match object.as_ref().map(Certificate::read) {
                None => Secret::Missing,
                Some(Ok(certificate)) => Secret::Good(Arc::new(certificate)),
                Some(Err(why)) => Secret::Bad(why),
            };
            self.read.insert(key.clone(), (version, secret));
        }
    }

    fn tell(&self, trouble: &Trouble) {
        tracing::info!(ingress = %trouble.ingress, reason = trouble.reason, "{}", trouble.message);
        if let Some(ingress) = self.ingresses.get(&trouble.ingress.namespace, &trouble.ingress.name) {
            self.recorder.event(&ingress, "", Type::Warning, trouble.reason, trouble.message.clone());
        }
    }

    async fn open(&mut self, opened: &(impl Fn(Scheme, SocketAddr) + Send + Sync)) {
        let (new, closed) = self.listeners.open().await;
        new.into_iter().for_each(|(scheme, address)| opened(scheme, address));
        for why in closed.iter().filter(|why| !self.closed.contains(why)) {
            tracing::warn!("{why}; it is tried again when an Ingress changes");
            for class in self.classes.list().iter().filter(|class| plan::is_ours(class)) {
                self.recorder.event(class, "", Type::Warning, "PortNotServed", format!("{}: {why}", self.config.node));
            }
        }
        self.closed = closed;
    }

    /// Writes where requests are taken into each Ingress of ours, or that they are not; false: something is to be tried
    /// again.
    async fn statuses(&mut self, serving: bool) -> bool {
        let nodes = addresses::Nodes::of(&self.nodes, &self.config.node, self.config.is_edge);
        let serving = serving && self.listeners.addresses().next().is_some();
        let mut failed = false;
        let served = self.plan.served.iter().map(|key| (key, serving));
        let all: Vec<(&Key, bool)> = served.chain(self.left.iter().map(|key| (key, false))).collect();
        for (key, serving) in all {
            let Some(ingress) = self.ingresses.get(&key.namespace, &key.name) else { continue };
            let Some(wanted) = addresses::change(&ingress, &nodes, serving) else { continue };
            match write(&self.config.client, &ingress, wanted).await {
                Err(why) if why.reason == Reason::Conflict => failed = true,
                Err(why) if why.reason != Reason::NotFound => {
                    tracing::warn!("the status of Ingress {key} cannot be written: {why}");
                    failed = true;
                }
                _ => {}
            }
        }
        if !failed {
            self.left.clear();
        }
        !failed
    }

    /// Nothing comes in from then on, and the statuses say so.
    async fn end(mut self) {
        self.statuses(false).await;
        self.listeners.close().await;
    }
}

async fn write(client: &Client, ingress: &Object, addresses: Vec<String>) -> Result<(), Status> {
    let meta = ingress.meta();
    let entries: Vec<_> = addresses.into_iter().map(|address| json!({"ip": address})).collect();
    let body = json!({"metadata": {"resourceVersion": meta.resource_version},
        "status": {"loadBalancer": {"ingress": entries}}});
    let patch = PatchKind::Merge;
    client.patch(&INGRESSES, &meta.namespace, &meta.name, "status", patch, &body).await.map(|_| ())
}

fn ear(cache: &Arc<Cache>, heard: impl Fn(Change) -> Heard + Send + 'static) -> Ear {
    Box::pin(cache.subscribe().map(heard))
}
