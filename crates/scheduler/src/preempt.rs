//! `preempt`: which pods of lower priority must go so that this one fits, or why none would help.
//!
//! Matches pkg/scheduler/framework/preemption and defaultpreemption: all lower pods are taken off a
//! node in thought, then as many as fit are put back, those first whose disruption budget forbids that
//! they go, then the most important. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::selector::Labels;
use api::tree;
use serde_json::Value;

use crate::cluster::{Cluster, Node};
use crate::filters;
use crate::place::{NodeName, Reasons};
use crate::pod::Pod;
use crate::profile::Profile;
use crate::surroundings::Surroundings;

#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: NodeName,
    /// The most important first.
    pub victims: Vec<Arc<Pod>>,
    /// How many of them their budgets would keep.
    pub violations: usize,
    /// Pods of lower priority that were promised room there, and have to look elsewhere.
    pub displaced: Vec<Arc<Pod>>,
}

/// A PodDisruptionBudget as far as preemption respects it.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    pub selector: Labels,
    /// `status.disruptionsAllowed`
    pub allowed: i64,
    /// Pods that are on their way out already, and counted.
    pub disrupted: BTreeSet<String>,
}

impl Budget {
    pub fn of_tree(budget: &Value) -> Budget {
        let nothing = Labels { nothing: true, ..Labels::default() };
        Budget {
            selector: Labels::from_label_selector(tree::at(budget, "spec.selector")).unwrap_or(nothing),
            allowed: tree::int(budget, "status.disruptionsAllowed").unwrap_or(0),
            disrupted: tree::entries(budget, "status.disruptedPods").map(|(name, _)| name.clone()).collect(),
        }
    }

    /// An empty selector, and a pod without labels, mean nobody here (FilterVictimsWithPDBViolation).
    fn counts(&self, pod: &Pod) -> bool {
        !pod.labels.is_empty()
            && !self.selector.is_empty()
            && self.selector.matches(&pod.labels)
            && !self.disrupted.contains(&*pod.name)
    }
}

/// `Err` is what follows `preemption: ` in the event.
pub fn preempt(pod: &Pod, cluster: &Cluster, profile: &Profile, reasons: &Reasons) -> Result<Preemption, String> {
    if !pod.preempts {
        return Err("not eligible due to preemptionPolicy=Never.".into());
    }
    if let Some(node) = cluster.node(&pod.nominated)
        && reasons.resolvable.contains(&node.name)
        && node.pods.iter().any(|p| p.priority < pod.priority && p.deleting && p.pushed_out)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".into());
    }
    let around = Surroundings::of(pod, cluster, profile);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut candidates: Vec<Preemption> = Vec::new();
    let most = (reasons.resolvable.len() * profile.preemption.percentage / 100).max(profile.preemption.absolute);
    for node in reasons.resolvable.iter().filter_map(|name| cluster.node(name)) {
        match candidate(pod, node, cluster, &around) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => why.into_iter().for_each(|reason| *counts.entry(reason).or_default() += 1),
        }
        if candidates.len() >= most && candidates.iter().any(|c| c.violations == 0) {
            break;
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

fn candidate(pod: &Pod, node: &Node, cluster: &Cluster, around: &Surroundings<'_>) -> Result<Preemption, Vec<String>> {
    let mut lower: Vec<Arc<Pod>> = node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    let (mut left, mut with) = (node.clone(), around.clone());
    for victim in &lower {
        left.remove(&victim.uid);
        with.suppose(pod, victim, node, -1);
    }
    filters::check(pod, &left, &with).map_err(|(_, refusal)| refusal.reasons)?;
    lower.sort_by_cached_key(|p| importance(p));
    let (kept_by_budget, others) = by_budget(lower, cluster);
    let forbidden = kept_by_budget.len();
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (place, spared) in kept_by_budget.into_iter().chain(others).enumerate() {
        left.add(&spared);
        with.suppose(pod, &spared, node, 1);
        if filters::check(pod, &left, &with).is_err() {
            left.remove(&spared.uid);
            with.suppose(pod, &spared, node, -1);
            violations += usize::from(place < forbidden);
            victims.push(spared);
        }
    }
    victims.sort_by_cached_key(|p| importance(p));
    let displaced = node.nominated.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    Ok(Preemption { node: node.name.clone(), victims, violations, displaced })
}

/// Those whose budget has no more to give, and the others; each in the order that they came in.
fn by_budget(pods: Vec<Arc<Pod>>, cluster: &Cluster) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut left: BTreeMap<&(String, String), i64> = BTreeMap::new();
    pods.into_iter().partition(|pod| {
        let from = (pod.namespace.to_string(), String::new());
        let here = cluster.budgets.range(from..).take_while(|((namespace, _), _)| **namespace == *pod.namespace);
        for (key, budget) in here.filter(|(_, budget)| budget.counts(pod)) {
            let left = left.entry(key).or_insert(budget.allowed);
            *left -= 1;
            // The budgets after it are not asked, as upstream.
            if *left < 0 {
                return true;
            }
        }
        false
    })
}

/// Higher priority first, then the one that runs longer.
fn importance(pod: &Pod) -> (Reverse<i64>, bool, String) {
    (Reverse(pod.priority), pod.started.is_empty(), pod.started.clone())
}

/// The lowest of: budgets broken, the highest priority among the victims, the sum of priorities, their number; then
/// the latest start of the most important ones. One that has not started starts now.
fn cost(candidate: &Preemption) -> (usize, i64, i64, usize, Reverse<(bool, String)>) {
    let highest = candidate.victims.iter().map(|p| p.priority).max().unwrap_or(i64::MIN);
    let sum = candidate.victims.iter().map(|p| p.priority + i64::from(i32::MAX) + 1).sum();
    let top = candidate.victims.iter().filter(|p| p.priority == highest);
    let earliest = top.map(|p| (p.started.is_empty(), p.started.clone())).min().unwrap_or_default();
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}

#[cfg(test)]
mod tests;
