//! Which nodes a DaemonSet's pods belong on. Pure.
//!
//! pkg/controller/daemon, NodeShouldRunDaemonPod: by name, node selector and required affinity, and taints with the
//! tolerations that every such pod gets.

use std::collections::BTreeMap;

use api::selector::Requirement;
use api::taint::{Taint, Toleration};
use api::{Object, tree};
use serde::Deserialize;
use serde_json::{Value, json};

const NO_EXECUTE: &str = "NoExecute";
const NO_SCHEDULE: &str = "NoSchedule";
/// What each pod of a DaemonSet stands: its node's troubles do not drive it away.
const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", NO_EXECUTE),
    ("node.kubernetes.io/unreachable", NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
];
/// One that has the node's network needs none.
const NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE);

/// What of a node decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

/// What decides of a set's template.
pub struct Eligible {
    node_name: String,
    node_selector: BTreeMap<String, String>,
    /// One of them holds; None: no demand.
    terms: Option<Vec<Term>>,
    tolerations: Vec<Toleration>,
}

struct Term {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
}

/// What a set's pod has to do with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One shall run there.
    pub runs: bool,
    /// One that runs there may stay.
    pub stays: bool,
}

impl Node {
    pub fn of(node: &Object) -> Node {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Seen {
            spec: Spec,
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Spec {
            taints: Vec<Taint>,
        }
        let meta = node.meta();
        let labels = meta.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Node { name: meta.name.clone(), labels, taints: node.view::<Seen>().unwrap_or_default().spec.taints }
    }
}

impl Eligible {
    pub fn of(set: &Value) -> Eligible {
        let spec = tree::at(set, "spec.template.spec");
        let selector = tree::entries(spec, "nodeSelector");
        let required = tree::at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
        let terms = || tree::list(required, "nodeSelectorTerms").iter().filter_map(Term::of).collect();
        Eligible {
            node_name: tree::text(spec, "nodeName").to_owned(),
            node_selector: selector.map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").into())).collect(),
            terms: required.is_object().then(terms),
            tolerations: tolerations(spec).iter().map(Toleration::of).collect(),
        }
    }

    pub fn judge(&self, node: &Node) -> Verdict {
        let is_named = self.node_name.is_empty() || self.node_name == node.name;
        let is_selected = self.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(node)));
        if !is_named || !is_selected {
            return Verdict::default();
        }
        let is_free_of = |effects: &[&str]| {
            let mut taints = node.taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
            taints.all(|taint| self.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
        };
        Verdict { runs: is_free_of(&[NO_EXECUTE, NO_SCHEDULE]), stays: is_free_of(&[NO_EXECUTE]) }
    }
}

impl Term {
    /// None where it holds nowhere.
    fn of(term: &Value) -> Option<Term> {
        let read = |field: &str| tree::list(term, field).iter().map(Requirement::of_node).collect::<Option<Vec<_>>>();
        let term = Term { labels: read("matchExpressions")?, names: read("matchFields")? };
        (!term.labels.is_empty() || !term.names.is_empty()).then_some(term)
    }

    fn matches(&self, node: &Node) -> bool {
        self.labels.iter().all(|one| one.matches(node.labels.get(&one.key).map(String::as_str)))
            && self.names.iter().all(|one| one.matches(Some(&node.name)))
    }
}

/// Those of a pod's spec, and what each pod of a DaemonSet stands beside.
pub fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = tree::list(spec, "tolerations").to_vec();
    let network = tree::flag(spec, "hostNetwork").then_some(&NETWORK);
    for (key, effect) in TOLERATED.iter().chain(network) {
        let own = json!({"key": key, "operator": "Exists", "effect": effect});
        let is_same = |one: &Value| {
            ["key", "operator", "effect", "value"].iter().all(|field| tree::text(one, field) == tree::text(&own, field))
        };
        let mut is_there = false;
        for one in all.iter_mut().filter(|one| is_same(one)) {
            // For ever: without seconds.
            *one = own.clone();
            is_there = true;
        }
        if !is_there {
            all.push(own);
        }
    }
    all
}
