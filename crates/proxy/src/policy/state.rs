//! All that is known, and what follows of it, address by address: pure and incremental.
//!
//! An address has at most one owner. What an address is in — sets, ports, groups — follows from its owner,
//! the policies and the namespaces; a change makes addresses dirty, `settle` looks at those alone and says
//! what differs. Law: the edits of any history add up to `whole` of its end.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use api::selector::Labels;
use net::policy::{Allow, Direction, Edits, Element, Name, Peers, Policy as Rules, Ports, Set, SetEdit, Spec};

use super::objects::{NamedPort, Pod, PodsOf, Policy, PortName, Rule, port_set};
use super::ranges::apart;

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];
/// Every namespace has it, with its own name (apimachinery: NamespaceDefaultLabelName).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

type Key = (String, String);

/// What is known, what was told of it, and what may differ.
#[derive(Default)]
pub(super) struct State {
    spaces: BTreeMap<String, Space>,
    pods: HashMap<String, Arc<Pod>>,
    /// The uids of pods whose status has the address.
    claims: BTreeMap<IpAddr, BTreeSet<String>>,
    /// This node's attachments, by id: what they have is theirs, whatever a status says.
    local: BTreeMap<String, Local>,
    held: BTreeMap<IpAddr, String>,
    policies: BTreeMap<Key, Arc<Policy>>,
    /// How many rules ask for a port of that name.
    ports: BTreeMap<Name, usize>,
    at: BTreeMap<IpAddr, Standing>,
    groups: BTreeMap<Name, Group>,
    dirty: BTreeSet<IpAddr>,
    touched: BTreeSet<Key>,
    told: Told,
}

/// What the network knows.
#[derive(Default)]
struct Told {
    policies: BTreeMap<Key, Arc<Policy>>,
    ports: BTreeSet<Name>,
    groups: BTreeSet<Name>,
}

struct Space {
    labels: BTreeMap<String, String>,
    /// Of each set that may have pods of this namespace: any of these selects one.
    sets: BTreeMap<Name, Vec<Labels>>,
}

struct Local {
    uid: String,
    addresses: Vec<IpAddr>,
    /// The pod as it was last known: a pod that the API has forgotten may still run.
    pod: Option<Arc<Pod>>,
}

struct Group {
    policies: Vec<Name>,
    addresses: usize,
}

/// What an address is in; sorted.
#[derive(Clone, Debug, Default, PartialEq)]
struct Standing {
    sets: Vec<Name>,
    ports: Vec<(Name, (u8, u16))>,
    groups: [Option<Name>; 2],
}

impl State {
    /// A policy as it is now; None: it is gone.
    pub fn policy(&mut self, namespace: &str, name: &str, policy: Option<Policy>) {
        let key = (namespace.to_owned(), name.to_owned());
        let (old, new) = (self.policies.remove(&key), policy.map(Arc::new));
        if old == new {
            self.policies.extend(new.map(|new| (key, new)));
            return;
        }
        let mut ports_differ = false;
        let mut spaces: BTreeSet<String> = [namespace.to_owned()].into();
        for (policy, is_new) in old.iter().map(|old| (old, false)).chain(new.iter().map(|new| (new, true))) {
            for (protocol, name) in policy.named_ports() {
                let count = self.ports.entry(port_set(protocol, name)).or_default();
                *count = if is_new { *count + 1 } else { *count - 1 };
                ports_differ |= *count == usize::from(is_new);
            }
            for (set, peers) in policy.sets() {
                for (name, space) in &mut self.spaces {
                    let before = if is_new { None } else { space.sets.remove(&set) };
                    let after = if is_new { relevant(policy, peers, name, &space.labels) } else { None };
                    if before.is_some() || after.is_some() {
                        spaces.insert(name.clone());
                    }
                    space.sets.extend(after.map(|selectors| (set.clone(), selectors)));
                }
            }
        }
        self.ports.retain(|_, count| *count > 0);
        self.policies.extend(new.map(|new| (key.clone(), new)));
        self.touched.insert(key);
        let all = ports_differ;
        self.soil(|pod| all && !pod.ports.is_empty() || spaces.contains(&pod.namespace));
    }

    /// A namespace's labels as they are now; None: it is gone.
    pub fn namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        let has_pods = || {
            let local = self.local.values().filter_map(|local| local.pod.as_ref());
            self.pods.values().chain(local).any(|pod| pod.namespace == name)
        };
        if labels.is_none() && !has_pods() {
            self.spaces.remove(name);
            return;
        }
        let labels = labels.unwrap_or_else(|| default_labels(name));
        if self.spaces.get(name).is_some_and(|space| space.labels == labels) {
            return;
        }
        let space = self.new_space(name, labels);
        self.spaces.insert(name.to_owned(), space);
        self.soil(|pod| pod.namespace == name);
    }

    /// A pod as it is now.
    pub fn pod(&mut self, pod: Pod) {
        self.know(&pod.namespace);
        let (uid, pod) = (pod.uid.clone(), Arc::new(pod));
        if self.pods.get(&uid) == Some(&pod) {
            return;
        }
        self.no_pod(&uid);
        for address in claimed(&pod) {
            self.claims.entry(*address).or_default().insert(uid.clone());
            self.dirty.insert(*address);
        }
        for local in self.local.values_mut().filter(|local| local.uid == uid) {
            local.pod = Some(pod.clone());
            self.dirty.extend(&local.addresses);
        }
        self.pods.insert(uid, pod);
    }

    /// The API has it no more.
    pub fn no_pod(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        for address in claimed(&pod) {
            if let Some(uids) = self.claims.get_mut(address) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.claims.remove(address);
                }
            }
            self.dirty.insert(*address);
        }
    }

    /// An attachment of this node. `pod`: as its agent has it, for as long as nothing else is known of it.
    pub fn enter(&mut self, id: &str, uid: &str, addresses: &[IpAddr], pod: Option<Pod>) {
        self.leave(id);
        let known = self.pods.get(uid).cloned();
        let pod = known.or_else(|| pod.map(Arc::new));
        if let Some(pod) = &pod {
            self.know(&pod.namespace.clone());
        }
        for address in addresses {
            // Whoever had it before has let it go: the network gives no address twice.
            self.held.insert(*address, id.to_owned());
            self.dirty.insert(*address);
        }
        let local = Local { uid: uid.to_owned(), addresses: addresses.to_vec(), pod };
        self.local.insert(id.to_owned(), local);
    }

    /// An attachment that lets its addresses go.
    pub fn leave(&mut self, id: &str) {
        let Some(local) = self.local.remove(id) else { return };
        for address in local.addresses {
            if self.held.get(&address).is_some_and(|holder| holder == id) {
                self.held.remove(&address);
            }
            self.dirty.insert(address);
        }
    }

    pub fn attachments(&self) -> impl Iterator<Item = &str> {
        self.local.keys().map(String::as_str)
    }

    /// This node's own DNS server at this address. Each node answers for Service kube-system/kube-dns itself, so no
    /// pod is at the other end; policies that allow names say it of pods with these labels all the same.
    pub fn stand_in(&mut self, address: IpAddr) {
        let port = |protocol, name: &str| NamedPort { protocol, name: name.into(), number: 53 };
        self.pod(Pod {
            namespace: "kube-system".into(),
            name: "kube-dns".into(),
            uid: "kube-dns of this node".into(),
            labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
            addresses: vec![address],
            ports: vec![port(17, "dns"), port(6, "dns-tcp")],
            ..Pod::default()
        });
    }

    /// Forgets what is followed no more: all but policies and this node's attachments.
    pub fn forget(&mut self) {
        self.dirty.extend(self.claims.keys().chain(self.held.keys()));
        self.pods.clear();
        self.claims.clear();
        self.spaces.clear();
        let local = self.local.values().filter_map(|local| local.pod.as_ref());
        let namespaces: BTreeSet<String> = local.map(|pod| pod.namespace.clone()).collect();
        namespaces.iter().for_each(|namespace| self.know(namespace));
    }

    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    fn know(&mut self, namespace: &str) {
        if !self.spaces.contains_key(namespace) {
            let space = self.new_space(namespace, default_labels(namespace));
            self.spaces.insert(namespace.to_owned(), space);
        }
    }

    fn new_space(&self, name: &str, labels: BTreeMap<String, String>) -> Space {
        let mut sets = BTreeMap::new();
        for policy in self.policies.values() {
            for (set, peers) in policy.sets() {
                sets.extend(relevant(policy, peers, name, &labels).map(|selectors| (set, selectors)));
            }
        }
        Space { labels, sets }
    }

    /// Makes the addresses of such pods dirty.
    fn soil(&mut self, is_meant: impl Fn(&Pod) -> bool) {
        let known = self.claims.keys().chain(self.held.keys());
        let meant = known.filter(|address| self.owner(address).is_some_and(|pod| is_meant(pod)));
        let meant: Vec<IpAddr> = meant.copied().collect();
        self.dirty.extend(meant);
    }

    /// Whose the address is: this node's attachment's before any other's; else the youngest's that has it.
    fn owner(&self, address: &IpAddr) -> Option<&Arc<Pod>> {
        let claimed = || {
            let pods = self.claims.get(address)?.iter().filter_map(|uid| self.pods.get(uid));
            pods.max_by_key(|pod| (&pod.born, &pod.uid))
        };
        match self.held.get(address).and_then(|id| self.local.get(id)) {
            Some(Local { pod: Some(pod), .. }) => Some(pod),
            // Attached by a version that did not write down for whom.
            Some(Local { uid, .. }) if uid.is_empty() => claimed(),
            Some(_) => None,
            None => claimed(),
        }
    }

    fn standing(&self, address: &IpAddr) -> (Standing, [Vec<Name>; 2]) {
        let mut standing = Standing::default();
        let mut groups = [Vec::new(), Vec::new()];
        let Some(pod) = self.owner(address) else { return (standing, groups) };
        let Some(space) = self.spaces.get(&pod.namespace) else { return (standing, groups) };
        let in_set = space.sets.iter().filter(|(_, any)| any.iter().any(|labels| labels.matches(&pod.labels)));
        standing.sets = in_set.map(|(set, _)| set.clone()).collect();
        let ports = pod.ports.iter().filter_map(|port| {
            let (set, _) = self.ports.get_key_value(&port_set(port.protocol, &port.name))?;
            Some((set.clone(), (port.protocol, port.number)))
        });
        standing.ports = ports.collect::<BTreeSet<_>>().into_iter().collect();
        if !self.held.contains_key(address) {
            return (standing, groups);
        }
        let of_namespace = (pod.namespace.clone(), String::new())..;
        let of_namespace = self.policies.range(of_namespace).take_while(|((space, _), _)| *space == pod.namespace);
        for (_, policy) in of_namespace.filter(|(_, policy)| policy.selects.matches(&pod.labels)) {
            for (direction, group) in DIRECTIONS.into_iter().zip(&mut groups) {
                group.extend(policy.rules(direction).map(|_| policy.named(direction)));
            }
        }
        standing.groups =
            [0, 1].map(|at| (!groups[at].is_empty()).then(|| group_name(DIRECTIONS[at], pod, &groups[at])));
        (standing, groups)
    }

    /// What differs from what was told before; told with it.
    pub fn settle(&mut self) -> Edits {
        let mut edits = Edits::default();
        self.settle_policies(&mut edits);
        for address in std::mem::take(&mut self.dirty) {
            let (new, groups) = self.standing(&address);
            let old = self.at.remove(&address).unwrap_or_default();
            if old == new {
                self.keep(address, new);
                continue;
            }
            let sets =
                differences(&old.sets, &new.sets).map(|(set, is_in)| (set, Element { address, port: None }, is_in));
            let ports = differences(&old.ports, &new.ports)
                .map(|((set, port), is_in)| (set, Element { address, port: Some(*port) }, is_in));
            for (set, element, is_in) in sets.chain(ports) {
                put(&mut edits.sets, set, element, is_in);
            }
            for at in [0, 1].into_iter().filter(|at| old.groups[*at] != new.groups[*at]) {
                if let Some(group) = old.groups[at].as_ref().and_then(|name| self.groups.get_mut(name)) {
                    group.addresses -= 1;
                }
                if let Some(name) = &new.groups[at] {
                    let none = || Group { policies: groups[at].clone(), addresses: 0 };
                    self.groups.entry(name.clone()).or_insert_with(none).addresses += 1;
                }
                let all = if at == 0 { &mut edits.ingress } else { &mut edits.egress };
                all.insert(address, new.groups[at].clone());
            }
            self.keep(address, new);
        }
        self.groups.retain(|_, group| group.addresses > 0);
        for name in self.told.groups.iter().filter(|name| !self.groups.contains_key(*name)) {
            edits.groups.insert(name.clone(), None);
        }
        for (name, group) in self.groups.iter().filter(|(name, _)| !self.told.groups.contains(*name)) {
            edits.groups.insert(name.clone(), Some(group.policies.clone()));
        }
        for name in edits.groups.keys() {
            match self.groups.contains_key(name) {
                true => self.told.groups.insert(name.clone()),
                false => self.told.groups.remove(name),
            };
        }
        edits
    }

    fn keep(&mut self, address: IpAddr, standing: Standing) {
        if standing != Standing::default() {
            self.at.insert(address, standing);
        }
    }

    /// Policies, and which sets there are.
    fn settle_policies(&mut self, edits: &mut Edits) {
        for key in std::mem::take(&mut self.touched) {
            let (old, new) = (self.told.policies.remove(&key), self.policies.get(&key).cloned());
            let sets = |policy: &Option<Arc<Policy>>| -> BTreeSet<Name> {
                policy.iter().flat_map(|policy| policy.sets().map(|(set, _)| set)).collect()
            };
            there(&mut edits.sets, &sets(&old), &sets(&new), false);
            for direction in DIRECTIONS {
                let chain = |policy: &Option<Arc<Policy>>| {
                    let policy = policy.as_ref()?;
                    Some((policy.named(direction), rules(policy, direction)?))
                };
                match (chain(&old), chain(&new)) {
                    (old, Some((name, rules))) if old.as_ref().is_none_or(|(_, old)| *old != rules) => {
                        edits.policies.insert(name, Some(rules));
                    }
                    (Some((name, _)), None) => drop(edits.policies.insert(name, None)),
                    _ => {}
                }
            }
            self.told.policies.extend(new.map(|new| (key, new)));
        }
        let ports: BTreeSet<Name> = self.ports.keys().cloned().collect();
        there(&mut edits.sets, &self.told.ports, &ports, true);
        self.told.ports = ports;
    }

    /// Everything, told with it.
    pub fn whole(&mut self) -> Spec {
        drop(self.settle());
        let mut spec = Spec::default();
        for policy in self.policies.values() {
            let named = |direction| Some((policy.named(direction), rules(policy, direction)?));
            spec.policies.extend(DIRECTIONS.into_iter().filter_map(named));
            spec.sets.extend(policy.sets().map(|(set, _)| (set, Set::default())));
        }
        spec.sets.extend(self.ports.keys().map(|name| (name.clone(), Set { of_ports: true, ..Set::default() })));
        for (address, standing) in &self.at {
            let address = *address;
            let plain = standing.sets.iter().map(|set| (set, None));
            let ports = standing.ports.iter().map(|(set, port)| (set, Some(*port)));
            for (set, port) in plain.chain(ports) {
                let elements = spec.sets.get_mut(set).map(|set| &mut set.elements);
                elements.map(|elements| elements.insert(Element { address, port }));
            }
            spec.ingress.extend(standing.groups[0].clone().map(|group| (address, group)));
            spec.egress.extend(standing.groups[1].clone().map(|group| (address, group)));
        }
        spec.groups = self.groups.iter().map(|(name, group)| (name.clone(), group.policies.clone())).collect();
        spec
    }
}

/// Addresses that a pod has by its status.
fn claimed(pod: &Pod) -> &[IpAddr] {
    if pod.over || pod.host_network { &[] } else { &pod.addresses }
}

fn default_labels(namespace: &str) -> BTreeMap<String, String> {
    [(NAME_LABEL.to_owned(), namespace.to_owned())].into()
}

/// What of these peers selects pods of the namespace; None: nothing does.
fn relevant(policy: &Policy, peers: &[PodsOf], name: &str, labels: &BTreeMap<String, String>) -> Option<Vec<Labels>> {
    let meant = peers.iter().filter(|peer| match &peer.namespaces {
        None => policy.namespace == name,
        Some(selector) => selector.matches(labels),
    });
    let selectors: Vec<Labels> = meant.map(|peer| peer.pods.clone()).collect();
    (!selectors.is_empty()).then_some(selectors)
}

/// Of the pods of one namespace that are under the same policies.
fn group_name(direction: Direction, pod: &Pod, policies: &[Name]) -> Name {
    let way = if direction == Direction::Ingress { "to" } else { "from" };
    format!("{way}/{}/{:016x}", pod.namespace, super::objects::hash(&policies.join(" "))).into()
}

/// What one policy allows in one direction; None: it does not isolate in it.
fn rules(policy: &Policy, direction: Direction) -> Option<Rules> {
    let allow = |(at, rule): (usize, &Rule)| Allow {
        peers: rule.peers.as_ref().map(|peers| Peers {
            set: (!peers.pods.is_empty()).then(|| policy.set(direction, at)),
            ranges: peers.ranges.clone(),
        }),
        ports: rule.ports.as_ref().map(|ports| {
            let mut made = Ports::default();
            for one in ports {
                match &one.port {
                    PortName::Every => drop(made.numbers.insert(one.protocol, None)),
                    PortName::Numbers(first, last) => {
                        let ranges = made.numbers.entry(one.protocol).or_insert_with(|| Some(Vec::new()));
                        ranges.iter_mut().for_each(|ranges| ranges.push((*first, *last)));
                    }
                    PortName::Named(name) => made.named.push(port_set(one.protocol, name)),
                }
            }
            for ranges in made.numbers.values_mut().flatten() {
                let wide = ranges.iter().map(|(first, last)| (u128::from(*first), u128::from(*last))).collect();
                *ranges = apart(wide).into_iter().map(|(first, last)| (first as u16, last as u16)).collect();
            }
            made.named.sort_unstable();
            made.named.dedup();
            made
        }),
    };
    Some(Rules { direction, rules: policy.rules(direction)?.iter().enumerate().map(allow).collect() })
}

/// Which sets come and go.
fn there(edits: &mut BTreeMap<Name, SetEdit>, old: &BTreeSet<Name>, new: &BTreeSet<Name>, of_ports: bool) {
    let made = || SetEdit::Made(Set { of_ports, ..Set::default() });
    edits.extend(new.difference(old).map(|name| (name.clone(), made())));
    edits.extend(old.difference(new).map(|name| (name.clone(), SetEdit::Gone)));
}

fn put(edits: &mut BTreeMap<Name, SetEdit>, set: &Name, element: Element, is_in: bool) {
    let none = || SetEdit::Changed { added: BTreeSet::new(), removed: BTreeSet::new() };
    match (edits.entry(set.clone()).or_insert_with(none), is_in) {
        (SetEdit::Made(set), true) => drop(set.elements.insert(element)),
        (SetEdit::Changed { added, .. }, true) => drop(added.insert(element)),
        (SetEdit::Changed { removed, .. }, false) => drop(removed.insert(element)),
        // It goes with its set, or was never told.
        (SetEdit::Gone, _) | (SetEdit::Made(_), false) => {}
    }
}

/// What is in one of two sorted lists only; true: in the second.
fn differences<'a, T: Ord>(old: &'a [T], new: &'a [T]) -> impl Iterator<Item = (&'a T, bool)> {
    let gone = old.iter().filter(|one| new.binary_search(one).is_err()).map(|one| (one, false));
    gone.chain(new.iter().filter(|one| old.binary_search(one).is_err()).map(|one| (one, true)))
}

#[cfg(test)]
mod tests;
