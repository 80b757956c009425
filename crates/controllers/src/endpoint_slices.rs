//! The pods of each Service that selects some, in EndpointSlices of at most a hundred.
//!
//! pkg/controller/endpointslice, staging/src/k8s.io/endpointslice. A look at a Service plans its slices of pods, nodes
//! and the slices that are there, and writes what differs. What upstream gathers for a second and expects of its cache
//! is neither waited for nor remembered: changes that come while a Service is looked at are one more look, and who
//! wrote waits until its cache shows that. A slice of a Service that is gone goes with its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::resource::{ENDPOINT_SLICES, NODES, PODS, SERVICES};
use api::{Object, Reason, Status};
use client::cache::index::{NODE, SERVICE};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Change, Key, Recorder};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, select};

use crate::Parts;
use crate::namespace::takes_nothing_new;
use crate::services::trigger::Triggers;
use crate::services::{self, Family, MANAGED_BY, Pod, Read, Service};
use crate::workload::{is_doubtful, settle};

/// By `spec.trafficDistribution`.
mod hints;
/// Endpoints into slices.
pub mod pack;
/// What a slice is.
pub mod slice;
/// By the shares of zones.
mod topology;

use hints::Distribution;
use pack::Changes;
use slice::{Endpoint, Labels, Slice};
use topology::{Node, Told, Topology};

/// Who writes these slices.
const MANAGER: &str = "endpointslice-controller.k8s.io";
/// Endpoints of one slice (`--max-endpoints-per-slice`).
const MOST: usize = 100;

/// What this process knows beside the objects.
#[derive(Default)]
struct Known {
    pods: Read,
    triggers: Triggers,
    topology: Mutex<Topology>,
}

pub async fn run(parts: Arc<Parts>) {
    let (own, pods, nodes) = (parts.cache(&SERVICES), parts.cache(&PODS), parts.cache(&NODES));
    let slices = parts.cache(&ENDPOINT_SLICES);
    parts.synced(&[&own, &pods, &nodes, &slices]).await;
    let known = Arc::new(Known::default());
    for node in nodes.list() {
        known.topology().set(&node.meta().name, Some(Node::of(&node)));
    }
    let of_pods = {
        let (services, pods, known) = (own.clone(), pods.clone(), known.clone());
        pods.clone().subscribe().flat_map(move |change| {
            if change.new.is_none() {
                known.pods.forget(&pods, &change.key);
            }
            stream::iter(services::concerned(&services, &change))
        })
    };
    let of_nodes = {
        let (parts, known) = (parts.clone(), known.clone());
        nodes.subscribe().flat_map(move |change| stream::iter(known.node(&parts, &change)))
    };
    let of_slices = slices.subscribe().flat_map(|change| stream::iter(concerned(&change, MANAGER)));
    let recorder = parts.recorder("endpoint-slice-controller");
    let work = |key: Key| {
        let (parts, known, recorder) = (parts.clone(), known.clone(), recorder.clone());
        async move { attend(&parts, &known, &recorder, &key).await }
    };
    let changes = select(select(own.subscribe().keys(), of_pods), select(of_nodes, of_slices));
    reconcile::run(changes, 8, work).await;
}

/// The Services of a slice, as it was and as it is, where it is or was one of this writer.
pub fn concerned(change: &Change, manager: &str) -> BTreeSet<Key> {
    let sides = [&change.old, &change.new].into_iter().flatten();
    if !sides.clone().any(|slice| slice.meta().labels.get(MANAGED_BY) == Some(manager)) {
        return BTreeSet::new();
    }
    let names = sides.filter_map(|slice| slice.meta().labels.get(services::SERVICE_NAME));
    names.map(|name| Key::new(&change.key.namespace, name)).collect()
}

/// The slices of a Service that this writer wrote, and that stay.
pub fn own_slices(parts: &Parts, service: &Key, manager: &str) -> Vec<Object> {
    let mut found = parts.cache(&ENDPOINT_SLICES).by(&SERVICE, &service.to_string());
    found.retain(|slice| slice.meta().labels.get(MANAGED_BY) == Some(manager) && !slice.meta().is_deleting());
    found
}

impl Known {
    fn topology(&self) -> MutexGuard<'_, Topology> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Services that a change of a node concerns: those of its pods where it comes, goes or changes its zone, and
    /// those whose hints do not suit the nodes any more.
    fn node(&self, parts: &Parts, change: &Change) -> BTreeSet<Key> {
        let name = &change.key.name;
        let now = change.new.as_ref().map(Node::of);
        let (before, overloaded) = {
            let mut topology = self.topology();
            let before = topology.set(name, now.clone());
            let overloaded = if before == now { Vec::new() } else { topology.overloaded() };
            (before, overloaded)
        };
        let mut concerned: BTreeSet<Key> = overloaded.into_iter().collect();
        if before.map(|node| node.zone) != now.map(|node| node.zone) {
            let services = parts.cache(&SERVICES);
            for pod in parts.cache(&PODS).by(&NODE, name) {
                let meta = pod.meta();
                concerned.extend(services::selecting(&services, &meta.namespace, &meta.labels));
            }
        }
        concerned
    }

    /// Of a Service that is gone.
    fn forget(&self, service: &Key) {
        self.triggers.forget(service);
        for family in [Family::IPv4, Family::IPv6] {
            self.topology().forget(service, family);
        }
    }
}

async fn attend(parts: &Parts, known: &Known, recorder: &Recorder, key: &Key) -> Result<Requeue, Status> {
    let Some(object) = parts.cache(&SERVICES).get(&key.namespace, &key.name) else {
        known.forget(key);
        return Ok(Requeue::Done);
    };
    let service = Service::of(&object);
    if !service.selects_pods() {
        return Ok(Requeue::Done);
    }
    let pods = services::pods_of(&parts.cache(&PODS), &key.namespace, &service);
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| known.pods.of(pod)).collect();
    let slices = own_slices(parts, key, MANAGER).iter().filter_map(Slice::of).collect();
    let created = object.meta().creation_timestamp.as_deref().and_then(|time| time.parse().ok());
    let since = known.triggers.look(key, created, &pods);
    let asked = Asked { key, object: &object, service: &service, pods: &pods };
    let Plan { changes, told, nodeless } = plan(&asked, slices, &mut known.topology());
    let written = write(parts, &object, changes, |slice| slice.annotations(since)).await;
    for Told { is_warning, reason, message } in told {
        let class = if is_warning { Type::Warning } else { Type::Normal };
        recorder.event(&object, "", class, reason, message);
    }
    let why = match (&written, nodeless.is_empty()) {
        (Err(status), _) if matches!(status.reason, Reason::Conflict | Reason::NotFound) => None,
        (Err(status), _) => Some(status.to_string()),
        // No back-off: the node's coming is an event.
        (Ok(()), false) => Some(nodeless.join(", ")),
        (Ok(()), true) => None,
    };
    if let Some(why) = why {
        let message = format!("Error updating Endpoint Slices for Service {key}: {why}");
        recorder.event(&object, "", Type::Warning, "FailedToUpdateEndpointSlices", message);
    }
    written.map(|()| Requeue::Done)
}

/// Whose slices are planned.
struct Asked<'a> {
    key: &'a Key,
    object: &'a Object,
    service: &'a Service,
    /// Those that it selects.
    pods: &'a [Arc<Pod>],
}

/// What a look leads to.
#[derive(Default)]
struct Plan {
    changes: Changes,
    told: Vec<Told>,
    /// Pods that are left out since their nodes are not there, in upstream's words.
    nodeless: Vec<String>,
}

/// What is to be done with the slices of a Service. Pure but for what `topology` counts.
fn plan(asked: &Asked<'_>, slices: Vec<Slice>, topology: &mut Topology) -> Plan {
    let mut plan = Plan::default();
    let families = families(asked.service);
    let mut of_family: BTreeMap<Family, Vec<Slice>> = families.iter().map(|family| (*family, Vec::new())).collect();
    for slice in slices {
        match of_family.get_mut(&slice.family) {
            Some(of_family) => of_family.push(slice),
            None => {
                topology.forget(asked.key, slice.family);
                plan.changes.delete.push(slice);
            }
        }
    }
    for (family, slices) in of_family {
        let one = plan_family(asked, family, slices, topology);
        plan.changes.add(one.changes);
        plan.told.extend(one.told);
        plan.nodeless.extend(one.nodeless);
    }
    // The same pod is left out of both families.
    plan.nodeless.dedup();
    plan
}

fn plan_family(asked: &Asked<'_>, family: Family, slices: Vec<Slice>, topology: &mut Topology) -> Plan {
    let Asked { key, object, service, pods } = asked;
    let is_own = |slice: &Slice| slice.is_owned_by("Service", &object.meta().uid);
    let (found, strange): (Vec<Slice>, Vec<Slice>) = slices.into_iter().partition(is_own);
    let mut found = pack::by_ports(found);
    let (mut plan, mut wanted) = (Plan::default(), BTreeMap::<_, Vec<Endpoint>>::new());
    for pod in pods.iter().filter(|pod| !pod.is_nowhere) {
        let endpoints = wanted.entry(slice::ports(service, pod)).or_default();
        let zone = topology.zone(&pod.node);
        if zone.is_none() && !service.publish_not_ready_addresses {
            let (pod, node) = (&pod.name, &pod.node);
            plan.nodeless.push(format!("skipping Pod {pod} for Service {key}: Node {node} Not Found"));
            continue;
        }
        endpoints.extend(Endpoint::of(pod, zone.as_deref(), &key.name, service, family));
    }
    let labels = |labels: &Labels| slice::labels(object, service, MANAGER, labels);
    let changes = &mut plan.changes;
    changes.delete = strange;
    for (ports, endpoints) in wanted {
        let found = found.remove(&ports).unwrap_or_default();
        changes.add(pack::pack(found, endpoints, (family, &ports), labels, MOST));
    }
    changes.delete.extend(found.into_values().flatten());
    if changes.create.is_empty() && changes.update.is_empty() && changes.keep.is_empty() {
        placeholder(changes, Slice::new(family, Vec::new(), Vec::new(), labels(&Labels::new()).0), is_own);
    }
    let is_annotated = is_annotated(object);
    let distribution = Distribution::of(&service.traffic_distribution);
    if is_annotated {
        plan.told.extend(topology.apply(key, family, changes));
    } else {
        plan.told.extend(topology.leave(key, family));
        match distribution {
            Some(distribution) => distribution.apply(changes),
            None => hints::remove(changes),
        }
    }
    changes.recycle(is_own);
    plan
}

/// Where there would be no slice there is one without anything; one that is there already stays.
fn placeholder(changes: &mut Changes, wanted: Slice, is_own: impl Fn(&Slice) -> bool) {
    let is_it = |slice: &Slice| {
        is_own(slice) && slice.ports.is_empty() && slice.endpoints.is_empty() && slice.labels == wanted.labels
    };
    match changes.delete.iter().position(is_it) {
        Some(at) => changes.keep.push(changes.delete.remove(at)),
        None => changes.create.push(wanted),
    }
}

/// Whether its endpoints hint by the shares of the zones; the older annotation counts first (hintsEnabled).
fn is_annotated(service: &Object) -> bool {
    let annotations = service.annotations();
    let mode = annotations.get("service.kubernetes.io/topology-aware-hints");
    let mode = mode.or_else(|| annotations.get("service.kubernetes.io/topology-mode"));
    mode.is_some_and(|mode| matches!(mode.as_ref(), "Auto" | "auto"))
}

/// Of which addresses a Service has slices (getAddressTypesForService); of one that says nothing, by its own address,
/// and of a headless one both.
fn families(service: &Service) -> BTreeSet<Family> {
    match service.ip_families.is_empty() {
        false => service.ip_families.iter().copied().collect(),
        true if service.has_address() => [service.family_of_address().unwrap_or(Family::IPv4)].into(),
        true => [Family::IPv4, Family::IPv6].into(),
    }
}

/// Writes what was planned for an owner; an error is the first refusal. Returns when the cache shows what was written.
pub async fn write(
    parts: &Parts,
    owner: &Object,
    changes: Changes,
    annotations: impl Fn(&Slice) -> Labels,
) -> Result<(), Status> {
    let (cache, namespace) = (parts.cache(&ENDPOINT_SLICES), &owner.meta().namespace);
    let body = |slice: &Slice| slice.to_value(owner, &annotations(slice));
    // Who ends gets nothing new.
    let create: Vec<_> = changes.create.iter().filter(|_| !owner.meta().is_deleting()).map(body).collect();
    let mut reached = 0;
    let mut refused = Ok(());
    let made = join_all(create.iter().map(|body| parts.client.create(&ENDPOINT_SLICES, namespace, body))).await;
    for answer in made {
        match answer {
            Ok(slice) => reached = reached.max(slice.revision()),
            // Nothing more comes of it.
            Err(status) if takes_nothing_new(&status) => return Ok(()),
            Err(status) => {
                if is_doubtful(&status) {
                    settle(parts, &ENDPOINT_SLICES, owner, &cache).await;
                }
                refused = refused.and(Err(status));
            }
        }
    }
    let update: Vec<_> = changes.update.iter().map(|slice| (slice.name(), body(slice))).collect();
    let update = update.iter().map(|(name, body)| parts.client.update(&ENDPOINT_SLICES, namespace, name, body));
    for answer in join_all(update).await {
        match answer {
            Ok(slice) => reached = reached.max(slice.revision()),
            Err(status) => refused = refused.and(Err(status)),
        }
    }
    cache.reached(reached).await;
    // What is in another slice now leaves this one last.
    let gone = changes.delete.iter().filter_map(|slice| slice.found.as_ref());
    for slice in gone.filter(|_| refused.is_ok()) {
        crate::workload::delete(parts, &ENDPOINT_SLICES, slice).await?;
    }
    refused
}

#[cfg(test)]
mod tests;
