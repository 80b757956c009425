//! Ingresses, IngressClasses, Services, EndpointSlices and Secrets into routes and certificates. Pure.
//!
//! An Ingress is ours by its class (networking/v1 IngressSpec.ingressClassName; the older annotation counts before
//! it; one with neither is nobody's: admission has given it the default class, if there was one). Services and Secrets
//! are named without a namespace and looked up in the Ingress' own, nowhere else. Older Ingresses come first.
//! What cannot be served has no endpoints, which is a 503, and a trouble for people.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::Object;
use api::names::INGRESS_CONTROLLER;
use client::Key;

use crate::certificates::Certificate;
use crate::table::{Backend, Host, Path, Protocol, Route, Table};

/// The fields that are read.
mod views;

use views::{EndpointSlice, Ingress, IngressBackend, IngressClass, PathRule, Service, ServiceBackendPort, ServicePort};

/// By which an Ingress named its class before there was a field.
const ANNOTATION: &str = "kubernetes.io/ingress.class";

/// What the caches show. Each function gets a namespace and a name.
pub struct Seen<'a> {
    pub classes: &'a [Object],
    pub ingresses: &'a [Object],
    pub service: &'a dyn Fn(&str, &str) -> Option<Object>,
    /// The slices of a Service.
    pub slices: &'a dyn Fn(&str, &str) -> Vec<Object>,
    pub secret: &'a dyn Fn(&str, &str) -> Secret,
    /// Where the proxy itself listens: it serves nobody as an endpoint.
    pub own: &'a [SocketAddr],
    /// Grows from plan to plan (`Backend::new`).
    pub serial: usize,
}

/// What is known of a Secret.
#[derive(Clone, Debug)]
pub enum Secret {
    /// Nothing yet.
    Asked,
    Missing,
    Bad(String),
    Good(Arc<Certificate>),
}

/// What is to be served.
#[derive(Default)]
pub struct Plan {
    pub routes: Vec<Route>,
    pub shown: Vec<(Host, Arc<Certificate>)>,
    /// The Ingresses that are ours.
    pub served: BTreeSet<Key>,
    /// The Services that they name, and the Secrets.
    pub services: BTreeSet<Key>,
    pub secrets: BTreeSet<Key>,
    pub troubles: BTreeSet<Trouble>,
}

/// What is wrong with an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    pub ingress: Key,
    /// Of an event: `ServiceNotFound`
    pub reason: &'static str,
    pub message: String,
}

impl Plan {
    pub fn table(&self) -> Table {
        Table::of(self.routes.iter().cloned(), self.shown.iter().cloned())
    }
}

/// Whether an IngressClass is ours.
pub fn is_ours(class: &Object) -> bool {
    class.view::<IngressClass>().is_ok_and(|class| class.spec.controller == INGRESS_CONTROLLER)
}

/// The names of the classes that are ours.
pub fn classes(classes: &[Object]) -> BTreeSet<String> {
    classes.iter().filter(|class| is_ours(class)).map(|class| class.meta().name.clone()).collect()
}

pub fn plan(seen: &Seen<'_>) -> Plan {
    let names = classes(seen.classes);
    let mut ours: Vec<(&Object, Ingress)> = Vec::new();
    for object in seen.ingresses {
        // What the server has let in can be read.
        let Ok(ingress) = object.view::<Ingress>() else { continue };
        let class = object.annotation(ANNOTATION).or(ingress.spec.ingress_class_name.clone());
        if !object.meta().is_deleting() && class.is_some_and(|class| names.contains(&class)) {
            ours.push((object, ingress));
        }
    }
    ours.sort_by_key(|(object, _)| (object.meta().creation_timestamp.clone(), Key::of(object)));
    let mut planning = Planning { seen, plan: Plan::default(), backends: BTreeMap::new() };
    for (object, ingress) in &ours {
        planning.one(Key::of(object), ingress);
    }
    planning.plan
}

struct Planning<'a> {
    seen: &'a Seen<'a>,
    plan: Plan,
    /// By the Service's key and the port as it is named, for the Ingresses that share it.
    backends: BTreeMap<(Key, String), Arc<Backend>>,
}

impl Planning<'_> {
    fn one(&mut self, ingress: Key, object: &Ingress) {
        self.plan.served.insert(ingress.clone());
        let spec = &object.spec;
        let default = spec.default_backend.as_ref().map(|backend| self.backend(&ingress, backend));
        // The default takes what no path of this Ingress' hosts does; without rules for hosts all that nobody does.
        let mut hosts = BTreeSet::new();
        for rule in &spec.rules {
            let host = Host::of(&rule.host);
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let to = self.backend(&ingress, &path.backend);
                self.plan.routes.push(Route { host: host.clone(), path: path_of(path), to });
            }
            hosts.insert(host);
        }
        if hosts.is_empty() {
            hosts.insert(Host::Any);
        }
        if let Some(to) = default {
            let rest = hosts.iter().map(|host| Route { host: host.clone(), path: Path::Rest, to: to.clone() });
            self.plan.routes.extend(rest);
        }
        for tls in &spec.tls {
            // Without one, of its hosts is shown what others have for them (IngressTLS.secretName).
            let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let named: BTreeSet<Host> = tls.hosts.iter().map(|host| Host::of(host)).collect();
            // Without hosts it is for all of the Ingress' own; of those it has none, it is for whoever asks.
            self.certificate(&ingress, name, if named.is_empty() { &hosts } else { &named });
        }
    }

    fn certificate(&mut self, ingress: &Key, name: &str, hosts: &BTreeSet<Host>) {
        let namespace = &*ingress.namespace;
        self.plan.secrets.insert(Key::new(namespace, name));
        match (self.seen.secret)(namespace, name) {
            Secret::Good(certificate) => {
                self.plan.shown.extend(hosts.iter().map(|host| (host.clone(), certificate.clone())));
            }
            Secret::Asked => {}
            Secret::Missing => {
                self.trouble(ingress, "SecretNotFound", format!("Secret {namespace}/{name} is not there"));
            }
            Secret::Bad(why) => self.trouble(ingress, "BadCertificate", format!("Secret {namespace}/{name}: {why}")),
        }
    }

    fn backend(&mut self, ingress: &Key, backend: &IngressBackend) -> Arc<Backend> {
        let namespace = &*ingress.namespace;
        let Some(service) = &backend.service else {
            let resource = backend.resource.clone().unwrap_or_default();
            let (kind, name) = (resource.kind, resource.name);
            let why = format!("backend {kind} {name:?} is no Service: resources as backends are not served");
            self.trouble(ingress, "ResourceBackend", why);
            return Arc::new(Backend::new(format!("{namespace}/{kind}/{name}"), Protocol::Http1, Vec::new(), 0));
        };
        let port = match &service.port {
            ServiceBackendPort { name: Some(name), .. } if !name.is_empty() => name.clone(),
            port => port.number.unwrap_or_default().to_string(),
        };
        let key = Key::new(namespace, &service.name);
        if let Some(known) = self.backends.get(&(key.clone(), port.clone())) {
            return known.clone();
        }
        self.plan.services.insert(key.clone());
        let name = format!("{key}:{port}");
        let found = self.endpoints(&key, &service.port, &port);
        let (protocol, endpoints) = found.unwrap_or_else(|(reason, why)| {
            self.trouble(ingress, reason, why);
            (Protocol::Http1, Vec::new())
        });
        let backend = Arc::new(Backend::new(name, protocol, endpoints, self.seen.serial));
        self.backends.insert((key, port), backend.clone());
        backend
    }

    /// Who serves a Service's port, and how; or why nobody does.
    fn endpoints(
        &self,
        service: &Key,
        wanted: &ServiceBackendPort,
        shown: &str,
    ) -> Result<(Protocol, Vec<SocketAddr>), (&'static str, String)> {
        let object = (self.seen.service)(&service.namespace, &service.name);
        let view = object.and_then(|object| object.view::<Service>().ok());
        let Some(Service { spec }) = view else {
            return Err(("ServiceNotFound", format!("Service {service} is not there")));
        };
        if spec.r#type == "ExternalName" {
            return Err(("ExternalName", format!("Service {service} is a name elsewhere: it has no endpoints")));
        }
        let is_wanted = |port: &&ServicePort| match &wanted.name {
            Some(name) if !name.is_empty() => port.name == *name,
            _ => Some(port.port) == wanted.number,
        };
        let Some(port) = spec.ports.iter().find(is_wanted).filter(|port| matches!(&*port.protocol, "" | "TCP")) else {
            return Err(("PortNotFound", format!("Service {service} has no TCP port {shown}")));
        };
        let protocol = match port.app_protocol.as_deref().unwrap_or_default() {
            "kubernetes.io/h2c" => Protocol::H2c,
            other @ ("https" | "kubernetes.io/wss") => {
                return Err(("UnsupportedProtocol", format!("Service {service}: {other} to endpoints is not spoken")));
            }
            _ => Protocol::Http1,
        };
        let mut found = BTreeSet::new();
        for slice in (self.seen.slices)(&service.namespace, &service.name) {
            let Ok(slice) = slice.view::<EndpointSlice>() else { continue };
            let of_port =
                slice.ports.iter().flatten().filter(|one| one.name.as_deref().unwrap_or_default() == port.name);
            // None is every port: that of the Service then (discovery/v1 EndpointPort.port).
            for number in of_port.filter_map(|one| u16::try_from(one.port.unwrap_or(port.port)).ok()) {
                let ready = slice.endpoints.iter().flatten().filter(|one| one.conditions.ready.unwrap_or(true));
                let addresses = ready.filter_map(|one| one.addresses.first()?.parse::<IpAddr>().ok());
                found.extend(addresses.filter(is_reached).map(|address| SocketAddr::new(address, number)));
            }
        }
        found.retain(|endpoint| !self.seen.own.contains(endpoint));
        Ok((protocol, found.into_iter().collect()))
    }

    fn trouble(&mut self, ingress: &Key, reason: &'static str, message: String) {
        self.plan.troubles.insert(Trouble { ingress: ingress.clone(), reason, message });
    }
}

fn path_of(rule: &PathRule) -> Path {
    let path = if rule.path.is_empty() { "/".into() } else { rule.path.clone() };
    // Of ImplementationSpecific it is ours to say: by elements.
    if rule.path_type == "Exact" { Path::Exact(path) } else { Path::Prefix(path) }
}

/// What only this machine reaches is no endpoint, whoever wrote it (validation refuses most of it): else whoever writes
/// slices reached what listens on the node's loopback.
fn is_reached(address: &IpAddr) -> bool {
    let local = match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    };
    !local && !address.is_multicast()
}

#[cfg(test)]
mod tests;
