//! `why`: for a person: what keeps a pod from each node, all of it, and what would let it run. Pure.
//!
//! The same filters decide as when it is placed; where one refuses, its terms are told here in full. What an
//! event counts by the first reason of each node is told by all reasons.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use api::taint::Taint;

use crate::cluster::{Cluster, Node};
use crate::configuration::Configuration;
use crate::filters::{self, Refusal, Shortage, all_untolerated, any_matches, crowds, shortages};
use crate::place::{Reasons, place};
use crate::pod::Pod;
use crate::preempt::preempt;
use crate::profile::Profile;
use crate::surroundings::Surroundings;

/// What there is to say of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Why it is not looked at, or need not be; empty: its nodes are.
    pub before: Vec<String>,
    /// The node that it would get now.
    pub fits: Option<String>,
    pub nodes: Vec<Group>,
    /// Whether pods of lower priority would go for it.
    pub preemption: String,
}

/// Nodes with which the same is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub names: Vec<String>,
    /// Empty: the pod fits.
    pub missing: Vec<Missing>,
}

/// One thing that is missing, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Upstream's name of the plugin.
    pub filter: &'static str,
    pub what: String,
    pub remedy: String,
}

/// Groups with the least missing come first.
pub fn why(pod: &Pod, cluster: &Cluster, configuration: &Configuration) -> Answer {
    let before = before(pod, configuration);
    let profile = configuration.profiles.iter().find(|profile| profile.name == pod.scheduler);
    let Some(profile) = profile.filter(|_| before.is_empty()) else { return Answer { before, ..Answer::default() } };
    let placed = place(pod, cluster, profile);
    let around = Surroundings::of(pod, cluster, profile);
    let mut groups: BTreeMap<Vec<Missing>, Vec<String>> = BTreeMap::new();
    for node in &cluster.nodes {
        groups.entry(missing(pod, node, cluster, &around)).or_default().push(node.name.to_string());
    }
    let mut nodes: Vec<Group> = groups.into_iter().map(|(missing, names)| Group { names, missing }).collect();
    nodes.sort_by_key(|group| group.missing.len());
    let preemption =
        placed.as_ref().err().map_or_else(String::new, |reasons| pushed_out(pod, cluster, profile, reasons));
    Answer { before, fits: placed.ok().map(|choice| choice.node.to_string()), nodes, preemption }
}

fn before(pod: &Pod, configuration: &Configuration) -> Vec<String> {
    let mut why = Vec::new();
    if !pod.node.is_empty() {
        return vec![format!("it has a node: {}", pod.node)];
    }
    if pod.ended {
        return vec!["it has ended".into()];
    }
    if pod.deleting {
        return vec!["it is being deleted".into()];
    }
    if !pod.gates.is_empty() {
        let gates = pod.gates.join(", ");
        why.push(format!("scheduling gates: {gates}: it waits until whoever set them removes them"));
    }
    let names: Vec<&str> = configuration.profiles.iter().map(|profile| profile.name.as_str()).collect();
    if !names.contains(&pod.scheduler.as_str()) {
        let (name, ours) = (&pod.scheduler, names.join(", "));
        why.push(format!("schedulerName {name:?} is none of this scheduler's ({ours}): another one has to place it"));
    }
    for field in &pod.unbuilt {
        why.push(format!("spec.{field}: not built yet: no node can take it (docs/compatibility.md)"));
    }
    why
}

fn missing(pod: &Pod, node: &Node, cluster: &Cluster, around: &Surroundings<'_>) -> Vec<Missing> {
    let mut all: Vec<Missing> = Vec::new();
    for filter in &around.profile.filters {
        if let Err(refusal) = (filter.check)(pod, node, around)
            && !all.iter().any(|known| known.filter == filter.name)
        {
            all.extend(told(filter.name, refusal, pod, node, cluster, around));
        }
    }
    if all.is_empty()
        && let Err((filter, refusal)) = filters::check(pod, node, around)
    {
        let promised: Vec<String> = node.nominated.iter().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
        let what =
            format!("{}, once {} has the room that it was promised", refusal.reasons.join(", "), promised.join(", "));
        all.push(Missing { filter, what, remedy: "more room, or a higher priority".into() });
    }
    all
}

/// What a filter has to say in full.
fn told(
    filter: &'static str,
    refusal: Refusal,
    pod: &Pod,
    node: &Node,
    cluster: &Cluster,
    around: &Surroundings<'_>,
) -> Vec<Missing> {
    let told = |what: String, remedy: &str| Missing { filter, what, remedy: remedy.into() };
    match filter {
        "NodeUnschedulable" => vec![told("it is cordoned".into(), "kubectl uncordon")],
        "TaintToleration" => {
            let text = |t: &Taint| match t.value.as_str() {
                "" => format!("taint {}:{}", t.key, t.effect),
                value => format!("taint {}={value}:{}", t.key, t.effect),
            };
            let remedy = "a toleration of it, or kubectl taint … -";
            all_untolerated(pod, node).map(|taint| told(text(taint), remedy)).collect()
        }
        "NodeAffinity" => {
            labels(pod, node, around).into_iter().map(|what| told(what, "such a label, or another demand")).collect()
        }
        "NodePorts" => {
            let users =
                node.pods.iter().filter(|other| other.ports.iter().any(|p| pod.ports.iter().any(|q| p.collides(q))));
            let users: Vec<String> = users.map(|other| format!("{}/{}", other.namespace, other.name)).collect();
            vec![told(format!("a host port of it is in use by {}", users.join(", ")), "its end, or another port")]
        }
        "NodeResourcesFit" => {
            let shorts = shortages(pod, node, &node.used, node.pods.len());
            shorts
                .filter(|short| !around.profile.fit.ignores(short.resource))
                .map(|short| of_shortage(filter, short))
                .collect()
        }
        "PodTopologySpread" => spread(pod, node, around)
            .into_iter()
            .map(|what| told(what, "fewer of them there, or more elsewhere"))
            .collect(),
        "InterPodAffinity" => {
            let repel =
                |other: &&std::sync::Arc<Pod>| other.anti_affinity.iter().any(|t| t.matches(pod, &cluster.namespaces));
            let mut what = refusal.reasons.join(", ");
            if let Some(other) = node.pods.iter().find(repel) {
                what = format!("{what} ({}/{})", other.namespace, other.name);
            }
            let remedy = match what.contains("didn't match pod affinity rules") {
                true => "a pod in the node's domain that all its terms mean",
                false => "the end of the pods in the node's domain that are not to be beside it",
            };
            vec![told(what, remedy)]
        }
        _ => refusal.reasons.into_iter().map(|reason| told(reason, "")).collect(),
    }
}

fn of_shortage(filter: &'static str, short: Shortage<'_>) -> Missing {
    let amount = |n: i64| match short.resource {
        "cpu" => Quantity::from_milli(n).to_string(),
        "memory" | "ephemeral-storage" => Quantity::from_units(n, Format::BinarySi).to_string(),
        _ => n.to_string(),
    };
    let free = amount(short.free().max(0));
    let (asked, has, name) = (amount(short.asked), amount(short.has), short.resource);
    match name {
        "pods" => Missing {
            filter,
            what: format!("it has {} pods of at most {has}", short.used),
            remedy: "the end of one".into(),
        },
        _ if short.has == 0 => {
            Missing { filter, what: format!("{name}: asks for {asked}, it has none"), remedy: "another node".into() }
        }
        _ if short.asked > short.has => Missing {
            filter,
            what: format!("{name}: asks for {asked}, all of it is {has}"),
            remedy: "a smaller request, or a larger node".into(),
        },
        _ => Missing {
            filter,
            what: format!("{name}: asks for {asked}, {free} of {has} is free"),
            remedy: format!(
                "the end of pods that ask for {} together",
                amount(short.asked.saturating_sub(short.free()))
            ),
        },
    }
}

fn labels(pod: &Pod, node: &Node, around: &Surroundings<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in &pod.node_selector {
        match node.labels.get(key) {
            Some(has) if has == value => {}
            Some(has) => all.push(format!("nodeSelector {key}={value}: its label says {has}")),
            None => all.push(format!("nodeSelector {key}={value}: it has no such label")),
        }
    }
    if pod.node_terms.as_ref().is_some_and(|terms| !any_matches(terms, node)) {
        all.push("none of the terms of its required node affinity holds".into());
    }
    if around.profile.added_terms.as_ref().is_some_and(|terms| !any_matches(terms, node)) {
        all.push("the node affinity that the scheduler adds does not hold".into());
    }
    all
}

fn spread(pod: &Pod, node: &Node, around: &Surroundings<'_>) -> Vec<String> {
    let text = |crowd: filters::Crowd<'_>| {
        let (key, skew, least) = (&crowd.constraint.spread.topology, crowd.constraint.spread.max_skew, crowd.least);
        let value = node.labels.get(key).map_or("", String::as_str);
        match crowd.count {
            None => format!("spread by {key}: it has no such label"),
            Some(count) => {
                format!("spread by {key}: {value} has {count}, the emptiest has {least}, maxSkew is {skew}")
            }
        }
    };
    crowds(pod, node, around).map(text).collect()
}

fn pushed_out(pod: &Pod, cluster: &Cluster, profile: &Profile, reasons: &Reasons) -> String {
    if !profile.preempts || reasons.nodes == 0 {
        return String::new();
    }
    match preempt(pod, cluster, profile, reasons) {
        Err(why) => why,
        Ok(preemption) => {
            let victims: Vec<String> =
                preemption.victims.iter().map(|victim| format!("{}/{}", victim.namespace, victim.name)).collect();
            format!("on {} it would push out {}", preemption.node, victims.join(", "))
        }
    }
}

/// A page for a terminal.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 3;
        for line in &self.before {
            writeln!(f, "{line}")?;
        }
        if !self.before.is_empty() {
            return Ok(());
        }
        match &self.fits {
            Some(node) => writeln!(f, "it fits: the next try would place it on {node}")?,
            None if self.nodes.is_empty() => writeln!(f, "there are no nodes")?,
            None => writeln!(f, "no node takes it")?,
        }
        for group in &self.nodes {
            let shown = group.names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
            match group.names.len() - group.names.len().min(SHOWN) {
                0 => writeln!(f, "{shown}:")?,
                more => writeln!(f, "{shown} and {more} more:")?,
            }
            if group.missing.is_empty() {
                writeln!(f, "  nothing is missing")?;
            }
            for missing in &group.missing {
                match missing.remedy.as_str() {
                    "" => writeln!(f, "  {} [{}]", missing.what, missing.filter)?,
                    remedy => writeln!(f, "  {} [{}]: would help: {remedy}", missing.what, missing.filter)?,
                }
            }
        }
        if !self.preemption.is_empty() {
            writeln!(f, "preemption: {}", self.preemption)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
