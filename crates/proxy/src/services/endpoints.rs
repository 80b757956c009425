//! Which endpoints of a service this node uses: those near it, and ending ones if no other is left.
//!
//! Upstream: pkg/proxy/topology.go (CategorizeEndpoints) and endpointslicecache.go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;

use super::Here;

/// A slice as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
    #[serde(default)]
    ports: Option<Vec<SlicePort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
    node_name: Option<String>,
    hints: Option<Hints>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Hints {
    for_zones: Vec<Hint>,
    for_nodes: Vec<Hint>,
}

#[derive(Deserialize)]
struct Hint {
    name: String,
}

#[derive(Deserialize)]
struct SlicePort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i32>,
}

/// One endpoint of one port.
#[derive(Clone, Debug, Default)]
pub(super) struct Known<'a> {
    ready: bool,
    serving: bool,
    terminating: bool,
    local: bool,
    zones: Vec<&'a str>,
    nodes: Vec<&'a str>,
}

pub(super) type All<'a> = BTreeMap<SocketAddr, Known<'a>>;

/// What is used of all.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Used {
    pub cluster: Vec<SocketAddr>,
    pub local: Vec<SocketAddr>,
    /// Ready or not: flows to them go on.
    pub serving: Vec<SocketAddr>,
    /// There is one somewhere.
    pub any: bool,
}

/// The endpoints of the port of that name and protocol, in one family.
pub(super) fn all<'a>(slices: &'a [Slice], name: &str, protocol: &str, v6: bool, here: &Here) -> All<'a> {
    let mut all = All::new();
    let family = if v6 { "IPv6" } else { "IPv4" };
    for slice in slices.iter().filter(|slice| slice.address_type == family) {
        // A port without a name is none of a Service (endpointInfoByServicePort).
        let is_it = |port: &&SlicePort| {
            port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
        };
        for port in slice.ports.iter().flatten().filter(is_it) {
            let number = port.port.and_then(|number| u16::try_from(number).ok()).filter(|number| *number != 0);
            let Some(number) = number else { continue };
            for endpoint in &slice.endpoints {
                let address = endpoint.addresses.first().and_then(|address| address.parse::<IpAddr>().ok());
                let Some(address) = address.filter(|address| address.is_ipv6() == v6 && !is_special(*address)) else {
                    continue;
                };
                let known = Known::of(endpoint, here);
                let at = SocketAddr::new(address, number);
                // An address of two endpoints is the one's that does not end (addEndpoints).
                if !known.terminating || !all.contains_key(&at) {
                    all.insert(at, known);
                }
            }
        }
    }
    all
}

/// Validation refuses them in slices and services; whoever got past it is not served from this host's own addresses.
pub(super) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast(),
    }
}

impl<'a> Known<'a> {
    fn of(endpoint: &'a Endpoint, here: &Here) -> Known<'a> {
        let conditions = &endpoint.conditions;
        let names = |hints: &'a [Hint]| hints.iter().map(|hint| hint.name.as_str()).collect();
        Known {
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            local: !here.node.is_empty() && endpoint.node_name.as_deref() == Some(here.node.as_str()),
            zones: endpoint.hints.as_ref().map(|hints| names(&hints.for_zones)).unwrap_or_default(),
            nodes: endpoint.hints.as_ref().map(|hints| names(&hints.for_nodes)).unwrap_or_default(),
        }
    }

    fn is_ending(&self) -> bool {
        self.serving && self.terminating
    }
}

/// How many addresses are ready on this node (LocalReadyEndpoints).
pub(super) fn local_ready(slices: &[Slice], here: &Here) -> usize {
    let endpoints = slices.iter().filter(|slice| slice.ports.as_ref().is_some_and(|ports| !ports.is_empty()));
    let endpoints = endpoints.flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        let known = Known::of(endpoint, here);
        known.ready && known.local
    });
    ready.filter_map(|endpoint| endpoint.addresses.first()).collect::<std::collections::BTreeSet<_>>().len()
}

/// `uses_cluster`, `uses_local`: what the policies of the service ask for at all.
pub(super) fn used(all: &All<'_>, uses_cluster: bool, uses_local: bool, here: &Here) -> Used {
    let those = |is_used: &dyn Fn(&Known<'_>) -> bool| -> Vec<SocketAddr> {
        all.iter().filter(|(_, known)| is_used(known)).map(|(at, _)| *at).collect()
    };
    let or_ending = |ready: Vec<SocketAddr>, ending: &dyn Fn(&Known<'_>) -> bool| match ready.is_empty() {
        true => those(ending),
        false => ready,
    };
    let mut used = Used { serving: those(&|known| known.serving), ..Used::default() };
    if uses_cluster {
        let near = nearness(all, here);
        used.cluster = or_ending(those(&|known| known.ready && near(known)), &|known| known.is_ending());
        used.any = !used.cluster.is_empty();
    }
    if uses_local {
        used.any |= all.values().any(|known| known.ready || known.is_ending());
        used.local = or_ending(those(&|known| known.ready && known.local), &|known| known.is_ending() && known.local);
    }
    used
}

/// Hints count where every ready endpoint has them and one is for here: of nodes first, then of zones.
fn nearness<'a>(all: &All<'_>, here: &'a Here) -> Box<dyn Fn(&Known<'_>) -> bool + 'a> {
    let ready: Vec<&Known<'_>> = all.values().filter(|known| known.ready).collect();
    let hold = |hints: fn(&Known<'_>, &str) -> Option<bool>, name: &str| {
        let all: Option<Vec<bool>> = ready.iter().map(|known| hints(known, name)).collect();
        all.is_some_and(|all| all.contains(&true))
    };
    let of_node = |known: &Known<'_>, name: &str| (!known.nodes.is_empty()).then(|| known.nodes.contains(&name));
    let of_zone = |known: &Known<'_>, name: &str| (!known.zones.is_empty()).then(|| known.zones.contains(&name));
    if hold(of_node, &here.node) {
        return Box::new(|known| known.nodes.contains(&here.node.as_str()));
    }
    if hold(of_zone, &here.zone) {
        return Box::new(|known| known.zones.contains(&here.zone.as_str()));
    }
    Box::new(|_| true)
}
