//! What policies are judged by, read from the API's objects: pods and NetworkPolicies.
//!
//! The server has defaulted and validated both. What cannot be read all the same allows nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::Object;
use api::selector::Labels;
use ipnet::IpNet;
use net::policy::{Direction, Name};
use serde::Deserialize;
use serde_json::Value;

use super::ranges;

/// What of a pod matters to policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    /// Where it is bound; empty: nowhere yet.
    pub node: String,
    /// It has the addresses of its node: no policy selects it, and no peer is it.
    pub host_network: bool,
    /// Succeeded or failed: its addresses are nobody's.
    pub over: bool,
    /// As its status has them.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
    /// When it was made, as the API writes it.
    pub born: String,
}

/// A container's port that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    pub protocol: u8,
    pub name: String,
    pub number: u16,
}

impl Pod {
    /// None: it is no pod that could be read.
    pub fn read(object: &Object) -> Option<Pod> {
        let view: PodView = object.view().inspect_err(|why| tracing::warn!(%why, "a pod is not read")).ok()?;
        let (meta, spec, status) = (object.meta(), view.spec, view.status);
        // As upstream finds a port by its name (api/v1/pod/util.go FindPort): containers, and sidecars.
        let sidecars = spec.init_containers.into_iter().filter(|one| one.restart_policy == "Always");
        let ports = spec.containers.into_iter().chain(sidecars).flat_map(|one| one.ports);
        let ports = ports.filter(|port| !port.name.is_empty()).filter_map(|port| {
            Some(NamedPort {
                protocol: protocol_number(port.protocol.as_deref().unwrap_or("TCP"))?,
                name: port.name,
                number: u16::try_from(port.container_port).ok()?,
            })
        });
        let first = status.pod_ip.into_iter();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in first.chain(status.pod_ips.into_iter().map(|one| one.ip)) {
            match text.parse() {
                Ok(address) if !addresses.contains(&address) => addresses.push(address),
                _ => {}
            }
        }
        Some(Pod {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            labels: (&meta.labels).into(),
            node: spec.node_name,
            host_network: spec.host_network,
            over: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            addresses,
            ports: ports.collect(),
            born: meta.creation_timestamp.clone().unwrap_or_default(),
        })
    }
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    pub namespace: String,
    pub name: String,
    pub selects: Labels,
    /// None: it does not isolate in that direction.
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
}

/// What is allowed; of each side None is everything.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rule {
    pub peers: Option<PeersOf>,
    pub ports: Option<Vec<PortOf>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PeersOf {
    pub pods: Vec<PodsOf>,
    /// Of all blocks, without what they leave out.
    pub ranges: Vec<(IpAddr, IpAddr)>,
}

/// Pods by their labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PodsOf {
    /// None: those of the policy's own namespace.
    pub namespaces: Option<Labels>,
    pub pods: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct PortOf {
    pub protocol: u8,
    pub port: PortName,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum PortName {
    Every,
    /// First and last.
    Numbers(u16, u16),
    Named(String),
}

impl Policy {
    pub fn read(object: &Object) -> Option<Policy> {
        let view: PolicyView = object.view().inspect_err(|why| tracing::warn!(%why, "a policy is not read")).ok()?;
        let PolicySpec { pod_selector, policy_types, ingress, egress } = view.spec;
        let isolates = |direction: &str, rules: &[RuleView]| match &policy_types[..] {
            // networking/v1 SetDefaults_NetworkPolicy
            [] => direction == "Ingress" || !rules.is_empty(),
            types => types.iter().any(|one| one == direction),
        };
        let (incoming, outgoing) = (isolates("Ingress", &ingress), isolates("Egress", &egress));
        let rules = |rules: Vec<RuleView>| rules.into_iter().map(RuleView::read).collect();
        Some(Policy {
            namespace: object.meta().namespace.clone(),
            name: object.meta().name.clone(),
            selects: labels(&pod_selector),
            ingress: incoming.then(|| rules(ingress)),
            egress: outgoing.then(|| rules(egress)),
        })
    }

    pub fn rules(&self, direction: Direction) -> Option<&Vec<Rule>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }

    /// The policy's name in one direction, other than that of any other policy.
    pub fn named(&self, direction: Direction) -> Name {
        let way = match direction {
            Direction::Ingress => "in",
            Direction::Egress => "out",
        };
        // nft has at most 255 bytes; the namespace stays whole, so that two that get the same name are of one.
        let name = match self.name.char_indices().nth(140) {
            Some((end, _)) => format!("{}..{:016x}", &self.name[..end], hash(&self.name)),
            None => self.name.clone(),
        };
        format!("{way}/{}/{name}", self.namespace).into()
    }

    /// The sets of pods of its rules.
    pub fn sets(&self) -> impl Iterator<Item = (Name, &Vec<PodsOf>)> {
        [Direction::Ingress, Direction::Egress].into_iter().flat_map(move |direction| {
            let rules = self.rules(direction).into_iter().flatten().enumerate();
            rules.filter_map(move |(at, rule)| {
                let peers = rule.peers.as_ref().filter(|peers| !peers.pods.is_empty())?;
                Some((self.set(direction, at), &peers.pods))
            })
        })
    }

    /// The set of the pods of one rule.
    pub fn set(&self, direction: Direction, rule: usize) -> Name {
        format!("{}/{rule}", self.named(direction)).into()
    }

    /// The ports by name that its rules have.
    pub fn named_ports(&self) -> impl Iterator<Item = (u8, &str)> {
        let rules = self.ingress.iter().chain(&self.egress).flatten();
        rules.flat_map(|rule| rule.ports.iter().flatten()).filter_map(|one| match &one.port {
            PortName::Named(name) => Some((one.protocol, name.as_str())),
            _ => None,
        })
    }
}

/// The set of all ports of that name and protocol.
pub(super) fn port_set(protocol: u8, name: &str) -> Name {
    format!("port/{protocol}/{name}").into()
}

/// FNV-1a, 64 bits.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf29ce484222325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100000001b3))
}

fn labels(selector: &Value) -> Labels {
    Labels::from_label_selector(selector).unwrap_or_else(|why| {
        tracing::warn!("a selector of a NetworkPolicy selects nothing: {}", why.message);
        Labels { nothing: true, ..Labels::default() }
    })
}

pub(super) fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(6),
        "UDP" => Some(17),
        "SCTP" => Some(132),
        _ => None,
    }
}

#[derive(Deserialize)]
struct PodView {
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_policy: String,
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: String,
    protocol: Option<String>,
    container_port: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Address>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Address {
    ip: String,
}

#[derive(Deserialize)]
struct PolicyView {
    spec: PolicySpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PolicySpec {
    /// An absent one is empty: it selects every pod.
    #[serde(deserialize_with = "present")]
    pod_selector: Value,
    policy_types: Vec<String>,
    ingress: Vec<RuleView>,
    egress: Vec<RuleView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuleView {
    from: Vec<PeerView>,
    to: Vec<PeerView>,
    ports: Vec<PortView>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PeerView {
    pod_selector: Option<Value>,
    namespace_selector: Option<Value>,
    ip_block: Option<Block>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Block {
    cidr: String,
    except: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortView {
    protocol: Option<String>,
    port: Option<Value>,
    end_port: Option<u16>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    Option::<Value>::deserialize(from).map(|value| value.unwrap_or_else(|| serde_json::json!({})))
}

impl RuleView {
    fn read(self) -> Rule {
        // Of an empty list upstream says: this rule matches all (api/networking/v1 NetworkPolicyIngressRule).
        let peers: Vec<PeerView> = self.from.into_iter().chain(self.to).collect();
        let ports = self.ports.iter().filter_map(PortView::read).collect();
        Rule { peers: (!peers.is_empty()).then(|| read_peers(peers)), ports: (!self.ports.is_empty()).then_some(ports) }
    }
}

fn read_peers(peers: Vec<PeerView>) -> PeersOf {
    let everything = || Value::Object(serde_json::Map::new());
    let (mut pods, mut blocks) = (Vec::new(), Vec::new());
    for peer in peers {
        if let Some(block) = peer.ip_block {
            let range = |text: &String| text.parse::<IpNet>().ok().map(|range| range.trunc());
            // What is left out and cannot be read leaves nothing of its block.
            let except: Option<Vec<IpNet>> = block.except.iter().map(range).collect();
            match range(&block.cidr).zip(except) {
                Some(one) => blocks.push(one),
                None => {
                    tracing::warn!(cidr = block.cidr, "an ipBlock of a NetworkPolicy cannot be read: it allows nothing")
                }
            }
        } else if peer.pod_selector.is_some() || peer.namespace_selector.is_some() {
            pods.push(PodsOf {
                namespaces: peer.namespace_selector.as_ref().map(labels),
                pods: labels(&peer.pod_selector.unwrap_or_else(everything)),
            });
        }
    }
    PeersOf { pods, ranges: ranges::of_blocks(&blocks) }
}

impl PortView {
    fn read(&self) -> Option<PortOf> {
        let protocol = protocol_number(self.protocol.as_deref().unwrap_or("TCP"))?;
        let port = match &self.port {
            None => PortName::Every,
            Some(Value::String(name)) => PortName::Named(name.clone()),
            Some(number) => {
                let first = u16::try_from(number.as_u64()?).ok()?;
                PortName::Numbers(first, self.end_port.unwrap_or(first).max(first))
            }
        };
        Some(PortOf { protocol, port })
    }
}
