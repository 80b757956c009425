//! The cluster as placing sees it: nodes with what is used of them, kept up to date by changes.
//!
//! A pod counts from the moment it is placed, before the server knows (assumed); the watch confirms.
//! Pods of a node that is not known yet wait for it.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::pod::Amounts;
use api::quantity::Quantity;
use api::taint::Taint;
use api::{Object, tree};
use serde_json::Value;

use crate::counters::Counters;
use crate::pod::{HostPort, Pod, normal_image, strings};
use crate::preempt::Budget;
use crate::resources::Resources;
use crate::workloads::Workloads;

/// Labels by namespace.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Each knows its place (`Node::at`).
    pub nodes: Vec<Node>,
    index: HashMap<Arc<str>, usize>,
    /// Where each placed pod is counted, by UID.
    placed: HashMap<Arc<str>, Arc<Pod>>,
    /// Room that is being made, by UID.
    nominated: HashMap<Arc<str>, Arc<Pod>>,
    pub namespaces: Namespaces,
    /// Services and controllers.
    pub workloads: Workloads,
    /// Disruption budgets, by namespace and name.
    pub budgets: BTreeMap<(String, String), Budget>,
    /// Found again from all else; a decision only reads what it says.
    pub counters: RefCell<Counters>,
    /// How many nodes have an image, by name.
    pub holders: HashMap<String, usize>,
    /// Where the next search begins, so that no node is preferred by its place.
    pub cursor: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: Arc<str>,
    /// Its place in `Cluster::nodes`.
    pub at: usize,
    pub labels: Arc<BTreeMap<String, String>>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
    pub allocatable: Resources,
    pub pods_max: i64,
    /// Bytes by name.
    pub images: Arc<HashMap<String, i64>>,
    pub pods: Vec<Arc<Pod>>,
    pub used: Resources,
    pub guessed: (i64, i64),
    pub ports: Vec<HostPort>,
    /// How many of the pods have a wish about others.
    pub wishing: usize,
    /// Pods that were promised room here.
    pub nominated: Vec<Arc<Pod>>,
}

impl Node {
    pub fn read(object: &Object) -> Node {
        Node::of_tree(&object.value())
    }

    pub fn of_tree(node: &Value) -> Node {
        let (meta, spec, status) = (tree::at(node, "metadata"), tree::at(node, "spec"), tree::at(node, "status"));
        let amounts: Amounts =
            tree::entries(status, "allocatable").map(|(k, v)| (k.clone(), Quantity::of(v))).collect();
        let mut images = HashMap::new();
        for image in tree::list(status, "images") {
            let size = tree::int(image, "sizeBytes").unwrap_or(0);
            for name in tree::list(image, "names").iter().filter_map(Value::as_str) {
                images.insert(normal_image(name), size);
            }
        }
        Node {
            name: tree::text(meta, "name").into(),
            labels: Arc::new(strings(meta, "labels")),
            taints: tree::list(spec, "taints").iter().map(Taint::of).collect(),
            unschedulable: tree::flag(spec, "unschedulable"),
            pods_max: amounts.get("pods").map_or(0, |q| q.value()),
            allocatable: Resources::of(&amounts),
            images: Arc::new(images),
            ..Node::default()
        }
    }

    pub fn add(&mut self, pod: &Arc<Pod>) {
        self.used.add(&pod.requests);
        self.guess(pod, i64::wrapping_add);
        self.ports.extend(pod.ports.iter().cloned());
        self.wishing += usize::from(pod.has_terms());
        self.pods.push(pod.clone());
    }

    fn guess(&mut self, pod: &Pod, op: fn(i64, i64) -> i64) {
        self.guessed = (op(self.guessed.0, pod.guessed.0), op(self.guessed.1, pod.guessed.1));
    }

    /// Whether placing sees no difference to `other`, whatever pods are on it. Images matter to scores alone.
    pub fn is_like(&self, other: &Node) -> bool {
        self.labels == other.labels
            && self.taints == other.taints
            && self.unschedulable == other.unschedulable
            && self.allocatable == other.allocatable
            && self.pods_max == other.pods_max
            && self.images == other.images
    }

    /// In place of the pod of the same UID, which counts alike.
    fn replace(&mut self, pod: &Arc<Pod>) {
        if let Some(known) = self.pods.iter_mut().find(|p| p.uid == pod.uid) {
            *known = pod.clone();
        }
    }

    pub fn remove(&mut self, uid: &str) {
        let Some(at) = self.pods.iter().position(|p| *p.uid == *uid) else { return };
        let pod = self.pods.swap_remove(at);
        self.used.subtract(&pod.requests);
        self.guess(&pod, i64::wrapping_sub);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        self.wishing -= usize::from(pod.has_terms());
    }
}

impl Cluster {
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.index.get(name).map(|at| &self.nodes[*at])
    }

    /// Takes a node in, new or changed; the pods that count on it stay counted.
    pub fn set_node(&mut self, mut node: Node) {
        self.forget_images(&node.name);
        for image in node.images.keys() {
            *self.holders.entry(image.clone()).or_default() += 1;
        }
        match self.index.get(&node.name) {
            Some(at) => {
                let known = &mut self.nodes[*at];
                if known.labels != node.labels {
                    self.counters.get_mut().clear();
                } else if known.taints != node.taints {
                    self.counters.get_mut().clear_tainted();
                }
                node.pods = std::mem::take(&mut known.pods);
                node.used = std::mem::take(&mut known.used);
                node.ports = std::mem::take(&mut known.ports);
                node.nominated = std::mem::take(&mut known.nominated);
                (node.at, node.guessed, node.wishing) = (*at, known.guessed, known.wishing);
                *known = node;
            }
            None => {
                self.counters.get_mut().clear();
                let name = node.name.clone();
                for pod in self.placed.values().filter(|p| p.node == name) {
                    node.add(pod);
                }
                node.nominated = self.nominated.values().filter(|p| p.nominated == node.name).cloned().collect();
                node.at = self.nodes.len();
                self.index.insert(node.name.clone(), self.nodes.len());
                self.nodes.push(node);
            }
        }
    }

    pub fn remove_node(&mut self, name: &str) {
        self.forget_images(name);
        if let Some(at) = self.index.remove(name) {
            self.counters.get_mut().clear();
            self.nodes.swap_remove(at);
            if let Some(moved) = self.nodes.get_mut(at) {
                moved.at = at;
                self.index.insert(moved.name.clone(), at);
            }
        }
    }

    /// None: the namespace is gone. Whether that changed anything.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) -> bool {
        if self.namespaces.get(name) == labels.as_ref() {
            return false;
        }
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
        self.counters.get_mut().clear_own();
        true
    }

    fn forget_images(&mut self, node: &str) {
        let Some(at) = self.index.get(node) else { return };
        let images = self.nodes[*at].images.clone();
        for image in images.keys() {
            match self.holders.get_mut(image) {
                Some(1) | None => {
                    self.holders.remove(image);
                }
                Some(count) => *count -= 1,
            }
        }
    }

    /// Counts a pod at its node, in place of what was known of it.
    pub fn add_pod(&mut self, pod: Arc<Pod>) {
        if let Some(known) = self.placed.get_mut(&pod.uid)
            && known.counts_as(&pod)
        {
            if let Some(at) = self.index.get(&pod.node) {
                self.nodes[*at].replace(&pod);
            }
            *known = pod;
            return;
        }
        self.remove_pod(&pod.uid);
        if let Some(at) = self.index.get(&pod.node) {
            self.nodes[*at].add(&pod);
            self.counters.get_mut().change(&pod, &self.nodes[*at], 1, &self.nodes, &self.namespaces);
        }
        self.placed.insert(pod.uid.clone(), pod);
    }

    /// The pod as it was counted, if it was.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.placed.remove(uid)?;
        if let Some(at) = self.index.get(&pod.node) {
            self.nodes[*at].remove(uid);
            self.counters.get_mut().change(&pod, &self.nodes[*at], -1, &self.nodes, &self.namespaces);
        }
        Some(pod)
    }

    pub fn placed(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.placed.get(uid)
    }

    /// Promises room on `pod.nominated`, or takes the promise back if that is empty. The pod that had the promise
    /// before, if it had one.
    pub fn nominate(&mut self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        let before = self.forget_nomination(&pod.uid);
        if pod.nominated.is_empty() {
            return before;
        }
        self.nominated.insert(pod.uid.clone(), pod.clone());
        if let Some(at) = self.index.get(&pod.nominated) {
            self.nodes[*at].nominated.push(pod.clone());
        }
        before
    }

    /// Where room is promised to the pod.
    pub fn promised(&self, uid: &str) -> Option<&Arc<str>> {
        self.nominated.get(uid).map(|pod| &pod.nominated)
    }

    /// The pod that had the promise, if it had one.
    pub fn forget_nomination(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let pod = self.nominated.remove(uid)?;
        if let Some(at) = self.index.get(&pod.nominated) {
            self.nodes[*at].nominated.retain(|p| *p.uid != *uid);
        }
        Some(pod)
    }
}
