//! Service: one stable address and name for a changing set of pods.

use api::tree;
use serde_json::{Value, json};

use crate::row::*;

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
        hooks: Hooks { prepare, default, validate: validate::validate, warnings: validate::warnings, ..HOOKS },
        writes: Writes { put_creates: true, returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "Service", "services").short("svc").in_all()
    }
}

/// `clusterIP` and the first of `clusterIPs` are one, and what the server allocated before is kept where
/// an update leaves it out (service/storage, normalizeClusterIPs and patchAllocatedValues).
fn prepare(_: &Kind, service: &mut Value, old: Option<&Value>, context: &Context) {
    let Some(old) = old else {
        if let Some(spec) = service.get_mut("spec") {
            let single = tree::at(spec, "clusterIP").clone();
            if !single.as_str().unwrap_or("").is_empty() && tree::list(spec, "clusterIPs").is_empty() {
                spec["clusterIPs"] = json!([single]);
            }
        }
        return;
    };
    if context.subresource == "status" {
        return;
    }
    let was = tree::at(old, "spec");
    let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return };
    drop_what_the_type_lost(spec, was);
    if tree::text(spec, "clusterIP") != tree::text(was, "clusterIP") {
        if tree::at(spec, "clusterIPs") == tree::at(was, "clusterIPs") {
            match tree::text(spec, "clusterIP").to_string() {
                single if single.is_empty() => spec["clusterIPs"] = json!([]),
                single => spec["clusterIPs"] = json!([single]),
            }
        }
    } else if tree::list(spec, "clusterIPs").is_empty() {
        tree::keep(spec, was, "clusterIPs");
    }
    let kind = |spec: &Value| match tree::text(spec, "type") {
        "" => "ClusterIP".to_string(),
        kind => kind.to_string(),
    };
    if kind(spec) != "ExternalName" && kind(was) != "ExternalName" {
        if tree::text(spec, "clusterIP").is_empty() {
            tree::keep(spec, was, "clusterIP");
        }
        if tree::list(spec, "clusterIPs").is_empty() {
            tree::keep(spec, was, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if !tree::has(spec, field) {
                tree::keep(spec, was, field);
            }
        }
    }
    let takes_node_ports = |spec: &Value| matches!(kind(spec).as_str(), "NodePort" | "LoadBalancer");
    if takes_node_ports(spec) && takes_node_ports(was) {
        keep_node_ports(spec, was);
        if tree::int(spec, "healthCheckNodePort").unwrap_or(0) == 0 {
            tree::keep(spec, was, "healthCheckNodePort");
        }
    }
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

/// A change of type takes what only the old type has along, unless the update changed it too
/// (dropTypeDependentFields).
fn drop_what_the_type_lost(spec: &mut Value, was: &Value) {
    let (now, before) = (tree::text(spec, "type").to_string(), tree::text(was, "type"));
    if now == before || now.is_empty() {
        return;
    }
    let unchanged = |spec: &Value, field: &str| tree::at(spec, field) == tree::at(was, field);
    let mut lost: Vec<&str> = Vec::new();
    if now == "ExternalName" {
        lost.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if now != "LoadBalancer" {
        lost.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"]);
    }
    if !matches!(now.as_str(), "LoadBalancer" | "NodePort") {
        if tree::list(spec, "externalIPs").is_empty() {
            lost.push("externalTrafficPolicy");
        }
        let node_ports = |spec: &Value| -> Vec<Option<i64>> {
            tree::list(spec, "ports").iter().map(|p| tree::int(p, "nodePort").filter(|n| *n != 0)).collect()
        };
        if node_ports(spec) == node_ports(was) {
            for port in tree::each(spec, "ports").filter_map(Value::as_object_mut) {
                port.remove("nodePort");
            }
        }
    }
    for field in lost {
        if unchanged(spec, field)
            && let Some(map) = spec.as_object_mut()
        {
            map.remove(field);
        }
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
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && !tree::list(spec, "externalIPs").is_empty());
    if external {
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
