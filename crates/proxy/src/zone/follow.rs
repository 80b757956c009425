//! Keeps a node's names as the objects are.

use std::net::IpAddr;
use std::sync::Arc;

use api::resource::{NAMESPACES, SERVICES};
use api::{Object, Resource};
use client::cache::index;
use client::{Cache, Caches, Change, Key};
use net::dns::Names;
use tokio::sync::watch;

use super::{Service, Slice, Zone};

/// The Service under which pods find the cluster's DNS, where tools look for it too.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";

/// Where the cluster's DNS is served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// Empty: there is no such Service.
    pub addresses: Vec<IpAddr>,
    /// By each node itself: the Service selects nobody who does.
    pub by_nodes: bool,
}

/// Follows services, slices and namespaces, for ever. The names are whole when all of them are known; then
/// it is told where the cluster's DNS is served.
pub async fn run(caches: &Caches, domain: &str, names: &Names, served: &watch::Sender<Option<Served>>) {
    let Some((zone, first)) = Zone::new(domain) else {
        return tracing::error!("{domain:?} is no domain: no names of services are told");
    };
    names.change(first);
    let slices_of = Resource::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices");
    let (services, slices, namespaces) = (caches.of(&SERVICES), caches.of(&slices_of), caches.of(&NAMESPACES));
    let mut follow = Follow { zone, names: names.clone(), services: services.clone(), slices: slices.clone() };
    tokio::join!(services.synced(), slices.synced(), namespaces.synced());
    let mut changes = (services.subscribe(), slices.subscribe(), namespaces.subscribe());
    // The slices that are there are read with their services.
    while changes.1.try_next().is_some() {}
    while let Some(change) = changes.2.try_next() {
        follow.namespace(&change);
    }
    while let Some(change) = changes.0.try_next() {
        follow.service(&change.key);
    }
    names.are_whole();
    loop {
        follow.tell(served);
        tokio::select! {
            Some(change) = changes.2.next() => follow.namespace(&change),
            Some(change) = changes.0.next() => follow.service(&change.key),
            Some(change) = changes.1.next() => follow.slice(&change),
            else => return,
        }
    }
}

struct Follow {
    zone: Zone,
    names: Names,
    services: Arc<Cache>,
    slices: Arc<Cache>,
}

impl Follow {
    fn namespace(&mut self, change: &Change) {
        self.names.change(self.zone.namespace(&change.key.name, change.new.is_some()));
    }

    fn service(&mut self, key: &Key) {
        let view = |object: &Object| object.view::<Service>();
        let service = self.services.get(&key.namespace, &key.name).map(|object| view(&object)).transpose();
        let service = service.unwrap_or_else(|error| {
            tracing::error!(%error, "service {key} has no names: it cannot be read");
            None
        });
        let slices = self.slices.by(&index::SERVICE, &key.to_string());
        let slices: Vec<Slice> = slices.iter().filter_map(|slice| slice.view().ok()).collect();
        let service = service.as_ref().map(|service| (service, slices.as_slice()));
        self.names.change(self.zone.service(key, service));
    }

    /// Where the cluster's DNS is served, if that is another place than before.
    fn tell(&mut self, served: &watch::Sender<Option<Served>>) {
        let service = self.services.get(NAMESPACE, NAME).and_then(|object| object.view::<Service>().ok());
        let current = service
            .map(|service| Served { addresses: service.addresses(), by_nodes: service.spec.selector.is_empty() });
        let current = current.unwrap_or_default();
        served.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&current);
            if changed {
                self.names.change(self.zone.server(&current.addresses));
                *known = Some(current);
            }
            changed
        });
    }

    /// The services of which it was and is.
    fn slice(&mut self, change: &Change) {
        let service = |object: &Option<Object>| {
            let meta = object.as_ref()?.meta();
            Some(Key::new(&meta.namespace, meta.labels.get("kubernetes.io/service-name")?))
        };
        let (old, new) = (service(&change.old), service(&change.new));
        if old != new
            && let Some(key) = &old
        {
            self.service(key);
        }
        if let Some(key) = &new {
            self.service(key);
        }
    }
}
