//! Counts by domain: the nodes that share a label's value, numbered, so that a look is an index.
//!
//! A domain's number holds until a node comes, goes or changes its labels. A tally is shared by all
//! decisions that need it; what only would be (`suppose`) stands beside it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::Node;

/// The domains of one label, by the place of the node (`Node::at`).
#[derive(Debug, Default)]
pub struct Topology {
    domains: Vec<u32>,
    pub size: usize,
}

const NOWHERE: u32 = u32::MAX;

impl Topology {
    pub fn of(key: &str, nodes: &[Node]) -> Topology {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let domains = nodes.iter().map(|node| match node.labels.get(key) {
            None => NOWHERE,
            Some(value) => {
                let next = numbers.len() as u32;
                *numbers.entry(value).or_insert(next)
            }
        });
        let domains = domains.collect();
        Topology { domains, size: numbers.len() }
    }

    /// Each node by itself, whatever its labels are.
    pub fn of_nodes(nodes: &[Node]) -> Topology {
        Topology { domains: (0..nodes.len() as u32).collect(), size: nodes.len() }
    }

    /// None: the node does not have the label.
    pub fn domain(&self, node: &Node) -> Option<usize> {
        self.domains.get(node.at).filter(|domain| **domain != NOWHERE).map(|domain| *domain as usize)
    }
}

/// A count for each domain.
#[derive(Clone, Debug)]
pub struct Tally {
    pub topology: Arc<Topology>,
    counts: Arc<Vec<i32>>,
    total: i64,
    /// What is supposed on top, in one domain: a supposition is about one node.
    supposed: (usize, i32),
}

impl Tally {
    pub fn new(topology: Arc<Topology>) -> Tally {
        let counts = Arc::new(vec![0; topology.size]);
        Tally { topology, counts, total: 0, supposed: (usize::MAX, 0) }
    }

    /// Of a domain with this node alone.
    pub fn of_one(node: &Node) -> Tally {
        let mut domains = vec![NOWHERE; node.at];
        domains.push(0);
        Tally::new(Arc::new(Topology { domains, size: 1 }))
    }

    /// The count of the node's domain; None: it is in none.
    pub fn at(&self, node: &Node) -> Option<i64> {
        self.topology.domain(node).map(|domain| self.of(domain))
    }

    pub fn of(&self, domain: usize) -> i64 {
        let supposed = if self.supposed.0 == domain { self.supposed.1 } else { 0 };
        i64::from(self.counts[domain] + supposed)
    }

    /// Over all domains.
    pub fn total(&self) -> i64 {
        self.total
    }

    pub fn add(&mut self, node: &Node, more: i64) {
        if let Some(domain) = self.topology.domain(node) {
            Arc::make_mut(&mut self.counts)[domain] += more as i32;
            self.total += more;
        }
    }

    /// Like `add`, for this tally alone: whoever shares the counts sees nothing of it. All suppositions of a tally are
    /// about one node.
    pub fn suppose(&mut self, node: &Node, more: i64) {
        if let Some(domain) = self.topology.domain(node) {
            self.supposed = (domain, self.supposed.1 + more as i32);
            self.total += more;
        }
    }
}
