//! The shorter a node's name, the better.

use crate::cluster::{Cluster, Node};
use crate::pod::Pod;
use crate::surroundings::Surroundings;

pub fn points(_: &Pod, nodes: &[&Node], _: &Cluster, _: &Surroundings) -> Vec<i64> {
    nodes.iter().map(|node| super::MAX - (node.name.len() as i64).min(super::MAX)).collect()
}
