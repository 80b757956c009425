//! A node has a name that is no longer than the pod's.

use super::Refusal;
use crate::cluster::Node;
use crate::pod::Pod;
use crate::surroundings::Surroundings;

pub fn short_name(pod: &Pod, node: &Node, _: &Surroundings) -> Result<(), Refusal> {
    match node.name.len() <= pod.name.len() {
        true => Ok(()),
        false => Err(Refusal { reasons: vec!["node(s) had too long a name".into()], is_final: true }),
    }
}
