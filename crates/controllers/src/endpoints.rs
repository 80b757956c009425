//! The pods of each Service that selects some, in the older form: Endpoints of its name.
//!
//! pkg/controller/endpoint. What is told is of the first family of the Service, at most a thousand addresses, and no pod
//! that ends. A Service that is gone takes its Endpoints with it, whoever wrote them; so do, at the start, those that
//! went while nobody looked. What others write into them stays until the Service or a pod changes, as upstream's does.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::resource::{ENDPOINTS, PODS, SERVICES};
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};
use serde_json::{Map, Value, json};

use crate::Parts;
use crate::namespace::takes_nothing_new;
use crate::services::trigger::Triggers;
use crate::services::{self, Family, HEADLESS, Pod, Read, Service, TRIGGER_TIME};
use crate::workload;

/// What is told, in its one order.
pub mod subset;

use subset::{Address, Port, Subset};

/// Who writes these Endpoints.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
/// Not all addresses are told.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Addresses that are told at most.
const MOST: usize = 1000;
/// A lease of old: no Service's.
pub const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// What this process knows beside the objects.
#[derive(Default)]
struct Known {
    pods: Read,
    triggers: Triggers,
}

pub async fn run(parts: Arc<Parts>) {
    let (own, pods, endpoints) = (parts.cache(&SERVICES), parts.cache(&PODS), parts.cache(&ENDPOINTS));
    parts.synced(&[&own, &pods, &endpoints]).await;
    let known = Arc::new(Known::default());
    let of_pods = {
        let (services, pods, known) = (own.clone(), pods.clone(), known.clone());
        pods.clone().subscribe().flat_map(move |change| {
            if change.new.is_none() {
                known.pods.forget(&pods, &change.key);
            }
            stream::iter(services::concerned(&services, &change))
        })
    };
    let left = endpoints.list().into_iter().filter(|endpoints| endpoints.annotation(LEADER).is_none());
    let left: Vec<Key> = left.map(|endpoints| Key::of(&endpoints)).collect();
    let gone =
        endpoints.subscribe().filter_map(|change| std::future::ready(change.new.is_none().then_some(change.key)));
    let recorder = parts.recorder(MANAGER);
    let work = |key: Key| {
        let (parts, known, recorder) = (parts.clone(), known.clone(), recorder.clone());
        async move { attend(&parts, &known, &recorder, &key).await }
    };
    let changes = select(select(own.subscribe().keys(), of_pods), select(stream::iter(left), gone));
    reconcile::run(changes, 8, work).await;
}

async fn attend(parts: &Parts, known: &Known, recorder: &Recorder, key: &Key) -> Result<Requeue, Status> {
    let cache = parts.cache(&ENDPOINTS);
    let found = cache.get(&key.namespace, &key.name);
    let Some(object) = parts.cache(&SERVICES).get(&key.namespace, &key.name) else {
        known.triggers.forget(key);
        if let Some(found) = found.filter(|found| !found.meta().is_deleting()) {
            workload::delete(parts, &ENDPOINTS, &found).await?;
        }
        return Ok(Requeue::Done);
    };
    let service = Service::of(&object);
    if !service.selects_pods() {
        return Ok(Requeue::Done);
    }
    let pods = services::pods_of(&parts.cache(&PODS), &key.namespace, &service);
    let pods: Vec<Arc<Pod>> = pods.iter().map(|pod| known.pods.of(pod)).collect();
    let created = object.meta().creation_timestamp.as_deref().and_then(|time| time.parse().ok());
    let since = known.triggers.look(key, created, &pods);
    let Some(mut next) = plan(&object, &service, &pods, found.as_ref()) else { return Ok(Requeue::Done) };
    if let Some(since) = since {
        next["metadata"]["annotations"][TRIGGER_TIME] = json!(since.to_string());
    }
    let (namespace, name) = (&key.namespace, &key.name);
    let written = match &found {
        Some(_) => parts.client.update(&ENDPOINTS, namespace, name, &next).await,
        None => parts.client.create(&ENDPOINTS, namespace, &next).await,
    };
    match written {
        Ok(written) => cache.reached(written.revision()).await,
        // Nothing more comes of it.
        Err(status) if found.is_none() && takes_nothing_new(&status) => {}
        Err(status) => {
            let (reason, message) = match &found {
                Some(_) => ("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {status}")),
                None => ("FailedToCreateEndpoint", format!("Failed to create endpoint for service {key}: {status}")),
            };
            let regarding = Object::from_value(&next).ok().filter(|_| status.reason != Reason::Conflict);
            if let Some(regarding) = regarding {
                recorder.event(&regarding, "", Type::Warning, reason, message);
            }
            return Err(status);
        }
    }
    Ok(Requeue::Done)
}

/// The Endpoints of a Service, without a trigger's time; None: they are as they shall be. Pure.
fn plan(object: &Object, service: &Service, pods: &[Arc<Pod>], found: Option<&Object>) -> Option<Value> {
    let (subsets, is_truncated) = subset::truncate(subsets(&object.meta().name, service, pods), MOST);
    let mut labels: BTreeMap<String, String> = (&object.meta().labels).into();
    if let Some(found) = found {
        let marked = found.annotation(OVER_CAPACITY).is_some();
        if is_told(found, &subsets) && are_right(found, &labels) && marked == is_truncated {
            return None;
        }
    }
    let mut next = match found {
        Some(found) => found.value(),
        None => json!({"apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": object.meta().name, "namespace": object.meta().namespace}}),
    };
    labels.remove(HEADLESS);
    if !service.has_address() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut notes = next["metadata"]["annotations"].as_object().cloned().unwrap_or_else(Map::new);
    notes.remove(TRIGGER_TIME);
    match is_truncated {
        true => drop(notes.insert(OVER_CAPACITY.into(), json!("truncated"))),
        false => drop(notes.remove(OVER_CAPACITY)),
    }
    next["metadata"]["labels"] = json!(labels);
    match (notes.is_empty(), next["metadata"].as_object_mut()) {
        (true, Some(metadata)) => drop(metadata.remove("annotations")),
        _ => next["metadata"]["annotations"] = notes.into(),
    }
    next["subsets"] = json!(subsets);
    Some(next)
}

/// All addresses that a Service has.
fn subsets(name: &str, service: &Service, pods: &[Arc<Pod>]) -> Vec<Subset> {
    let mut all = Vec::new();
    let may_end = service.publish_not_ready_addresses;
    for pod in pods.iter().filter(|pod| !pod.is_nowhere && (may_end || !pod.is_terminating)) {
        let Some(address) = Address::of(pod, name, family(service, pod)) else { continue };
        let is_ready = service.publish_not_ready_addresses || pod.is_ready;
        match service.ports.is_empty() {
            true if service.is_headless() => all.push(Subset::one(address, is_ready, None)),
            true => {}
            false => {
                let led = service.ports.iter().filter_map(|port| Some(Port::of(port, pod.target(port)?)));
                all.extend(led.map(|port| Subset::one(address.clone(), is_ready, Some(port))));
            }
        }
    }
    subset::repack(&all)
}

/// Of which family the addresses are (podToEndpointAddressForService).
fn family(service: &Service, pod: &Pod) -> Family {
    let first = service.ip_families.first().copied();
    match (first, service.has_address()) {
        (Some(first), _) => first,
        (None, true) => service.family_of_address().unwrap_or(Family::IPv4),
        (None, false) => pod.addresses.first().copied().map_or(Family::IPv4, Family::of),
    }
}

/// Whether Endpoints tell these subsets, in whatever order.
fn is_told(found: &Object, subsets: &[Subset]) -> bool {
    let told = subset::of(found);
    told == subsets || subset::repack(&told) == subsets
}

/// Whether the labels are the Service's; that it is headless is no reason to write (labelsCorrectForEndpoints).
fn are_right(found: &Object, labels: &BTreeMap<String, String>) -> bool {
    let is_own = |key: &str| !matches!(key, HEADLESS | MANAGED_BY);
    let told = found.meta().labels.iter().filter(|(key, _)| is_own(key));
    found.meta().labels.get(MANAGED_BY) == Some(MANAGER)
        && told.eq(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

#[cfg(test)]
mod tests;
