//! SCORES: which of the nodes that are left is best. Each gives 0…100, times its weight.
//!
//! The weights and formulas are upstream's defaults (pkg/scheduler/apis/config/v1/default_plugins.go).

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Node};
use crate::pod::{Pod, Spread};
use crate::surroundings::spread_counts;

/// One wish: raw points for each node, brought to 0…100 over all of them.
pub struct Score {
    /// Upstream's name of the plugin.
    pub name: &'static str,
    pub weight: i64,
    pub points: fn(&Pod, &[&Node], &Cluster) -> Vec<i64>,
}

pub static SCORES: &[Score] = &[
    Score { name: "TaintToleration", weight: 3, points: taints },
    Score { name: "NodeAffinity", weight: 2, points: node_wishes },
    Score { name: "NodeResourcesFit", weight: 1, points: least_allocated },
    Score { name: "PodTopologySpread", weight: 2, points: spread },
    Score { name: "InterPodAffinity", weight: 2, points: pod_wishes },
    Score { name: "NodeResourcesBalancedAllocation", weight: 1, points: balanced },
    Score { name: "ImageLocality", weight: 1, points: images },
];

const MAX: i64 = 100;

/// The weighted sum for each node.
pub fn score(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    for wish in SCORES {
        for (sum, points) in sums.iter_mut().zip((wish.points)(pod, nodes, cluster)) {
            *sum += wish.weight * points;
        }
    }
    sums
}

/// Fewer soft taints that are not tolerated are better.
fn taints(pod: &Pod, nodes: &[&Node], _: &Cluster) -> Vec<i64> {
    let soft = |node: &&Node| {
        let bad = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        bad.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))).count() as i64
    };
    let counts: Vec<i64> = nodes.iter().map(soft).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.into_iter().map(|n| if most == 0 { MAX } else { MAX - MAX * n / most }).collect()
}

fn node_wishes(pod: &Pod, nodes: &[&Node], _: &Cluster) -> Vec<i64> {
    let sum = |node: &&Node| {
        let granted = pod.node_wishes.iter().filter(|(_, term)| term.matches(&node.name, &node.labels));
        granted.map(|(weight, _)| weight).sum::<i64>()
    };
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    sums.into_iter().map(|n| if most == 0 { 0 } else { MAX * n / most }).collect()
}

fn least_allocated(pod: &Pod, nodes: &[&Node], _: &Cluster) -> Vec<i64> {
    let free = |asked: i64, has: i64| if has == 0 || asked > has { 0 } else { (has - asked) * MAX / has };
    let points = |node: &&Node| {
        let pairs = [
            (node.guessed.0 + pod.guessed.0, node.allocatable.cpu),
            (node.guessed.1 + pod.guessed.1, node.allocatable.memory),
        ];
        let counted: Vec<_> = pairs.into_iter().filter(|(_, has)| *has > 0).collect();
        let sum: i64 = counted.iter().map(|(asked, has)| free(*asked, *has)).sum();
        if counted.is_empty() { 0 } else { sum / counted.len() as i64 }
    };
    nodes.iter().map(points).collect()
}

/// How much nearer the pod brings the fractions of cpu and memory to each other.
fn balanced(pod: &Pod, nodes: &[&Node], _: &Cluster) -> Vec<i64> {
    if pod.requests.cpu == 0 && pod.requests.memory == 0 {
        return vec![0; nodes.len()];
    }
    let fraction = |used: i64, has: i64| (used as f64 / has as f64).min(1.0);
    let evenness = |node: &Node, more: (i64, i64)| {
        if node.allocatable.cpu == 0 || node.allocatable.memory == 0 {
            return MAX;
        }
        let cpu = fraction(node.used.cpu + more.0, node.allocatable.cpu);
        let memory = fraction(node.used.memory + more.1, node.allocatable.memory);
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX as f64) as i64
    };
    let points = |node: &&Node| {
        let with = evenness(node, (pod.requests.cpu, pod.requests.memory));
        MAX / 2 + (MAX / 2 + with - evenness(node, (0, 0))) / 2
    };
    nodes.iter().map(points).collect()
}

/// Soft spread: fewer matching pods in the node's domain are better.
fn spread(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let soft: Vec<&Spread> = pod.spread.iter().filter(|c| !c.hard).collect();
    if soft.is_empty() {
        return vec![0; nodes.len()];
    }
    const HOST: &str = "kubernetes.io/hostname";
    let counts = spread_counts(pod, &soft, cluster.nodes.iter());
    let has_all = |node: &Node| soft.iter().all(|c| node.labels.contains_key(&c.topology));
    let eligible: Vec<&&Node> = nodes.iter().filter(|n| has_all(n)).collect();
    let weights: Vec<f64> = soft
        .iter()
        .map(|c| {
            let values: std::collections::BTreeSet<_> = eligible.iter().map(|n| &n.labels[&c.topology]).collect();
            let size = if c.topology == HOST { eligible.len() } else { values.len() };
            ((size + 2) as f64).ln()
        })
        .collect();
    let raw: Vec<Option<i64>> = nodes
        .iter()
        .map(|node| {
            has_all(node).then(|| {
                let sum: f64 = soft
                    .iter()
                    .zip(&counts)
                    .zip(&weights)
                    .map(|((c, counts), weight)| {
                        let count = match c.topology == HOST {
                            true => c.matching(pod, node),
                            false => counts.get(&node.labels[&c.topology]).copied().unwrap_or(0),
                        };
                        count as f64 * weight + (c.max_skew - 1) as f64
                    })
                    .sum();
                sum.round() as i64
            })
        })
        .collect();
    let (least, most) = (raw.iter().flatten().min().copied(), raw.iter().flatten().max().copied());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    let points = |raw: Option<i64>| match raw {
        None => 0,
        Some(_) if most == 0 => MAX,
        Some(n) => MAX * (most + least - n) / most,
    };
    raw.into_iter().map(points).collect()
}

/// Soft affinity, the pod's own and that of the pods that are there; their required affinity counts 1.
fn pod_wishes(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    let mut by_topology: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for node in &cluster.nodes {
        if pod.pod_wishes.is_empty() && node.wishing == 0 {
            continue;
        }
        for other in &node.pods {
            let own = pod.pod_wishes.iter().filter(|(_, t)| t.matches(other, &cluster.namespaces));
            let theirs = other.pod_wishes.iter().filter(|(_, t)| t.matches(pod, &cluster.namespaces));
            let required = other.affinity.iter().filter(|t| t.matches(pod, &cluster.namespaces));
            let weighted = own.chain(theirs).map(|(weight, term)| (*weight, term)).chain(required.map(|t| (1, t)));
            for (weight, term) in weighted {
                if let Some(value) = node.labels.get(&term.topology) {
                    *by_topology.entry((&term.topology, value)).or_default() += weight;
                }
            }
        }
    }
    if by_topology.is_empty() {
        return vec![0; nodes.len()];
    }
    let sum = |node: &&Node| {
        let here = by_topology.iter().filter(|((key, value), _)| node.labels.get(*key).is_some_and(|v| v == value));
        here.map(|(_, weight)| weight).sum::<i64>()
    };
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    sums.into_iter().map(|n| if most == least { 0 } else { MAX * (n - least) / (most - least) }).collect()
}

/// Images that are there already, the larger the better, scaled by how many nodes have them.
fn images(pod: &Pod, nodes: &[&Node], cluster: &Cluster) -> Vec<i64> {
    const MB: i64 = 1024 * 1024;
    let (least, most) = (23 * MB, 1000 * MB * (pod.images.len() as i64).max(1));
    let spread: Vec<f64> = pod
        .images
        .iter()
        .map(|image| {
            let holders = cluster.holders.get(image).copied().unwrap_or(0);
            holders as f64 / cluster.nodes.len().max(1) as f64
        })
        .collect();
    let points = |node: &&Node| {
        let sizes = pod
            .images
            .iter()
            .zip(&spread)
            .filter_map(|(image, spread)| node.images.get(image).map(|size| (*size as f64 * spread) as i64));
        MAX * (sizes.sum::<i64>().clamp(least, most) - least) / (most - least)
    };
    nodes.iter().map(points).collect()
}
