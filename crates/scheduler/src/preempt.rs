//! `preempt`: which pods of lower priority must go so that this one fits, or why none would help.
//!
//! Matches pkg/scheduler/framework/preemption and defaultpreemption: all lower pods are taken off a
//! node in thought, then as many as fit are put back, the most important first. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::{Cluster, Node};
use crate::filters;
use crate::place::{NodeName, Reasons};
use crate::pod::Pod;
use crate::surroundings::Surroundings;

#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: NodeName,
    /// The most important first.
    pub victims: Vec<Arc<Pod>>,
}

/// `Err` is what follows `preemption: ` in the event.
pub fn preempt(pod: &Pod, cluster: &Cluster, reasons: &Reasons) -> Result<Preemption, String> {
    if !pod.preempts {
        return Err("not eligible due to preemptionPolicy=Never.".into());
    }
    if let Some(node) = cluster.node(&pod.nominated)
        && reasons.resolvable.contains(&node.name)
        && node.pods.iter().any(|p| p.priority < pod.priority && p.deleting && p.pushed_out)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".into());
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates = Vec::new();
    for node in reasons.resolvable.iter().filter_map(|name| cluster.node(name)) {
        match victims(pod, node, cluster) {
            Ok(victims) => candidates.push(Preemption { node: node.name.clone(), victims }),
            Err(why) => why.into_iter().for_each(|reason| *counts.entry(reason).or_default() += 1),
        }
    }
    if let Some(best) = candidates.into_iter().min_by_key(cost) {
        return Ok(best);
    }
    let others = cluster.nodes.len() - reasons.resolvable.len();
    if others > 0 {
        counts.insert("Preemption is not helpful for scheduling".into(), others);
    }
    Err(Reasons { nodes: cluster.nodes.len(), counts, ..Reasons::default() }.to_string())
}

fn victims(pod: &Pod, node: &Node, cluster: &Cluster) -> Result<Vec<Arc<Pod>>, Vec<String>> {
    let mut lower: Vec<Arc<Pod>> = node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    let mut left = node.clone();
    for victim in &lower {
        left.remove(&victim.uid);
    }
    let fits = |node: &Node| filters::check(pod, node, &Surroundings::of(pod, cluster, Some(node)));
    fits(&left).map_err(|(_, refusal)| refusal.reasons)?;
    lower.sort_by_cached_key(|p| importance(p));
    let mut gone = Vec::new();
    for spared in lower {
        left.add(&spared);
        if fits(&left).is_err() {
            left.remove(&spared.uid);
            gone.push(spared);
        }
    }
    Ok(gone)
}

/// Higher priority first, then the one that runs longer.
fn importance(pod: &Pod) -> (Reverse<i64>, bool, String) {
    (Reverse(pod.priority), pod.started.is_empty(), pod.started.clone())
}

/// The lowest of: the highest priority among the victims, the sum of priorities, their number; then
/// the latest start of the most important ones.
fn cost(candidate: &Preemption) -> (i64, i64, usize, Reverse<String>) {
    let highest = candidate.victims.iter().map(|p| p.priority).max().unwrap_or(i64::MIN);
    let sum = candidate.victims.iter().map(|p| p.priority + i64::from(i32::MAX) + 1).sum();
    let top = candidate.victims.iter().filter(|p| p.priority == highest);
    let earliest = top.map(|p| p.started.clone()).min().unwrap_or_default();
    (highest, sum, candidate.victims.len(), Reverse(earliest))
}

#[cfg(test)]
mod tests;
