//! Which change may let in a pod that a filter kept out: for every other it sleeps on.
//!
//! Matches the queueing hints of upstream's plugins (EventsToRegister and isSchedulableAfter… in
//! pkg/scheduler/framework/plugins): of a pod that goes it is not asked whether its node would do now. What keeps
//! the node closed may end later and wakes only whom that refused; and where room is still short, fewer have to go.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Node};
use crate::filters::{FILTERS, any_matches, node_matches, shortages, untolerated};
use crate::pod::{Pod, PodTerm, Spread};
use crate::profile::Profile;
use crate::resources::Resources;

/// A change of the cluster. The cluster shows it already.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    NodeAdded(&'a Node),
    NodeChanged {
        old: &'a Node,
        new: &'a Node,
    },
    NodeGone(&'a Node),
    /// A pod got a node.
    PodPlaced(&'a Pod),
    /// A placed pod has other labels or asks for other amounts.
    PodChanged {
        old: &'a Pod,
        new: &'a Pod,
    },
    /// A placed pod ended or is gone, or a promise was taken back.
    PodGone(&'a Pod),
    NamespaceLabels,
}

/// What an `Event` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    NodeAdded,
    NodeChanged,
    NodeGone,
    PodPlaced,
    PodChanged,
    PodGone,
    NamespaceLabels,
}

impl Event<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Event::NodeAdded(_) => Kind::NodeAdded,
            Event::NodeChanged { .. } => Kind::NodeChanged,
            Event::NodeGone(_) => Kind::NodeGone,
            Event::PodPlaced(_) => Kind::PodPlaced,
            Event::PodChanged { .. } => Kind::PodChanged,
            Event::PodGone(_) => Kind::PodGone,
            Event::NamespaceLabels => Kind::NamespaceLabels,
        }
    }

    /// Whether any pod that the filter of this name refused could hear of it; "" refused those that saw no node.
    pub fn is_heard_by(&self, filter: &str) -> bool {
        let kind = self.kind();
        match filter {
            "" => kind == Kind::NodeAdded,
            name => FILTERS.iter().any(|filter| filter.name == name && filter.hears.contains(&kind)),
        }
    }
}

/// Where a change is judged.
pub struct Scene<'a> {
    pub cluster: &'a Cluster,
    /// Of the pod that waits.
    pub profile: &'a Profile,
}

/// Whether a pod that these filters refused is to be tried again. One that no filter refused saw no node.
pub fn wakes(pod: &Pod, refused_by: &BTreeSet<&'static str>, event: &Event<'_>, scene: &Scene<'_>) -> bool {
    let kind = event.kind();
    let hears = scene.profile.filters.iter().filter(|f| f.hears.contains(&kind));
    match refused_by.is_empty() {
        true => kind == Kind::NodeAdded,
        false => hears.filter(|f| refused_by.contains(f.name)).any(|filter| (filter.wakes)(pod, event, scene)),
    }
}

/// For filters that cannot say more.
pub fn always(_: &Pod, _: &Event<'_>, _: &Scene<'_>) -> bool {
    true
}

pub fn unschedulable(_: &Pod, event: &Event<'_>, _: &Scene<'_>) -> bool {
    match event {
        Event::NodeAdded(new) => !new.unschedulable,
        Event::NodeChanged { old, new } => old.unschedulable && !new.unschedulable,
        _ => false,
    }
}

pub fn taints(pod: &Pod, event: &Event<'_>, _: &Scene<'_>) -> bool {
    match event {
        Event::NodeAdded(new) => untolerated(pod, new).is_none(),
        Event::NodeChanged { old, new } => untolerated(pod, old).is_some() && untolerated(pod, new).is_none(),
        _ => false,
    }
}

pub fn node_affinity(pod: &Pod, event: &Event<'_>, scene: &Scene<'_>) -> bool {
    let matches = |node: &Node| may_name(pod, node, scene);
    match event {
        Event::NodeAdded(new) => matches(new),
        Event::NodeChanged { old, new } => matches(new) && !matches(old),
        _ => false,
    }
}

pub fn ports(pod: &Pod, event: &Event<'_>, _: &Scene<'_>) -> bool {
    match event {
        Event::NodeAdded(_) => true,
        Event::PodGone(gone) => gone.ports.iter().any(|p| pod.ports.iter().any(|port| p.collides(port))),
        _ => false,
    }
}

pub fn fit(pod: &Pod, event: &Event<'_>, scene: &Scene<'_>) -> bool {
    let nothing = Resources::default();
    let is_short =
        |node: &Node| shortages(pod, node, &nothing, 0).any(|short| !scene.profile.fit.ignores(short.resource));
    match event {
        Event::NodeAdded(new) => !is_short(new),
        Event::NodeChanged { old, new } => !is_short(new) && has_more(pod, old, new),
        Event::PodChanged { old, new } => has_less(pod, &old.requests, &new.requests),
        // Even if it is not room enough: fewer may have to go now.
        Event::PodGone(_) => true,
        _ => false,
    }
}

pub fn spread(pod: &Pod, event: &Event<'_>, scene: &Scene<'_>) -> bool {
    let defaults;
    let constraints: Vec<&Spread> = match pod.spread.is_empty() {
        false => pod.spread.iter().filter(|c| c.hard).collect(),
        true => {
            defaults = scene.profile.spread.of(&scene.cluster.workloads.selector(pod));
            defaults.iter().filter(|c| c.hard).collect()
        }
    };
    let matching = |other: &Pod| constraints.iter().map(|c| c.selector.matches(&other.labels)).collect::<Vec<_>>();
    let concerns = |other: &Pod| other.namespace == pod.namespace && matching(other).contains(&true);
    let has_all = |node: &Node| constraints.iter().all(|c| node.labels.contains_key(&c.topology));
    match event {
        Event::PodPlaced(other) | Event::PodGone(other) => concerns(other),
        Event::PodChanged { old, new } => old.namespace == pod.namespace && matching(old) != matching(new),
        Event::NodeAdded(node) | Event::NodeGone(node) => has_all(node),
        Event::NodeChanged { old, new } => {
            let moved = || constraints.iter().any(|c| old.labels.get(&c.topology) != new.labels.get(&c.topology));
            has_all(old) != has_all(new) || (has_all(new) && (moved() || old.taints != new.taints))
        }
        Event::NamespaceLabels => false,
    }
}

pub fn pod_affinity(pod: &Pod, event: &Event<'_>, scene: &Scene<'_>) -> bool {
    let namespaces = &scene.cluster.namespaces;
    let attracts = |other: &Pod| pod.affinity.iter().all(|term| term.matches(other, namespaces));
    let repels = |other: &Pod| pod.anti_affinity.iter().any(|term| term.matches(other, namespaces));
    match event {
        Event::PodPlaced(other) => !pod.affinity.is_empty() && attracts(other),
        Event::PodChanged { old, new } => (!attracts(old) && attracts(new)) || (repels(old) && !repels(new)),
        Event::PodGone(other) => repels(other) || other.anti_affinity.iter().any(|t| t.matches(pod, namespaces)),
        Event::NodeAdded(node) => {
            !pod.anti_affinity.is_empty()
                || pod.affinity.is_empty()
                || pod.affinity.iter().any(|t| node.labels.contains_key(&t.topology))
        }
        Event::NodeChanged { old, new } => {
            let value = |node: &Node, term: &PodTerm| node.labels.get(&term.topology).cloned();
            let gained = |t: &PodTerm| value(new, t).is_some() && value(old, t) != value(new, t);
            let lost = |t: &PodTerm| value(old, t).is_some() && value(old, t) != value(new, t);
            pod.affinity.iter().any(gained)
                || pod.anti_affinity.iter().any(lost)
                || (old.labels != new.labels && pod.affinity.is_empty() && pod.anti_affinity.is_empty())
        }
        // A selector of namespaces may mean others now.
        Event::NamespaceLabels => true,
        Event::NodeGone(_) => false,
    }
}

/// Whether the node's name and labels are such as the pod and the profile ask for.
fn may_name(pod: &Pod, node: &Node, scene: &Scene<'_>) -> bool {
    scene.profile.added_terms.as_ref().is_none_or(|terms| any_matches(terms, node)) && node_matches(pod, node)
}

/// Whether the node has more than before of anything that the pod asks for.
fn has_more(pod: &Pod, old: &Node, new: &Node) -> bool {
    new.pods_max > old.pods_max || has_less(pod, &new.allocatable, &old.allocatable)
}

/// Whether the second is smaller in anything that the pod asks for.
fn has_less(pod: &Pod, than: &Resources, this: &Resources) -> bool {
    let asks = &pod.requests;
    let amount = |of: &Resources, name: &str| of.others.get(name).copied().unwrap_or(0);
    (asks.cpu > 0 && this.cpu < than.cpu)
        || (asks.memory > 0 && this.memory < than.memory)
        || (asks.storage > 0 && this.storage < than.storage)
        || asks.others.iter().any(|(name, asked)| *asked > 0 && amount(this, name) < amount(than, name))
}

#[cfg(test)]
mod tests;
