//! Services: addresses and ports that lead to one of several endpoints. Table `<table>-services` of each family.
//!
//! The kernel's maps are changed element by element, all of a change in one transaction; there is no rule and no
//! chain of a single service (docs/decisions/services.md). What an earlier run left is compared and not replaced:
//! no connection ends, and clients that are held to an endpoint stay with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

/// What the maps hold, and what a change of services changes in them.
mod elements;
/// Flows that go on to where nobody serves them any more.
mod flows;
/// The host's own way to services.
mod reach;
/// The chains, the same for one service and for thousands.
mod rules;

use crate::nft::{Batch, Element, Netfilter};
use crate::route::Route;
use crate::rules::{Chain, Family};
use crate::spec::{Config, Error};
use elements::{ALL, Choice, Difference, Elements, In, InForce};

/// An address of a service, or (where the address is the unspecified one) a port of every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub address: IpAddr,
    pub protocol: Protocol,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

/// Where a packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To one of the cluster's endpoints.
    Cluster,
    /// To one of this node's.
    Local,
    /// It is answered that nobody is there.
    Reject,
    Drop,
}

/// One port of a service as this node serves it; known by its address in the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Port {
    /// All ways to it, the address in the cluster among them. No two ports of any services have the same.
    pub frontends: Vec<Frontend>,
    pub cluster: Vec<SocketAddr>,
    pub local: Vec<SocketAddr>,
    /// Seconds for which a client stays with its endpoint after its last connection; 0: not at all.
    pub affinity: u32,
    /// Endpoints, used or not, to which what has no connections (UDP, SCTP) goes on if it does so already.
    pub serving: Vec<SocketAddr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    pub at: At,
    /// For pods and for this node.
    pub inside: Way,
    /// For everybody else.
    pub outside: Way,
    /// Who may use it; empty: everybody.
    pub sources: Vec<IpNet>,
}

/// What is to be served from now on.
#[derive(Clone, Debug)]
pub enum Change {
    /// These and no others.
    All(BTreeMap<At, Port>),
    /// None: not any more.
    Some(BTreeMap<At, Option<Port>>),
    /// Another program does it: nothing of ours is left.
    Leave,
}

/// What the rules need to know of the network.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    pub cluster: IpNet,
    pub node: IpNet,
    /// Ports (TCP) that the host itself serves and no service takes from it.
    pub own_ports: Vec<u16>,
}

impl Protocol {
    pub fn read(number: u8) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| *protocol as u8 == number)
    }

    /// As the API names it.
    pub fn named(name: &str) -> Option<Protocol> {
        match name {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

/// Both families' services in the kernel.
pub(crate) struct Services {
    table: String,
    ranges: Ranges,
    /// None: nobody has said yet what is to be served, and what an earlier run left serves on.
    families: Option<[InForce; 2]>,
    /// The kernel has no rules for IPv6.
    no_v6: bool,
    reach: reach::Reach,
    /// The host's address among pods.
    gateway: Ipv4Addr,
}

/// The order of `families`.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Services {
    pub fn new(config: &Config) -> Services {
        let mut own_ports: Vec<u16> = config.own_ports.iter().map(SocketAddr::port).collect();
        own_ports.sort_unstable();
        own_ports.dedup();
        let (cluster, node) = (config.cluster_cidr.into(), config.pod_cidr.into());
        let ranges = Ranges { cluster, node, own_ports };
        let (table, gateway) = (format!("{}-services", config.table()), config.gateway());
        Services { table, ranges, families: None, no_v6: false, reach: reach::Reach::default(), gateway }
    }

    /// Puts a change in force. After an error all must be said anew; until then the kernel serves what it has.
    pub fn change(&mut self, netfilter: &Netfilter, host: &Route, change: Change) -> Result<(), Error> {
        let (all, changes) = match change {
            Change::All(ports) => (true, ports.into_iter().map(|(at, port)| (at, Some(port))).collect()),
            Change::Some(ports) => (false, ports),
            Change::Leave => return self.close(netfilter, host),
        };
        let mut parts = [BTreeMap::new(), BTreeMap::new()];
        for (at, port) in changes {
            parts[usize::from(at.address.is_ipv6())].insert(at, port);
        }
        let mut families = match self.families.take() {
            Some(families) => families,
            None if all => Default::default(),
            None => return Err(Error::Failed("what is to be served must be said as a whole first".into())),
        };
        for ((family, in_force), part) in FAMILIES.into_iter().zip(&mut families).zip(parts) {
            if family == Family::V6 && self.no_v6 {
                continue;
            }
            let names: Vec<At> = match all {
                true => in_force.ports.keys().chain(part.keys()).copied().collect(),
                false => part.keys().copied().collect(),
            };
            let of_flows = |at: &At| at.protocol != Protocol::Tcp;
            let names: BTreeSet<At> = names.into_iter().filter(of_flows).collect();
            let old: BTreeMap<At, Port> =
                names.iter().filter_map(|at| Some((*at, in_force.ports.get(at)?.clone()))).collect();
            let done = match all {
                true => self.begin(netfilter, family, part).map(|begun| *in_force = begun),
                false => self.go_on(netfilter, family, in_force, part),
            };
            match (family, done) {
                (_, Ok(())) => {}
                (Family::V4, Err(error)) => return Err(error),
                (Family::V6, Err(error)) => {
                    tracing::debug!(%error, "no services of IPv6");
                    self.no_v6 = true;
                    continue;
                }
            }
            let turns = flows::turns(names.iter().map(|at| (at, old.get(at), in_force.ports.get(at))));
            let own = || host.host_addresses().unwrap_or_default();
            if let Err(error) = flows::cut(netfilter, family, &turns, own) {
                tracing::warn!(%error, "datagrams to a service may still go to where it led before");
            }
        }
        let reached = match all {
            true => self.reach.begin(host, self.gateway, families[0].addresses().collect()),
            false if self.reach.is_used() => self.reach.go_on(host, self.gateway, families[0].addresses().collect()),
            false => Ok(()),
        };
        self.families = Some(families);
        // Pods reach services all the same.
        reached.unwrap_or_else(|error| tracing::warn!(%error, "this host may not reach services"));
        Ok(())
    }

    /// Compares all of it with what is there.
    fn begin(
        &self,
        netfilter: &Netfilter,
        family: Family,
        ports: BTreeMap<At, Option<Port>>,
    ) -> Result<InForce, Error> {
        let version = self.version(family);
        let is_ours = netfilter.comment(family, &self.table)?.as_deref() == Some(version.as_str());
        let found = if is_ours { self.found(netfilter, family)? } else { Elements::new() };
        let mut in_force = left(&found);
        let anew = in_force.change(&self.ranges, ports);
        in_force.left.clear();
        if !is_ours {
            // There was nothing before: what it changes is everything.
            self.load(netfilter, family, &in_force, &anew.put)?;
            return Ok(in_force);
        }
        let wanted = in_force.elements();
        let take = found.iter().filter(|(key, data)| wanted.get(*key) != Some(data));
        let take = take.map(|(key, data)| (key.clone(), data.clone())).collect();
        let choices = in_force.choices.iter().copied();
        let new = |choice: &Choice| !found.contains_key(&(In::Choices, choice.number().to_ne_bytes().to_vec()));
        let difference = Difference {
            take,
            choices: choices.filter(new).collect(),
            put: wanted.into_iter().filter(|(key, data)| found.get(key) != Some(data)).collect(),
        };
        self.send(netfilter, family, &difference).or_else(|_| self.reload(netfilter, family, &in_force))?;
        Ok(in_force)
    }

    fn go_on(
        &self,
        netfilter: &Netfilter,
        family: Family,
        in_force: &mut InForce,
        changes: BTreeMap<At, Option<Port>>,
    ) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let difference = in_force.change(&self.ranges, changes);
        self.send(netfilter, family, &difference).or_else(|error| {
            tracing::warn!(%error, "the rules of services are not as they were: they are made anew");
            self.reload(netfilter, family, in_force)
        })
    }

    /// What the kernel has.
    fn found(&self, netfilter: &Netfilter, family: Family) -> Result<Elements, Error> {
        let mut found = Elements::new();
        for store in ALL {
            netfilter.each_element(family, &self.table, store.name(), |key, data| {
                let data = if store == In::Choices { data.strip_suffix(&[0]).unwrap_or(data) } else { data };
                found.insert((store, key.to_vec()), data.to_vec());
            })?;
        }
        Ok(found)
    }

    fn send(&self, netfilter: &Netfilter, family: Family, difference: &Difference) -> Result<(), Error> {
        if difference.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::begin(family);
        fill(&mut batch, &self.table, false, &difference.take);
        self.put(&mut batch, family, difference.choices.iter().copied(), &difference.put);
        netfilter.change(batch, &self.table, &format!("changing the services of table {}", self.table))
    }

    fn reload(&self, netfilter: &Netfilter, family: Family, in_force: &InForce) -> Result<(), Error> {
        self.load(netfilter, family, in_force, &in_force.elements())
    }

    /// The whole table, in place of any other of that name.
    fn load(
        &self,
        netfilter: &Netfilter,
        family: Family,
        in_force: &InForce,
        elements: &Elements,
    ) -> Result<(), Error> {
        let table = &self.table;
        let mut batch = Batch::begin(family);
        batch.fresh_table(table, &self.version(family));
        for (number, set) in rules::sets(family).iter().enumerate() {
            batch.set(table, set, number as u32 + 1);
        }
        let chains = rules::chains(family, &self.ranges);
        chains.iter().for_each(|chain| batch.chain(table, chain));
        chains.iter().for_each(|chain| batch.rules(table, &chain.name, &chain.rules));
        let refusals = rules::refusals().map(|(number, chain)| (number.to_ne_bytes(), chain));
        let refusals =
            refusals.iter().map(|(key, chain)| chain.map_or(Element::Drop(key), |to| Element::Goto(key, to)));
        batch.elements(table, rules::REFUSALS, true, refusals);
        batch.keys(table, rules::OWN_PORTS, true, &rules::own_ports(&self.ranges).collect::<Vec<_>>());
        self.put(&mut batch, family, in_force.choices.iter().copied(), elements);
        let needs = "which takes a kernel with nft_numgen, nft_fib, nft_nat, nft_masq and nft_reject";
        netfilter.change(batch, table, &format!("putting the services of table {table} in force, {needs}"))
    }

    fn put(&self, batch: &mut Batch, family: Family, choices: impl Iterator<Item = Choice>, elements: &Elements) {
        let chains: Vec<Chain> = choices.map(|choice| rules::choosing(family, choice)).collect();
        for chain in &chains {
            batch.chain(&self.table, chain);
            batch.rules(&self.table, &chain.name, &chain.rules);
        }
        fill(batch, &self.table, true, elements);
    }

    /// Says of a table whether its chains are those that we would make: they never change.
    fn version(&self, family: Family) -> String {
        let one = Choice { local: false, affinity: 1, count: 2 };
        let made =
            (rules::sets(family), rules::chains(family, &self.ranges), rules::choosing(family, one), &self.ranges);
        format!("services by gousse, {:016x}", crate::spec::hash(&format!("{made:?}")))
    }

    /// Makes anew what somebody took away.
    pub fn restore(&mut self, netfilter: &Netfilter) {
        let Some(families) = &self.families else { return };
        for (family, in_force) in FAMILIES.into_iter().zip(families) {
            if family == Family::V6 && self.no_v6 || !matches!(netfilter.has(family, &self.table), Ok(false)) {
                continue;
            }
            tracing::warn!("somebody took the rules of services away: they are made anew");
            if let Err(error) = self.reload(netfilter, family, in_force) {
                tracing::error!(%error, "the rules of services cannot be made anew");
            }
        }
    }

    /// `down`: nothing is served any more.
    pub fn close(&mut self, netfilter: &Netfilter, host: &Route) -> Result<(), Error> {
        self.families = None;
        self.reach.begin(host, self.gateway, BTreeSet::new())?;
        if let Err(error) = netfilter.remove(Family::V6, &self.table) {
            tracing::debug!(%error, "no services of IPv6");
        }
        netfilter.remove(Family::V4, &self.table)
    }
}

/// What an earlier run left: its endpoints in the order that is in force, and what stays once it is there.
fn left(found: &Elements) -> InForce {
    let mut numbered: BTreeMap<(At, In), BTreeMap<usize, SocketAddr>> = BTreeMap::new();
    let mut in_force = InForce::default();
    for ((store, key), data) in found {
        match store {
            In::Endpoints | In::LocalEndpoints => {
                if let Some((at, number, endpoint)) = elements::read_endpoint(key, data) {
                    numbered.entry((at, *store)).or_default().insert(number, endpoint);
                }
            }
            In::Hairpin => in_force.hairpin.extend(elements::address(&key[..key.len() / 2])),
            In::Choices => in_force.choices.extend(std::str::from_utf8(data).ok().and_then(Choice::read)),
            _ => {}
        }
    }
    for ((at, store), endpoints) in numbered {
        let port = in_force.left.entry(at).or_default();
        let endpoints = endpoints.into_values().collect();
        *(if store == In::Endpoints { &mut port.cluster } else { &mut port.local }) = endpoints;
    }
    in_force
}

fn fill(batch: &mut Batch, table: &str, with: bool, elements: &Elements) {
    for store in ALL {
        let first = (store, Vec::new());
        let of_store = elements.range(first..).take_while(|((which, _), _)| *which == store);
        let elements = of_store.map(|((_, key), data)| match store {
            In::Sources => Element::Range(key, data),
            In::Choices if with => Element::Goto(key, std::str::from_utf8(data).unwrap_or_default()),
            _ if data.is_empty() || !with => Element::Key(key),
            _ => Element::Data(key, data),
        });
        batch.elements(table, store.name(), with, elements);
    }
}

#[cfg(test)]
mod tests;
