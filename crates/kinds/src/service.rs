//! Service: one stable address and name for a changing set of pods.

use api::tree;
use serde_json::{Value, json};

use crate::row::*;

/// What addresses a service may have.
mod addresses;
/// What the server gives it.
pub mod allocation;
/// IPv4, IPv6, or both.
mod families;
pub(crate) mod validate;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![proxy("ServiceProxyOptions"), STATUS],
        columns: vec![
            NAME,
            text("Type", "How it can be reached.", "spec.type"),
            computed("Cluster-IP", "The address inside the cluster.", |service, _| {
                let first = tree::list(service, "spec.clusterIPs").first().and_then(Value::as_str);
                json!(first.unwrap_or("<none>"))
            }),
            computed("External-IP", "The addresses outside the cluster.", |service, _| json!(external(service))),
            computed("Port(s)", "Its ports.", |service, _| json!(ports(service))),
            AGE,
            wide(computed("Selector", "The labels of its pods.", |service, _| {
                json!(labels_text(service, "spec.selector"))
            })),
        ],
        field_selectors: vec![field("spec.clusterIP"), field("spec.type")],
        hooks: Hooks {
            prepare,
            default,
            validate: validate::validate,
            warnings: validate::warnings,
            status_warnings: validate::status_warnings,
            ..HOOKS
        },
        writes: Writes { put_creates: true, returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "Service", "services").kept_in("services/specs").short("svc").in_all()
    }
}

/// Whether the families of a new or changed service can be had; who asks for others gets no address either.
pub fn has_families(service: &Value, old: Option<&Value>, context: &Context) -> bool {
    families::initialize(&mut service.clone(), old, context.service_family).is_empty()
}

/// What the server allocated before is kept where an update leaves it out, `clusterIP` and the first of `clusterIPs`
/// are one, then the families (service/storage: beginCreate, beginUpdate).
fn prepare(_: &Kind, service: &mut Value, old: Option<&Value>, context: &Context) {
    if context.subresource == "status" {
        return;
    }
    match (old, service.get_mut("spec").filter(|spec| spec.is_object())) {
        (None, Some(spec)) => {
            let single = tree::at(spec, "clusterIP").clone();
            if !single.as_str().unwrap_or("").is_empty() && tree::list(spec, "clusterIPs").is_empty() {
                spec["clusterIPs"] = json!([single]);
            }
        }
        (Some(old), Some(spec)) => {
            let was = tree::at(old, "spec");
            drop_what_no_longer_applies(spec, was);
            keep_allocated(spec, was);
            one_cluster_ip(spec, was);
            if tree::text(spec, "type") != "LoadBalancer" && tree::has(service, "status.loadBalancer.ingress") {
                service["status"]["loadBalancer"] = json!({});
            }
        }
        _ => return,
    }
    families::initialize(service, old, context.service_family);
}

/// patchAllocatedValues
fn keep_allocated(spec: &mut Value, was: &Value) {
    if tree::text(spec, "type") != "ExternalName" && tree::text(was, "type") != "ExternalName" {
        if tree::text(spec, "clusterIP").is_empty() {
            tree::keep(spec, was, "clusterIP");
        }
        if tree::list(spec, "clusterIPs").is_empty() {
            tree::keep(spec, was, "clusterIPs");
        }
    }
    if takes_node_ports(spec) && takes_node_ports(was) {
        keep_node_ports(spec, was);
    }
    if checks_health(spec) && checks_health(was) && tree::int(spec, "healthCheckNodePort").unwrap_or(0) == 0 {
        tree::keep(spec, was, "healthCheckNodePort");
    }
}

/// normalizeClusterIPs
fn one_cluster_ip(spec: &mut Value, was: &Value) {
    let same = tree::text(spec, "clusterIP") == tree::text(was, "clusterIP");
    if same && tree::list(spec, "clusterIPs").is_empty() {
        tree::keep(spec, was, "clusterIPs");
    }
    if !same && tree::list(spec, "clusterIPs") == tree::list(was, "clusterIPs") {
        match tree::text(spec, "clusterIP").to_string() {
            single if single.is_empty() => drop(spec.as_object_mut().map(|spec| spec.remove("clusterIPs"))),
            single => spec["clusterIPs"] = json!([single]),
        }
    }
}

fn takes_node_ports(spec: &Value) -> bool {
    matches!(tree::text(spec, "type"), "NodePort" | "LoadBalancer")
}

fn checks_health(spec: &Value) -> bool {
    tree::text(spec, "type") == "LoadBalancer" && tree::text(spec, "externalTrafficPolicy") == "Local"
}

/// Seen from outside the cluster (pkg/api/service ExternallyAccessible).
fn is_external(spec: &Value) -> bool {
    takes_node_ports(spec) || (tree::text(spec, "type") == "ClusterIP" && !tree::list(spec, "externalIPs").is_empty())
}

/// A port of the same name keeps its node port, unless another port took it.
fn keep_node_ports(spec: &mut Value, was: &Value) {
    let taken: Vec<i64> = tree::list(spec, "ports").iter().filter_map(|p| tree::int(p, "nodePort")).collect();
    for port in tree::each(spec, "ports").filter(|p| tree::int(p, "nodePort").unwrap_or(0) == 0) {
        let same = tree::list(was, "ports").iter().find(|p| tree::text(p, "name") == tree::text(port, "name"));
        if let Some(number) = same.and_then(|p| tree::int(p, "nodePort")).filter(|n| !taken.contains(n)) {
            port["nodePort"] = json!(number);
        }
    }
}

/// What only the old form needs goes with it, unless the update changed it too (dropTypeDependentFields).
fn drop_what_no_longer_applies(spec: &mut Value, was: &Value) {
    let has_ip = |spec: &Value| tree::text(spec, "type") != "ExternalName";
    let balances = |spec: &Value| tree::text(spec, "type") == "LoadBalancer";
    let unchanged = |spec: &Value, field: &str| tree::at(spec, field) == tree::at(was, field);
    let mut lost: Vec<&str> = Vec::new();
    if has_ip(was) && !has_ip(spec) {
        if unchanged(spec, "clusterIP") && unchanged(spec, "clusterIPs") {
            lost.extend(["clusterIP", "clusterIPs"]);
        }
        lost.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| unchanged(spec, field)));
    }
    if takes_node_ports(was) && !takes_node_ports(spec) {
        let node_ports = |spec: &Value| -> Vec<Option<i64>> {
            tree::list(spec, "ports").iter().map(|p| tree::int(p, "nodePort").filter(|n| *n != 0)).collect()
        };
        if node_ports(spec) == node_ports(was) {
            for port in tree::each(spec, "ports").filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
        }
    }
    if checks_health(was) && !checks_health(spec) {
        lost.extend(Some("healthCheckNodePort").filter(|field| unchanged(spec, field)));
    }
    if balances(was) && !balances(spec) {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        lost.extend(fields.into_iter().filter(|field| unchanged(spec, field)));
    }
    if is_external(was) && !is_external(spec) {
        lost.extend(Some("externalTrafficPolicy").filter(|field| unchanged(spec, field)));
    }
    if let Some(map) = spec.as_object_mut() {
        lost.into_iter().for_each(|field| drop(map.remove(field)));
    }
}

/// pkg/apis/core/v1/defaults.go, SetDefaults_Service.
fn default(_: &Kind, service: &mut Value) {
    let Some(spec) = tree::child(service, "spec") else { return };
    tree::set_default_text(spec, "sessionAffinity", "None");
    if tree::text(spec, "sessionAffinity") == "ClientIP" {
        if tree::int(spec, "sessionAffinityConfig.clientIP.timeoutSeconds").is_none() {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
        }
    } else if tree::text(spec, "sessionAffinity") == "None"
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("sessionAffinityConfig");
    }
    tree::set_default_text(spec, "type", "ClusterIP");
    for port in tree::each(spec, "ports") {
        tree::set_default_text(port, "protocol", "TCP");
        let number = tree::at(port, "port").clone();
        let target = tree::at(port, "targetPort");
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = number;
        }
    }
    let kind = tree::text(spec, "type").to_string();
    if is_external(spec) {
        tree::set_default_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        tree::set_default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        tree::set_default(spec, "allocateLoadBalancerNodePorts", true);
        let ingress = service.get_mut("status").and_then(|s| s.get_mut("loadBalancer"));
        for entry in ingress.into_iter().flat_map(|balancer| tree::each(balancer, "ingress")) {
            if !tree::text(entry, "ip").is_empty() {
                tree::set_default(entry, "ipMode", "VIP");
            }
        }
    }
}

fn external(service: &Value) -> String {
    let mut ips: Vec<&str> = Vec::new();
    let kind = tree::text(service, "spec.type");
    match kind {
        "ExternalName" => return tree::text(service, "spec.externalName").into(),
        "LoadBalancer" => ips.extend(tree::list(service, "status.loadBalancer.ingress").iter().map(|entry| {
            match tree::text(entry, "ip") {
                "" => tree::text(entry, "hostname"),
                ip => ip,
            }
        })),
        "ClusterIP" | "NodePort" => {}
        _ => return "<unknown>".into(),
    }
    ips.extend(tree::list(service, "spec.externalIPs").iter().filter_map(Value::as_str));
    match kind {
        _ if !ips.is_empty() => ips.join(","),
        "LoadBalancer" => "<pending>".into(),
        _ => "<none>".into(),
    }
}

fn ports(service: &Value) -> String {
    let ports: Vec<String> = tree::list(service, "spec.ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (tree::int(port, "port").unwrap_or(0), tree::text(port, "protocol"));
            match tree::int(port, "nodePort").unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".into() } else { ports.join(",") }
}
