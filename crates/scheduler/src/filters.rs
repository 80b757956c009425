//! FILTERS: what a node must have before a pod may go there, in upstream's order.
//!
//! For each node the first filter that refuses says why (pkg/scheduler/framework/plugins); its words
//! end in the FailedScheduling event. `wakes` says after which changes it is worth asking again.

use std::collections::BTreeMap;

use crate::cluster::Node;
use crate::pod::{Pod, Taint};
use crate::resources::Resources;
use crate::surroundings::Surroundings;

/// One demand.
pub struct Filter {
    /// Upstream's name of the plugin.
    pub name: &'static str,
    pub check: fn(&Pod, &Node, &Surroundings) -> Result<(), Refusal>,
    pub wakes: &'static [Wake],
}

/// Why a node is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub reasons: Vec<String>,
    /// No pod that goes away from the node would help.
    pub is_final: bool,
}

/// A change of the cluster that may make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wake {
    NodeAdded,
    NodeLabels,
    NodeTaints,
    NodeAllocatable,
    /// A placed pod ended or is gone.
    PodGone,
    /// A pod was placed, or a placed pod's labels changed.
    PodPlaced,
    NamespaceLabels,
}

use Wake::*;

pub static FILTERS: &[Filter] = &[
    // Before all others, as upstream's PreFilter: nodes that the pod does not ask for by name.
    Filter { name: "NodeAffinity", check: node_names, wakes: &[NodeAdded] },
    Filter { name: "NodeUnschedulable", check: unschedulable, wakes: &[NodeAdded, NodeTaints] },
    Filter { name: "TaintToleration", check: taints, wakes: &[NodeAdded, NodeTaints] },
    Filter { name: "NodeAffinity", check: node_affinity, wakes: &[NodeAdded, NodeLabels] },
    Filter { name: "NodePorts", check: ports, wakes: &[NodeAdded, PodGone] },
    Filter { name: "NodeResourcesFit", check: fit, wakes: &[NodeAdded, NodeAllocatable, PodGone] },
    Filter {
        name: "PodTopologySpread",
        check: spread,
        wakes: &[NodeAdded, NodeLabels, NodeTaints, PodGone, PodPlaced],
    },
    Filter {
        name: "InterPodAffinity",
        check: pod_affinity,
        wakes: &[NodeAdded, NodeLabels, PodGone, PodPlaced, NamespaceLabels],
    },
];

/// The first filter that refuses, and why.
pub fn check(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), (&'static str, Refusal)> {
    for filter in FILTERS {
        (filter.check)(pod, node, around).map_err(|refusal| (filter.name, refusal))?;
    }
    Ok(())
}

/// Whether the pod's node selector and required node affinity hold.
pub fn node_matches(pod: &Pod, node: &Node) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod.node_terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(&node.name, &node.labels)))
}

/// A taint that keeps the pod away, if there is one.
pub fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    let hard = node.taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().find(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint)))
}

fn unschedulable(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() };
    if node.unschedulable && !pod.tolerations.iter().any(|t| t.tolerates(&taint)) {
        return final_refusal("node(s) were unschedulable");
    }
    Ok(())
}

fn taints(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    match untolerated(pod, node) {
        None => Ok(()),
        Some(_) => final_refusal("node(s) had untolerated taint(s)"),
    }
}

fn node_names(_: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    match around.names.as_ref().is_none_or(|names| names.contains(&*node.name)) {
        true => Ok(()),
        false => final_refusal("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
    }
}

fn node_affinity(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    if node_matches(pod, node) { Ok(()) } else { final_refusal("node(s) didn't match Pod's node affinity/selector") }
}

fn ports(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    let promised = around.promised(node).flat_map(|p| &p.ports);
    let collides = pod.ports.iter().any(|port| node.ports.iter().chain(promised.clone()).any(|p| p.collides(port)));
    match collides {
        false => Ok(()),
        true => refusal("node(s) didn't have free ports for the requested pod ports"),
    }
}

/// Every resource that is short is named, not only the first.
fn fit(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    let mut refusal = Refusal::default();
    let promised: Vec<_> = around.promised(node).collect();
    if (node.pods.len() + promised.len()) as i64 + 1 > node.pods_max {
        refusal.reasons.push("Too many pods".into());
    }
    if !pod.requests.is_zero() {
        let asked = &pod.requests;
        let with_promises;
        let used = match promised.is_empty() {
            true => &node.used,
            false => {
                let mut used = node.used.clone();
                promised.iter().for_each(|p| used.add(&p.requests));
                with_promises = used;
                &with_promises
            }
        };
        let amount = |map: &BTreeMap<String, i64>, name: &str| map.get(name).copied().unwrap_or(0);
        let plain = |of: &Resources| [of.cpu, of.memory, of.storage];
        let names = ["cpu", "memory", "ephemeral-storage"];
        let (asks, has, uses) = (plain(asked), plain(&node.allocatable), plain(used));
        let mut short = |name: &str, asked: i64, has: i64, used: i64| {
            if asked > 0 && asked > has - used {
                refusal.reasons.push(format!("Insufficient {name}"));
                refusal.is_final |= asked > has;
            }
        };
        for (index, name) in names.iter().enumerate() {
            short(name, asks[index], has[index], uses[index]);
        }
        for (name, asked) in &asked.others {
            short(name, *asked, amount(&node.allocatable.others, name), amount(&used.others, name));
        }
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}

fn spread(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    for (constraint, counts) in pod.spread.iter().filter(|c| c.hard).zip(&around.spread) {
        let Some(value) = node.labels.get(&constraint.topology) else {
            return final_refusal("node(s) didn't match pod topology spread constraints (missing required label)");
        };
        let domains = counts.len() as i64;
        let least = match counts.values().min() {
            Some(least) if domains >= constraint.min_domains => *least,
            _ => 0,
        };
        let own = i64::from(constraint.selector.matches(&pod.labels));
        if counts.get(value).unwrap_or(&0) + own - least > constraint.max_skew {
            return refusal("node(s) didn't match pod topology spread constraints");
        }
    }
    Ok(())
}

fn pod_affinity(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    if !pod.affinity.is_empty() && !attracted(pod, node, around) {
        return final_refusal("node(s) didn't match pod affinity rules");
    }
    let repelled = pod
        .anti_affinity
        .iter()
        .zip(&around.anti_affinity)
        .any(|(term, values)| node.labels.get(&term.topology).is_some_and(|value| values.contains_key(value)));
    if repelled {
        return refusal("node(s) didn't match pod anti-affinity rules");
    }
    if around.repelled_from.iter().any(|(key, value)| node.labels.get(key) == Some(value)) {
        return refusal("node(s) didn't satisfy existing pods anti-affinity rules");
    }
    Ok(())
}

/// All terms hold; or nobody matches them yet and the pod itself does, so that a first one can come.
fn attracted(pod: &Pod, node: &Node, around: &Surroundings) -> bool {
    let mut all = true;
    for (term, values) in pod.affinity.iter().zip(&around.affinity) {
        let Some(value) = node.labels.get(&term.topology) else { return false };
        all &= values.contains_key(value);
    }
    all || (around.affinity.iter().all(BTreeMap::is_empty) && around.attracts_itself)
}

fn refusal(reason: &str) -> Result<(), Refusal> {
    Err(Refusal { reasons: vec![reason.into()], is_final: false })
}

fn final_refusal(reason: &str) -> Result<(), Refusal> {
    Err(Refusal { reasons: vec![reason.into()], is_final: true })
}
