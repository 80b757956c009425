//! What the controllers of endpoints share: a Service as they read it, and its pods.
//!
//! Law: a pod is found by an index over its labels and a Service by one over its selector, so that neither many pods
//! nor many Services of a namespace cost a change more; a change of what no endpoint tells of concerns nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use api::{Object, Pairs};
use client::cache::index::LABEL;
use client::cache::{Change, Index};
use client::{Cache, Key};
use serde::Deserialize;
use serde_json::Value;

/// A pod behind a Service.
pub mod pod;
/// Since when what is told is so.
pub mod trigger;

pub use pod::Pod;

/// Slices and Endpoints: of which Service they are.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Slices: who writes them.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The Service has no address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what is told came to be so.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Services under their namespace and one pair of their selector, as the index of labels names it: `default/app=web`.
pub static SELECTOR: Index = Index {
    name: "selector",
    values: |service| {
        let selector = selector_of(service);
        let pair = selector.first_key_value();
        pair.map(|(key, value)| format!("{}/{key}={value}", service.meta().namespace)).into_iter().collect()
    },
};

/// What of a Service its endpoints depend on.
#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    pub selector: BTreeMap<String, String>,
    pub r#type: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    pub ip_families: Vec<Family>,
    pub ports: Vec<Port>,
    pub publish_not_ready_addresses: bool,
    pub traffic_distribution: String,
}

#[derive(Deserialize, Default, Clone, Debug)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    pub name: String,
    pub protocol: String,
    /// A number, or the name of a container's port.
    pub target_port: Value,
    pub app_protocol: Option<String>,
}

/// Of addresses. In the order of their names.
#[derive(Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    IPv4,
    IPv6,
}

impl Family {
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::IPv4 } else { Family::IPv6 }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Family::IPv4 => "IPv4",
            Family::IPv6 => "IPv6",
        }
    }
}

impl Service {
    /// One that cannot be read has no endpoints.
    pub fn of(object: &Object) -> Service {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Specified {
            spec: Service,
        }
        object.view::<Specified>().unwrap_or_default().spec
    }

    /// Whether its endpoints are made of pods; else they are somebody else's.
    pub fn selects_pods(&self) -> bool {
        self.r#type != "ExternalName" && !self.selector.is_empty()
    }

    /// It asked for none (`None`).
    pub fn is_headless(&self) -> bool {
        self.cluster_ip == "None"
    }

    /// It has an address of its own (pkg/apis/core/v1/helper.IsServiceIPSet).
    pub fn has_address(&self) -> bool {
        !self.is_headless() && !self.cluster_ip.is_empty()
    }

    /// The family of its address, where it has one that can be read.
    pub fn family_of_address(&self) -> Option<Family> {
        self.cluster_ip.parse().ok().map(Family::of)
    }
}

/// The pods that a Service's selector matches, in the order of their names.
pub fn pods_of(pods: &Cache, namespace: &str, service: &Service) -> Vec<Object> {
    let pairs: Vec<String> = service.selector.iter().map(|(key, value)| format!("{namespace}/{key}={value}")).collect();
    pods.by_all(&LABEL, &pairs.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The Services whose endpoints a change of a pod may change.
pub fn concerned(services: &Cache, change: &Change) -> BTreeSet<Key> {
    let selecting = |pod: &Option<Object>| {
        pod.as_ref().map(|pod| selecting(services, &change.key.namespace, &pod.meta().labels)).unwrap_or_default()
    };
    let (before, now) = (selecting(&change.old), selecting(&change.new));
    if before.is_empty() && now.is_empty() {
        return now;
    }
    let seen = |pod: &Option<Object>| pod.as_ref().map(Pod::of).filter(|pod| !pod.is_nowhere);
    match seen(&change.old) == seen(&change.new) {
        true => before.symmetric_difference(&now).cloned().collect(),
        false => &before | &now,
    }
}

/// The Services that select such a pod.
pub fn selecting(services: &Cache, namespace: &str, labels: &Pairs) -> BTreeSet<Key> {
    let under = labels.iter().flat_map(|(key, value)| services.by(&SELECTOR, &format!("{namespace}/{key}={value}")));
    let matching = under.filter(|service| {
        selector_of(service).iter().all(|(key, value)| labels.get(key).is_some_and(|own| own == value))
    });
    matching.map(|service| Key::of(&service)).collect()
}

fn selector_of(service: &Object) -> BTreeMap<String, String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Specified {
        spec: Selecting,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Selecting {
        selector: BTreeMap<String, String>,
    }
    service.view::<Specified>().unwrap_or_default().spec.selector
}

/// Pods as they were read, each read once: a Service with a thousand of them reads the one that changed.
#[derive(Default)]
pub struct Read(Mutex<HashMap<Key, (u64, Arc<Pod>)>>);

impl Read {
    pub fn of(&self, pod: &Object) -> Arc<Pod> {
        let (key, revision) = (Key::of(pod), pod.revision());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(&key) {
            Some((known, read)) if *known == revision => read.clone(),
            _ => {
                let read = Arc::new(Pod::of(pod));
                all.insert(key, (revision, read.clone()));
                read
            }
        }
    }

    /// Of one that is gone; and of all that are, where they have become many.
    pub fn forget(&self, pods: &Cache, gone: &Key) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(gone);
        if all.len() > 2 * pods.len() + 64 {
            all.retain(|key, _| pods.get(&key.namespace, &key.name).is_some());
        }
    }
}

#[cfg(test)]
mod tests;
