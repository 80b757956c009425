//! Addresses for services of type LoadBalancer without a cloud: the nodes', or those of a pool.
//!
//! As k8s.io/cloud-provider controllers/service, for services without `loadBalancerClass` and those of
//! `gousse.dev/node`. Without a pool a service has the addresses of all nodes that are ready, so that of two which
//! want the same port the older has it and the other waits; with one, an address for itself. `loadBalancerIP` is
//! honoured where it is one of those. Addresses are of mode VIP: the proxy of each node serves them
//! (`loadBalancerSourceRanges` too); that the network knows where one of a pool is, somebody else has to tell it, by
//! what stands in the status. One service after the other, each seeing what was written before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::{NODES, SERVICES};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Cache, Change, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Value, json};

use crate::Parts;

pub use pool::AddressPool;
use view::{Node, Serving, Spec};

/// Ranges that addresses are given from.
mod pool;
/// What is read of services and nodes.
mod view;

/// The class of services that are served beside those without one.
pub const CLASS: &str = "gousse.dev/node";
const FINALIZER: &str = "service.kubernetes.io/load-balancer-cleanup";
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The cluster autoscaler is about to delete it.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

pub async fn run(parts: Arc<Parts>) {
    let (services, nodes) = (parts.cache(&SERVICES), parts.cache(&NODES));
    parts.synced(&[&services, &nodes]).await;
    // What one gives up another may be waiting for.
    let all = |services: &Arc<Cache>| {
        let balanced = services.visit(|all| all.filter(|one| is_concerned(one)).map(Key::of).collect::<Vec<_>>());
        stream::iter(balanced)
    };
    let of_services = {
        let services = services.clone();
        let is_concerned = |change: &Change| change.old.iter().chain(&change.new).any(is_concerned);
        services
            .clone()
            .subscribe()
            .filter(move |change| std::future::ready(is_concerned(change)))
            .flat_map(move |_| all(&services))
    };
    let of_changed_nodes = {
        let services = services.clone();
        let is_other = |change: &Change| {
            let shown = |node: &Option<Object>| node.as_ref().and_then(addresses_of);
            shown(&change.old) != shown(&change.new)
        };
        nodes.subscribe().filter(move |change| std::future::ready(is_other(change))).flat_map(move |_| all(&services))
    };
    let teller = Teller { recorder: parts.recorder("service-controller"), told: Mutex::default() };
    let teller = Arc::new(teller);
    let work = |key: Key| {
        let (parts, teller) = (parts.clone(), teller.clone());
        async move { balance(&parts, &teller, &key).await }
    };
    reconcile::run(select(of_services.boxed(), of_changed_nodes.boxed()), 1, work).await;
}

struct Teller {
    recorder: Recorder,
    /// What was last said of services that have no address.
    told: Mutex<HashMap<Key, String>>,
}

async fn balance(parts: &Parts, teller: &Teller, key: &Key) -> Result<Requeue, Status> {
    let told = || teller.told.lock().unwrap_or_else(PoisonError::into_inner);
    let tell = |object: &Object, class, reason: &str, message: String| {
        teller.recorder.event(object, "", class, reason, message);
    };
    let services = parts.cache(&SERVICES);
    let Some(object) = services.get(&key.namespace, &key.name) else {
        told().remove(key);
        return Ok(Requeue::Done);
    };
    let Some(service) = Service::of(&object) else { return Ok(Requeue::Done) };
    let (nodes, mut reserved) = parts.cache(&NODES).visit(|all| of_nodes(all));
    let own = services.get("default", "kubernetes").and_then(|own| own.view::<Serving>().ok());
    reserved.extend(own.iter().flat_map(|own| &own.spec.ports).filter_map(|port| port.target_port.as_i64()));
    let ground = Ground { nodes, reserved, pool: &parts.config.load_balancer_pool };
    let others =
        services.visit(|all| all.filter(|other| Key::of(other) != *key).filter_map(Service::of).collect::<Vec<_>>());
    let (wanted, why) = match service.step() {
        Step::Nothing => return Ok(Requeue::Done),
        Step::CleanUp => {
            told().remove(key);
            tell(&object, Type::Normal, "DeletingLoadBalancer", "Deleting load balancer".into());
            write(parts, &services, &object, &service, &[], false).await?;
            tell(&object, Type::Normal, "DeletedLoadBalancer", "Deleted load balancer".into());
            return Ok(Requeue::Done);
        }
        Step::Balance => match place(&service, &others, &ground) {
            Ok(wanted) => (wanted, None),
            Err(why) => (Vec::new(), Some(why)),
        },
    };
    let is_new = service.addresses != wanted || !service.is_vip;
    if let Some(why) = why {
        if told().insert(key.clone(), why.to_string()).as_deref() != Some(&why.to_string()) {
            match why {
                Why::NoNode => {
                    let message = "There are no available nodes for LoadBalancer";
                    tell(&object, Type::Warning, "UnAvailableLoadBalancer", message.into());
                }
                why => {
                    let message = format!("Error syncing load balancer: failed to ensure load balancer: {why}");
                    tell(&object, Type::Warning, "SyncLoadBalancerFailed", message);
                }
            }
        }
        if is_new {
            write(parts, &services, &object, &service, &wanted, service.has_finalizer).await?;
        }
        return Ok(Requeue::Done);
    }
    told().remove(key);
    if !is_new && service.has_finalizer {
        return Ok(Requeue::Done);
    }
    let is_first = service.addresses.is_empty();
    if is_first {
        tell(&object, Type::Normal, "EnsuringLoadBalancer", "Ensuring load balancer".into());
    }
    write(parts, &services, &object, &service, &wanted, true).await?;
    match is_first {
        true => tell(&object, Type::Normal, "EnsuredLoadBalancer", "Ensured load balancer".into()),
        false => tell(&object, Type::Normal, "UpdatedLoadBalancer", "Updated load balancer with new hosts".into()),
    }
    Ok(Requeue::Done)
}

/// Addresses and finalizer in one write, of the version that was looked at.
async fn write(
    parts: &Parts,
    services: &Cache,
    object: &Object,
    service: &Service,
    addresses: &[IpAddr],
    finalizer: bool,
) -> Result<(), Status> {
    let mut next = object.value();
    let mut finalizers = object.meta().finalizers.clone();
    finalizers.retain(|one| one != FINALIZER);
    if finalizer {
        finalizers.push(FINALIZER.into());
    }
    next["metadata"]["finalizers"] = json!(finalizers);
    let ingress: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string(), "ipMode": "VIP"})).collect();
    match service.balances {
        true if !ingress.is_empty() => next["status"]["loadBalancer"] = json!({"ingress": ingress}),
        _ => next["status"]["loadBalancer"] = json!({}),
    }
    let meta = object.meta();
    match parts.client.update_sub(&SERVICES, &meta.namespace, &meta.name, "status", &next).await {
        Ok(written) => {
            // With its last finalizer it may be gone.
            let is_in = |cache: &Cache| {
                cache.revision() >= written.revision() || cache.get(&meta.namespace, &meta.name).is_none()
            };
            services.until(is_in).await;
            Ok(())
        }
        // The cache is behind: what is new comes, and this runs again.
        Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => Ok(()),
        Err(status) => Err(status),
    }
}

/// What is to be done for a service.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    CleanUp,
    Balance,
}

/// Why a service has no address.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    NoNode,
    /// Of a service that has one of its ports.
    PortTaken(String, Key),
    /// What the cluster itself serves under the nodes' addresses is no service's.
    PortReserved(i64),
    PoolUsed,
    NotOurs(String),
    AddressTaken(String, Key),
}

/// What there is to give.
struct Ground<'a> {
    /// Addresses of nodes.
    nodes: BTreeSet<IpAddr>,
    /// Ports (TCP) that Gousse itself serves there: the API's, the nodes' own.
    reserved: BTreeSet<i64>,
    pool: &'a [AddressPool],
}

/// Where a service is to be reached. Pure.
fn place(service: &Service, others: &[Service], ground: &Ground<'_>) -> Result<Vec<IpAddr>, Why> {
    let Ground { nodes, reserved, pool } = ground;
    let asked: Option<IpAddr> = service.spec.load_balancer_ip.parse().ok();
    if !service.spec.load_balancer_ip.is_empty() && asked.is_none() {
        return Err(Why::NotOurs(service.spec.load_balancer_ip.clone()));
    }
    let families: HashSet<bool> = service.spec.ip_families.iter().map(|family| family == "IPv4").collect();
    let rivals = || others.iter().filter(|other| other.step() == Step::Balance && other.is_before(service));
    if !pool.is_empty() {
        // Whoever has one has it, whichever came first; of two that have the same the older keeps it.
        let holder = |ip: IpAddr| {
            let has = |other: &&Service| {
                other.addresses.contains(&ip) && (!service.addresses.contains(&ip) || other.is_before(service))
            };
            others.iter().find(has)
        };
        let in_pool = |ip: IpAddr| pool.iter().any(|part| part.contains(ip)) && !nodes.contains(&ip);
        if let Some(ip) = asked {
            return match holder(ip) {
                _ if !in_pool(ip) || !families.contains(&ip.is_ipv4()) => Err(Why::NotOurs(ip.to_string())),
                Some(other) => Err(Why::AddressTaken(ip.to_string(), other.key.clone())),
                None => Ok(vec![ip]),
            };
        }
        let mut given = Vec::new();
        for is_v4 in service.spec.ip_families.iter().map(|family| family == "IPv4") {
            let is_kept = |ip: &IpAddr| ip.is_ipv4() == is_v4 && in_pool(*ip) && holder(*ip).is_none();
            let kept = service.addresses.iter().copied().find(is_kept);
            let used: HashSet<IpAddr> = others.iter().flat_map(|other| other.addresses.iter().copied()).collect();
            let free = || {
                pool.iter()
                    .flat_map(AddressPool::addresses)
                    .find(|ip| ip.is_ipv4() == is_v4 && !used.contains(ip) && !nodes.contains(ip))
            };
            given.extend(kept.or_else(free));
        }
        return if given.is_empty() { Err(Why::PoolUsed) } else { Ok(given) };
    }
    let mut own: Vec<IpAddr> = nodes.iter().copied().filter(|ip| families.contains(&ip.is_ipv4())).collect();
    if own.is_empty() {
        return Err(Why::NoNode);
    }
    if let Some(asked) = asked {
        own.retain(|ip| *ip == asked);
        if own.is_empty() {
            return Err(Why::NotOurs(asked.to_string()));
        }
    }
    if let Some((_, port)) = service.ports().find(|(protocol, port)| *protocol == "TCP" && reserved.contains(port)) {
        return Err(Why::PortReserved(port));
    }
    let ports: HashSet<(&str, i64)> = service.ports().collect();
    for rival in rivals() {
        let is_apart = rival.asked().is_some_and(|ip| !own.contains(&ip));
        if let Some((protocol, port)) = rival.ports().find(|port| !is_apart && ports.contains(port)) {
            return Err(Why::PortTaken(format!("{port}/{protocol}"), rival.key.clone()));
        }
    }
    Ok(own)
}

/// The addresses of the nodes that are ready, or of all that may have any, if none is; and the ports of their own
/// API. Pure.
fn of_nodes(nodes: &mut dyn Iterator<Item = &Object>) -> (BTreeSet<IpAddr>, BTreeSet<i64>) {
    let nodes: Vec<&Object> = nodes.collect();
    let port = |node: &&Object| node.view::<Node>().ok().map(|node| node.status.daemon_endpoints.kubelet_endpoint.port);
    let ports = nodes.iter().filter_map(port).filter(|port| *port != 0).collect();
    let all: Vec<(bool, Vec<IpAddr>)> = nodes.into_iter().filter_map(addresses_of).collect();
    let some_ready = all.iter().any(|(is_ready, addresses)| *is_ready && !addresses.is_empty());
    let used = all.into_iter().filter(|(is_ready, _)| *is_ready || !some_ready);
    (used.flat_map(|(_, addresses)| addresses).collect(), ports)
}

/// Whether a node is ready, and its addresses in the cluster; None: it is to have no part in it.
fn addresses_of(node: &Object) -> Option<(bool, Vec<IpAddr>)> {
    let meta = node.meta();
    // Go's strconv.ParseBool; what it does not know excludes too.
    let is_excluded =
        meta.labels.get(EXCLUDED).is_some_and(|value| !matches!(value, "0" | "f" | "F" | "false" | "False" | "FALSE"));
    let node = node.view::<Node>().ok()?;
    if meta.is_deleting() || is_excluded || node.spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED) {
        return None;
    }
    let is_ready = node.status.conditions.iter().any(|one| one.kind == "Ready" && one.status == "True");
    let internal = node.status.addresses.iter().filter(|address| address.kind == "InternalIP");
    Some((is_ready, internal.filter_map(|address| address.address.parse().ok()).collect()))
}

fn is_concerned(service: &Object) -> bool {
    Service::of(service).is_some()
}

/// A service that has, had or wants a load balancer.
#[derive(Clone, Debug)]
struct Service {
    key: Key,
    created: String,
    is_deleting: bool,
    has_finalizer: bool,
    /// Its type is LoadBalancer.
    balances: bool,
    addresses: Vec<IpAddr>,
    /// Whether all of them are of mode VIP.
    is_vip: bool,
    spec: Spec,
}

impl Service {
    fn of(object: &Object) -> Option<Service> {
        let meta = object.meta();
        let has_finalizer = meta.finalizers.iter().any(|one| one == FINALIZER);
        let viewed = object.view::<Serving>().ok()?;
        let balances = viewed.spec.kind == "LoadBalancer";
        if !balances && !has_finalizer {
            return None;
        }
        let ingress = viewed.status.load_balancer.ingress;
        Some(Service {
            key: Key::of(object),
            created: meta.creation_timestamp.clone().unwrap_or_default(),
            is_deleting: meta.is_deleting(),
            has_finalizer,
            balances,
            addresses: ingress.iter().filter_map(|one| one.ip.parse().ok()).collect(),
            is_vip: ingress.iter().all(|one| one.ip_mode == "VIP"),
            spec: viewed.spec,
        })
    }

    fn step(&self) -> Step {
        let is_ours = self.spec.load_balancer_class.as_deref().is_none_or(|class| class == CLASS);
        match self.has_finalizer && (self.is_deleting || !self.balances) {
            _ if !is_ours => Step::Nothing,
            true => Step::CleanUp,
            false if self.balances && !self.is_deleting => Step::Balance,
            false => Step::Nothing,
        }
    }

    /// Whoever has an address goes before whoever waits, then the older.
    fn is_before(&self, other: &Service) -> bool {
        let rank = |one: &Service| (one.addresses.is_empty(), one.created.clone(), one.key.clone());
        rank(self) < rank(other)
    }

    fn ports(&self) -> impl Iterator<Item = (&str, i64)> {
        self.spec.ports.iter().map(|port| (port.protocol.as_str(), port.port))
    }

    fn asked(&self) -> Option<IpAddr> {
        self.spec.load_balancer_ip.parse().ok()
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::NoNode => f.write_str("no node has an address of its family"),
            Why::PortTaken(port, by) => {
                write!(f, "port {port} of the nodes is that of service {}/{}", by.namespace, by.name)
            }
            Why::PortReserved(port) => write!(f, "port {port}/TCP of the nodes is that of the cluster itself"),
            Why::PoolUsed => f.write_str("all addresses of the pool are used (--load-balancer-pool)"),
            Why::NotOurs(ip) => write!(f, "loadBalancerIP {ip} is no address that it can have"),
            Why::AddressTaken(ip, by) => {
                write!(f, "loadBalancerIP {ip} is that of service {}/{}", by.namespace, by.name)
            }
        }
    }
}

#[cfg(test)]
mod tests;
