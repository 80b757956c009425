//! Endpoints that somebody else writes, told as EndpointSlices too: of Services that select no pods.
//!
//! pkg/controller/endpointslicemirroring: of each set of ports and each family one slice of at most a thousand
//! addresses, with the labels and annotations of the Endpoints. Not mirrored are those that say so (`skip-mirror`, as the
//! server's own of `default/kubernetes` do), those that were a lease, and those without a Service of their name.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::{ENDPOINT_SLICES, ENDPOINTS, SERVICES};
use api::{Object, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Change, Key, Recorder};
use futures::StreamExt;
use futures::stream::{self, select};

use crate::endpoint_slices::pack::Changes;
use crate::endpoint_slices::slice::{self, Conditions, Endpoint, Identity, Labels, Port, Slice};
use crate::endpoint_slices::{concerned, own_slices, write};
use crate::endpoints::{LEADER, subset};
use crate::services::{Family, MANAGED_BY, SERVICE_NAME, Service, TRIGGER_TIME};
use crate::{Parts, workload};

/// Who writes these slices.
const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
/// Not to be mirrored, where it is `true`.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Addresses of one subset (`--mirroring-max-endpoints-per-subset`).
const MOST: usize = 1000;
/// Annotations that are the Endpoints' own.
const OWN: [&str; 2] = [TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"];

pub async fn run(parts: Arc<Parts>) {
    let (services, endpoints) = (parts.cache(&SERVICES), parts.cache(&ENDPOINTS));
    let slices = parts.cache(&ENDPOINT_SLICES);
    parts.synced(&[&services, &endpoints, &slices]).await;
    // Those of Services with pods are many, and no affair of ours.
    let of_services = services.subscribe().filter_map(|change| std::future::ready(hands_over(&change)));
    let of_slices = slices.subscribe().flat_map(|change| stream::iter(concerned(&change, MANAGER)));
    let teller =
        Arc::new(Teller { recorder: parts.recorder("endpoint-slice-mirroring-controller"), told: Mutex::default() });
    let work = |key: Key| {
        let (parts, teller) = (parts.clone(), teller.clone());
        async move { attend(&parts, &teller, &key).await }
    };
    let changes = select(endpoints.subscribe().keys(), select(of_services, of_slices));
    reconcile::run(changes, 5, work).await;
}

/// Says what is left out, once of each version of the Endpoints.
struct Teller {
    recorder: Recorder,
    told: Mutex<HashMap<Key, u64>>,
}

impl Teller {
    fn tell(&self, endpoints: &Object, what: &[(&'static str, String)]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (key, revision) = (Key::of(endpoints), endpoints.revision());
        if what.is_empty() {
            told.remove(&key);
        } else if told.insert(key, revision) != Some(revision) {
            for (reason, message) in what {
                self.recorder.event(endpoints, "", Type::Warning, reason, message.as_str());
            }
        }
    }

    fn forget(&self, key: &Key) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// A Service that comes or goes without a selector, or gets or loses one.
fn hands_over(change: &Change) -> Option<Key> {
    let selects = |service: &Option<Object>| service.as_ref().map(|service| !Service::of(service).selector.is_empty());
    let (before, now) = (selects(&change.old), selects(&change.new));
    (before != now && [before, now].contains(&Some(false))).then(|| change.key.clone())
}

async fn attend(parts: &Parts, teller: &Teller, key: &Key) -> Result<Requeue, Status> {
    let found: Vec<Object> = own_slices(parts, key, MANAGER);
    let service = parts.cache(&SERVICES).get(&key.namespace, &key.name);
    let is_asked = service.is_some_and(|service| Service::of(&service).selector.is_empty());
    let endpoints = parts.cache(&ENDPOINTS).get(&key.namespace, &key.name);
    let Some(endpoints) = endpoints.filter(|endpoints| is_asked && is_mirrored(endpoints)) else {
        teller.forget(key);
        for slice in &found {
            workload::delete(parts, &ENDPOINT_SLICES, slice).await?;
        }
        return Ok(Requeue::Done);
    };
    let desired = desired(&subset::of(&endpoints), MOST);
    teller.tell(&endpoints, &desired.told);
    let annotations = annotations(&endpoints);
    let changes = plan(&endpoints, &annotations, desired, found.iter().filter_map(Slice::of).collect());
    write(parts, &endpoints, changes, |_| annotations.clone()).await?;
    Ok(Requeue::Done)
}

fn is_mirrored(endpoints: &Object) -> bool {
    endpoints.meta().labels.get(SKIP) != Some("true") && endpoints.annotation(LEADER).is_none()
}

/// Those of its slices.
fn annotations(endpoints: &Object) -> Labels {
    let all = endpoints.annotations().into_iter().map(|(key, value)| (key.into_owned(), value.into_owned()));
    all.filter(|(key, _)| !OWN.contains(&key.as_str())).collect()
}

/// Those of its slices, without the reserved ones or with them.
fn labels(endpoints: &Object, reserved: bool) -> Labels {
    let mut labels: Labels = (&endpoints.meta().labels).into();
    for (key, value) in [(SERVICE_NAME, endpoints.meta().name.as_str()), (MANAGED_BY, MANAGER)] {
        labels.remove(key);
        labels.extend(reserved.then(|| (key.to_owned(), value.to_owned())));
    }
    labels
}

/// What slices shall tell.
#[derive(Default)]
struct Desired {
    slices: BTreeMap<(Family, Vec<Port>), BTreeMap<Identity, Endpoint>>,
    /// Reason and message of each event.
    told: Vec<(&'static str, String)>,
}

/// Of subsets, each of which has at most so many endpoints. Pure.
fn desired(subsets: &[subset::Subset], most: usize) -> Desired {
    let (mut desired, mut invalid, mut skipped) = (Desired::default(), 0, 0);
    for subset in subset::repack(subsets) {
        let port = |port: subset::Port| Port {
            name: Some(port.name),
            protocol: Some(port.protocol),
            port: Some(port.port),
            app_protocol: port.app_protocol,
        };
        let ports = slice::order(subset.ports.into_iter().map(port).collect());
        let ready = subset.addresses.into_iter().map(|address| (address, true));
        let all: Vec<_> = ready.chain(subset.not_ready_addresses.into_iter().map(|address| (address, false))).collect();
        let (whole, mut added) = (all.len(), 0);
        for (address, is_ready) in all {
            if added == most {
                break;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) else {
                invalid += 1;
                continue;
            };
            added += 1;
            let endpoint = Endpoint {
                addresses: vec![ip.to_string()],
                conditions: Conditions { ready: Some(is_ready), ..Conditions::default() },
                hostname: Some(address.hostname).filter(|name| !name.is_empty()),
                node_name: address.node_name,
                target_ref: address.target_ref,
                ..Endpoint::default()
            };
            let slice = desired.slices.entry((Family::of(ip), ports.clone())).or_default();
            slice.insert(endpoint.identity(), endpoint);
        }
        skipped += whole - added;
    }
    if invalid > 0 {
        let message = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        desired.told.push(("InvalidIPAddress", message));
    }
    if skipped > invalid {
        let message = format!(
            "A max of {most} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
        );
        desired.told.push(("TooManyAddressesToMirror", message));
    }
    desired
}

/// What is to be done with the slices that were found. Pure.
fn plan(endpoints: &Object, annotations: &Labels, desired: Desired, found: Vec<Slice>) -> Changes {
    let mut by_kind: BTreeMap<(Family, Vec<Port>), Vec<Slice>> = BTreeMap::new();
    for slice in found {
        by_kind.entry((slice.family, slice.ports.clone())).or_default().push(slice);
    }
    let mut changes = Changes::default();
    for ((family, ports), wanted) in desired.slices {
        let mut found = by_kind.remove(&(family, ports.clone())).unwrap_or_default().into_iter();
        let first = found.next();
        changes.delete.extend(found);
        let is_same = |slice: &Slice| {
            let told: BTreeMap<Identity, &Endpoint> = slice.endpoints.iter().map(|one| (one.identity(), one)).collect();
            let says = |(one, other): ((&Identity, &Endpoint), (&Identity, &&Endpoint))| {
                one.0 == other.0 && one.1.says_as(other.1)
            };
            wanted.len() == slice.endpoints.len()
                && wanted.len() == told.len()
                && wanted.iter().zip(&told).all(says)
                && is_right(endpoints, annotations, slice)
        };
        match first {
            Some(first) if is_same(&first) => changes.keep.push(first),
            first => {
                let all = wanted.into_values().take(MOST).collect();
                let next = Slice::new(family, ports, all, labels(endpoints, true));
                match first {
                    Some(first) => changes.update.push(Slice { found: first.found, ..next }),
                    None => changes.create.push(next),
                }
            }
        }
    }
    changes.delete.extend(by_kind.into_values().flatten());
    changes.recycle(|_| true);
    changes
}

/// Whether a slice has the labels, annotations and owner of its Endpoints.
fn is_right(endpoints: &Object, annotations: &Labels, slice: &Slice) -> bool {
    let own = slice.labels.iter().filter(|(key, _)| !matches!(key.as_str(), SERVICE_NAME | MANAGED_BY));
    let found = slice.found.as_ref();
    let noted = found.map(|found| found.annotations()).unwrap_or_default();
    let noted = noted.iter().map(|(key, value)| (key.as_ref(), value.as_ref()));
    own.eq(labels(endpoints, false).iter())
        && noted.eq(annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())))
        && slice.is_owned_by("Endpoints", &endpoints.meta().uid)
}

#[cfg(test)]
mod tests;
