//! The records of one service and its slices. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use client::Key;
use net::dns::{Name, Records, Target};
use serde::Deserialize;

use super::Pointers;

/// What of a Service makes names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub r#type: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    pub external_name: String,
    pub ports: Vec<Port>,
    pub selector: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Port {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: Option<u16>,
}

/// What of an EndpointSlice makes names.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Slice {
    // Neither list is there where it is empty.
    pub endpoints: Option<Vec<Endpoint>>,
    pub ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    pub hostname: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Not known counts as ready (CoreDNS, endpointsliceReady). Of a service that publishes them, endpoints
    /// that are not ready are told as ready by who makes the slices.
    pub ready: Option<bool>,
}

/// A service's names.
#[derive(Debug, Default, PartialEq)]
pub struct Made {
    pub names: BTreeMap<Name, Records>,
    pub pointers: Pointers,
}

/// One ready endpoint's address.
struct Ready<'a> {
    label: String,
    /// The label is its own, not made of the address.
    is_named: bool,
    address: IpAddr,
    ports: &'a [Port],
}

impl Service {
    fn cluster_ips(&self) -> impl Iterator<Item = &str> {
        let only = [self.spec.cluster_ip.as_str()];
        let all: Vec<&str> = match self.spec.cluster_ips.is_empty() {
            true => only.into_iter().collect(),
            false => self.spec.cluster_ips.iter().map(String::as_str).collect(),
        };
        all.into_iter()
    }

    fn is_headless(&self) -> bool {
        self.cluster_ips().next() == Some("None")
    }

    /// Where it is served, if it has addresses of its own.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.cluster_ips().filter_map(|address| address.parse().ok()).collect()
    }
}

/// All names of a service; `zone` is `svc.cluster.local`. What is no name has none.
pub fn records(zone: &Name, key: &Key, service: &Service, slices: &[Slice]) -> Made {
    let mut made = Made::default();
    let Some(own) = zone.below(&key.namespace).and_then(|namespace| namespace.below(&key.name)) else { return made };
    if service.spec.r#type == "ExternalName" {
        let target = &service.spec.external_name;
        // An address is no name (CoreDNS, findServices).
        if let (Err(_), Some(name)) = (target.parse::<IpAddr>(), Name::parse(target).filter(|_| !target.is_empty())) {
            made.names.insert(own, Records::Alias(name));
        }
        return made;
    }
    let ready = ready(slices);
    let mut hosts: BTreeMap<Name, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut below = BTreeSet::new();
    for endpoint in &ready {
        match own.below(&endpoint.label).filter(|_| endpoint.is_named) {
            Some(name) => drop(hosts.entry(name).or_default().insert(endpoint.address)),
            None => drop(below.insert(endpoint.address)),
        }
    }
    // A name for each endpoint without one of its own would be most of all names: they are found by their labels.
    let host = |addresses: Box<[IpAddr]>| match below.is_empty() {
        true => Records::Addresses(addresses),
        false => Records::Host { addresses, below: below.iter().copied().collect() },
    };
    if service.is_headless() {
        // Without ready endpoints there is no such name (specification, 2.4.1).
        if ready.is_empty() {
            return made;
        }
        let all: BTreeSet<IpAddr> = ready.iter().map(|endpoint| endpoint.address).collect();
        headless_ports(&own, &ready, &hosts, &mut made);
        for endpoint in ready.iter().filter(|endpoint| endpoint.is_named) {
            let names = made.pointers.entry((endpoint.address, true)).or_default();
            names.extend(own.below(&endpoint.label).filter(|name| !names.contains(name)));
        }
        made.names.insert(own, host(all.into_iter().collect()));
    } else {
        let all = service.addresses();
        if all.is_empty() {
            return made;
        }
        for port in &service.spec.ports {
            let target = |port| Target { port, weight: 100, name: own.clone(), addresses: all.clone().into() };
            if let (Some(number), Some([protocol, name])) = (port.port, places(&own, port)) {
                made.names.entry(protocol).or_insert(Records::Nothing);
                made.names.insert(name, Records::Targets([target(number)].into()));
            }
        }
        made.pointers.extend(all.iter().map(|address| ((*address, false), vec![own.clone()])));
        made.names.insert(own, host(all.into()));
    }
    let named = hosts.into_iter().map(|(name, all)| (name, Records::Addresses(all.into_iter().collect())));
    made.names.extend(named);
    made
}

/// A record for each pair of endpoint and named port, those of the slice.
fn headless_ports(own: &Name, ready: &[Ready<'_>], hosts: &BTreeMap<Name, BTreeSet<IpAddr>>, made: &mut Made) {
    let mut found: BTreeMap<Name, BTreeMap<(Name, u16), BTreeSet<IpAddr>>> = BTreeMap::new();
    for endpoint in ready {
        let Some(host) = own.below(&endpoint.label) else { continue };
        for port in endpoint.ports {
            if let (Some(number), Some([protocol, name])) = (port.port, places(own, port)) {
                made.names.entry(protocol).or_insert(Records::Nothing);
                let at = found.entry(name).or_default().entry((host.clone(), number)).or_default();
                // All of a host name's, whatever slices they are in.
                at.extend(hosts.get(&host).into_iter().flatten().copied().chain([endpoint.address]));
            }
        }
    }
    for (name, targets) in found {
        // Together a hundred, and none without (CoreDNS, plugin/backend_lookup.go SRV).
        let weight = u16::try_from(100 / targets.len()).unwrap_or(1).max(1);
        let target = |((name, port), all): ((Name, u16), BTreeSet<IpAddr>)| Target {
            port,
            weight,
            name,
            addresses: all.into_iter().collect(),
        };
        made.names.insert(name, Records::Targets(targets.into_iter().map(target).collect()));
    }
}

/// `_tcp.web…` and `_http._tcp.web…`; None for a port without a name.
fn places(own: &Name, port: &Port) -> Option<[Name; 2]> {
    let name = port.name.as_deref().filter(|name| !name.is_empty())?;
    let protocol = own.below(&format!("_{}", port.protocol.as_deref().unwrap_or("TCP")))?;
    let service = protocol.below(&format!("_{name}"))?;
    Some([protocol, service])
}

fn ready(slices: &[Slice]) -> Vec<Ready<'_>> {
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice.ports.as_deref().unwrap_or_default();
        let endpoints = slice.endpoints.iter().flatten();
        for endpoint in endpoints.filter(|endpoint| endpoint.conditions.ready.unwrap_or(true)) {
            let hostname = endpoint.hostname.as_deref().filter(|name| !name.is_empty());
            // A slice of names has no addresses.
            for address in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                // CoreDNS, endpointHostname
                let made = || address.to_string().replace(['.', ':'], "-");
                let label = hostname.map_or_else(made, str::to_owned);
                found.push(Ready { label, is_named: hostname.is_some(), address, ports });
            }
        }
    }
    found
}
