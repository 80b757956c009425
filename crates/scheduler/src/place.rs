//! `place`: which node, or the reasons why not. Pure: (pod, cluster) → node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::{Cluster, Node};
use crate::filters::{self, Refusal};
use crate::pod::Pod;
use crate::profile::Profile;
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

/// A node, and how many were looked at to find it: the next search begins after them.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub node: NodeName,
    pub looked_at: usize,
}

/// The best of the nodes that fit; of equals the first from the cluster's cursor on.
pub fn place(pod: &Pod, cluster: &Cluster, profile: &Profile) -> Result<Choice, Reasons> {
    tracing::trace!(target: "walk", verb = "place", name = &*pod.name);
    let around = Surroundings::of(pod, cluster, profile);
    let count = cluster.nodes.len();
    // A promised place is taken if it still fits: the victims went for this.
    if let Some(node) = cluster.node(&pod.nominated)
        && filters::check(pod, node, &around).is_ok()
    {
        return Ok(Choice { node: node.name.clone(), looked_at: 0 });
    }
    if count > 0 && around.names.as_ref().is_some_and(|names| names.is_empty()) && profile.has_filter("NodeAffinity") {
        let refused_by = BTreeSet::from(["NodeAffinity"]);
        return Err(Reasons { nodes: count, own: "pod affinity terms conflict", refused_by, ..Reasons::default() });
    }
    let wanted = enough(count, profile.percentage);
    let mut fitting: Vec<&Node> = Vec::new();
    let mut reasons = Reasons { nodes: count, ..Reasons::default() };
    let mut looked_at = 0;
    let (before, after) = cluster.nodes.split_at(cluster.cursor % count.max(1));
    for node in after.iter().chain(before) {
        looked_at += 1;
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
    let node = match fitting[..] {
        [] => return Err(reasons),
        [only] => only,
        _ => {
            let scores = score(pod, &fitting, cluster, &around);
            let best = scores.iter().max().expect("there are at least two");
            fitting[scores.iter().position(|s| s == best).expect("the maximum is among them")]
        }
    };
    Ok(Choice { node: node.name.clone(), looked_at })
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

/// How many fitting nodes are enough to choose from; `percentage` of all, or by their number (numFeasibleNodesToFind).
pub fn enough(nodes: usize, percentage: Option<usize>) -> usize {
    if nodes < LOOKED_AT_MIN {
        return nodes;
    }
    let by_number = || 50usize.saturating_sub(nodes / 125).max(LOOKED_AT_PERCENT_MIN);
    (nodes * percentage.unwrap_or_else(by_number) / 100).max(LOOKED_AT_MIN)
}

#[cfg(test)]
pub(crate) mod tests;
