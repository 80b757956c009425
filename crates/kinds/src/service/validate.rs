//! Services: types, ports, addresses, families, and what may not change.

use std::collections::BTreeSet;

use api::{FieldError, names};
use serde_json::{Value, json};

use super::addresses::is_headless;
use super::{addresses, families};
use crate::kind::{Context, Kind};
use crate::pod::validate::probes;
use crate::validate::address::{cidr, cidr_warnings, host_name, ip, ip_warnings, usable};
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

pub fn validate(kind: &Kind, service: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    if context.subresource != "status" {
        errors = families::initialize(&mut service.clone(), old, context.service_family);
        if !errors.is_empty() {
            return errors;
        }
    }
    meta::object(kind, service, old, names::dns_label, &mut errors);
    let at = At::root(service);
    if context.subresource == "status" {
        balancer(&at, &mut errors);
        return errors;
    }
    if let Some(old) = old {
        addresses::changes(&at, &At::root(old), &mut errors);
    }
    let spec = at.get("spec");
    type_of(&spec, &mut errors);
    ports(&spec, &mut errors);
    meta::labels(&spec.get("selector"), &mut errors);
    affinity(&spec, &mut errors);
    addresses::addresses(&spec, &mut errors);
    for address in spec.get("externalIPs").items() {
        let before = errors.len();
        ip(&address, &mut errors);
        if errors.len() == before {
            usable(&address, &mut errors);
        }
    }
    load_balancer(&at, &mut errors);
    traffic(&spec, &mut errors);
    errors
}

/// pkg/api/service/warnings.go GetWarningsForService
pub fn warnings(_: &Kind, service: &Value, _: Option<&Value>) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let spec = At::root(service).get("spec");
    let mut out = Vec::new();
    let (kind, external) = (spec.get("type").text(), !spec.get("externalIPs").is_empty());
    let headless = kind == "ClusterIP" && spec.get("clusterIP").text() == "None";
    if service["metadata"]["annotations"].get(HINTS).is_some() {
        let instead = "service.kubernetes.io/topology-mode";
        out.push(format!("annotation {HINTS} is deprecated, please use {instead} instead"));
    }
    if !headless {
        spec.get("clusterIPs").items().for_each(|ip| ip_warnings(&ip, &mut out));
    }
    if headless {
        if !spec.get("loadBalancerIP").text().is_empty() {
            out.push("spec.loadBalancerIP is ignored for headless services".into());
        }
        if external {
            out.push("spec.externalIPs is ignored for headless services".into());
        }
        if spec.get("sessionAffinity").text() != "None" {
            out.push("spec.SessionAffinity is ignored for headless services".into());
        }
    }
    spec.get("externalIPs").items().for_each(|ip| ip_warnings(&ip, &mut out));
    if external && !headless && kind != "ExternalName" {
        out.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    ip_warnings(&spec.get("loadBalancerIP"), &mut out);
    out.extend(spec.get("loadBalancerSourceRanges").items().flat_map(|range| cidr_warnings(&range)));
    if external && kind == "ExternalName" {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && !spec.get("externalName").text().is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if spec.get("trafficDistribution").text() == "PreferClose" {
        out.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    out
}

/// The addresses of a new status.
pub fn status_warnings(_: &Kind, service: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for entry in At::root(service).get("status").get("loadBalancer").get("ingress").items() {
        ip_warnings(&entry.with(entry.get("ip").value), &mut out);
    }
    out
}

fn type_of(spec: &At, errors: &mut Errors) {
    let at = spec.get("type");
    if spec.get("ports").is_empty() && !is_headless(spec) && at.text() != "ExternalName" {
        errors.push(spec.get("ports").required(""));
    }
    match at.text() {
        "ClusterIP" => {}
        kind @ ("LoadBalancer" | "NodePort") => {
            if is_headless(spec) {
                let detail = format!("may not be set to 'None' for {kind} services");
                errors.push(spec.get("clusterIPs").index(0).invalid(&detail));
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"].into_iter().filter(|field| !spec.get(field).is_empty()) {
                errors.push(spec.get(field).forbidden("may not be set for ExternalName services"));
            }
            if spec.has_field("ipFamilyPolicy") {
                errors.push(spec.get("ipFamilyPolicy").forbidden("may not be set for ExternalName services"));
            }
            let name = spec.get("externalName");
            match name.text().strip_suffix('.').unwrap_or(name.text()) {
                "" => errors.push(name.required("")),
                text => errors.extend(names::dns_subdomain(text).iter().map(|m| name.invalid_as(text, m))),
            }
        }
        "" => errors.push(at.required("")),
        _ => errors.push(at.not_supported(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"])),
    }
}

fn ports(spec: &At, errors: &mut Errors) {
    let at = spec.get("ports");
    let (mut by_name, mut node_ports, mut numbers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for port in at.items() {
        let is_new = |name: &str| by_name.insert(name.to_owned());
        named(&port, at.len() > 1, is_new, errors);
        probes::port(&port.get("targetPort"), errors);
        let (node_port, protocol) = (port.get("nodePort"), port.get("protocol").text());
        if node_port.number() != 0 {
            if spec.get("type").text() == "ClusterIP" {
                errors.push(node_port.forbidden("may not be used when `type` is 'ClusterIP'"));
            }
            if !node_ports.insert((protocol, node_port.number())) {
                errors.push(node_port.duplicate());
            }
        }
        let number = port.get("port").number();
        if !numbers.insert((protocol, number)) {
            let mut error = port.duplicate();
            error.value = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\
                 \"NodePort\":0}}"
            );
            errors.push(error);
        }
    }
}

/// What ports of services and endpoints have in common; of names that are not new it is said so.
pub fn named(port: &At, needs_name: bool, is_new: impl FnOnce(&str) -> bool, errors: &mut Errors) {
    let (name, number, protocol) = (port.get("name"), port.get("port"), port.get("protocol"));
    match name.text() {
        "" if needs_name => errors.push(name.required("")),
        "" => {}
        text => {
            invalid_each(&name, names::dns_label(text), errors);
            if !is_new(text) {
                errors.push(name.duplicate());
            }
        }
    }
    errors.extend(names::port_number(number.number()).iter().map(|m| number.invalid_as(number.number(), m)));
    match protocol.text() {
        "TCP" | "UDP" | "SCTP" => {}
        "" => errors.push(protocol.required("")),
        _ => errors.push(protocol.not_supported(&["SCTP", "TCP", "UDP"])),
    }
    let app = port.get("appProtocol");
    if app.has() {
        invalid_each(&app, names::qualified(app.text()), errors);
    }
}

fn affinity(spec: &At, errors: &mut Errors) {
    let (at, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    match at.text() {
        "ClientIP" => {
            let timeout = config.get("clientIP").get("timeoutSeconds");
            match timeout.int() {
                None => errors.push(timeout.required("when session affinity type is ClientIP")),
                Some(1..=86400) => {}
                Some(_) => errors.push(timeout.invalid("must be greater than 0 and less than 86400")),
            }
        }
        "None" if config.has() => errors.push(config.forbidden("must not be set when session affinity is None")),
        "None" => {}
        "" => errors.push(at.required("")),
        _ => errors.push(at.not_supported(&["ClientIP", "None"])),
    }
}

fn load_balancer(at: &At, errors: &mut Errors) {
    let spec = at.get("spec");
    let is_balancer = spec.get("type").text() == "LoadBalancer";
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let ranges = spec.get("loadBalancerSourceRanges");
    // The capital is upstream's.
    let shown = spec.get("LoadBalancerSourceRanges");
    if !ranges.is_empty() {
        if !is_balancer {
            errors.push(shown.forbidden(ONLY));
        }
        for (index, range) in ranges.items().enumerate() {
            let trimmed = json!(range.text().trim());
            cidr(&shown.index(index).with(&trimmed), errors);
        }
    } else {
        let note = at.get("metadata").get("annotations").key("service.beta.kubernetes.io/load-balancer-source-ranges");
        if note.has() && !is_balancer {
            errors.push(note.forbidden(ONLY));
        }
        for range in note.text().split(',').map(str::trim).filter(|range| !range.is_empty()) {
            cidr(&note.with(&json!(range)), errors);
        }
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.has() && !is_balancer {
        errors.push(allocate.forbidden(ONLY));
    }
    if is_balancer && !allocate.has() {
        errors.push(FieldError::required("allocateLoadBalancerNodePorts", ""));
    }
    let class = spec.get("loadBalancerClass");
    if class.has() {
        match is_balancer {
            true => invalid_each(&class, names::qualified(class.text()), errors),
            false => errors.push(class.forbidden(ONLY)),
        }
    }
}

fn traffic(spec: &At, errors: &mut Errors) {
    let kind = spec.get("type").text();
    let is_external = super::is_external(spec.value);
    let policy = spec.get("externalTrafficPolicy");
    match (is_external, policy.text()) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, _) => errors.push(policy.invalid("may only be set for externally-accessible services")),
        (true, "") => errors.push(policy.required("")),
        (true, _) => errors.push(policy.not_supported(&["Cluster", "Local"])),
    }
    let health = spec.get("healthCheckNodePort");
    let checks = kind == "LoadBalancer" && policy.text() == "Local";
    if !checks && health.number() != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(health.invalid(detail));
    }
    if checks && health.number() != 0 {
        invalid_each(&health, names::port_number(health.number()), errors);
    }
    let internal = spec.get("internalTrafficPolicy");
    match internal.text() {
        "Cluster" | "Local" => {}
        _ if internal.has() => errors.push(internal.not_supported(&["Cluster", "Local"])),
        _ if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => errors.push(internal.required("")),
        _ => {}
    }
    let distribution = spec.get("trafficDistribution");
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    if distribution.has() && !DISTRIBUTIONS.contains(&distribution.text()) {
        errors.push(distribution.not_supported(DISTRIBUTIONS));
    }
}

fn balancer(at: &At, errors: &mut Errors) {
    let ingress = at.get("status").get("loadBalancer").get("ingress");
    if at.get("spec").get("type").text() != "LoadBalancer" && !ingress.is_empty() {
        errors.push(ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for entry in ingress.items() {
        let (address, mode, name) = (entry.get("ip"), entry.get("ipMode"), entry.get("hostname"));
        if !address.text().is_empty() {
            ip(&address, errors);
        }
        match (mode.has(), address.text().is_empty()) {
            (false, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (true, true) => errors.push(mode.forbidden("may not be specified when `ip` is not set")),
            (true, false) if !matches!(mode.text(), "VIP" | "Proxy") => {
                errors.push(mode.not_supported(&["Proxy", "VIP"]));
            }
            _ => {}
        }
        if !name.text().is_empty() {
            host_name(&name, errors);
        }
    }
}
