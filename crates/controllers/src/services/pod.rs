//! A pod behind a Service: what its endpoints tell of it, decoded of its bytes, nothing else is.

use std::net::IpAddr;

use api::Object;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Family, Port, Service};

/// Two are equal that make the same endpoints.
#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: String,
    pub hostname: String,
    pub subdomain: String,
    /// In the pod's order, each at its most canonical.
    pub addresses: Vec<IpAddr>,
    /// Its condition says that it serves.
    pub is_ready: bool,
    /// Since when its condition is what it is: told in slices, and no reason to write one.
    pub since: Option<Timestamp>,
    /// Somebody asked it to end.
    pub is_terminating: bool,
    /// It has ended, or has no address yet: nobody is told of it.
    pub is_nowhere: bool,
    ports: Vec<Named>,
}

/// A port of a container that has a name.
#[derive(Clone, Debug, PartialEq)]
struct Named {
    name: String,
    protocol: String,
    number: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Form {
    spec: Spec,
    status: Status,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    hostname: String,
    subdomain: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_policy: String,
    ports: Vec<ContainerPort>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ContainerPort {
    name: String,
    protocol: String,
    container_port: i64,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Address {
    ip: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    last_transition_time: Option<String>,
}

impl PartialEq for Pod {
    fn eq(&self, other: &Pod) -> bool {
        let told = |pod: &Pod| (pod.is_ready, pod.is_terminating, pod.is_nowhere);
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
            && (&self.node, &self.hostname, &self.subdomain) == (&other.node, &other.hostname, &other.subdomain)
            && self.addresses == other.addresses
            && told(self) == told(other)
            && self.ports == other.ports
    }
}

impl Pod {
    /// One that cannot be read is nowhere.
    pub fn of(object: &Object) -> Pod {
        let Form { spec, status } = object.view().unwrap_or_default();
        let meta = object.meta();
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let is_over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        // A container's come before a sidecar's (endpointslice.FindPort).
        let sidecars = spec.init_containers.into_iter().filter(|init| init.restart_policy == "Always");
        let ports = spec.containers.into_iter().chain(sidecars).flat_map(|container| container.ports);
        let named = ports.filter(|port| !port.name.is_empty());
        Pod {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            node: spec.node_name,
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            addresses: status
                .pod_ips
                .iter()
                .filter_map(|at| Some(at.ip.parse::<IpAddr>().ok()?.to_canonical()))
                .collect(),
            is_ready: ready.is_some_and(|condition| condition.status == "True"),
            since: ready.and_then(|condition| condition.last_transition_time.as_deref()?.parse().ok()),
            is_terminating: meta.is_deleting(),
            is_nowhere: is_over || (status.pod_ip.is_empty() && status.pod_ips.is_empty()),
            ports: named
                .map(|port| Named { name: port.name, protocol: port.protocol, number: port.container_port })
                .collect(),
        }
    }

    /// Its addresses of a family.
    pub fn of_family(&self, family: Family) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().copied().filter(move |address| Family::of(*address) == family)
    }

    /// Where a port of a Service leads; None: it has no port of that name.
    pub fn target(&self, port: &Port) -> Option<i64> {
        match &port.target_port {
            Value::String(name) => {
                let found = self.ports.iter().find(|own| own.name == *name && own.protocol == port.protocol);
                found.map(|own| own.number)
            }
            number => Some(number.as_i64().unwrap_or(0)),
        }
    }

    /// By which it is found beside its Service's name.
    pub fn hostname_of(&self, namespace: &str, name: &str) -> Option<&str> {
        let is_its = self.subdomain == name && self.namespace == namespace && !self.hostname.is_empty();
        is_its.then_some(self.hostname.as_str())
    }

    /// Whether it is sent what comes to the Service.
    pub fn serves(&self, service: &Service) -> bool {
        service.publish_not_ready_addresses || (self.is_ready && !self.is_terminating)
    }
}
