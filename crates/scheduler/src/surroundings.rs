//! What is true of the whole cluster for one pod, brought together before the nodes are looked at.
//!
//! The counts are kept (`counters`); here they are only found, shared, and supposed to be otherwise.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::selector::Operator;

use crate::cluster::{Cluster, Namespaces, Node};
use crate::counters::{Meant, Own, Role};
use crate::pod::Pod;
use crate::profile::Profile;
use crate::topology::Tally;

/// A clone is cheap; what it supposes is its own.
#[derive(Clone)]
pub struct Surroundings<'a> {
    pub profile: &'a Profile,
    pub namespaces: &'a Namespaces,
    /// The nodes that the pod asks for by name, if it does.
    pub names: Option<BTreeSet<String>>,
    /// Counts for its own terms, if it has any.
    pub own: Option<Arc<Own>>,
    /// For each hard spread constraint: the pods of the emptiest domain.
    pub least: Vec<i64>,
    /// Terms of pods that are there and mean it.
    meant: Vec<Meant>,
    pub attracts_itself: bool,
}

impl<'a> Surroundings<'a> {
    pub fn of(pod: &Pod, cluster: &'a Cluster, profile: &'a Profile) -> Surroundings<'a> {
        let mut counters = cluster.counters.borrow_mut();
        let mut around = Surroundings {
            profile,
            namespaces: &cluster.namespaces,
            names: asked_names(pod),
            own: counters.own(pod, cluster, profile),
            least: Vec::new(),
            meant: counters.meant(pod, cluster),
            attracts_itself: pod.affinity.iter().all(|t| t.matches(pod, &cluster.namespaces)),
        };
        around.find_least();
        around
    }

    /// As if `other` were on the node (+1) or gone (−1). All suppositions of one clone are about one node.
    pub fn suppose(&mut self, pod: &Pod, other: &Pod, node: &Node, by: i64) {
        if let Some(own) = &mut self.own {
            Arc::make_mut(own).change(other, node, by, self.namespaces, Tally::suppose);
            self.find_least();
        }
        for (term, role) in other.held().filter(|(term, _)| term.matches(pod, self.namespaces)) {
            let same = |meant: &&mut Meant| meant.term == term.fingerprint && meant.role == role;
            match self.meant.iter_mut().find(same) {
                Some(meant) => meant.tally.suppose(node, by),
                // Nobody there has this term yet; only the node's own domain matters to who supposes it.
                None if node.labels.contains_key(&term.topology) => {
                    let mut tally = Tally::of_one(node);
                    tally.suppose(node, by);
                    self.meant.push(Meant { term: term.fingerprint, role, tally });
                }
                None => {}
            }
        }
    }

    /// Whether pods that are there keep it off the node.
    pub fn repelled(&self, node: &Node) -> bool {
        let mut repelling = self.meant.iter().filter(|meant| meant.role == Role::Repels);
        repelling.any(|meant| meant.tally.at(node).is_some_and(|count| count > 0))
    }

    /// How much pods that are there want it at the node, by weight; None: nobody has a wish about it.
    pub fn wanted(&self) -> Option<impl Fn(&Node) -> i64> {
        let weight = |role: Role| match role {
            Role::Repels => 0,
            Role::Requires => self.profile.hard_affinity_weight,
            Role::Wishes(weight) => weight,
        };
        let wishes = self.meant.iter().map(move |m| (weight(m.role), &m.tally)).filter(|(weight, _)| *weight != 0);
        let wishes: Vec<(i64, &Tally)> = wishes.collect();
        let sum = move |node: &Node| wishes.iter().map(|(weight, t)| weight * t.at(node).unwrap_or(0)).sum::<i64>();
        (!self.meant.is_empty()).then_some(sum)
    }

    fn find_least(&mut self) {
        self.least = self.own.iter().flat_map(|own| own.hard.iter().map(|c| c.least())).collect();
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
