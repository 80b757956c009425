//! FILTERS: what a node must have before a pod may go there, in upstream's order.
//!
//! For each node the first filter that refuses says why (pkg/scheduler/framework/plugins); its words
//! end in the FailedScheduling event. `wakes` says after which changes it is worth asking again.

use api::taint::Taint;

use crate::cluster::Node;
use crate::counters::Constraint;
use crate::hints::{self, Event, Kind, Scene};
use crate::pod::{NodeTerm, Pod};
use crate::resources::Resources;
use crate::surroundings::Surroundings;

/// One demand.
pub struct Filter {
    /// Upstream's name of the plugin.
    pub name: &'static str,
    pub check: fn(&Pod, &Node, &Surroundings) -> Result<(), Refusal>,
    /// The changes that may let in a pod that this filter kept out, and whether one does.
    pub hears: &'static [Kind],
    pub wakes: fn(&Pod, &Event<'_>, &Scene<'_>) -> bool,
}

/// Why a node is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    pub reasons: Vec<String>,
    /// No pod that goes away from the node would help.
    pub is_final: bool,
}

use Kind::*;

pub static FILTERS: &[Filter] = &[
    // Before all others, as upstream's PreFilter: nodes that the pod does not ask for by name.
    Filter { name: "NodeAffinity", check: node_names, hears: &[NodeAdded, NodeChanged], wakes: hints::node_affinity },
    Filter {
        name: "NodeUnschedulable",
        check: unschedulable,
        hears: &[NodeAdded, NodeChanged],
        wakes: hints::unschedulable,
    },
    Filter { name: "TaintToleration", check: taints, hears: &[NodeAdded, NodeChanged], wakes: hints::taints },
    Filter {
        name: "NodeAffinity",
        check: node_affinity,
        hears: &[NodeAdded, NodeChanged],
        wakes: hints::node_affinity,
    },
    Filter { name: "NodePorts", check: ports, hears: &[NodeAdded, PodGone], wakes: hints::ports },
    Filter {
        name: "NodeResourcesFit",
        check: fit,
        hears: &[NodeAdded, NodeChanged, PodChanged, PodGone],
        wakes: hints::fit,
    },
    Filter {
        name: "PodTopologySpread",
        check: spread,
        hears: &[NodeAdded, NodeChanged, NodeGone, PodPlaced, PodChanged, PodGone],
        wakes: hints::spread,
    },
    Filter {
        name: "InterPodAffinity",
        check: pod_affinity,
        hears: &[NodeAdded, NodeChanged, PodPlaced, PodChanged, PodGone, NamespaceLabels],
        wakes: hints::pod_affinity,
    },
];

/// The first filter that refuses, and why. Pods that were promised room on the node and go before this one are
/// there in thought, and then are not: both ways it must fit (RunFilterPluginsWithNominatedPods).
pub fn check(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), (&'static str, Refusal)> {
    let first = |pod: &Pod, node: &Node, around: &Surroundings| {
        around
            .profile
            .filters
            .iter()
            .try_for_each(|filter| (filter.check)(pod, node, around).map_err(|refusal| (filter.name, refusal)))
    };
    if node.nominated.iter().any(|p| goes_before(p, pod)) {
        let (mut with, mut then) = (around.clone(), node.clone());
        for promised in node.nominated.iter().filter(|p| goes_before(p, pod)) {
            then.add(promised);
            with.suppose(pod, promised, node, 1);
        }
        first(pod, &then, &with)?;
    }
    first(pod, node, around)
}

fn goes_before(promised: &Pod, pod: &Pod) -> bool {
    promised.priority >= pod.priority && promised.uid != pod.uid
}

/// Whether the pod's node selector and required node affinity hold.
pub fn node_matches(pod: &Pod, node: &Node) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod.node_terms.as_ref().is_none_or(|terms| any_matches(terms, node))
}

/// A taint that keeps the pod away, if there is one.
pub fn untolerated<'a>(pod: &'a Pod, node: &'a Node) -> Option<&'a Taint> {
    all_untolerated(pod, node).next()
}

pub fn all_untolerated<'a>(pod: &'a Pod, node: &'a Node) -> impl Iterator<Item = &'a Taint> {
    let hard = node.taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint)))
}

pub fn any_matches(terms: &[NodeTerm], node: &Node) -> bool {
    terms.iter().any(|t| t.matches(&node.name, &node.labels))
}

/// Whether it may not go there because the node is closed.
fn is_closed(pod: &Pod, node: &Node) -> bool {
    let closed =
        || Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() };
    node.unschedulable && !pod.tolerations.iter().any(|t| t.tolerates(&closed()))
}

fn unschedulable(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    if is_closed(pod, node) { final_refusal("node(s) were unschedulable") } else { Ok(()) }
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

fn node_affinity(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    match &around.profile.added_terms {
        Some(terms) if !any_matches(terms, node) => {
            final_refusal("node(s) didn't match scheduler-enforced node affinity")
        }
        _ if node_matches(pod, node) => Ok(()),
        _ => final_refusal("node(s) didn't match Pod's node affinity/selector"),
    }
}

fn ports(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    match pod.ports.iter().any(|port| node.ports.iter().any(|p| p.collides(port))) {
        false => Ok(()),
        true => refusal("node(s) didn't have free ports for the requested pod ports"),
    }
}

/// Every resource that is short is named, not only the first.
fn fit(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    let shorts = shortages(pod, node, &node.used, node.pods.len());
    let mut refusal = Refusal::default();
    for short in shorts.filter(|short| !around.profile.fit.ignores(short.resource)) {
        refusal.reasons.push(match short.resource {
            "pods" => "Too many pods".into(),
            resource => format!("Insufficient {resource}"),
        });
        refusal.is_final |= short.resource != "pods" && short.asked > short.has;
    }
    if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
}

/// A resource that a node has too little of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortage<'a> {
    pub resource: &'a str,
    pub asked: i64,
    pub has: i64,
    pub used: i64,
}

impl Shortage<'_> {
    pub fn free(&self) -> i64 {
        self.has.saturating_sub(self.used)
    }
}

/// What is short if so much is used by so many pods.
pub fn shortages<'a>(
    pod: &'a Pod,
    node: &'a Node,
    used: &'a Resources,
    pods: usize,
) -> impl Iterator<Item = Shortage<'a>> {
    let (asks, has) = (&pod.requests, &node.allocatable);
    let plain = [
        Shortage { resource: "pods", asked: 1, has: node.pods_max, used: pods as i64 },
        Shortage { resource: "cpu", asked: asks.cpu, has: has.cpu, used: used.cpu },
        Shortage { resource: "memory", asked: asks.memory, has: has.memory, used: used.memory },
        Shortage { resource: "ephemeral-storage", asked: asks.storage, has: has.storage, used: used.storage },
    ];
    let others = asks.others.iter().map(|(name, asked)| Shortage {
        resource: name,
        asked: *asked,
        has: has.others.get(name).copied().unwrap_or(0),
        used: used.others.get(name).copied().unwrap_or(0),
    });
    plain.into_iter().chain(others).filter(|short| short.asked > 0 && short.asked > short.free())
}

fn spread(pod: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    match crowds(pod, node, around).next() {
        None => Ok(()),
        Some(Crowd { count: Some(_), .. }) => refusal("node(s) didn't match pod topology spread constraints"),
        Some(Crowd { count: None, .. }) => {
            final_refusal("node(s) didn't match pod topology spread constraints (missing required label)")
        }
    }
}

/// A hard spread constraint that does not hold at a node.
#[derive(Clone, Copy, Debug)]
pub struct Crowd<'a> {
    pub constraint: &'a Constraint,
    /// The pods of the node's domain; None: it does not have the label.
    pub count: Option<i64>,
    /// Those of the emptiest domain.
    pub least: i64,
}

pub fn crowds<'a>(pod: &'a Pod, node: &'a Node, around: &'a Surroundings) -> impl Iterator<Item = Crowd<'a>> {
    let hard = around.own.iter().flat_map(|own| &own.hard).zip(&around.least);
    let crowds = hard.map(|(constraint, least)| Crowd { constraint, count: constraint.tally.at(node), least: *least });
    crowds.filter(|crowd| {
        let spread = &crowd.constraint.spread;
        let myself = i64::from(spread.selector.matches(&pod.labels));
        crowd.count.is_none_or(|count| count + myself - crowd.least > spread.max_skew)
    })
}

fn pod_affinity(_: &Pod, node: &Node, around: &Surroundings) -> Result<(), Refusal> {
    if let Some(own) = &around.own {
        if !own.affinity.is_empty() && !attracted(node, around) {
            return final_refusal("node(s) didn't match pod affinity rules");
        }
        if own.anti_affinity.iter().any(|tally| tally.at(node).is_some_and(|count| count > 0)) {
            return refusal("node(s) didn't match pod anti-affinity rules");
        }
    }
    match around.repelled(node) {
        false => Ok(()),
        true => refusal("node(s) didn't satisfy existing pods anti-affinity rules"),
    }
}

/// All terms hold; or nobody matches them yet and the pod itself does, so that a first one can come.
fn attracted(node: &Node, around: &Surroundings) -> bool {
    let Some(own) = &around.own else { return true };
    let mut all = true;
    for tally in &own.affinity {
        let Some(count) = tally.at(node) else { return false };
        all &= count > 0;
    }
    all || (around.attracts_itself && own.affinity.iter().all(|tally| tally.total() == 0))
}

fn refusal(reason: &str) -> Result<(), Refusal> {
    Err(Refusal { reasons: vec![reason.into()], is_final: false })
}

fn final_refusal(reason: &str) -> Result<(), Refusal> {
    Err(Refusal { reasons: vec![reason.into()], is_final: true })
}
