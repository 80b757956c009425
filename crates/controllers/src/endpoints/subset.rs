//! Subsets of Endpoints: addresses that share their ports, in upstream's order. Pure.
//!
//! pkg/api/v1/endpoints, RepackSubsets: an address and its owner stand once for each set of ports; of what is ready and
//! not ready at once the latter counts; addresses stand by themselves, ports and subsets by the hash of Go's dump.

use std::collections::{BTreeMap, BTreeSet};

use api::Object;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::endpoint_slices::slice::Target;
use crate::services::{self, Family, Pod};
use crate::workload::dump;
use crate::workload::hash::fnv128;

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Subset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready_addresses: Vec<Address>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Address {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    pub ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<Target>,
}

#[derive(Deserialize, Serialize, Default, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default, rename_all = "camelCase")]
pub struct Port {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub port: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

impl Address {
    /// A pod's first address of a family; None: it has none.
    pub fn of(pod: &Pod, service: &str, family: Family) -> Option<Address> {
        let target = Target {
            kind: "Pod".into(),
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            uid: pod.uid.clone(),
            ..Target::default()
        };
        Some(Address {
            hostname: pod.hostname_of(&pod.namespace, service).unwrap_or_default().to_owned(),
            ip: pod.of_family(family).next()?.to_string(),
            node_name: Some(pod.node.clone()),
            target_ref: Some(target),
        })
    }

    /// In which order they stand: who owns none comes first.
    fn place(&self) -> (&str, Option<&str>) {
        (&self.ip, self.target_ref.as_ref().map(|target| target.uid.as_str()))
    }

    /// What makes two the same one.
    fn identity(&self) -> (String, String) {
        (self.ip.clone(), self.target_ref.as_ref().map(|target| target.uid.clone()).unwrap_or_default())
    }
}

impl Port {
    pub fn of(port: &services::Port, number: i64) -> Port {
        let (name, protocol) = (port.name.clone(), port.protocol.clone());
        Port { name, port: number, protocol, app_protocol: port.app_protocol.clone() }
    }
}

impl Subset {
    pub fn one(address: Address, is_ready: bool, port: Option<Port>) -> Subset {
        let (addresses, not_ready_addresses) = if is_ready { (vec![address], vec![]) } else { (vec![], vec![address]) };
        Subset { addresses, not_ready_addresses, ports: port.into_iter().collect() }
    }
}

/// As an Endpoints object has them; none where they cannot be read.
pub fn of(endpoints: &Object) -> Vec<Subset> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Form {
        subsets: Option<Vec<Subset>>,
    }
    endpoints.view::<Form>().unwrap_or_default().subsets.unwrap_or_default()
}

/// The same addresses and ports in their one order.
pub fn repack(subsets: &[Subset]) -> Vec<Subset> {
    let mut all: BTreeMap<(String, String), &Address> = BTreeMap::new();
    // None: no port at all.
    let mut by_port: BTreeMap<Option<&Port>, BTreeMap<(String, String), bool>> = BTreeMap::new();
    for subset in subsets {
        let ports: Vec<Option<&Port>> = match subset.ports.is_empty() {
            true => vec![None],
            false => subset.ports.iter().map(Some).collect(),
        };
        let ready = subset.addresses.iter().map(|address| (address, true));
        for (address, is_ready) in ready.chain(subset.not_ready_addresses.iter().map(|address| (address, false))) {
            all.entry(address.identity()).or_insert(address);
            for port in &ports {
                *by_port.entry(*port).or_default().entry(address.identity()).or_insert(true) &= is_ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<BTreeMap<(String, String), bool>, BTreeSet<&Port>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses).or_default().extend(port.filter(|port| port.port > 0));
    }
    let packed = by_addresses.into_iter().map(|(addresses, ports)| {
        let of = |wanted: bool| {
            let some = addresses.iter().filter(|(_, is_ready)| **is_ready == wanted);
            let mut some: Vec<Address> = some.map(|(identity, _)| all[identity].clone()).collect();
            some.sort_by(|a, b| a.place().cmp(&b.place()));
            some
        };
        let ports = ports.into_iter().cloned().collect();
        Subset { addresses: of(true), not_ready_addresses: of(false), ports: hashed(ports, "v1.EndpointPort") }
    });
    hashed(packed.collect(), "v1.EndpointSubset")
}

/// In the order of their hashes.
fn hashed<T: Serialize>(mut all: Vec<T>, class: &str) -> Vec<T> {
    if all.len() > 1 {
        all.sort_by_cached_key(|one| fnv128(dump::typed_of(class, &json!(one)).as_bytes()));
    }
    all
}

/// At most so many addresses, of each subset its share; what is ready comes first. Whether any are left out.
pub fn truncate(mut subsets: Vec<Subset>, most: usize) -> (Vec<Subset>, bool) {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let others: usize = subsets.iter().map(|subset| subset.not_ready_addresses.len()).sum();
    if ready + others <= most {
        return (subsets, false);
    }
    let (room, whole) = if ready > most { (most, ready) } else { (most - ready, others) };
    let mut left = room;
    for subset in &mut subsets {
        let list = match ready > most {
            true => {
                subset.not_ready_addresses.clear();
                &mut subset.addresses
            }
            false => &mut subset.not_ready_addresses,
        };
        // As floating as upstream's.
        let share = (list.len() as f64 / whole as f64 * room as f64).ceil() as usize;
        list.truncate(share.min(left));
        left -= list.len();
    }
    // The server takes none without addresses.
    subsets.retain(|subset| !(subset.addresses.is_empty() && subset.not_ready_addresses.is_empty()));
    (subsets, true)
}
