//! What services hold is as it should be: an IPAddress for each address, none without a service.
//!
//! pkg/registry/core/service/{ipallocator,portallocator}/controller. The server writes and deletes them with their
//! services, so that there is something to do only after somebody else has written, or an earlier version: whatever
//! seems wrong is looked at again in the server, as one cache may be ahead of another. Nobody takes the address
//! meanwhile (the server's `allocations`). Ports that two services have, or that are of no range, are told.

use std::net::IpAddr;
use std::sync::Arc;

use api::resource::{IP_ADDRESSES, SERVICE_CIDRS, SERVICES};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type::Warning;
use client::{DeleteOptions, Index, Key, Recorder};
use futures::StreamExt;
use futures::stream::select;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Parts;
use crate::service_cidr::{ALLOCATOR, FAMILY, MANAGED_BY, gives, ranges_of};

/// Services under each port of nodes that they have.
static PORTS: Index =
    Index { name: "node-ports", values: |service| held(service).ports.iter().map(u16::to_string).collect() };

/// Services under each address that they have.
static ADDRESSES: Index = Index {
    name: "cluster-addresses",
    values: |service| held(service).addresses.iter().map(IpAddr::to_string).collect(),
};

struct Tellers {
    addresses: Recorder,
    ports: Recorder,
}

pub async fn run(parts: Arc<Parts>) {
    let (services, addresses, ranges) =
        (parts.cache(&SERVICES), parts.cache(&IP_ADDRESSES), parts.cache(&SERVICE_CIDRS));
    parts.synced(&[&services, &addresses, &ranges]).await;
    let of_services = services.subscribe().keys().map(Look::Service).boxed();
    // What somebody deletes its service wants back.
    let of_addresses = {
        let services = services.clone();
        addresses.subscribe().flat_map(move |change| {
            let gone = change.new.is_none();
            let holders = if gone { services.by(&ADDRESSES, &change.key.name) } else { Vec::new() };
            let looks: Vec<Look> = holders.iter().map(|service| Look::Service(Key::of(service))).collect();
            futures::stream::iter(looks.into_iter().chain((!gone).then(|| Look::Address(change.key.name.to_string()))))
        })
    };
    let tellers = Tellers {
        addresses: parts.recorder("ipallocator-repair-controller"),
        ports: parts.recorder("portallocator-repair-controller"),
    };
    let tellers = Arc::new(tellers);
    let work = |look: Look| {
        let (parts, tellers) = (parts.clone(), tellers.clone());
        async move {
            match look {
                Look::Service(key) => service(&parts, &tellers, &key).await,
                Look::Address(name) => address(&parts, &tellers, &name).await,
            }
        }
    };
    reconcile::run(select(of_services, of_addresses.boxed()), 8, work).await;
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Look {
    Service(Key),
    Address(String),
}

async fn service(parts: &Parts, tellers: &Tellers, key: &Key) -> Result<Requeue, Status> {
    let cache = parts.cache(&SERVICES);
    let Some(service) = cache.get(&key.namespace, &key.name) else { return Ok(Requeue::Done) };
    let held = held(&service);
    for port in &held.ports {
        let first = cache.by(&PORTS, &port.to_string()).into_iter().min_by_key(age);
        if first.is_some_and(|first| Key::of(&first) != *key) {
            let note = format!("Port {port} was assigned to multiple services; please recreate service");
            tellers.ports.event_v1(&service, None, Warning, "PortAlreadyAllocated", "PortAllocation", note);
        }
        let (first, last) = parts.config.node_ports;
        if !(first..=last).contains(port) {
            let note = format!("Port {port} is not within the port range {first}-{last}; please recreate service");
            tellers.ports.event_v1(&service, None, Warning, "PortOutOfRange", "PortAllocation", note);
        }
    }
    for address in held.addresses {
        one_address(parts, tellers, &service, address).await?;
    }
    Ok(Requeue::Done)
}

async fn one_address(parts: &Parts, tellers: &Tellers, service: &Object, address: IpAddr) -> Result<(), Status> {
    let (own, name, family) = (Key::of(service), address.to_string(), family_of(address));
    let tell = |reason: &str, note: String| {
        tellers.addresses.event_v1(service, None, Warning, reason, "ClusterIPAllocation", note);
    };
    let is_in_range =
        parts.cache(&SERVICE_CIDRS).visit(|all| all.flat_map(ranges_of).any(|range| gives(&range, address)));
    if !is_in_range {
        tell(
            "ClusterIPOutOfRange",
            format!("Cluster IP [{family}]: {name} is not within any configured Service CIDR; please recreate service"),
        );
        return Ok(());
    }
    let known = parts.cache(&IP_ADDRESSES).get("", &name);
    if known.as_ref().is_some_and(|known| judge(known, &own) == Verdict::Right) {
        return Ok(());
    }
    // Either cache may be behind: the server decides.
    let Some(fresh) = found(parts.client.get(&SERVICES, &own.namespace, &own.name).await)? else { return Ok(()) };
    if !self::held(&fresh).addresses.contains(&address) {
        return Ok(());
    }
    let Some(known) = found(parts.client.get(&IP_ADDRESSES, "", &name).await)? else {
        tell("ClusterIPNotAllocated", format!("Cluster IP [{family}]: {name} is not allocated; repairing"));
        return made(parts, &own, address).await;
    };
    let wrong = format!(
        "the ClusterIP [{family}]: {name} for Service {}/{} has a wrong reference; repairing",
        own.namespace, own.name
    );
    match judge(&known, &own) {
        Verdict::Right => return Ok(()),
        // It comes back when it is gone.
        _ if known.meta().is_deleting() => return Ok(()),
        Verdict::Unmarked => {}
        Verdict::NoService => tell("ClusterIPNotAllocated", wrong),
        Verdict::Other(other) => match found(parts.client.get(&SERVICES, &other.namespace, &other.name).await)? {
            None => tell("ClusterIPNotAllocated", wrong),
            Some(other) if self::held(&other).addresses.contains(&address) => {
                let note =
                    format!("Cluster IP [{family}]:{name} was assigned to multiple services; please recreate service");
                tell("ClusterIPAlreadyAllocated", note);
                return Ok(());
            }
            Some(_) => {}
        },
    }
    delete(parts, &known).await?;
    made(parts, &own, address).await
}

/// Whether an IPAddress that the server wrote belongs to a service; others are nobody's business.
async fn address(parts: &Parts, tellers: &Tellers, name: &str) -> Result<Requeue, Status> {
    let Some(known) = parts.cache(&IP_ADDRESSES).get("", name) else { return Ok(Requeue::Done) };
    let by = known.meta().labels.get(MANAGED_BY).is_some_and(|by| by == ALLOCATOR);
    if !by || known.meta().is_deleting() {
        return Ok(Requeue::Done);
    }
    let tell = |reason: &str, note: String| {
        tellers.addresses.event_v1(&known, None, Warning, reason, "IPAddressAllocation", note);
    };
    let Some(parent) = parent(&known) else {
        let shown = shown_parent(&known);
        tell(
            "IPAddressNotAllocated",
            format!("IPAddress {name} appears to have been modified, not referencing a Service {shown}: cleaning up"),
        );
        delete(parts, &known).await?;
        return Ok(Requeue::Done);
    };
    let holds = |service: &Object| name.parse().is_ok_and(|address: IpAddr| held(service).addresses.contains(&address));
    let cached = parts.cache(&SERVICES).get(&parent.namespace, &parent.name);
    if cached.as_ref().is_some_and(holds) {
        return Ok(Requeue::Done);
    }
    match found(parts.client.get(&SERVICES, &parent.namespace, &parent.name).await)? {
        Some(service) if holds(&service) => return Ok(Requeue::Done),
        // It may have gone, with its service.
        _ if found(parts.client.get(&IP_ADDRESSES, "", name).await)?
            .is_none_or(|now| now.meta().uid != known.meta().uid) =>
        {
            return Ok(Requeue::Done);
        }
        Some(_) => tell(
            "IPAddressWrongReference",
            format!(
                "IPAddress: {name} for Service {}/{} has a wrong reference; cleaning up",
                parent.namespace, parent.name
            ),
        ),
        None => tell(
            "IPAddressNotAllocated",
            format!(
                "IPAddress: {name} for Service {}/{} appears to have leaked: cleaning up",
                parent.namespace, parent.name
            ),
        ),
    }
    delete(parts, &known).await?;
    Ok(Requeue::Done)
}

/// What an IPAddress is to a service whose address it is.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    /// Its own, but without the labels by which it is found.
    Unmarked,
    /// It refers to something else than a service.
    NoService,
    Other(Key),
}

fn judge(address: &Object, service: &Key) -> Verdict {
    let labels = &address.meta().labels;
    let family = address.meta().name.parse().map(family_of).unwrap_or_default();
    let has = |label: &str, value: &str| labels.get(label).is_some_and(|is| is == value);
    match parent(address) {
        None => Verdict::NoService,
        Some(parent) if parent != *service => Verdict::Other(parent),
        Some(_) if has(FAMILY, family) && has(MANAGED_BY, ALLOCATOR) => Verdict::Right,
        Some(_) => Verdict::Unmarked,
    }
}

/// The service that an IPAddress refers to.
fn parent(address: &Object) -> Option<Key> {
    let parent = address.view::<Referring>().ok()?.spec.parent;
    (parent.group.is_empty() && parent.resource == "services").then(|| Key::new(&parent.namespace, &parent.name))
}

/// As Go prints it.
fn shown_parent(address: &Object) -> String {
    let parent = address.view::<Referring>().map(|address| address.spec.parent).unwrap_or_default();
    format!(
        "&ParentReference{{Group:{},Resource:{},Namespace:{},Name:{},}}",
        parent.group, parent.resource, parent.namespace, parent.name
    )
}

async fn made(parts: &Parts, service: &Key, address: IpAddr) -> Result<(), Status> {
    let object = ip_address(service, address);
    match parts.client.create(&IP_ADDRESSES, "", &object).await {
        Err(status) if status.reason != Reason::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

fn ip_address(service: &Key, address: IpAddr) -> Value {
    let labels = json!({FAMILY: family_of(address), MANAGED_BY: ALLOCATOR});
    let parent = json!({"resource": "services", "namespace": &*service.namespace, "name": &*service.name});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "spec": {"parentRef": parent},
        "metadata": {"name": address.to_string(), "labels": labels}})
}

async fn delete(parts: &Parts, address: &Object) -> Result<(), Status> {
    let meta = address.meta();
    let options = DeleteOptions { uid: Some(meta.uid.clone()), ..DeleteOptions::default() };
    match parts.client.delete(&IP_ADDRESSES, "", &meta.name, &options).await {
        Err(status) if !matches!(status.reason, Reason::NotFound | Reason::Conflict) => Err(status),
        _ => Ok(()),
    }
}

fn found(got: Result<Object, Status>) -> Result<Option<Object>, Status> {
    match got {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.reason == Reason::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn age(service: &Object) -> (String, Key) {
    (service.meta().creation_timestamp.clone().unwrap_or_default(), Key::of(service))
}

/// What a service has of what no other may have.
#[derive(Debug, Default, PartialEq)]
struct Held {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
}

fn held(service: &Object) -> Held {
    let spec = service.view::<Serving>().map(|service| service.spec).unwrap_or_default();
    let mut held = Held::default();
    if spec.kind != "ExternalName" {
        held.addresses.extend(spec.cluster_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    if matches!(&*spec.kind, "NodePort" | "LoadBalancer") {
        held.ports.extend(spec.ports.iter().map(|port| port.node_port).chain([spec.health_check]).filter(|n| *n != 0));
        held.ports.sort_unstable();
        held.ports.dedup();
    }
    held
}

#[derive(Deserialize)]
struct Serving {
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Vec<Port>,
    #[serde(rename = "healthCheckNodePort")]
    health_check: u16,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    node_port: u16,
}

#[derive(Deserialize)]
struct Referring {
    #[serde(default)]
    spec: AddressSpec,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AddressSpec {
    #[serde(rename = "parentRef")]
    parent: Parent,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Parent {
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_services_by_its_reference_and_labels() {
        let own = Key::new("n", "web");
        let made = ip_address(&own, "10.0.0.9".parse().unwrap());
        let judged = |change: &dyn Fn(&mut Value)| {
            let mut value = made.clone();
            change(&mut value);
            judge(&Object::from_value(&value).unwrap(), &own)
        };
        assert_eq!(judged(&|_| {}), Verdict::Right);
        assert_eq!(judged(&|ip| ip["metadata"]["labels"][FAMILY] = json!("IPv6")), Verdict::Unmarked);
        assert_eq!(judged(&|ip| ip["metadata"]["labels"] = json!({})), Verdict::Unmarked);
        assert_eq!(judged(&|ip| ip["spec"]["parentRef"]["name"] = json!("b")), Verdict::Other(Key::new("n", "b")));
        assert_eq!(judged(&|ip| ip["spec"]["parentRef"]["group"] = json!("a.example")), Verdict::NoService);
        assert_eq!(judged(&|ip| ip["spec"] = json!({})), Verdict::NoService);
    }

    #[test]
    fn what_a_service_has_depends_on_its_type() {
        let held = |kind: &str| {
            let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": kind,
                "clusterIPs": ["10.0.0.1"], "healthCheckNodePort": 3, "ports": [{"nodePort": 1}, {"nodePort": 1}, {}]}});
            let held = held(&Object::from_value(&service).unwrap());
            (held.addresses.len(), held.ports)
        };
        assert_eq!(held("ExternalName"), (0, vec![]));
        assert_eq!(held("ClusterIP"), (1, vec![]));
        assert_eq!(held("LoadBalancer"), (1, vec![1, 3]));
    }
}
