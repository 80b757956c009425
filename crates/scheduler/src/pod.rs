//! What placing a pod depends on, read once from the object: demands, ports, wishes, place.
//!
//! Small enough to keep for every pod of the cluster; the object itself is not held.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::pod::Demands;
use api::selector::{Labels, Operator, Requirement};
use api::taint::Toleration;
use api::{Object, tree};
use serde_json::Value;

use crate::cluster::Namespaces;
use crate::counters::Role;
use crate::fingerprint::Fingerprint;
use crate::resources::Resources;

/// A pod, pending or placed.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: BTreeMap<String, String>,
    pub generation: i64,
    pub resource_version: String,
    /// Where it was placed; empty while it is pending.
    pub node: Arc<str>,
    pub scheduler: String,
    pub priority: i64,
    /// False with `preemptionPolicy: Never`.
    pub preempts: bool,
    /// Names of its scheduling gates.
    pub gates: Vec<String>,
    pub deleting: bool,
    /// Succeeded or Failed: it needs nothing any more.
    pub ended: bool,
    /// A pod that was pushed out carries DisruptionTarget.
    pub pushed_out: bool,
    /// Where room is being made for it.
    pub nominated: Arc<str>,
    pub started: String,
    pub requests: Resources,
    /// Cpu (thousandths) and memory (bytes) with a guess for containers that ask for none: for scores.
    pub guessed: (i64, i64),
    pub ports: Vec<HostPort>,
    pub images: Vec<String>,
    pub tolerations: Vec<Toleration>,
    pub node_selector: BTreeMap<String, String>,
    /// One of these must match; None: no demand.
    pub node_terms: Option<Vec<NodeTerm>>,
    pub node_wishes: Vec<(i64, NodeTerm)>,
    pub affinity: Vec<PodTerm>,
    pub anti_affinity: Vec<PodTerm>,
    /// Negative weights repel.
    pub pod_wishes: Vec<(i64, PodTerm)>,
    pub spread: Vec<Spread>,
    /// Who controls it: kind with group and version (`apps/v1/ReplicaSet`), and name.
    pub owner: Option<(String, String)>,
    /// Of all that counting for its own terms depends on; pods of one template have the same.
    pub fingerprint: Fingerprint,
    /// What it needs that is not built (`volumes[0].persistentVolumeClaim`).
    pub unbuilt: Vec<String>,
    /// The PodScheduled condition as it stands.
    pub scheduled: Option<Scheduled>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    pub status: String,
    pub reason: String,
    pub message: String,
    pub since: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub protocol: String,
    /// `0.0.0.0` is every address.
    pub ip: String,
    pub port: i64,
}

/// All requirements must hold; a term without any holds nowhere.
#[derive(Clone, Debug, Default)]
pub struct NodeTerm {
    pub labels: Vec<Requirement>,
    /// On `metadata.name`.
    pub names: Vec<Requirement>,
}

/// Pods that match, counted over the nodes that share a label's value.
#[derive(Clone, Debug)]
pub struct PodTerm {
    pub selector: Labels,
    pub namespaces: Vec<String>,
    pub namespace_selector: Labels,
    pub topology: String,
    pub fingerprint: Fingerprint,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    pub max_skew: i64,
    pub topology: String,
    /// `DoNotSchedule`; false: a wish.
    pub hard: bool,
    pub selector: Labels,
    pub min_domains: i64,
    pub honours_affinity: bool,
    pub honours_taints: bool,
}

/// What upstream assumes for a container that asks for nothing (pkg/scheduler/util: 100m, 200 MB).
const GUESS: (i64, i64) = (100, 200 * 1024 * 1024);

impl Pod {
    pub fn read(object: &Object) -> Pod {
        Pod::of_tree(&object.value())
    }

    pub fn of_tree(pod: &Value) -> Pod {
        let (meta, spec, status) = (tree::at(pod, "metadata"), tree::at(pod, "spec"), tree::at(pod, "status"));
        let demands = Demands::of(pod);
        let affinity = tree::at(spec, "affinity");
        let namespace = tree::text(meta, "namespace");
        let pod_terms = |kind: &str| {
            let path = format!("{kind}.requiredDuringSchedulingIgnoredDuringExecution");
            tree::list(affinity, &path).iter().map(|t| PodTerm::read(t, namespace)).collect()
        };
        let wishes = |kind: &str, sign: i64| {
            let path = format!("{kind}.preferredDuringSchedulingIgnoredDuringExecution");
            let term = |t: &Value| {
                (sign * tree::int(t, "weight").unwrap_or(0), PodTerm::read(tree::at(t, "podAffinityTerm"), namespace))
            };
            tree::list(affinity, &path).iter().map(term).collect::<Vec<_>>()
        };
        let labels = strings(meta, "labels");
        let conditions = tree::list(status, "conditions");
        let condition = |kind: &str| conditions.iter().find(|c| tree::text(c, "type") == kind);
        Pod {
            uid: tree::text(meta, "uid").into(),
            namespace: namespace.into(),
            name: tree::text(meta, "name").into(),
            generation: tree::int(meta, "generation").unwrap_or(0),
            resource_version: tree::text(meta, "resourceVersion").into(),
            node: tree::text(spec, "nodeName").into(),
            scheduler: tree::text(spec, "schedulerName").into(),
            priority: tree::int(spec, "priority").unwrap_or(0),
            preempts: tree::text(spec, "preemptionPolicy") != "Never",
            gates: tree::list(spec, "schedulingGates").iter().map(|g| tree::text(g, "name").to_string()).collect(),
            deleting: tree::has(meta, "deletionTimestamp"),
            ended: matches!(tree::text(status, "phase"), "Succeeded" | "Failed"),
            pushed_out: condition("DisruptionTarget")
                .is_some_and(|c| tree::text(c, "reason") == "PreemptionByScheduler"),
            nominated: tree::text(status, "nominatedNodeName").into(),
            started: tree::text(status, "startTime").into(),
            requests: Resources::of(&demands.requests()),
            guessed: guess(&demands),
            ports: host_ports(spec),
            images: images(spec),
            tolerations: tree::list(spec, "tolerations").iter().map(Toleration::of).collect(),
            node_selector: strings(spec, "nodeSelector"),
            node_terms: NodeTerm::required(tree::at(affinity, "nodeAffinity")),
            node_wishes: NodeTerm::preferred(tree::at(affinity, "nodeAffinity")),
            affinity: pod_terms("podAffinity"),
            anti_affinity: pod_terms("podAntiAffinity"),
            pod_wishes: [wishes("podAffinity", 1), wishes("podAntiAffinity", -1)].concat(),
            spread: tree::list(spec, "topologySpreadConstraints").iter().map(|c| Spread::read(c, &labels)).collect(),
            owner: owner(meta),
            fingerprint: fingerprint(namespace, &labels, spec),
            unbuilt: unbuilt(spec),
            labels,
            scheduled: condition("PodScheduled").map(|c| Scheduled {
                status: tree::text(c, "status").into(),
                reason: tree::text(c, "reason").into(),
                message: tree::text(c, "message").into(),
                since: tree::text(c, "lastTransitionTime").into(),
            }),
        }
    }

    /// Whether it has a say in where other pods go.
    pub fn has_terms(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.pod_wishes.is_empty())
    }

    /// What it wants of the pods that come after it.
    pub fn held(&self) -> impl Iterator<Item = (&PodTerm, Role)> {
        let repels = self.anti_affinity.iter().map(|term| (term, Role::Repels));
        let requires = self.affinity.iter().map(|term| (term, Role::Requires));
        repels.chain(requires).chain(self.pod_wishes.iter().map(|(weight, term)| (term, Role::Wishes(*weight))))
    }

    /// Whether it counts at its node as `other` does, so that nothing is to be counted anew.
    pub fn counts_as(&self, other: &Pod) -> bool {
        self.node == other.node
            && self.deleting == other.deleting
            && self.fingerprint == other.fingerprint
            && self.labels == other.labels
            && self.requests == other.requests
            && self.guessed == other.guessed
            && self.ports == other.ports
    }
}

impl HostPort {
    pub fn collides(&self, other: &HostPort) -> bool {
        let every = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || every(&self.ip) || every(&other.ip))
    }
}

impl NodeTerm {
    /// Of a NodeAffinity: one of these must match; None: no demand.
    pub fn required(affinity: &Value) -> Option<Vec<NodeTerm>> {
        let required = tree::at(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
        let terms = || tree::list(required, "nodeSelectorTerms").iter().map(NodeTerm::read).collect();
        required.is_object().then(terms)
    }

    /// Of a NodeAffinity: wishes by weight.
    pub fn preferred(affinity: &Value) -> Vec<(i64, NodeTerm)> {
        let wish = |t: &Value| (tree::int(t, "weight").unwrap_or(0), NodeTerm::read(tree::at(t, "preference")));
        tree::list(affinity, "preferredDuringSchedulingIgnoredDuringExecution").iter().map(wish).collect()
    }

    pub fn read(term: &Value) -> NodeTerm {
        let read = |field: &str| tree::list(term, field).iter().filter_map(Requirement::of_node).collect();
        NodeTerm { labels: read("matchExpressions"), names: read("matchFields") }
    }

    pub fn matches(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        !(self.labels.is_empty() && self.names.is_empty())
            && self.labels.iter().all(|r| r.matches(labels.get(&r.key).map(String::as_str)))
            && self.names.iter().all(|r| r.matches(Some(name)))
    }
}

impl PodTerm {
    fn read(term: &Value, own_namespace: &str) -> PodTerm {
        let mut namespaces: Vec<String> =
            tree::list(term, "namespaces").iter().filter_map(Value::as_str).map(str::to_string).collect();
        if namespaces.is_empty() && !tree::has(term, "namespaceSelector") {
            namespaces.push(own_namespace.into());
        }
        PodTerm {
            selector: selector(tree::at(term, "labelSelector")),
            namespaces,
            namespace_selector: selector(tree::at(term, "namespaceSelector")),
            topology: tree::text(term, "topologyKey").into(),
            fingerprint: Fingerprint::of(&(own_namespace, term)),
        }
    }

    /// Whether a pod is meant; `namespaces` holds the labels of every namespace.
    pub fn matches(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        let none = BTreeMap::new();
        let here = self.namespaces.iter().any(|n| **n == *pod.namespace)
            || (!self.namespace_selector.nothing
                && self.namespace_selector.matches(namespaces.get(&*pod.namespace).unwrap_or(&none)));
        here && self.selector.matches(&pod.labels)
    }
}

impl Default for Spread {
    fn default() -> Spread {
        Spread::read(&Value::Null, &BTreeMap::new())
    }
}

impl Spread {
    /// Of `matchLabelKeys` the pod's own values are demanded (filterTopologySpreadConstraints).
    pub fn read(constraint: &Value, labels: &BTreeMap<String, String>) -> Spread {
        let mut selector = selector(tree::at(constraint, "labelSelector"));
        let keys = tree::list(constraint, "matchLabelKeys").iter().filter_map(Value::as_str);
        for (key, value) in keys.filter_map(|key| labels.get_key_value(key)) {
            let values = vec![value.clone()];
            selector.requirements.push(Requirement { key: key.clone(), operator: Operator::In, values });
        }
        Spread {
            max_skew: tree::int(constraint, "maxSkew").unwrap_or(1),
            topology: tree::text(constraint, "topologyKey").into(),
            hard: tree::text(constraint, "whenUnsatisfiable") == "DoNotSchedule",
            selector,
            min_domains: tree::int(constraint, "minDomains").unwrap_or(1),
            honours_affinity: tree::text(constraint, "nodeAffinityPolicy") != "Ignore",
            honours_taints: tree::text(constraint, "nodeTaintsPolicy") == "Honor",
        }
    }
}

/// Without a tag `:latest` is meant (pkg/scheduler, normalizedImageName).
pub fn normal_image(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.into() } else { format!("{image}:latest") }
}

pub fn strings(value: &Value, path: &str) -> BTreeMap<String, String> {
    tree::entries(value, path).map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_string())).collect()
}

/// A selector was judged when the pod was made; one that cannot be read selects nothing.
fn selector(value: &Value) -> Labels {
    Labels::from_label_selector(value).unwrap_or(Labels { nothing: true, ..Labels::default() })
}

/// What the counts for a pod's own terms depend on.
fn fingerprint(namespace: &str, labels: &BTreeMap<String, String>, spec: &Value) -> Fingerprint {
    let fields = ["affinity", "topologySpreadConstraints", "nodeSelector", "tolerations"];
    let has_keys = |c: &Value| !tree::list(c, "matchLabelKeys").is_empty();
    let keyed = tree::list(spec, "topologySpreadConstraints").iter().any(has_keys);
    Fingerprint::of(&(namespace, fields.map(|field| tree::at(spec, field)), keyed.then_some(labels)))
}

fn owner(meta: &Value) -> Option<(String, String)> {
    let owner = tree::list(meta, "ownerReferences").iter().find(|o| tree::flag(o, "controller"))?;
    Some((
        format!("{}/{}", tree::text(owner, "apiVersion"), tree::text(owner, "kind")),
        tree::text(owner, "name").into(),
    ))
}

/// Of containers and of volumes that are images (imagelocality).
fn images(spec: &Value) -> Vec<String> {
    let containers = ["initContainers", "containers"].iter().flat_map(|list| tree::list(spec, list));
    let containers = containers.map(|c| tree::text(c, "image"));
    let volumes = tree::list(spec, "volumes").iter().filter(|v| tree::has(v, "image"));
    containers.chain(volumes.map(|v| tree::text(v, "image.reference"))).map(normal_image).collect()
}

fn unbuilt(spec: &Value) -> Vec<String> {
    let volumes = tree::list(spec, "volumes").iter().enumerate();
    let claims = volumes.flat_map(|(at, volume)| {
        let has = ["persistentVolumeClaim", "ephemeral"].into_iter().filter(|source| tree::has(volume, source));
        has.map(move |source| format!("volumes[{at}].{source}"))
    });
    let devices = (!tree::list(spec, "resourceClaims").is_empty()).then(|| "resourceClaims".to_string());
    claims.chain(devices).collect()
}

fn host_ports(spec: &Value) -> Vec<HostPort> {
    let sidecars = tree::list(spec, "initContainers").iter().filter(|c| tree::text(c, "restartPolicy") == "Always");
    let containers = sidecars.chain(tree::list(spec, "containers"));
    let ports = containers.flat_map(|c| tree::list(c, "ports"));
    ports
        .filter(|p| tree::int(p, "hostPort").unwrap_or(0) > 0)
        .map(|p| HostPort {
            protocol: match tree::text(p, "protocol") {
                "" => "TCP".into(),
                protocol => protocol.into(),
            },
            ip: match tree::text(p, "hostIP") {
                "" => "0.0.0.0".into(),
                ip => ip.into(),
            },
            port: tree::int(p, "hostPort").unwrap_or(0),
        })
        .collect()
}

fn guess(demands: &Demands) -> (i64, i64) {
    let mut guessed = demands.clone();
    for demand in guessed.containers.iter_mut().chain(&mut guessed.init) {
        demand.requests.entry("cpu".into()).or_insert(api::quantity::Quantity::from_milli(GUESS.0));
        let memory = api::quantity::Quantity::from_units(GUESS.1, api::quantity::Format::BinarySi);
        demand.requests.entry("memory".into()).or_insert(memory);
    }
    let sum = Resources::of(&guessed.requests());
    (sum.cpu, sum.memory)
}
