//! Whether this node takes a pod at all: pure checks, and the ledger of what was promised.
//!
//! Only the first failing reason is told; a refused pod is Failed for good. Upstream:
//! lifecycle/predicate.go and the admit handlers of kubelet.go. What was started is never re-judged.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::taint::{Taint, Toleration};

use crate::view as core;

use crate::pod;
use crate::pressure::Condition;
use crate::progress::{Cause, Pending, Verdict};
use crate::spec::security;
use crate::spec::{Settings, cgroup, sandbox};

const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";
const NO_PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

/// What the checks know of the node.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    pub node_name: String,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<core::Taint>,
    /// In thousandths, by resource.
    pub allocatable: BTreeMap<String, i64>,
    pub max_pods: u32,
    /// What the node's own machine listens on.
    pub own_ports: Vec<SocketAddr>,
}

/// What one admitted pod holds.
#[derive(Clone, Debug, Default)]
struct Held {
    needs: BTreeMap<String, i64>,
    ports: Vec<(String, String, u16)>,
}

/// What was promised to which pod, by UID.
#[derive(Debug, Default)]
pub struct Ledger {
    held: BTreeMap<String, Held>,
    /// What deferred resizes ask for: the first that there is room for gets it.
    waiting: BTreeMap<Turn, Held>,
    deferred: u64,
}

/// Among deferred resizes: priority, then quality of service, then who waits the longest (kubelet/allocation,
/// sortPendingResizes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    quality: u8,
    came: u64,
    uid: String,
}

impl Ledger {
    /// A pod that already runs: entered without being judged.
    pub fn enter(&mut self, pod: &core::Pod, offer: &Offer) {
        self.waiting.retain(|turn, _| turn.uid != pod::uid(pod));
        self.held.insert(pod::uid(pod).to_owned(), held(pod, offer));
    }

    pub fn release(&mut self, uid: &str) {
        self.waiting.retain(|turn, _| turn.uid != uid);
        self.held.remove(uid);
    }

    /// Judges a pod and enters it if it is taken.
    pub fn admit(&mut self, pod: &core::Pod, offer: &Offer, settings: &Settings) -> Result<(), Verdict> {
        if self.held.contains_key(pod::uid(pod)) {
            return Ok(());
        }
        unsuitable(pod, offer, settings).map_or(Ok(()), Err)?;
        let new = held(pod, offer);
        self.too_much(&new, offer).map_or(Ok(()), Err)?;
        self.held.insert(pod::uid(pod).to_owned(), new);
        Ok(())
    }

    /// New resources of an admitted pod: taken, or why not (now, or ever). Whose turn is before this one's has
    /// got what there is room for by then, whoever asks first.
    pub fn resize(&mut self, pod: &core::Pod, offer: &Offer) -> Result<(), Pending> {
        let (new, uid) = (held(pod, offer), pod::uid(pod));
        let waited = self.waiting.keys().find(|turn| turn.uid == uid).map(|turn| turn.came);
        self.waiting.retain(|turn, _| turn.uid != uid);
        let turn = Turn {
            priority: Reverse(pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)),
            quality: ["Guaranteed", "Burstable"].iter().position(|class| *class == pod::qos(pod)).unwrap_or(2) as u8,
            came: waited.unwrap_or(self.deferred),
            uid: uid.to_owned(),
        };
        let before: Vec<Turn> = self.waiting.range(..turn.clone()).map(|(turn, _)| turn.clone()).collect();
        for turn in before {
            if self.room(&turn.uid, &self.waiting[&turn], offer).is_ok()
                && let Some(asked) = self.waiting.remove(&turn)
            {
                self.held.insert(turn.uid, asked);
            }
        }
        let verdict = self.room(uid, &new, offer);
        match &verdict {
            Ok(()) => drop(self.held.insert(uid.to_owned(), new)),
            Err(Pending::Deferred(_)) => {
                self.deferred += 1;
                self.waiting.insert(turn, new);
            }
            Err(Pending::Infeasible(_)) => {}
        }
        verdict
    }

    fn room(&self, uid: &str, new: &Held, offer: &Offer) -> Result<(), Pending> {
        for (resource, need) in new.needs.iter().filter(|(_, need)| **need > 0) {
            let others = self.held.iter().filter(|(other, _)| *other != uid);
            let used: i64 = others.filter_map(|(_, h)| h.needs.get(resource)).sum();
            let capacity = offer.allocatable.get(resource).copied().unwrap_or(0);
            let scale = if resource == "cpu" { 1 } else { 1000 };
            let (need, used, capacity) = (need / scale, used / scale, capacity / scale);
            if need > capacity {
                let message =
                    format!("Node didn't have enough capacity: {resource}, requested: {need}, capacity: {capacity}");
                return Err(Pending::Infeasible(message));
            }
            if used + need > capacity {
                let message = format!(
                    "Node didn't have enough resource: {resource}, requested: {need}, used: {used}, capacity: {capacity}"
                );
                return Err(Pending::Deferred(message));
            }
        }
        Ok(())
    }

    fn too_much(&self, new: &Held, offer: &Offer) -> Option<Verdict> {
        if self.held.len() >= offer.max_pods as usize {
            return Some(insufficient("pods", 1, self.held.len() as i64, i64::from(offer.max_pods)));
        }
        for (resource, need) in new.needs.iter().filter(|(_, need)| **need > 0) {
            let used: i64 = self.held.values().filter_map(|h| h.needs.get(resource)).sum();
            let capacity = offer.allocatable.get(resource).copied().unwrap_or(0);
            if used + need > capacity {
                // CPU is told in thousandths, everything else in units.
                let scale = if resource == "cpu" { 1 } else { 1000 };
                return Some(insufficient(resource, need / scale, used / scale, capacity / scale));
            }
        }
        let taken = |p: &(String, String, u16)| self.held.values().flat_map(|h| &h.ports).any(|q| clash(p, q));
        if new.ports.iter().any(taken) {
            return Some(predicate("NodePorts", NO_PORTS));
        }
        None
    }
}

/// Why a new pod is not taken while these conditions last: under disk pressure none but critical ones,
/// under memory pressure alone none that asks for nothing.
pub fn under_pressure(conditions: &[Condition], pod: &core::Pod) -> Option<Verdict> {
    if conditions.is_empty() || pod::is_critical(pod) {
        return None;
    }
    if conditions == [Condition::MemoryPressure] {
        let taint = core::Taint { key: MEMORY_TAINT.into(), effect: "NoSchedule".into(), ..core::Taint::default() };
        let tolerated = pod.spec.as_ref().is_some_and(|spec| tolerates(spec, &taint));
        if pod::qos(pod) != "BestEffort" || tolerated {
            return None;
        }
    }
    let names: Vec<&str> = conditions.iter().map(|c| c.name()).collect();
    Some(refused("Evicted", &format!("The node had condition: [{}]. ", names.join(" "))))
}

/// What the checks judge by.
struct Case<'a> {
    pod: &'a core::Pod,
    spec: &'a core::PodSpec,
    offer: &'a Offer,
    settings: &'a Settings,
}

/// Reasons that lie in the pod and the node alone, in the order in which they are told.
static CHECKS: &[fn(&Case<'_>) -> Option<Verdict>] =
    &[sysctls, apparmor, os, os_selector, claims, node_name, affinity, taints, own_ports];

fn unsuitable(pod: &core::Pod, offer: &Offer, settings: &Settings) -> Option<Verdict> {
    let case = Case { pod, spec: pod.spec.as_ref()?, offer, settings };
    CHECKS.iter().find_map(|check| check(&case))
}

fn sysctls(case: &Case<'_>) -> Option<Verdict> {
    Some(refused("SysctlForbidden", &sandbox::forbidden_sysctl(case.pod, case.settings)?))
}

fn apparmor(case: &Case<'_>) -> Option<Verdict> {
    Some(refused("AppArmor", &security::unenforceable_apparmor(case.pod, case.settings)?))
}

fn os(case: &Case<'_>) -> Option<Verdict> {
    let is_other = case.spec.os.as_ref().is_some_and(|os| os.name != "linux");
    let message = "Failed to admit pod as the OS field doesn't match node OS";
    is_other.then(|| refused("PodOSNotSupported", message))
}

fn os_selector(case: &Case<'_>) -> Option<Verdict> {
    let selector = case.spec.node_selector.as_ref();
    let is_other = selector.and_then(|s| s.get("kubernetes.io/os")).is_some_and(|os| os != "linux");
    let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
    is_other.then(|| refused("PodOSSelectorNodeLabelDoesNotMatch", message))
}

fn claims(case: &Case<'_>) -> Option<Verdict> {
    let claims = case.spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty());
    claims.then(|| refused("UnexpectedAdmissionError", "resourceClaims are not supported by this node"))
}

fn node_name(case: &Case<'_>) -> Option<Verdict> {
    let is_other = case.spec.node_name.as_deref().is_some_and(|n| n != case.offer.node_name);
    is_other.then(|| predicate("NodeName", "node(s) didn't match the requested node name"))
}

fn affinity(case: &Case<'_>) -> Option<Verdict> {
    let why = "node(s) didn't match Pod's node affinity/selector";
    (!selected(case.spec, case.offer)).then(|| predicate("NodeAffinity", why))
}

/// A static pod stays whatever the node's taints.
fn taints(case: &Case<'_>) -> Option<Verdict> {
    let untolerated = |t: &core::Taint| t.effect == "NoExecute" && !tolerates(case.spec, t);
    let is_driven_out = !pod::is_static(case.pod) && case.offer.taints.iter().any(untolerated);
    is_driven_out.then(|| predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"))
}

/// Upstream lets a pod have them, and with them what the node's own clients say to it.
fn own_ports(case: &Case<'_>) -> Option<Verdict> {
    let is_own = |port: &net::HostPort| case.offer.own_ports.iter().any(|listener| port.takes(*listener));
    let port = sandbox::host_ports(case.pod).into_iter().find(is_own)?;
    Some(predicate("NodePorts", &format!("{NO_PORTS}: the node itself serves TCP port {}", port.host_port)))
}

fn refused(reason: &str, message: &str) -> Verdict {
    Verdict { cause: Cause::Refused(reason.to_owned()), message: message.to_owned(), disruption: false }
}

fn predicate(name: &str, why: &str) -> Verdict {
    refused(name, &format!("Predicate {name} failed: {why}"))
}

fn insufficient(resource: &str, requested: i64, used: i64, capacity: i64) -> Verdict {
    let message = format!(
        "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    );
    refused(&format!("OutOf{resource}"), &message)
}

fn held(pod: &core::Pod, offer: &Offer) -> Held {
    let of = |resource: &String| (resource.clone(), cgroup::pod_sum(pod, resource, false).unwrap_or(0));
    let needs = offer.allocatable.keys().filter(|r| *r != "pods").map(of).collect();
    let parts = pod::parts(pod);
    let ports = parts.iter().flat_map(|p| p.spec.ports.iter().flatten());
    let ports = ports.filter_map(|p| {
        let port = u16::try_from(p.host_port?).ok().filter(|n| *n > 0)?;
        let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".into());
        Some((protocol, p.host_ip.clone().unwrap_or_default(), port))
    });
    Held { needs, ports: ports.collect() }
}

fn clash(a: &(String, String, u16), b: &(String, String, u16)) -> bool {
    let everywhere = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
    a.0 == b.0 && a.2 == b.2 && (everywhere(&a.1) || everywhere(&b.1) || a.1 == b.1)
}

fn tolerates(spec: &core::PodSpec, taint: &core::Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let taint = Taint { key: taint.key.clone(), value: text(&taint.value), effect: taint.effect.clone() };
    spec.tolerations.iter().flatten().any(|t| {
        let (key, operator) = (text(&t.key), text(&t.operator));
        Toleration { key, operator, value: text(&t.value), effect: text(&t.effect) }.tolerates(&taint)
    })
}

/// nodeSelector and the required node affinity.
fn selected(spec: &core::PodSpec, offer: &Offer) -> bool {
    let plain = spec.node_selector.iter().flatten().all(|(k, v)| offer.labels.get(k) == Some(v));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.is_none_or(|r| r.node_selector_terms.iter().any(|term| term_matches(term, offer)));
    plain && terms
}

fn term_matches(term: &core::NodeSelectorTerm, offer: &Offer) -> bool {
    let labels = term.match_expressions.iter().flatten();
    let fields = term.match_fields.iter().flatten();
    if term.match_expressions.as_ref().is_none_or(Vec::is_empty) && term.match_fields.as_ref().is_none_or(Vec::is_empty)
    {
        return false;
    }
    labels.clone().all(|e| matches(e, offer.labels.get(&e.key).map(String::as_str)))
        && fields.clone().all(|e| matches(e, (e.key == "metadata.name").then_some(offer.node_name.as_str())))
}

fn matches(e: &core::NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = e.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|v| values.iter().any(|x| x == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = || Some((number(value?)?, number(values.first()?)?));
    match e.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(a, b)| a > b),
        "Lt" => compared().is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

/// What the node's own validation says of a pod from the API; such a pod stays Pending.
pub fn invalid(pod: &core::Pod, allow_privileged: bool) -> Option<String> {
    if allow_privileged {
        return None;
    }
    let mut errors = Vec::new();
    for part in pod::parts(pod).iter().filter(|p| security::is_privileged(p)) {
        let list = match part.role {
            pod::Role::Init | pod::Role::Sidecar => "initContainers",
            pod::Role::Regular => "containers",
            pod::Role::Ephemeral => "ephemeralContainers",
        };
        errors.push(format!(
            "spec.{list}[{}].securityContext.privileged: Forbidden: disallowed by cluster policy",
            part.index
        ));
    }
    let errors = match errors.len() {
        0 => return None,
        1 => errors.remove(0),
        _ => format!("[{}]", errors.join(", ")),
    };
    Some(format!(
        "Error validating pod \"{}\".\"{}\" from api, ignoring: {errors}",
        pod::name(pod),
        pod::namespace(pod)
    ))
}

#[cfg(test)]
mod tests;
