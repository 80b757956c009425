//! SCORES: which of the nodes that are left is best. Each gives 0…100, times its weight.
//!
//! The weights and formulas are upstream's defaults (pkg/scheduler/apis/config/v1/default_plugins.go);
//! a profile may have others. Who has no opinion on a pod gives no points at all, which costs nothing.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Node};
use crate::counters::HOST;
use crate::pod::Pod;
use crate::profile::Strategy;
use crate::surroundings::Surroundings;

/// One wish: raw points for each node, brought to 0…100 over all of them.
pub struct Score {
    /// Upstream's name of the plugin.
    pub name: &'static str,
    pub weight: i64,
    /// Empty: all the same.
    pub points: fn(&Pod, &[&Node], &Cluster, &Surroundings) -> Vec<i64>,
}

pub static SCORES: &[Score] = &[
    Score { name: "TaintToleration", weight: 3, points: taints },
    Score { name: "NodeAffinity", weight: 2, points: node_wishes },
    Score { name: "NodeResourcesFit", weight: 1, points: allocated },
    Score { name: "PodTopologySpread", weight: 2, points: spread },
    Score { name: "InterPodAffinity", weight: 2, points: pod_wishes },
    Score { name: "NodeResourcesBalancedAllocation", weight: 1, points: balanced },
    Score { name: "ImageLocality", weight: 1, points: images },
];

const MAX: i64 = 100;

/// The weighted sum for each node.
pub fn score(pod: &Pod, nodes: &[&Node], cluster: &Cluster, around: &Surroundings) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    for (wish, weight) in &around.profile.scores {
        for (sum, points) in sums.iter_mut().zip((wish.points)(pod, nodes, cluster, around)) {
            *sum += weight * points;
        }
    }
    sums
}

/// Fewer soft taints that are not tolerated are better.
fn taints(pod: &Pod, nodes: &[&Node], _: &Cluster, _: &Surroundings) -> Vec<i64> {
    let soft = |node: &&Node| {
        let bad = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        bad.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))).count() as i64
    };
    let counts: Vec<i64> = nodes.iter().map(soft).collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 { Vec::new() } else { counts.into_iter().map(|n| MAX - MAX * n / most).collect() }
}

fn node_wishes(pod: &Pod, nodes: &[&Node], _: &Cluster, around: &Surroundings) -> Vec<i64> {
    let wishes = || pod.node_wishes.iter().chain(&around.profile.added_wishes);
    if wishes().next().is_none() {
        return Vec::new();
    }
    let sum = |node: &&Node| {
        let granted = wishes().filter(|(_, term)| term.matches(&node.name, &node.labels));
        granted.map(|(weight, _)| weight).sum::<i64>()
    };
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    sums.into_iter().map(|n| if most == 0 { 0 } else { MAX * n / most }).collect()
}

/// What is asked for by containers that say nothing counts too: see `Pod::guessed`.
fn allocated(pod: &Pod, nodes: &[&Node], _: &Cluster, around: &Surroundings) -> Vec<i64> {
    let fit = &around.profile.fit;
    let of_one = |asked: i64, has: i64| match &fit.strategy {
        Strategy::Least if asked > has => 0,
        Strategy::Least => has.saturating_sub(asked).saturating_mul(MAX) / has,
        Strategy::Most => asked.min(has).saturating_mul(MAX) / has,
        Strategy::Ratio(shape) => between(shape, if asked > has { 100 } else { asked.saturating_mul(100) / has }),
    };
    let points = |node: &&Node| {
        let (mut sum, mut weights) = (0, 0);
        for (resource, weight) in &fit.resources {
            let (more, used, has) = match resource.as_str() {
                "cpu" => (pod.guessed.0, node.guessed.0, node.allocatable.cpu),
                "memory" => (pod.guessed.1, node.guessed.1, node.allocatable.memory),
                name => (pod.requests.of_name(name), node.used.of_name(name), node.allocatable.of_name(name)),
            };
            // A scalar resource counts only for who asks for it (calculateNodeAllocatableRequest).
            if has == 0 || (more == 0 && !matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage")) {
                continue;
            }
            let points = of_one(used.saturating_add(more), has);
            if points > 0 || !matches!(fit.strategy, Strategy::Ratio(_)) {
                sum += points * weight;
                weights += weight;
            }
        }
        match (&fit.strategy, weights) {
            (_, 0) => 0,
            (Strategy::Ratio(_), _) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    };
    nodes.iter().map(points).collect()
}

/// On the broken line through the points (BuildBrokenLinearFunction).
fn between(shape: &[(i64, i64)], at: i64) -> i64 {
    match shape.iter().position(|(x, _)| at <= *x) {
        None => shape.last().map_or(0, |(_, y)| *y),
        Some(0) => shape[0].1,
        Some(right) => {
            let ((x0, y0), (x1, y1)) = (shape[right - 1], shape[right]);
            y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        }
    }
}

/// How much nearer the pod brings the fractions of the resources to each other.
fn balanced(pod: &Pod, nodes: &[&Node], _: &Cluster, around: &Surroundings) -> Vec<i64> {
    let names = &around.profile.balanced;
    let asks: Vec<i64> = names.iter().map(|name| pod.requests.of_name(name)).collect();
    if asks.iter().all(|asked| *asked == 0) {
        return Vec::new();
    }
    let counts = |name: &str, asked: i64| asked != 0 || matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let points = |node: &&Node| {
        let parts = |with: i64| {
            names.iter().zip(&asks).filter(|(name, asked)| counts(name, **asked)).filter_map(move |(name, asked)| {
                let has = node.allocatable.of_name(name);
                (has != 0).then(|| (node.used.of_name(name).saturating_add(with * asked) as f64 / has as f64).min(1.0))
            })
        };
        MAX / 2 + (MAX / 2 + evenness(parts(1)) - evenness(parts(0))) / 2
    };
    nodes.iter().map(points).collect()
}

/// 100 less the standard deviation (balancedResourceScore).
fn evenness(parts: impl Iterator<Item = f64> + Clone) -> i64 {
    let number = parts.clone().count() as f64;
    let mean = parts.clone().sum::<f64>() / number.max(1.0);
    let deviation = match number as i64 {
        0 | 1 => 0.0,
        2 => {
            let mut two = parts;
            let (a, b) = (two.next().unwrap_or(0.0), two.next().unwrap_or(0.0));
            ((a - b) / 2.0).abs()
        }
        _ => (parts.map(|part| (part - mean) * (part - mean)).sum::<f64>() / number).sqrt(),
    };
    ((1.0 - deviation) * MAX as f64) as i64
}

/// Soft spread: fewer matching pods in the node's domain are better.
fn spread(_: &Pod, nodes: &[&Node], _: &Cluster, around: &Surroundings) -> Vec<i64> {
    let Some(own) = around.own.as_ref().filter(|own| !own.soft.is_empty()) else { return Vec::new() };
    let soft = &own.soft;
    let has_all = |node: &Node| soft.iter().all(|c| node.labels.contains_key(&c.spread.topology));
    let counts: Vec<bool> = match own.soft_needs_all {
        true => nodes.iter().map(|node| has_all(node)).collect(),
        false => vec![true; nodes.len()],
    };
    let counted = || nodes.iter().zip(&counts).filter(|(_, counts)| **counts).map(|(node, _)| node);
    let weight = |c: &crate::counters::Constraint| {
        let size = match c.spread.topology == HOST {
            true => counted().count(),
            // Nodes without the label are a domain of their own (scoring.go, initPreScoreState).
            false => counted().map(|node| c.tally.topology.domain(node)).collect::<BTreeSet<_>>().len(),
        };
        ((size + 2) as f64).ln()
    };
    let weights: Vec<f64> = soft.iter().map(weight).collect();
    let raw = |node: &Node| {
        let mut sum = 0.0;
        for (c, weight) in soft.iter().zip(&weights) {
            let labelled = c.spread.topology != HOST || own.soft_needs_all || node.labels.contains_key(HOST);
            if let Some(count) = c.tally.at(node).filter(|_| labelled) {
                sum += count as f64 * weight + (c.spread.max_skew - 1) as f64;
            }
        }
        sum.round() as i64
    };
    let raw: Vec<Option<i64>> = nodes.iter().zip(&counts).map(|(node, counts)| counts.then(|| raw(node))).collect();
    let (least, most) = (raw.iter().flatten().min().copied(), raw.iter().flatten().max().copied());
    let (least, most) = (least.unwrap_or(0), most.unwrap_or(0));
    let points = |raw: Option<i64>| match raw {
        None => 0,
        Some(_) if most == 0 => MAX,
        Some(n) => MAX * (most + least - n) / most,
    };
    raw.into_iter().map(points).collect()
}

/// Soft affinity, the pod's own and that of the pods that are there; required affinity of theirs counts too.
fn pod_wishes(pod: &Pod, nodes: &[&Node], _: &Cluster, around: &Surroundings) -> Vec<i64> {
    let own = around.own.as_ref().filter(|_| !pod.pod_wishes.is_empty());
    let theirs = if own.is_none() && around.profile.ignores_wishes_of_others { None } else { around.wanted() };
    if own.is_none() && theirs.is_none() {
        return Vec::new();
    }
    let sum = |node: &&Node| {
        let wishes = own.iter().flat_map(|own| pod.pod_wishes.iter().zip(&own.wishes));
        let own: i64 = wishes.map(|((weight, _), tally)| weight * tally.at(node).unwrap_or(0)).sum();
        own + theirs.as_ref().map_or(0, |theirs| theirs(node))
    };
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    if least == most {
        return Vec::new();
    }
    // In floating point and cut off, as upstream's.
    sums.into_iter().map(|n| (MAX as f64 * ((n - least) as f64 / (most - least) as f64)) as i64).collect()
}

/// Images that are there already, the larger the better, scaled by how many nodes have them.
fn images(pod: &Pod, nodes: &[&Node], cluster: &Cluster, _: &Surroundings) -> Vec<i64> {
    const MB: i64 = 1024 * 1024;
    let (least, most) = (23 * MB, 1000 * MB * (pod.images.len() as i64).max(1));
    let all = cluster.nodes.len().max(1) as f64;
    let held = pod.images.iter().filter_map(|image| Some((image, *cluster.holders.get(image)? as f64 / all)));
    let held: Vec<(&String, f64)> = held.collect();
    if held.is_empty() {
        return Vec::new();
    }
    let points = |node: &&Node| {
        let size = |(image, spread): &(&String, f64)| Some((*node.images.get(*image)? as f64 * spread) as i64);
        let sizes = held.iter().filter_map(size);
        MAX * (sizes.sum::<i64>().clamp(least, most) - least) / (most - least)
    };
    nodes.iter().map(points).collect()
}
