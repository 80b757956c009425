//! `place`: which node, or the reasons why not. Pure: (pod, cluster) → node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{Cluster, Node};
use crate::filters::{self, Refusal};
use crate::pod::Pod;
use crate::scores::score;
use crate::surroundings::Surroundings;

pub type NodeName = Arc<str>;

/// Why no node takes the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasons {
    /// How many nodes there are.
    pub nodes: usize,
    /// A reason that is the pod's own, whatever the nodes are.
    pub own: &'static str,
    /// How many of them gave which reason.
    pub counts: BTreeMap<String, usize>,
    /// The filters that refused: they know what would change their mind.
    pub refused_by: BTreeSet<&'static str>,
    /// Nodes where it would help if pods went away.
    pub resolvable: Vec<NodeName>,
}

/// Below this number of nodes all are looked at (pkg/scheduler, minFeasibleNodesToFind).
const LOOKED_AT_MIN: usize = 100;
const LOOKED_AT_PERCENT_MIN: usize = 5;

/// The best of the nodes that fit; of equals the first from the cluster's cursor on.
pub fn place(pod: &Pod, cluster: &Cluster) -> Result<NodeName, Reasons> {
    tracing::trace!(target: "walk", verb = "place", name = &*pod.name);
    let around = Surroundings::of(pod, cluster, None);
    let count = cluster.nodes.len();
    // A promised place is taken if it still fits: the victims went for this.
    if let Some(node) = cluster.node(&pod.nominated)
        && filters::check(pod, node, &around).is_ok()
    {
        return Ok(node.name.clone());
    }
    if count > 0 && around.names.as_ref().is_some_and(|names| names.is_empty()) {
        let refused_by = BTreeSet::from(["NodeAffinity"]);
        return Err(Reasons { nodes: count, own: "pod affinity terms conflict", refused_by, ..Reasons::default() });
    }
    let wanted = enough(count);
    let mut fitting: Vec<&Node> = Vec::new();
    let mut reasons = Reasons { nodes: count, ..Reasons::default() };
    for step in 0..count {
        let node = &cluster.nodes[(cluster.cursor + step) % count];
        match filters::check(pod, node, &around) {
            Ok(()) => {
                fitting.push(node);
                if fitting.len() >= wanted {
                    break;
                }
            }
            Err((filter, refusal)) => reasons.add(filter, refusal, node),
        }
    }
    match fitting[..] {
        [] => Err(reasons),
        [only] => Ok(only.name.clone()),
        _ => {
            let scores = score(pod, &fitting, cluster);
            let best = scores.iter().max().expect("there are at least two");
            let at = scores.iter().position(|s| s == best).expect("the maximum is among them");
            Ok(fitting[at].name.clone())
        }
    }
}

impl Reasons {
    fn add(&mut self, filter: &'static str, refusal: Refusal, node: &Node) {
        self.refused_by.insert(filter);
        if !refusal.is_final {
            self.resolvable.push(node.name.clone());
        }
        for reason in refusal.reasons {
            *self.counts.entry(reason).or_default() += 1;
        }
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`
impl std::fmt::Display for Reasons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<String> = self.counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        // As strings: upstream sorts "10 x" before "2 y".
        reasons.sort();
        write!(f, "0/{} nodes are available:", self.nodes)?;
        if !self.own.is_empty() {
            return write!(f, " {}.", self.own);
        }
        if reasons.is_empty() { Ok(()) } else { write!(f, " {}.", reasons.join(", ")) }
    }
}

/// How many fitting nodes are enough to choose from.
pub fn enough(nodes: usize) -> usize {
    if nodes < LOOKED_AT_MIN {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(LOOKED_AT_PERCENT_MIN);
    (nodes * percent / 100).max(LOOKED_AT_MIN)
}

#[cfg(test)]
pub(crate) mod tests;
