//! One pod of a DaemonSet: what it is made of, and where it belongs. Pure.

use std::collections::BTreeMap;

use api::{Object, tree};
use serde_json::{Value, json};

use super::eligible;
use crate::workload::pod::Seen;
use crate::workload::pods;
use crate::workload::revisions::REVISION_HASH;

/// The pods by the node that they are on or meant for, on each the oldest first.
pub type OnNodes = BTreeMap<String, Vec<Daemon>>;

/// A label of each pod: how often the template had changed. Older than revisions.
pub const TEMPLATE_GENERATION: &str = "pod-template-generation";
/// The same of its set.
const GENERATION_NOTE: &str = "deprecated.daemonset.template.generation";

#[derive(Clone)]
pub struct Daemon {
    pub object: Object,
    pub seen: Seen,
}

impl Daemon {
    pub fn is_ending(&self) -> bool {
        self.object.meta().is_deleting()
    }

    /// The node that it is on, or meant for: None where it does not say (GetTargetNodeName).
    pub fn node(&self) -> Option<String> {
        if !self.seen.spec.node_name.is_empty() {
            return Some(self.seen.spec.node_name.clone());
        }
        let value = self.object.value();
        let required = tree::at(&value, "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        let fields = tree::list(required, "nodeSelectorTerms").iter().flat_map(|term| tree::list(term, "matchFields"));
        let mut named = fields.filter(|field| field["key"] == "metadata.name" && field["operator"] == "In");
        match tree::list(named.next()?, "values") {
            [name] => name.as_str().map(str::to_owned),
            _ => None,
        }
    }
}

/// By node, but for those that have ended and are being deleted: nothing more is to be done about them. On each node
/// those that are placed first, then the oldest.
pub fn by_node(pods: Vec<Object>) -> OnNodes {
    let mut on = OnNodes::new();
    for object in pods {
        let pod = Daemon { seen: Seen::of(&object), object };
        if pod.seen.is_over() && pod.is_ending() {
            continue;
        }
        if let Some(node) = pod.node() {
            on.entry(node).or_default().push(pod);
        }
    }
    for pods in on.values_mut() {
        pods.sort_by_key(|pod| {
            let meta = pod.object.meta();
            (pod.seen.spec.node_name.is_empty(), meta.creation_timestamp.clone(), meta.name.clone())
        });
    }
    on
}

/// None where the set does not count.
pub fn template_generation(set: &Value) -> Option<String> {
    let note = set["metadata"]["annotations"][GENERATION_NOTE].as_str()?;
    note.parse::<i64>().ok().map(|count| count.to_string())
}

/// A pod for a node. The scheduler places it there: by the node's name, whatever else it asked of nodes.
pub fn for_node(owner: &Object, set: &Value, hash: &str, node: &str) -> Value {
    let mut template = set["spec"]["template"].clone();
    let spec = &mut template["spec"];
    spec["tolerations"] = eligible::tolerations(spec).into();
    let named = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]);
    spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] = named;
    let labels = &mut template["metadata"]["labels"];
    if let Some(count) = template_generation(set) {
        labels[TEMPLATE_GENERATION] = count.into();
    }
    labels[REVISION_HASH] = hash.into();
    pods::of_template(owner, &template)
}
