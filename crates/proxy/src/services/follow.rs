//! Follows Services and EndpointSlices and keeps each network that opens in step with them.
//!
//! What comes together is planned together and put in force as one change. While the server is away what is in
//! force stays; a network that opens anew, or that refused a change, is told everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::{Object, Resource};
use client::cache::index::SERVICE;
use client::{Cache, Change, Changes, Client, Key, Scope};
use net::Net;
use net::services::Change as Served;
use tokio::sync::watch;

use super::health::Health;
use super::{Here, Local, Slice, Table, served};

/// Upstream's selectors (cmd/kube-proxy/app/server.go): whom another proxy serves, and what has no proxy.
const NOT_ANOTHERS: &str = "!service.kubernetes.io/service-proxy-name";
const NOT_HEADLESS: &str = "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What is followed, and for whom.
pub struct Follow {
    pub client: Client,
    /// This node and its addresses; its zone is read from the Node.
    pub here: Here,
    /// The network, while it is open.
    pub nets: watch::Receiver<Option<Net>>,
    /// What goes to this node itself.
    pub local: watch::Receiver<Local>,
    pub health: Arc<Health>,
}

/// Serves until it is dropped; what is in force then stays.
pub async fn run(follow: Follow) {
    let Follow { client, here, mut nets, mut local, health } = follow;
    let scope =
        |label: &str, field: String| Scope { label_selector: label.into(), field_selector: field, ..Scope::default() };
    let headless = "spec.clusterIP!=None".to_string();
    let services = Cache::start(client.clone(), &api::resource::SERVICES, scope(NOT_ANOTHERS, headless));
    let kind = Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices");
    let slices = Cache::start(client.clone(), &kind, scope(NOT_HEADLESS, String::new()));
    let nodes = Cache::start(client, &api::resource::NODES, scope("", format!("metadata.name={}", here.node)));
    services.synced().await;
    slices.synced().await;
    nodes.synced().await;
    let (mut of_services, mut of_slices) = (services.subscribe(), slices.subscribe());
    let mut of_nodes = nodes.subscribe();
    let mut plan = Plan { services, slices, here, table: Table::default() };
    let mut telling = Telling { is_told: false, failures: 0 };
    let mut dirty = BTreeSet::new();
    loop {
        if nets.has_changed().unwrap_or(false) {
            telling.is_told = false;
        }
        let net = nets.borrow_and_update().clone();
        let overrides = local.borrow_and_update().clone();
        while let Some(change) = of_nodes.try_next() {
            health.node(change.new.as_ref());
            if plan.moved_to(change.new.as_ref()) {
                dirty.extend(plan.services.list().iter().map(Key::of));
            }
        }
        all_of(&mut of_services, &mut dirty, |change| vec![change.key.clone()]);
        all_of(&mut of_slices, &mut dirty, services_of);
        if !dirty.is_empty() {
            health.pending();
        }
        let changes = plan.change(std::mem::take(&mut dirty), &overrides, &health);
        let pause = match net {
            Some(net) => telling.tell(&net, &plan.table, changes, &health).await,
            None => None,
        };
        let again = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(change) = of_services.next() => drop(dirty.insert(change.key)),
            Some(change) = of_slices.next() => dirty.extend(services_of(&change)),
            Some(change) = of_nodes.next() => {
                health.node(change.new.as_ref());
                if plan.moved_to(change.new.as_ref()) {
                    dirty.extend(plan.services.list().iter().map(Key::of));
                }
            }
            changed = nets.changed() => match changed {
                Ok(()) => telling.is_told = false,
                // The node ends.
                Err(_) => return,
            },
            Ok(()) = local.changed() => dirty.extend(plan.services.list().iter().map(Key::of)),
            () = again => {}
        }
    }
}

fn all_of(changes: &mut Changes, dirty: &mut BTreeSet<Key>, keys: impl Fn(&Change) -> Vec<Key>) {
    while let Some(change) = changes.try_next() {
        dirty.extend(keys(&change));
    }
}

/// The services of a slice, before and after.
fn services_of(change: &Change) -> Vec<Key> {
    let service = |object: &Object| {
        let meta = object.meta();
        let name = meta.labels.get("kubernetes.io/service-name").filter(|name| !name.is_empty());
        name.map(|name| Key::new(&meta.namespace, name))
    };
    [&change.old, &change.new].into_iter().flatten().filter_map(service).collect()
}

struct Plan {
    services: Arc<Cache>,
    slices: Arc<Cache>,
    here: Here,
    table: Table,
}

impl Plan {
    /// Plans these anew; what that changes.
    fn change(
        &mut self,
        dirty: BTreeSet<Key>,
        local: &Local,
        health: &Arc<Health>,
    ) -> BTreeMap<net::services::At, Option<net::services::Port>> {
        let plan = |key: Key| {
            let Some(service) = self.services.get(&key.namespace, &key.name) else {
                health.asked(&key, None);
                return (key, None);
            };
            let slices = self.slices.by(&SERVICE, &key.to_string());
            let slices: Vec<Slice> = slices.iter().filter_map(|slice| slice.view().ok()).collect();
            let (ports, asked) = served(&service, &slices, &self.here, local);
            health.asked(&key, asked);
            (key, Some(ports))
        };
        let planned = dirty.into_iter().map(plan).collect();
        self.table.change(planned)
    }

    /// Whether this node is in another zone now.
    fn moved_to(&mut self, node: Option<&Object>) -> bool {
        let zone = node.and_then(|node| node.meta().labels.get(ZONE).map(ToString::to_string)).unwrap_or_default();
        std::mem::replace(&mut self.here.zone, zone) != self.here.zone
    }
}

struct Telling {
    /// The network knows everything but the changes that come now.
    is_told: bool,
    failures: u32,
}

impl Telling {
    /// When to tell it again, if it refused.
    async fn tell(
        &mut self,
        net: &Net,
        table: &Table,
        changes: BTreeMap<net::services::At, Option<net::services::Port>>,
        health: &Health,
    ) -> Option<Duration> {
        let change = match self.is_told {
            true if changes.is_empty() => {
                health.updated();
                return None;
            }
            true => Served::Some(changes),
            false => Served::All(table.all()),
        };
        match net.services(change).await {
            Ok(()) => {
                (self.is_told, self.failures) = (true, 0);
                health.updated();
                None
            }
            Err(error) => {
                self.is_told = false;
                self.failures += 1;
                let pause = (PAUSE_MIN * 2u32.saturating_pow(self.failures.min(10))).min(PAUSE_MAX);
                tracing::warn!(%error, "services are as they were; again in {pause:?}");
                Some(pause)
            }
        }
    }
}
