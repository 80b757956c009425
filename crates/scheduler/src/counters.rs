//! What placing asks of all pods, counted as they come and go instead of looked up.
//!
//! By domain, for the terms of pods that wait (`Own`) and for those of pods that are there (`Held`).
//!
//! Pods of one template wait with the same terms, so the counts are kept by a fingerprint of the terms.
//! A node that comes, goes or changes its labels ends them: they are made anew by the next who asks.

use std::collections::HashMap;
use std::sync::Arc;

use api::selector::Labels;

use crate::cluster::{Cluster, Namespaces, Node};
use crate::filters::{node_matches, untolerated};
use crate::fingerprint::Fingerprint;
use crate::pod::{Pod, PodTerm, Spread};
use crate::profile::Profile;
use crate::topology::{Tally, Topology};

/// Counts that are kept at most; each costs a look at every pod that comes or goes.
const KEPT_MAX: usize = 256;

pub const HOST: &str = "kubernetes.io/hostname";

#[derive(Clone, Debug, Default)]
pub struct Counters {
    topologies: HashMap<String, Arc<Topology>>,
    each: Option<Arc<Topology>>,
    own: HashMap<(Fingerprint, Fingerprint, usize), Kept>,
    held: Option<HashMap<(Fingerprint, Role), Held>>,
    /// Moves with each question; the least recently asked goes first.
    asked: u64,
}

#[derive(Clone, Debug)]
struct Kept {
    own: Arc<Own>,
    asked: u64,
}

/// Counts for a pod's own terms. `Arc`s inside: a clone is cheap.
#[derive(Clone, Debug)]
pub struct Own {
    /// One of the pods that ask for it.
    pod: Arc<Pod>,
    /// `DoNotSchedule`, then `ScheduleAnyway`.
    pub hard: Vec<Constraint>,
    pub soft: Vec<Constraint>,
    /// A node without one of the labels counts for no soft constraint.
    pub soft_needs_all: bool,
    /// For each required term: pods that match all of them.
    pub affinity: Vec<Tally>,
    pub anti_affinity: Vec<Tally>,
    /// For each wish: pods that match.
    pub wishes: Vec<Tally>,
}

/// One topology spread constraint with its counts.
#[derive(Clone, Debug)]
pub struct Constraint {
    pub spread: Arc<Spread>,
    pub tally: Tally,
    /// By place of the node: whether its pods count.
    counted: Arc<Vec<bool>>,
    /// The domains that have such a node.
    domains: Arc<Vec<u32>>,
}

/// What a pod that is there wants of those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Repels,
    /// Required affinity; how much that counts is the profile's business.
    Requires,
    /// By weight; negative ones repel.
    Wishes(i64),
}

/// Where the pods are that have a term.
#[derive(Clone, Debug)]
struct Held {
    term: PodTerm,
    tally: Tally,
    holders: i64,
}

/// A term of pods that are there, which means the pod in question.
#[derive(Clone, Debug)]
pub struct Meant {
    pub term: Fingerprint,
    pub role: Role,
    pub tally: Tally,
}

type Add = fn(&mut Tally, &Node, i64);

impl Counters {
    /// Nodes came, went or have other labels: numbers of domains mean nothing any more.
    pub fn clear(&mut self) {
        *self = Counters::default();
    }

    /// Other taints: only counts that honour taints look at them.
    pub fn clear_tainted(&mut self) {
        let honours = |c: &Constraint| c.spread.honours_taints;
        self.own.retain(|_, kept| !kept.own.hard.iter().chain(&kept.own.soft).any(honours));
    }

    /// Other labels of namespaces: terms may mean other pods.
    pub fn clear_own(&mut self) {
        self.own.clear();
    }

    /// A pod that is on `node` counts from now on (+1), or no more (−1).
    pub fn change(&mut self, pod: &Pod, node: &Node, by: i64, nodes: &[Node], namespaces: &Namespaces) {
        for kept in self.own.values_mut() {
            Arc::make_mut(&mut kept.own).change(pod, node, by, namespaces, Tally::add);
        }
        if pod.has_terms() && self.held.is_some() {
            for (term, role) in pod.held() {
                self.hold(term, role, node, by, nodes);
            }
        }
    }

    /// Counts for the pod's own terms; None: it has none.
    pub fn own(&mut self, pod: &Pod, cluster: &Cluster, profile: &Profile) -> Option<Arc<Own>> {
        let has_defaults = pod.spread.is_empty() && !profile.spread.constraints.is_empty();
        let selector = if has_defaults { cluster.workloads.selector(pod) } else { Labels::default() };
        if pod.spread.is_empty() && selector.is_empty() && !pod.has_terms() {
            return None;
        }
        self.asked += 1;
        let key = (pod.fingerprint, Fingerprint::of_labels(&selector), profile.number);
        if let Some(kept) = self.own.get_mut(&key) {
            kept.asked = self.asked;
            return Some(kept.own.clone());
        }
        let defaults = if selector.is_empty() { Vec::new() } else { profile.spread.of(&selector) };
        let spread = if pod.spread.is_empty() { &defaults } else { &pod.spread };
        let needs_all = !pod.spread.is_empty() || !profile.spread.is_system;
        let own = Arc::new(self.count(pod, spread, needs_all, cluster));
        if self.own.len() >= KEPT_MAX
            && let Some(oldest) = self.own.iter().min_by_key(|(_, kept)| kept.asked).map(|(key, _)| *key)
        {
            self.own.remove(&oldest);
        }
        self.own.insert(key, Kept { own: own.clone(), asked: self.asked });
        Some(own)
    }

    /// The terms of pods that are there and mean this one.
    pub fn meant(&mut self, pod: &Pod, cluster: &Cluster) -> Vec<Meant> {
        if self.held.is_none() {
            self.held = Some(HashMap::new());
            for node in cluster.nodes.iter().filter(|node| node.wishing > 0) {
                for (term, role) in node.pods.iter().flat_map(|other| other.held()) {
                    self.hold(term, role, node, 1, &cluster.nodes);
                }
            }
        }
        let held = self.held.iter().flatten();
        let meant = held.filter(|(_, held)| held.term.matches(pod, &cluster.namespaces));
        meant.map(|((term, role), held)| Meant { term: *term, role: *role, tally: held.tally.clone() }).collect()
    }

    fn hold(&mut self, term: &PodTerm, role: Role, node: &Node, by: i64, nodes: &[Node]) {
        let topology = self.topology(&term.topology, nodes);
        let Some(all) = &mut self.held else { return };
        let key = (term.fingerprint, role);
        let held =
            all.entry(key).or_insert_with(|| Held { term: term.clone(), tally: Tally::new(topology), holders: 0 });
        held.tally.add(node, by);
        held.holders += by;
        if held.holders <= 0 {
            all.remove(&key);
        }
    }

    fn topology(&mut self, key: &str, nodes: &[Node]) -> Arc<Topology> {
        if let Some(topology) = self.topologies.get(key) {
            return topology.clone();
        }
        let topology = Arc::new(Topology::of(key, nodes));
        // Pods name any key they like: what no count uses any more goes.
        self.topologies.retain(|_, known| Arc::strong_count(known) > 1);
        self.topologies.insert(key.into(), topology.clone());
        topology
    }

    /// Looks at every node and pod, once for each fingerprint.
    fn count(&mut self, pod: &Pod, spread: &[Spread], soft_needs_all: bool, cluster: &Cluster) -> Own {
        let nodes = &cluster.nodes;
        let mut constraints = |hard: bool| {
            let chosen: Vec<&Spread> = spread.iter().filter(|c| c.hard == hard).collect();
            let all = hard || soft_needs_all;
            let has_all = |node: &Node| !all || chosen.iter().all(|c| node.labels.contains_key(&c.topology));
            let eligible: Vec<bool> = nodes.iter().map(has_all).collect();
            chosen.iter().map(|c| self.constraint(pod, c, &eligible, nodes)).collect::<Vec<_>>()
        };
        let (hard, soft) = (constraints(true), constraints(false));
        let mut tallies = |terms: Vec<&PodTerm>| {
            terms.iter().map(|t| Tally::new(self.topology(&t.topology, nodes))).collect::<Vec<_>>()
        };
        let mut own = Own {
            pod: Arc::new(pod.clone()),
            hard,
            soft,
            soft_needs_all,
            affinity: tallies(pod.affinity.iter().collect()),
            anti_affinity: tallies(pod.anti_affinity.iter().collect()),
            wishes: tallies(pod.pod_wishes.iter().map(|(_, term)| term).collect()),
        };
        for node in nodes {
            for other in &node.pods {
                own.change(other, node, 1, &cluster.namespaces, Tally::add);
            }
        }
        own
    }

    fn constraint(&mut self, pod: &Pod, spread: &Spread, eligible: &[bool], nodes: &[Node]) -> Constraint {
        // A wish about hosts counts each node's pods, whatever the policies say (scoring.go, Score).
        let each = !spread.hard && spread.topology == HOST;
        let topology = match each {
            true => self.each.get_or_insert_with(|| Arc::new(Topology::of_nodes(nodes))).clone(),
            false => self.topology(&spread.topology, nodes),
        };
        let counts = |node: &Node| each || (eligible[node.at] && spread.counts_node(pod, node));
        let counted: Vec<bool> = nodes.iter().map(counts).collect();
        let mut has = vec![false; topology.size];
        for node in nodes.iter().filter(|node| counted[node.at]) {
            if let Some(domain) = topology.domain(node) {
                has[domain] = true;
            }
        }
        let domains = (0..topology.size as u32).filter(|domain| has[*domain as usize]).collect();
        Constraint {
            spread: Arc::new(spread.clone()),
            tally: Tally::new(topology),
            counted: Arc::new(counted),
            domains: Arc::new(domains),
        }
    }
}

impl Own {
    /// Counts `other`, which is on `node`, by `add`.
    pub fn change(&mut self, other: &Pod, node: &Node, by: i64, namespaces: &Namespaces, add: Add) {
        let pod = self.pod.clone();
        if other.namespace == pod.namespace && !other.deleting {
            for constraint in self.hard.iter_mut().chain(&mut self.soft) {
                if constraint.counted[node.at] && constraint.spread.counts_pod(other) {
                    add(&mut constraint.tally, node, by);
                }
            }
        }
        let matches = |term: &PodTerm| term.matches(other, namespaces);
        // A pod attracts only where it matches all terms; it repels with any.
        if !pod.affinity.is_empty() && pod.affinity.iter().all(matches) {
            self.affinity.iter_mut().for_each(|tally| add(tally, node, by));
        }
        for (term, tally) in pod.anti_affinity.iter().zip(&mut self.anti_affinity) {
            if matches(term) {
                add(tally, node, by);
            }
        }
        for ((_, term), tally) in pod.pod_wishes.iter().zip(&mut self.wishes) {
            if matches(term) {
                add(tally, node, by);
            }
        }
    }
}

impl Constraint {
    /// How many pods the emptiest domain has; none, if there are fewer domains than there should be.
    pub fn least(&self) -> i64 {
        if (self.domains.len() as i64) < self.spread.min_domains {
            return 0;
        }
        self.domains.iter().map(|domain| self.tally.of(*domain as usize)).min().unwrap_or(0)
    }
}

impl Spread {
    fn counts_node(&self, pod: &Pod, node: &Node) -> bool {
        (!self.honours_affinity || node_matches(pod, node))
            && (!self.honours_taints || untolerated(pod, node).is_none())
    }

    /// An empty selector counts no pod, although it means every one (countPodsMatchSelector).
    fn counts_pod(&self, pod: &Pod) -> bool {
        !self.selector.is_empty() && self.selector.matches(&pod.labels)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::place::place;
    use crate::place::tests::{cluster, node, pod};
    use crate::profile::Profile;

    #[test]
    fn topologies_that_no_count_uses_any_more_are_forgotten() {
        let c = cluster(vec![node("a", json!({}))], vec![]);
        for number in 0..2 * super::KEPT_MAX {
            let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": format!("k{number}"),
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
            assert!(place(&pod("p", spread), &c, &Profile::default()).is_err());
        }
        // One for each count, and that of the count which had to go for the last one.
        assert_eq!(c.counters.borrow().topologies.len(), super::KEPT_MAX + 1);
    }
}
