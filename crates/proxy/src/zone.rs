//! The names of services and pods, kept by the node's DNS server (Kubernetes DNS specification 1.1).
//!
//! A change of a service or of one of its slices makes that service's records anew, and what differs is
//! handed over. Laws: what differences add up to is what would be made of all objects at once; a service
//! touches no names but its own and those of its addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use client::Key;
use net::dns::{Difference, Name, Records};

/// Following the objects.
mod follow;
/// One service's records.
mod records;

pub use follow::{Served, run};
pub use records::{Service, Slice, records};

/// Of the specification (CoreDNS, DNSSchemaVersion).
const VERSION: &str = "1.1.0";

/// The zone of a cluster.
pub struct Zone {
    /// `svc.cluster.local`
    services_of: Name,
    /// `pod.cluster.local`
    pods_of: Name,
    /// `dns.cluster.local`
    servers_of: Name,
    namespaces: BTreeMap<String, Namespace>,
    services: HashMap<Key, BTreeMap<Name, Records>>,
    /// Who has an address: cluster addresses before endpoints.
    addresses: HashMap<IpAddr, BTreeMap<(bool, Key), Vec<Name>>>,
    /// Addresses of each service.
    owned: HashMap<Key, Pointers>,
}

/// The names of a service's addresses; true: of an endpoint.
type Pointers = BTreeMap<(IpAddr, bool), Vec<Name>>;

#[derive(Default)]
struct Namespace {
    exists: bool,
    /// Those that have names.
    services: usize,
    shown: bool,
}

impl Zone {
    /// The zone with nothing in it, and its first names. None where the domain is no name.
    pub fn new(domain: &str) -> Option<(Zone, Difference)> {
        let apex = Name::parse(domain)?;
        let (svc, pod, dns) = (apex.below("svc")?, apex.below("pod")?, apex.below("dns")?);
        let put = vec![
            (apex.below("dns-version")?, Records::Text(VERSION.into())),
            (svc.clone(), Records::Nothing),
            (pod.clone(), Records::Nothing),
            (dns.below("ns")?, Records::Addresses(Box::default())),
            (dns.clone(), Records::Nothing),
            (apex, Records::Apex),
        ];
        let zone = Zone {
            services_of: svc,
            pods_of: pod,
            servers_of: dns,
            namespaces: BTreeMap::new(),
            services: HashMap::new(),
            addresses: HashMap::new(),
            owned: HashMap::new(),
        };
        Some((zone, Difference { put, gone: Vec::new() }))
    }

    /// A service as it is now with its slices; None: it is gone.
    pub fn service(&mut self, key: &Key, service: Option<(&Service, &[Slice])>) -> Difference {
        let mut difference = Difference::default();
        let made = service.map(|(service, slices)| records(&self.services_of, key, service, slices));
        let made = made.unwrap_or_default();
        let before = self.services.remove(key).unwrap_or_default();
        let namespace = self.namespaces.entry(key.namespace.to_string()).or_default();
        namespace.services -= usize::from(!before.is_empty());
        namespace.services += usize::from(!made.names.is_empty());
        self.show_namespace(&key.namespace, &mut difference);
        difference.gone.extend(before.keys().filter(|name| !made.names.contains_key(*name)).cloned());
        let changed = made.names.iter().filter(|(name, records)| before.get(*name) != Some(records));
        difference.put.extend(changed.map(|(name, records)| (name.clone(), records.clone())));
        self.move_addresses(key, made.pointers, &mut difference);
        if !made.names.is_empty() {
            self.services.insert(key.clone(), made.names);
        }
        difference
    }

    pub fn namespace(&mut self, name: &str, exists: bool) -> Difference {
        let mut difference = Difference::default();
        self.namespaces.entry(name.to_string()).or_default().exists = exists;
        self.show_namespace(name, &mut difference);
        difference
    }

    /// Where the zone is served.
    pub fn server(&self, addresses: &[IpAddr]) -> Difference {
        let name = self.servers_of.below("ns").expect("it was made of this when the zone was");
        Difference { put: vec![(name, Records::Addresses(addresses.into()))], gone: Vec::new() }
    }

    /// A namespace has a name while it exists or has named services: its object may be heard of later.
    fn show_namespace(&mut self, name: &str, difference: &mut Difference) {
        let Some(namespace) = self.namespaces.get_mut(name) else { return };
        let is_there = namespace.exists || namespace.services > 0;
        if is_there == namespace.shown && is_there {
            return;
        }
        let below = |above: &Name| above.below(name);
        let (Some(svc), Some(pod)) = (below(&self.services_of), below(&self.pods_of)) else { return };
        namespace.shown = is_there;
        if is_there {
            difference.put.extend([(svc, Records::Nothing), (pod, Records::Pods)]);
        } else {
            difference.gone.extend([svc, pod]);
            self.namespaces.remove(name);
        }
    }

    /// The names of addresses. Of a cluster address there is one (CoreDNS, serviceRecordForIP).
    fn move_addresses(&mut self, key: &Key, pointers: Pointers, difference: &mut Difference) {
        let before = self.owned.remove(key).unwrap_or_default();
        let mut touched = Vec::new();
        for at in before.keys().filter(|at| !pointers.contains_key(at)) {
            touched.push(at.0);
            if let Some(owners) = self.addresses.get_mut(&at.0) {
                owners.remove(&(at.1, key.clone()));
            }
        }
        for (at, names) in pointers.iter().filter(|(at, names)| before.get(at) != Some(names)) {
            touched.push(at.0);
            self.addresses.entry(at.0).or_default().insert((at.1, key.clone()), names.clone());
        }
        if !pointers.is_empty() {
            self.owned.insert(key.clone(), pointers);
        }
        touched.sort();
        touched.dedup();
        for address in touched {
            let owners = self.addresses.get(&address);
            let mut names: Vec<Name> = match owners.and_then(|owners| owners.first_key_value()) {
                Some(((false, _), names)) => names.clone(),
                _ => owners.into_iter().flat_map(BTreeMap::values).flatten().cloned().collect(),
            };
            names.sort();
            names.dedup();
            let name = Name::of_address(address);
            if names.is_empty() {
                self.addresses.remove(&address);
                difference.gone.push(name);
            } else {
                difference.put.push((name, Records::Pointers(names.into())));
            }
        }
    }
}

#[cfg(test)]
mod tests;
