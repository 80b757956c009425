//! What objects count for in a ResourceQuota, and which quotas count them. Pure.
//!
//! Admission charges by it, the controller counts by it. Matches pkg/quota/v1/evaluator/core; a resource is
//! named as `Resource::qualified` has it: `pods`, `deployments.apps`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::pod::{Amounts, Demand, Demands, add, amounts, is_pod_level, raise};
use crate::quantity::{Format, Quantity};
use crate::{later, tree};

const BY_STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
/// What a claim for all devices of a class may get (resource.AllocationResultsMaxSize).
const DEVICES_MAX: i64 = 32;
/// Of these every container must say something where a quota counts them.
const DEMANDED: &[&str] = &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// Whether objects of a resource are counted at all.
pub fn is_counted(resource: &str) -> bool {
    !matches!(resource, "events" | "events.events.k8s.io")
}

/// Whether objects of a resource count for a name in a quota: `pods` for `requests.cpu`.
pub fn tracks(resource: &str, name: &str) -> bool {
    if name.strip_prefix("count/") == Some(resource) {
        return true;
    }
    match resource {
        "pods" => is_of_pods(name),
        "services" => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        "persistentvolumeclaims" => {
            let of_class = name.split_once(BY_STORAGE_CLASS).map(|(_, of)| of);
            matches!(of_class.unwrap_or(name), "persistentvolumeclaims" | "requests.storage")
        }
        "resourceclaims.resource.k8s.io" => name.ends_with(BY_DEVICE_CLASS),
        "configmaps" | "replicationcontrollers" | "resourcequotas" | "secrets" => name == resource,
        _ => false,
    }
}

fn is_of_pods(name: &str) -> bool {
    let requested = name.strip_prefix("requests.");
    matches!(name, "pods" | "limits.cpu" | "limits.memory" | "limits.ephemeral-storage")
        || matches!(requested.unwrap_or(name), "cpu" | "memory" | "ephemeral-storage")
        || requested.unwrap_or(name).starts_with("hugepages-")
        || requested.is_some_and(|name| is_extended(name) || name.starts_with("deviceclass.resource.kubernetes.io/"))
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Whether the scopes of a quota select an object; a quota without scopes selects all.
pub fn selects(quota: &Value, resource: &str, object: &Value) -> bool {
    let in_scope = |scope: &str, operator: &str, values: &[Value]| match resource {
        "pods" => pod_in_scope(object, scope, operator, values),
        "persistentvolumeclaims" if scope == "VolumeAttributesClass" => classes_match(object, operator, values),
        _ => false,
    };
    let scopes = tree::list(quota, "spec.scopes").iter().filter_map(Value::as_str);
    let mut expressions = tree::list(quota, "spec.scopeSelector.matchExpressions").iter();
    scopes.into_iter().all(|scope| in_scope(scope, "Exists", &[]))
        && expressions.all(|expression| {
            let (scope, operator) = (tree::text(expression, "scopeName"), tree::text(expression, "operator"));
            in_scope(scope, operator, tree::list(expression, "values"))
        })
}

fn pod_in_scope(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let best_effort = || match tree::text(pod, "status.qosClass") {
        "" => Demands::of(pod).qos_class() == "BestEffort",
        class => class == "BestEffort",
    };
    match scope {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "PriorityClass" => matches_value(tree::text(pod, "spec.priorityClassName"), operator, values),
        "CrossNamespacePodAffinity" => looks_into_other_namespaces(pod),
        _ => false,
    }
}

/// Whether a pod is to end by itself.
pub fn is_terminating(pod: &Value) -> bool {
    tree::int(pod, "spec.activeDeadlineSeconds").is_some_and(|seconds| seconds >= 0)
}

fn matches_value(value: &str, operator: &str, values: &[Value]) -> bool {
    let is_listed = !value.is_empty() && values.iter().any(|listed| listed == value);
    match operator {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => !value.is_empty(),
        "DoesNotExist" => value.is_empty(),
        _ => false,
    }
}

fn looks_into_other_namespaces(pod: &Value) -> bool {
    let kinds = ["podAffinity", "podAntiAffinity"].map(|kind| tree::at(tree::at(pod, "spec.affinity"), kind));
    kinds.into_iter().any(|kind| {
        let required = tree::list(kind, "requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = tree::list(kind, "preferredDuringSchedulingIgnoredDuringExecution").iter();
        required
            .chain(preferred.map(|weighted| tree::at(weighted, "podAffinityTerm")))
            .any(|term| !tree::list(term, "namespaces").is_empty() || tree::has(term, "namespaceSelector"))
    })
}

/// The classes of a claim's attributes: asked for, in force, on their way.
fn attribute_classes(claim: &Value) -> BTreeSet<&str> {
    let paths = [
        "spec.volumeAttributesClassName",
        "status.currentVolumeAttributesClassName",
        "status.modifyVolumeStatus.targetVolumeAttributesClassName",
    ];
    paths.iter().map(|path| tree::text(claim, path)).filter(|name| !name.is_empty()).collect()
}

fn classes_match(claim: &Value, operator: &str, values: &[Value]) -> bool {
    let classes = attribute_classes(claim);
    if classes.is_empty() {
        return matches_value("", operator, values);
    }
    classes.iter().any(|class| matches_value(class, operator, values))
}

/// What an object counts for, by the names of a quota.
pub fn usage(resource: &str, object: &Value, now: Timestamp) -> Amounts {
    let mut usage = Amounts::from([(format!("count/{resource}"), count(1))]);
    match resource {
        "pods" => of_pod(object, now, &mut usage),
        "services" => of_service(object, &mut usage),
        "persistentvolumeclaims" => of_claim(object, &mut usage),
        "resourceclaims.resource.k8s.io" => of_devices(object, &mut usage),
        _ if tracks(resource, resource) => {
            usage.insert(resource.into(), count(1));
        }
        _ => {}
    }
    usage
}

fn count(number: i64) -> Quantity {
    Quantity::from_units(number, Format::DecimalSi)
}

/// When a pod that is deleted and does not go stops to count; None: it counts as long as it is there.
pub fn expiry(pod: &Value) -> Option<Timestamp> {
    let end: Timestamp = tree::text(pod, "metadata.deletionTimestamp").parse().ok()?;
    Some(later(end, tree::int(pod, "metadata.deletionGracePeriodSeconds")?))
}

fn of_pod(pod: &Value, now: Timestamp, usage: &mut Amounts) {
    let has_ended = matches!(tree::text(pod, "status.phase"), "Failed" | "Succeeded");
    if has_ended || expiry(pod).is_some_and(|end| now > end) {
        return;
    }
    usage.insert("pods".into(), count(1));
    let (requests, limits) = demands(pod);
    for (name, amount) in &requests {
        let requested = format!("requests.{name}");
        match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => {
                usage.extend([(name.clone(), *amount), (requested, *amount)]);
            }
            name if name.starts_with("hugepages-") => {
                usage.extend([(name.to_owned(), *amount), (requested, *amount)]);
            }
            name if is_extended(name) || name.starts_with("deviceclass.resource.kubernetes.io/") => {
                usage.insert(requested, *amount);
            }
            _ => {}
        }
    }
    let limited = limits.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage"));
    usage.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
}

/// Requests and limits, at least those that are in force while a resize is under way (component-helpers
/// resource PodRequests and PodLimits, UseStatusResources).
fn demands(pod: &Value) -> (Amounts, Amounts) {
    let waiting = tree::list(pod, "status.conditions").iter().find(|c| c["type"] == "PodResizePending");
    let is_infeasible = waiting.is_some_and(|condition| condition["reason"] == "Infeasible");
    let null = &Value::Null;
    let spec_of = move |container: &'_ Value, field: &str| -> Value {
        if is_infeasible { Value::Null } else { container["resources"].get(field).unwrap_or(null).clone() }
    };
    let or = |value: &Value, other: Value| if value.is_null() { other } else { value.clone() };
    let allocated =
        |container: &Value, status: &Value| or(&status["allocatedResources"], spec_of(container, "requests"));
    let views: [View<'_>; 3] = [&|container, _| spec_of(container, "requests"), &allocated, &|container, status| {
        or(&status["resources"]["requests"], allocated(container, status))
    }];
    let mut requests = Amounts::new();
    views.iter().for_each(|view| raise(&mut requests, &peak(pod, view)));
    let mut limits = peak(pod, &|container, _| spec_of(container, "limits"));
    let actual = |container: &Value, status: &Value| or(&status["resources"]["limits"], spec_of(container, "limits"));
    raise(&mut limits, &peak(pod, &actual));
    for (field, list) in [("requests", &mut requests), ("limits", &mut limits)] {
        let own = tree::entries(tree::at(pod, "spec.resources"), field).filter(|(name, _)| is_pod_level(name));
        list.extend(own.map(|(name, amount)| (name.clone(), Quantity::of(amount))));
    }
    let overhead = amounts(tree::at(pod, "spec.overhead"));
    add(&mut requests, &overhead);
    let limited = overhead.into_iter().filter(|(name, _)| limits.get(name).is_some_and(|limit| !limit.is_zero()));
    let limited: Amounts = limited.collect();
    add(&mut limits, &limited);
    (requests, limits)
}

/// A list of resources, of a container and its status.
type View<'a> = &'a dyn Fn(&Value, &Value) -> Value;

/// The largest sum at any time of the pod's life of what `view` sees of a container and its status.
fn peak(pod: &Value, view: View<'_>) -> Amounts {
    let statuses: BTreeMap<&str, &Value> = ["status.initContainerStatuses", "status.containerStatuses"]
        .iter()
        .flat_map(|list| tree::list(pod, list))
        .map(|status| (tree::text(status, "name"), status))
        .collect();
    let demand = |container: &Value| Demand {
        requests: amounts(&view(container, statuses.get(tree::text(container, "name")).unwrap_or(&&Value::Null))),
        limits: Amounts::new(),
        restartable: tree::text(container, "restartPolicy") == "Always",
    };
    let all = |list: &str| tree::list(pod, list).iter().map(demand).collect();
    let demands =
        Demands { containers: all("spec.containers"), init: all("spec.initContainers"), ..Demands::default() };
    demands.container_requests()
}

/// Ports of a node are counted as the Service means them: they are given to it later.
fn of_service(service: &Value, usage: &mut Amounts) {
    let ports = tree::list(service, "spec.ports");
    let explicit = ports.iter().filter(|port| tree::int(port, "nodePort").unwrap_or(0) != 0).count();
    let suppressed = tree::at(service, "spec.allocateLoadBalancerNodePorts") == false;
    let (node_ports, balancers) = match tree::text(service, "spec.type") {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if suppressed => (explicit, 1),
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    usage.insert("services".into(), count(1));
    usage.insert("services.nodeports".into(), count(node_ports as i64));
    usage.insert("services.loadbalancers".into(), count(balancers));
}

fn of_claim(claim: &Value, usage: &mut Amounts) {
    let beta = tree::at(claim, "metadata.annotations").get("volume.beta.kubernetes.io/storage-class");
    let class = beta.and_then(Value::as_str).unwrap_or(tree::text(claim, "spec.storageClassName"));
    let mut charge = |name: &str, amount: Quantity| {
        usage.insert(name.into(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{BY_STORAGE_CLASS}{name}"), amount);
        }
    };
    charge("persistentvolumeclaims", count(1));
    let storage = |path: &str| tree::at(claim, path).get("storage").map(Quantity::of);
    if let Some(asked) = storage("spec.resources.requests") {
        let amount = storage("status.allocatedResources").filter(|allocated| *allocated > asked).unwrap_or(asked);
        charge("requests.storage", Quantity::from_units(amount.value(), amount.format()));
    }
}

/// The worst case of each request.
fn of_devices(claim: &Value, usage: &mut Amounts) {
    let devices = |request: &Value| match tree::text(request, "allocationMode") {
        "ExactCount" => tree::int(request, "count").unwrap_or(0),
        "All" => DEVICES_MAX,
        _ => 0,
    };
    for request in tree::list(claim, "spec.devices.requests") {
        let alternatives = tree::list(request, "firstAvailable");
        let exactly = request.get("exactly").filter(|_| alternatives.is_empty());
        let mut most = Amounts::new();
        for one in alternatives.iter().chain(exactly) {
            let name = format!("{}{BY_DEVICE_CLASS}", tree::text(one, "deviceClassName"));
            raise(&mut most, &Amounts::from([(name, count(devices(one)))]));
        }
        add(usage, &most);
    }
}

/// What containers must say because of a quota and do not: `must specify cpu for: a,b; memory for: a`.
pub fn unspecified<'a>(names: impl Iterator<Item = &'a str>, pod: &Value) -> Option<String> {
    let whole = tree::at(pod, "spec.resources");
    let has_own = |field: &str| tree::entries(whole, field).any(|(name, _)| is_pod_level(name));
    if has_own("requests") || has_own("limits") {
        return None;
    }
    let demanded: BTreeSet<&str> = names.filter(|name| DEMANDED.contains(name)).collect();
    let containers = || ["spec.containers", "spec.initContainers"].iter().flat_map(|list| tree::list(pod, list));
    let says = |container: &Value, name: &str| {
        let (field, plain) = match name.split_once('.') {
            Some(("limits", plain)) => ("limits", plain),
            Some((_, plain)) => ("requests", plain),
            None => ("requests", name),
        };
        container["resources"][field].get(plain).is_some()
    };
    let of = |name: &&str| {
        let silent: BTreeSet<&str> =
            containers().filter(|container| !says(container, name)).map(|c| tree::text(c, "name")).collect();
        let silent: Vec<&str> = silent.into_iter().collect();
        (!silent.is_empty()).then(|| format!("{name} for: {}", silent.join(",")))
    };
    let missing: Vec<String> = demanded.iter().filter_map(of).collect();
    (!missing.is_empty()).then(|| format!("must specify {}", missing.join("; ")))
}

/// Whether a change of a claim's status changes what it counts for.
pub fn claim_status_counts(old: &Value, new: &Value) -> bool {
    let storage = |claim: &Value| tree::at(claim, "status.allocatedResources").get("storage").map(Quantity::of);
    storage(old) != storage(new) || attribute_classes(old) != attribute_classes(new)
}

#[cfg(test)]
mod tests;
