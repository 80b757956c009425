//! What is true of the whole cluster for one pod, worked out once before the nodes are looked at.
//!
//! Counts of matching pods by topology value, for the pod's own terms and for those of the pods that
//! are there. A pod without terms in a cluster without repelling pods costs nothing here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::selector::Operator;

use crate::cluster::{Cluster, Node};
use crate::filters::{node_matches, untolerated};
use crate::pod::{Pod, PodTerm, Spread};

#[derive(Debug, Default)]
pub struct Surroundings {
    /// The nodes that the pod asks for by name, if it does.
    pub names: Option<BTreeSet<String>>,
    /// For each hard spread constraint: matching pods by topology value, over eligible nodes.
    pub spread: Vec<BTreeMap<String, i64>>,
    /// For each required term: by topology value, how many pods match.
    pub affinity: Vec<BTreeMap<String, i64>>,
    pub anti_affinity: Vec<BTreeMap<String, i64>>,
    /// Labels whose nodes are barred by pods that repel this one.
    pub repelled_from: BTreeSet<(String, String)>,
    pub attracts_itself: bool,
    /// Whose promises count: pods of at least this priority, but not the pod itself.
    priority: i64,
    uid: Arc<str>,
}

impl Surroundings {
    /// `changed` stands in for the node of its name: what would be if.
    pub fn of(pod: &Pod, cluster: &Cluster, changed: Option<&Node>) -> Surroundings {
        let mut around = Surroundings {
            names: asked_names(pod),
            priority: pod.priority,
            uid: pod.uid.clone(),
            ..Surroundings::default()
        };
        let nodes = || {
            cluster.nodes.iter().map(|node| match changed {
                Some(other) if other.name == node.name => other,
                _ => node,
            })
        };
        let hard: Vec<&Spread> = pod.spread.iter().filter(|c| c.hard).collect();
        if !hard.is_empty() {
            around.spread = spread_counts(pod, &hard, nodes());
        }
        if !pod.affinity.is_empty() {
            around.affinity = vec![BTreeMap::new(); pod.affinity.len()];
            around.attracts_itself = pod.affinity.iter().all(|t| t.matches(pod, &cluster.namespaces));
        }
        around.anti_affinity = vec![BTreeMap::new(); pod.anti_affinity.len()];
        for node in nodes() {
            if !pod.affinity.is_empty() || !pod.anti_affinity.is_empty() {
                for other in &node.pods {
                    around.count(pod, other, node, cluster);
                }
            }
            if node.repelling > 0 {
                for other in &node.pods {
                    for term in other.anti_affinity.iter().filter(|t| t.matches(pod, &cluster.namespaces)) {
                        if let Some(value) = node.labels.get(&term.topology) {
                            around.repelled_from.insert((term.topology.clone(), value.clone()));
                        }
                    }
                }
            }
        }
        around
    }

    /// The pods that were promised room on a node and go before this one.
    pub fn promised<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Arc<Pod>> + Clone {
        let counts = |p: &&Arc<Pod>| p.priority >= self.priority && p.uid != self.uid;
        node.nominated.iter().filter(counts)
    }

    fn count(&mut self, pod: &Pod, other: &Pod, node: &Node, cluster: &Cluster) {
        let matches = |term: &PodTerm| term.matches(other, &cluster.namespaces);
        // A pod attracts only where it matches all terms; it repels with any.
        if !pod.affinity.is_empty() && pod.affinity.iter().all(matches) {
            for (term, values) in pod.affinity.iter().zip(&mut self.affinity) {
                if let Some(value) = node.labels.get(&term.topology) {
                    *values.entry(value.clone()).or_default() += 1;
                }
            }
        }
        for (term, values) in pod.anti_affinity.iter().zip(&mut self.anti_affinity).filter(|(t, _)| matches(t)) {
            if let Some(value) = node.labels.get(&term.topology) {
                *values.entry(value.clone()).or_default() += 1;
            }
        }
    }
}

/// Matching pods by topology value, for each constraint, over the nodes that count for it.
pub fn spread_counts<'a>(
    pod: &Pod,
    constraints: &[&Spread],
    nodes: impl Iterator<Item = &'a Node>,
) -> Vec<BTreeMap<String, i64>> {
    let mut counts = vec![BTreeMap::new(); constraints.len()];
    for node in nodes {
        if !constraints.iter().all(|c| node.labels.contains_key(&c.topology)) {
            continue;
        }
        for (constraint, counts) in constraints.iter().zip(&mut counts) {
            if constraint.counts_node(pod, node) {
                let value = node.labels[&constraint.topology].clone();
                *counts.entry(value).or_default() += constraint.matching(pod, node);
            }
        }
    }
    counts
}

impl Spread {
    fn counts_node(&self, pod: &Pod, node: &Node) -> bool {
        (!self.honours_affinity || node_matches(pod, node))
            && (!self.honours_taints || untolerated(pod, node).is_none())
    }

    /// Pods of the same namespace that the selector means; those being deleted do not count, and an
    /// empty selector counts none (countPodsMatchSelector), although it means every pod.
    pub fn matching(&self, pod: &Pod, node: &Node) -> i64 {
        if self.selector.is_empty() {
            return 0;
        }
        let counts = |p: &&Arc<Pod>| p.namespace == pod.namespace && !p.deleting && self.selector.matches(&p.labels);
        node.pods.iter().filter(counts).count() as i64
    }
}

/// The names that every term asks for by `metadata.name`, if every term does.
fn asked_names(pod: &Pod) -> Option<BTreeSet<String>> {
    let terms = pod.node_terms.as_ref().filter(|terms| !terms.is_empty())?;
    let mut names = BTreeSet::new();
    for term in terms {
        let mut lists = term.names.iter().filter(|r| r.key == "metadata.name" && r.operator == Operator::In);
        let mut of_term: BTreeSet<String> = lists.next()?.values.iter().cloned().collect();
        for list in lists {
            of_term.retain(|name| list.values.contains(name));
        }
        names.extend(of_term);
    }
    Some(names)
}
