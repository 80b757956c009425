//! One service's ports as this node serves them.
//!
//! Pure. Upstream: pkg/proxy/serviceport.go, servicechangetracker.go, and what pkg/proxy/nftables/proxier.go makes
//! of the two (syncProxyRules).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::Object;
use ipnet::IpNet;
use net::services::{At, Frontend, Port, Protocol, Way};
use serde::Deserialize;

use super::Local;
pub use super::endpoints::Slice;
use super::endpoints::{all, is_special, local_ready, used};

/// This node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Here {
    pub node: String,
    /// `topology.kubernetes.io/zone`; empty: none.
    pub zone: String,
    pub addresses: Vec<IpAddr>,
}

/// Who goes before whom where two claim one address: the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Cluster,
    LoadBalancer,
    External,
    Node,
}

/// One port of a service in one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Served {
    /// Its address in the cluster, by which it is known.
    pub at: At,
    /// RFC 3339, whole seconds.
    pub since: String,
    pub port: Port,
    /// Of each frontend.
    pub ranks: Vec<Rank>,
}

/// Whoever asks at `port` is told how many endpoints are ready here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asked {
    pub port: u16,
    pub local: usize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    load_balancer_source_ranges: Vec<String>,
    internal_traffic_policy: String,
    external_traffic_policy: String,
    session_affinity: String,
    session_affinity_config: Option<AffinityConfig>,
    health_check_node_port: i32,
    ports: Vec<ServicePort>,
}

#[derive(Deserialize)]
struct AffinityConfig {
    #[serde(rename = "clientIP")]
    client_ip: Option<ClientIp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientIp {
    timeout_seconds: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicePort {
    #[serde(default)]
    name: String,
    protocol: Option<String>,
    port: i32,
    #[serde(default)]
    node_port: i32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: String,
    #[serde(rename = "ipMode")]
    mode: Option<String>,
}

/// Upstream's default of `timeoutSeconds`.
const AFFINITY: u32 = 10_800;
const LOCAL: &str = "Local";

/// The ports of a service, and who is told about it. A service that nobody serves here has none.
pub fn served(service: &Object, slices: &[Slice], here: &Here, local: &Local) -> (Vec<Served>, Option<Asked>) {
    let meta = service.meta();
    let Service { spec, status } = service.view().unwrap_or_else(|error| {
        tracing::warn!(%error, "service {}/{} cannot be read: it is not served", meta.namespace, meta.name);
        Service::default()
    });
    // ShouldSkipService.
    if spec.kind == "ExternalName" || spec.cluster_ip.is_empty() || spec.cluster_ip == "None" {
        return (Vec::new(), None);
    }
    let since = meta.creation_timestamp.clone().unwrap_or_default();
    let parsed = |addresses: &[String]| -> Vec<IpAddr> {
        let addresses = addresses.iter().filter_map(|address| address.parse().ok());
        addresses.filter(|address| !is_special(*address)).collect()
    };
    let own = if spec.cluster_ips.is_empty() { vec![spec.cluster_ip.clone()] } else { spec.cluster_ips.clone() };
    let external = parsed(&spec.external_ips);
    let vip = |ingress: &&Ingress| ingress.mode.as_deref().is_none_or(|mode| mode == "VIP");
    let balanced: Vec<String> = status.load_balancer.ingress.iter().filter(vip).map(|one| one.ip.clone()).collect();
    let balanced = parsed(&balanced);
    let mut ports = Vec::new();
    for cluster in parsed(&own) {
        for port in &spec.ports {
            let name = port.protocol.as_deref().unwrap_or("TCP");
            let (Some(protocol), Ok(number)) = (Protocol::named(name), u16::try_from(port.port)) else { continue };
            let v6 = cluster.is_ipv6();
            let at = |address, port| At { address, protocol, port };
            let nowhere: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            let node_port = u16::try_from(port.node_port).ok().filter(|port| *port != 0);
            let of_family = |addresses: &[IpAddr]| -> Vec<At> {
                let addresses = addresses.iter().filter(|address| address.is_ipv6() == v6);
                addresses.map(|address| at(*address, number)).collect()
            };
            let (balanced, external) = (of_family(&balanced), of_family(&external));
            let is_outside = node_port.is_some() || !balanced.is_empty() || !external.is_empty();
            let (inner_local, outer_local) = (spec.internal_traffic_policy == LOCAL, spec.is_externally_local());
            let endpoints = all(slices, &port.name, name, v6, here);
            let mut used = used(&endpoints, !inner_local || is_outside, inner_local || outer_local && is_outside, here);
            let own = at(cluster, number);
            let (mut inner_local, mut outer_local) = (inner_local, outer_local);
            if let Some(target) = local.get(&own) {
                used.cluster = vec![*target];
                used.serving = vec![*target];
                used.any = true;
                (inner_local, outer_local) = (false, false);
            }
            // The sets are of no use but for what is asked of them.
            let way = |of_node: bool| match (used.any, of_node, used.local.is_empty()) {
                (false, ..) => Way::Reject,
                (true, true, true) => Way::Drop,
                (true, true, false) => Way::Local,
                (true, false, _) => Way::Cluster,
            };
            let inner = |at| Frontend { at, inside: way(inner_local), outside: way(inner_local), sources: Vec::new() };
            // What comes from a pod or from the node itself goes anywhere, as if it came back from a balancer.
            let outer = |at| Frontend { at, inside: way(false), outside: way(outer_local), sources: Vec::new() };
            let guarded = |at: At| Frontend { sources: spec.sources(at.address, here), ..outer(at) };
            let mut frontends = vec![(inner(own), Rank::Cluster)];
            frontends.extend(balanced.iter().map(|at| (guarded(*at), Rank::LoadBalancer)));
            frontends.extend(external.iter().map(|at| (outer(*at), Rank::External)));
            frontends.extend(node_port.map(|port| (outer(at(nowhere, port)), Rank::Node)));
            // An address that it has twice is what it is first.
            let mut seen = BTreeSet::new();
            frontends.retain(|(frontend, _)| seen.insert(frontend.at));
            let (frontends, ranks): (Vec<Frontend>, Vec<Rank>) = frontends.into_iter().unzip();
            // Streams stay where they began: nobody asks where they may go on.
            let serving = if protocol == Protocol::Tcp { Vec::new() } else { used.serving };
            let (cluster, local) = (used.cluster, used.local);
            let port = Port { frontends, cluster, local, affinity: spec.affinity(), serving };
            ports.push(Served { at: own, since: since.clone(), port, ranks });
        }
    }
    let asked = u16::try_from(spec.health_check_node_port)
        .ok()
        .filter(|port| *port != 0 && spec.kind == "LoadBalancer" && spec.external_traffic_policy == LOCAL);
    (ports, asked.map(|port| Asked { port, local: local_ready(slices, here) }))
}

impl Spec {
    /// pkg/api/v1/service/util.go ExternalPolicyLocal.
    fn is_externally_local(&self) -> bool {
        let is_outside = match self.kind.as_str() {
            "LoadBalancer" | "NodePort" => true,
            _ => !self.external_ips.is_empty(),
        };
        is_outside && self.external_traffic_policy == LOCAL
    }

    fn affinity(&self) -> u32 {
        if self.session_affinity != "ClientIP" {
            return 0;
        }
        let config = self.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        config.and_then(|client| client.timeout_seconds).unwrap_or(AFFINITY).max(1)
    }

    /// Who may use the load balancer's address; nobody is kept out by a range that has everybody. Where this node
    /// may, what it sends to that address may bear it as its source.
    fn sources(&self, address: IpAddr, here: &Here) -> Vec<IpNet> {
        let ranges = self.load_balancer_source_ranges.iter().filter_map(|range| range.trim().parse::<IpNet>().ok());
        let mut ranges: Vec<IpNet> = ranges.filter(|range| range.addr().is_ipv6() == address.is_ipv6()).collect();
        if ranges.iter().any(|range| range.prefix_len() == 0) {
            return Vec::new();
        }
        if here.addresses.iter().any(|own| ranges.iter().any(|range| range.contains(own))) {
            ranges.push(address.into());
        }
        ranges
    }
}

/// `[2001:db8::1]:80/TCP`
#[cfg(test)]
pub(super) fn shown(at: &At) -> String {
    format!("{}/{:?}", std::net::SocketAddr::new(at.address, at.port), at.protocol)
}
