//! What a pod's author left out: pkg/apis/core/v1/defaults.go and its generated neighbour.
//!
//! Idempotent, so that it may run as often as one likes. Quantities of resource lists take their
//! canonical form here, as upstream's rounding to thousandths gives it to them.

use serde_json::{Map, Value, json};

use api::pod::{Demands, is_pod_level};
use api::quantity::Quantity;
use api::tree::{self, each, set_default, set_default_text};

pub fn default(pod: &mut Value) {
    let Some(spec) = tree::child(pod, "spec") else { return };
    let host_network = tree::flag(spec, "hostNetwork");
    for field in ["initContainers", "containers"] {
        for container in each(spec, field) {
            requests_from_limits(container);
            self::container(container);
            if host_network {
                host_ports(container);
            }
        }
    }
    for container in each(spec, "ephemeralContainers") {
        self::container(container);
    }
    if tree::int(spec, "terminationGracePeriodSeconds").is_some_and(|grace| grace < 0) {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    set_default(spec, "enableServiceLinks", true);
    pod_spec(spec);
    if let Some(status) = pod.get_mut("status").filter(|s| s.is_object()) {
        pod_ips(status);
        amounts(status);
        for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
            each(status, list).for_each(amounts);
        }
    }
}

/// What a pod or a container was given.
fn amounts(status: &mut Value) {
    if let Some(allocated) = status.get_mut("allocatedResources") {
        canonical(allocated);
    }
    if let Some(resources) = status.get_mut("resources") {
        resource_lists(resources);
    }
}

/// A template is defaulted like a pod, but for what is made of a pod's own fields.
pub fn template(template: &mut Value) {
    let Some(spec) = tree::child(template, "spec") else { return };
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, field).for_each(container);
    }
    pod_spec(spec);
}

/// What every pod spec gets, in a pod or in a template.
fn pod_spec(spec: &mut Value) {
    let account = match tree::text(spec, "serviceAccountName") {
        "" => tree::text(spec, "serviceAccount").to_string(),
        name => name.to_string(),
    };
    if !account.is_empty() {
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
    }
    set_default_text(spec, "dnsPolicy", "ClusterFirst");
    set_default_text(spec, "restartPolicy", "Always");
    set_default(spec, "securityContext", Map::new());
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default_text(spec, "schedulerName", "default-scheduler");
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
    if let Some(resources) = spec.get_mut("resources") {
        resource_lists(resources);
    }
    if let Some(overhead) = spec.get_mut("overhead") {
        canonical(overhead);
    }
}

/// Where requests or limits of a pod as a whole are set, the others are made from what all containers
/// need: limits of huge pages, then requests, then limits (podutil.DefaultPodLevelResources). At
/// create and resize.
pub fn pod_level_resources(pod: &mut Value) {
    if !tree::has(pod, "spec.resources") {
        return;
    }
    let demands = Demands::of(pod);
    let Some(own) = demands.pod.as_ref().filter(|own| !(own.requests.is_empty() && own.limits.is_empty())) else {
        return;
    };
    let (mut requests, mut limits) = (own.requests.clone(), own.limits.clone());
    let limits_of_containers = demands.container_limits();
    // Huge pages are never overcommitted.
    let huge = limits_of_containers.iter().filter(|(name, _)| name.starts_with("hugepages-"));
    for (name, amount) in huge.filter(|(name, _)| !own.requests.contains_key(*name)) {
        limits.entry(name.clone()).or_insert(*amount);
    }
    let of_containers = demands.container_requests();
    let shared = of_containers.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
    for (name, amount) in shared.chain(limits.iter().filter(|(name, _)| is_pod_level(name))) {
        requests.entry(name.clone()).or_insert(*amount);
    }
    // Ephemeral containers have no resources, so that a pod with one has no limit of all.
    let all_limit = |name: &str| {
        let mut all = demands.containers.iter().chain(&demands.init);
        tree::list(pod, "spec.ephemeralContainers").is_empty() && all.all(|demand| demand.limits.contains_key(name))
    };
    for (name, request) in requests.iter().filter(|(name, _)| is_pod_level(name)) {
        if !limits.contains_key(name)
            && all_limit(name)
            && let Some(limit) = limits_of_containers.get(name)
        {
            limits.insert(name.clone(), *limit.max(request));
        }
    }
    let Some(resources) = pod.get_mut("spec").and_then(|s| s.get_mut("resources")) else { return };
    for (field, amounts) in [("limits", limits), ("requests", requests)] {
        if !amounts.is_empty() {
            resources[field] =
                amounts.into_iter().map(|(k, v)| (k, json!(v.to_string()))).collect::<Map<_, _>>().into();
        }
    }
}

fn container(container: &mut Value) {
    let image = tree::text(container, "image").to_string();
    set_default_text(container, "imagePullPolicy", pull_policy(&image));
    set_default_text(container, "terminationMessagePath", "/dev/termination-log");
    set_default_text(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", Map::new());
    for port in each(container, "ports") {
        set_default_text(port, "protocol", "TCP");
    }
    for variable in each(container, "env") {
        let Some(source) = variable.get_mut("valueFrom") else { continue };
        if let Some(field) = source.get_mut("fieldRef") {
            set_default_text(field, "apiVersion", "v1");
        }
        if let Some(resource) = source.get_mut("resourceFieldRef") {
            divisor(resource);
        }
        if let Some(file) = source.get_mut("fileKeyRef") {
            set_default(file, "optional", false);
        }
    }
    if let Some(resources) = container.get_mut("resources") {
        resource_lists(resources);
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(field).filter(|p| p.is_object()) else { continue };
        for (name, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            if tree::int(probe, name).unwrap_or(0) == 0 {
                probe[name] = json!(value);
            }
        }
        if let Some(grpc) = probe.get_mut("grpc").filter(|g| g.is_object()) {
            set_default(grpc, "service", "");
        }
        http_get(probe);
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.get_mut("lifecycle").and_then(|l| l.get_mut(hook)) {
            http_get(hook);
        }
    }
}

fn http_get(action: &mut Value) {
    if let Some(http) = action.get_mut("httpGet").filter(|h| h.is_object()) {
        set_default_text(http, "path", "/");
        set_default_text(http, "scheme", "HTTP");
    }
}

fn requests_from_limits(container: &mut Value) {
    let limits: Vec<(String, Value)> =
        tree::entries(container, "resources.limits").map(|(k, v)| (k.clone(), v.clone())).collect();
    if limits.is_empty() {
        return;
    }
    let Some(requests) = tree::child(container, "resources").and_then(|r| tree::child(r, "requests")) else { return };
    for (name, amount) in limits {
        set_default(requests, &name, amount);
    }
}

fn host_ports(container: &mut Value) {
    for port in each(container, "ports") {
        if tree::int(port, "hostPort").unwrap_or(0) == 0 {
            let number = tree::at(port, "containerPort").clone();
            port["hostPort"] = number;
        }
    }
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if !map.iter().any(|(key, value)| key != "name" && !value.is_null()) {
        map.insert("emptyDir".into(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map.get_mut(source).filter(|s| s.is_object()) {
            set_default(source, "defaultMode", 0o644);
        }
    }
    if let Some(host) = map.get_mut("hostPath").filter(|s| s.is_object()) {
        set_default(host, "type", "");
    }
    if let Some(downward) = map.get_mut("downwardAPI") {
        downward_items(downward);
    }
    if let Some(projected) = map.get_mut("projected") {
        for source in each(projected, "sources") {
            if let Some(downward) = source.get_mut("downwardAPI") {
                downward_items(downward);
            }
            if let Some(token) = source.get_mut("serviceAccountToken").filter(|t| t.is_object()) {
                set_default(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(image) = map.get_mut("image").filter(|i| i.is_object()) {
        let reference = tree::text(image, "reference").to_string();
        set_default_text(image, "pullPolicy", pull_policy(&reference));
    }
    if let Some(iscsi) = map.get_mut("iscsi").filter(|i| i.is_object()) {
        set_default_text(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = map.get_mut("rbd").filter(|i| i.is_object()) {
        set_default_text(rbd, "pool", "rbd");
        set_default_text(rbd, "user", "admin");
        set_default_text(rbd, "keyring", "/etc/ceph/keyring");
    }
    let template = map.get_mut("ephemeral").and_then(|e| e.get_mut("volumeClaimTemplate"));
    if let Some(spec) = template.and_then(|t| t.get_mut("spec")).filter(|s| s.is_object()) {
        claim(spec);
    }
}

/// The spec of a claim, wherever it stands (SetDefaults_PersistentVolumeClaimSpec).
pub fn claim(spec: &mut Value) {
    set_default(spec, "volumeMode", "Filesystem");
    if let Some(resources) = spec.get_mut("resources") {
        resource_lists(resources);
    }
}

fn downward_items(source: &mut Value) {
    for item in each(source, "items") {
        if let Some(field) = item.get_mut("fieldRef").filter(|f| f.is_object()) {
            set_default_text(field, "apiVersion", "v1");
        }
        if let Some(resource) = item.get_mut("resourceFieldRef") {
            divisor(resource);
        }
    }
}

/// A divisor that was not given is printed as the zero quantity, as Go's encoder does.
fn divisor(resource: &mut Value) {
    if resource.is_object() {
        set_default(resource, "divisor", "0");
    }
}

/// `latest` or nothing is pulled always; any other tag or a digest only if it is not there, and so is
/// what is no image name at all (upstream ignores that error here).
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, ""), |(name, digest)| (name, digest));
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, ""),
    };
    match tag {
        _ if !is_repository(repository) => "IfNotPresent",
        "latest" => "Always",
        "" if digest.is_empty() => "Always",
        _ => "IfNotPresent",
    }
}

/// Lower case parts joined by slashes, at most 255 bytes; the first may be a host with a port.
fn is_repository(name: &str) -> bool {
    if name.len() > 255 {
        return false;
    }
    let part = |part: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        edge(bytes.first().copied())
            && edge(bytes.last().copied())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
            && !part.contains("..")
    };
    match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b)) && rest.split('/').all(part)
        }
        _ => name.split('/').all(part),
    }
}

/// Limits and requests in their canonical form.
pub fn resource_lists(resources: &mut Value) {
    for field in ["limits", "requests"] {
        if let Some(list) = resources.get_mut(field) {
            canonical(list);
        }
    }
}

/// A list of resources, rounded up to thousandths.
pub fn canonical(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
        canonical_quantity(amount);
    }
}

/// What is no quantity stays as it is: validation says so.
fn canonical_quantity(amount: &mut Value) {
    if let Ok(quantity) = Quantity::from_value(amount) {
        *amount = json!(quantity.round_up_milli().to_string());
    }
}

/// `podIP` and the first of `podIPs` are one; where they differ `podIP` is right.
fn pod_ips(status: &mut Value) {
    let first = tree::list(status, "podIPs").first().map_or("", |ip| tree::text(ip, "ip")).to_string();
    let single = tree::text(status, "podIP").to_string();
    if single.is_empty() && !first.is_empty() {
        status["podIP"] = json!(first);
    } else if !single.is_empty() && single != first {
        status["podIPs"] = json!([{"ip": single}]);
    }
}
