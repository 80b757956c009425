//! A pod as the node reads it: its containers in their roles, its identity, its effective settings.
//!
//! Views are decoded for one pass and dropped (a decoded pod takes ten times its bytes). Everything
//! here is a plain question with an answer; nothing decides.

use std::collections::BTreeMap;

use api::pod::{Demand, Demands};

use crate::view as core;
use crate::view::Quantity;

/// Labels that every sandbox and container carries, by the names that a kubelet gives them.
pub const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
pub const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
pub const LABEL_CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// How often this pod's sandbox was made before, as a decimal.
pub const NOTE_ATTEMPT: &str = "gousse.attempt";
/// The sandbox's addresses, joined by commas: fixed when it was made.
pub const NOTE_ADDRESSES: &str = "gousse.addresses";
/// Seconds of back-off that apply once this container has ended.
pub const NOTE_BACKOFF: &str = "gousse.backoff";
/// The host's path of the termination message, and what to do without one.
pub const NOTE_MESSAGE_PATH: &str = "gousse.message-path";
pub const NOTE_MESSAGE_POLICY: &str = "gousse.message-policy";
/// `repository@digest` as the status shows it.
pub const NOTE_IMAGE_REF: &str = "gousse.image-ref";
/// The image's name as the runtime resolves it.
pub const NOTE_IMAGE_NAME: &str = "gousse.image-name";
/// Set where the runtime was told more than signals: the name of the stop signal.
pub const NOTE_STOP_SIGNAL: &str = "gousse.stop-signal";
/// The resources that this container was last given, as the pod's own JSON.
pub const NOTE_RESOURCES: &str = "gousse.resources";

/// What it was started with, or given in place.
pub fn noted_resources(c: &runtime::Container) -> Option<core::ResourceRequirements> {
    c.spec.annotations.get(NOTE_RESOURCES).and_then(|text| serde_json::from_str(text).ok())
}

/// Annotations of static pods and their mirrors.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before its followers start.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside the regular ones.
    Sidecar,
    Regular,
    /// Added later for debugging; never restarted.
    Ephemeral,
}

/// One container of a pod.
pub struct Part<'a> {
    pub role: Role,
    /// Its place in its own list.
    pub index: usize,
    pub spec: &'a core::Container,
    /// Ephemeral only: whose PID namespace it joins.
    pub target: Option<&'a str>,
}

impl Part<'_> {
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where events point: `spec.containers{name}`.
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Regular => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.spec.name)
    }

    pub fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or("")
    }

    pub fn pre_stop(&self) -> Option<&core::LifecycleHandler> {
        self.spec.lifecycle.as_ref()?.pre_stop.as_ref()
    }

    pub fn post_start(&self) -> Option<&core::LifecycleHandler> {
        self.spec.lifecycle.as_ref()?.post_start.as_ref()
    }
}

/// All containers: init ones and sidecars in their order, regular, ephemeral.
pub fn parts(pod: &core::Pod) -> Vec<Part<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mut all = Vec::new();
    for (index, c) in spec.init_containers.iter().flatten().enumerate() {
        let role = if c.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
        all.push(Part { role, index, spec: c, target: None });
    }
    for (index, c) in spec.containers.iter().enumerate() {
        all.push(Part { role: Role::Regular, index, spec: c, target: None });
    }
    for (index, e) in spec.ephemeral_containers.iter().flatten().enumerate() {
        let target = e.target_container_name.as_deref().filter(|t| !t.is_empty());
        all.push(Part { role: Role::Ephemeral, index, spec: e, target });
    }
    all
}

/// The images that a container needs: its own, and those of the image volumes that it mounts.
pub fn images_of<'a>(pod: &'a core::Pod, part: &'a Part<'_>) -> Vec<&'a str> {
    let mounted = |name: &str| part.spec.volume_mounts.iter().flatten().any(|m| m.name == name);
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).filter(|v| mounted(&v.name));
    let references = volumes.filter_map(|v| v.image.as_ref()?.reference.as_deref());
    std::iter::once(part.image()).chain(references).collect()
}

pub fn part<'a>(pod: &'a core::Pod, name: &str) -> Option<Part<'a>> {
    parts(pod).into_iter().find(|p| p.name() == name)
}

/// A container of the pod, an ephemeral one excepted.
pub fn container<'a>(pod: &'a core::Pod, name: &str) -> Option<&'a core::Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

pub fn name(pod: &core::Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or("")
}

pub fn namespace(pod: &core::Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("")
}

/// What `is_plain_uid` asks for.
pub const PLAIN_UID: &str =
    "a uid consists of 1 to 64 letters, digits, '-', '_' and '.', and begins with a letter or a digit";

/// Whether a UID can name folders and cgroups: the server's own are UUIDs, a manifest may say anything.
pub fn is_plain_uid(uid: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    uid.len() <= 64 && uid.bytes().all(plain) && uid.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

pub fn uid(pod: &core::Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or("")
}

/// `name_namespace(uid)`, as messages name a pod.
pub fn full_name(pod: &core::Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

pub fn restart_policy(pod: &core::Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

pub fn host_network(pod: &core::Pod) -> bool {
    pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false)
}

pub fn is_deleting(pod: &core::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub fn phase(pod: &core::Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("")
}

pub fn is_terminal(phase: &str) -> bool {
    phase == "Succeeded" || phase == "Failed"
}

pub fn annotation<'a>(pod: &'a core::Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// From a manifest directory rather than the API.
pub fn is_static(pod: &core::Pod) -> bool {
    annotation(pod, CONFIG_SOURCE).is_some_and(|s| s != "api")
}

/// The API's image of a static pod.
pub fn is_mirror(pod: &core::Pod) -> bool {
    annotation(pod, CONFIG_MIRROR).is_some()
}

/// Static pods, and those of the system's priority: not evicted, shut down last.
pub fn is_critical(pod: &core::Pod) -> bool {
    is_static(pod)
        || is_mirror(pod)
        || pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0) >= api::pod::SYSTEM_CRITICAL
}

/// Seconds between the stop signal's turn and the kill, before deletion shortens it.
pub fn spec_grace(pod: &core::Pod) -> i64 {
    pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30)
}

/// The container's status as the API has it.
pub fn old_status<'a>(pod: &'a core::Pod, name: &str) -> Option<&'a core::ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|s| s.name == name)
}

/// Restart decided by the container's own rules and policy, then the pod's
/// (kuberuntime ShouldContainerBeRestarted; KEP 5307).
pub fn restarts_after(pod: &core::Pod, part: &Part<'_>, exit_code: i32) -> bool {
    if part.role == Role::Ephemeral {
        return false;
    }
    if part.role == Role::Sidecar {
        return true;
    }
    for rule in part.spec.restart_policy_rules.iter().flatten() {
        let Some(on) = &rule.exit_codes else { continue };
        let listed = on.values.iter().flatten().any(|v| *v == exit_code);
        let matches = if on.operator == "NotIn" { !listed } else { listed };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    let policy = part.spec.restart_policy.as_deref().unwrap_or_else(|| restart_policy(pod));
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        // An init container that succeeded is done, whatever the policy.
        _ => part.role != Role::Init || exit_code != 0,
    }
}

/// BestEffort, Burstable or Guaranteed: the API's, or worked out as upstream's qos.ComputePodQOS.
pub fn qos(pod: &core::Pod) -> &'static str {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => return "Guaranteed",
        Some("Burstable") => return "Burstable",
        Some("BestEffort") => return "BestEffort",
        _ => {}
    }
    demands(pod).qos_class()
}

/// What the containers, the pod as a whole and its runtime class ask for.
pub fn demands(pod: &core::Pod) -> Demands {
    let Some(spec) = &pod.spec else { return Demands::default() };
    let amounts = |list: Option<&BTreeMap<String, Quantity>>| {
        let parsed = list.into_iter().flatten().map(|(name, q)| (name.clone(), api::quantity::Quantity::parse(&q.0)));
        parsed.filter_map(|(name, amount)| Some((name, amount.ok()?))).collect()
    };
    let demand = |resources: Option<&core::ResourceRequirements>, restartable| Demand {
        requests: amounts(resources.and_then(|r| r.requests.as_ref())),
        limits: amounts(resources.and_then(|r| r.limits.as_ref())),
        restartable,
    };
    let of = |c: &core::Container| demand(c.resources.as_ref(), c.restart_policy.as_deref() == Some("Always"));
    Demands {
        containers: spec.containers.iter().map(of).collect(),
        init: spec.init_containers.iter().flatten().map(of).collect(),
        pod: spec.resources.as_ref().map(|whole| demand(Some(whole), false)),
        overhead: amounts(spec.overhead.as_ref()),
    }
}

/// A quantity in thousandths; 0 where it is absent or unreadable.
pub fn milli(of: &BTreeMap<String, Quantity>, resource: &str) -> i64 {
    of.get(resource).map_or(0, |q| quantity_milli(&q.0))
}

/// A quantity in whole units, rounded up; 0 where it is absent.
pub fn whole(of: &BTreeMap<String, Quantity>, resource: &str) -> i64 {
    let m = of.get(resource).map_or(0, |q| quantity_milli(&q.0));
    m.div_euclid(1000) + i64::from(m.rem_euclid(1000) > 0)
}

/// `1500m`, `2`, `1Gi` in thousandths, rounded up. Objects here were validated by the server, so what
/// does not parse counts as 0.
pub fn quantity_milli(text: &str) -> i64 {
    api::quantity::Quantity::parse(text).map_or(0, api::quantity::Quantity::milli_value)
}

#[cfg(test)]
mod tests;
