//! What the maps hold for the services of one family, and what a change of services changes in them.
//!
//! Pure. Law: after any history of changes the elements are those of the services made anew, but for the
//! order of a service's endpoints, of which each keeps its place as long as it can.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::{At, Frontend, Port, Ranges, Way};
use crate::rules::padded_port;

/// Which set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum In {
    /// Address, protocol, port → the cluster's address, protocol, port of the service, and how it goes on
    /// for who is inside and who is outside.
    Services,
    /// Address, protocol, port of the service, number → address and port of an endpoint.
    Endpoints,
    LocalEndpoints,
    /// Address, protocol, port of the service, address and port of an endpoint: affinity to it holds.
    Members,
    LocalMembers,
    /// Addresses of services.
    ClusterAddresses,
    /// Pods of this node that are endpoints or were, twice: they may reach themselves.
    Hairpin,
    /// Address, protocol, port that only some sources may use.
    Guarded,
    /// And those sources.
    Sources,
    /// How it goes on → the chain for it.
    Choices,
}

/// All of them.
pub(crate) const ALL: [In; 10] = [
    In::Services,
    In::Endpoints,
    In::LocalEndpoints,
    In::Members,
    In::LocalMembers,
    In::ClusterAddresses,
    In::Hairpin,
    In::Guarded,
    In::Sources,
    In::Choices,
];

/// How it goes on with a packet: one of `count` endpoints, of all or of this node's, the same one for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    pub local: bool,
    /// 0: any, each time. At most 86,400.
    pub affinity: u32,
    pub count: u32,
}

/// Endpoints beyond these get nothing: they would be one in sixteen thousand.
pub(crate) const ENDPOINTS_MAX: usize = (1 << 14) - 1;
pub(crate) const REJECT: u32 = 0;
pub(crate) const DROP: u32 = LOCAL;
/// The bit of a choice among this node's endpoints.
pub(crate) const LOCAL: u32 = 1 << 31;

impl Choice {
    /// As a number of the map.
    pub fn number(self) -> u32 {
        let local = if self.local { LOCAL } else { 0 };
        local | self.affinity.min(86_400) << 14 | self.count
    }

    /// The chain for it.
    pub fn chain(self) -> String {
        let local = if self.local { "-local" } else { "" };
        match self.affinity {
            0 => format!("one-of-{}{local}", self.count),
            seconds => format!("one-of-{}{local}-for-{seconds}s", self.count),
        }
    }

    /// Back from the name of a chain.
    pub fn read(chain: &str) -> Option<Choice> {
        let rest = chain.strip_prefix("one-of-")?;
        let (rest, affinity) = match rest.split_once("-for-") {
            Some((rest, seconds)) => (rest, seconds.strip_suffix('s')?.parse().ok()?),
            None => (rest, 0),
        };
        let (count, local) = rest.strip_suffix("-local").map_or((rest, false), |count| (count, true));
        Some(Choice { local, affinity, count: count.parse().ok()? })
    }
}

/// An element: key and data; of a range, both ends.
pub(crate) type Elements = BTreeMap<(In, Vec<u8>), Vec<u8>>;

/// What is to be changed, in this order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Difference {
    pub take: Elements,
    /// Chains that are not there yet.
    pub choices: BTreeSet<Choice>,
    pub put: Elements,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.take.is_empty() && self.put.is_empty() && self.choices.is_empty()
    }
}

/// The services of one family, their endpoints in the order that is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InForce {
    pub ports: BTreeMap<At, Port>,
    /// Chains stay once they are there.
    pub choices: BTreeSet<Choice>,
    /// Endpoints in the order in which an earlier run left them, of services that are not told yet.
    pub left: BTreeMap<At, Port>,
    /// Pods that may reach themselves. They stay: a packet that was sent on when its pod was still an endpoint
    /// must be masked, or its connection never comes to be. There are no more than the node has addresses.
    pub hairpin: BTreeSet<IpAddr>,
    /// How many ports each address of a service has.
    addresses: HashMap<IpAddr, u32>,
}

impl InForce {
    /// Takes the services over and says what that changes.
    pub fn change(&mut self, ranges: &Ranges, changes: BTreeMap<At, Option<Port>>) -> Difference {
        let mut old = Elements::new();
        let mut new = Elements::new();
        let mut addresses: BTreeMap<IpAddr, i32> = BTreeMap::new();
        let mut difference = Difference::default();
        for (at, port) in changes {
            let before = self.ports.remove(&at);
            if let Some(before) = &before {
                elements(&at, before, &mut old);
                *addresses.entry(at.address).or_default() -= 1;
            }
            let Some(mut port) = port else { continue };
            let before = before.or_else(|| self.left.remove(&at)).unwrap_or_default();
            port.cluster = arranged(&before.cluster, &port.cluster);
            port.local = arranged(&before.local, &port.local);
            elements(&at, &port, &mut new);
            *addresses.entry(at.address).or_default() += 1;
            let endpoints = port.cluster.iter().chain(&port.local).map(SocketAddr::ip);
            for pod in endpoints.filter(|pod| ranges.node.contains(pod)) {
                if self.hairpin.insert(pod) {
                    new.insert((In::Hairpin, octets(pod).repeat(2)), Vec::new());
                }
            }
            for choice in choices(&port) {
                if self.choices.insert(choice) {
                    difference.choices.insert(choice);
                    new.insert((In::Choices, choice.number().to_ne_bytes().to_vec()), choice.chain().into_bytes());
                }
            }
            self.ports.insert(at, port);
        }
        for (address, by) in addresses {
            let before = self.addresses.remove(&address).unwrap_or(0);
            let count = before.saturating_add_signed(by);
            let key = (In::ClusterAddresses, octets(address));
            match (before, count) {
                (0, 1..) => drop(new.insert(key, Vec::new())),
                (1.., 0) => drop(old.insert(key, Vec::new())),
                _ => {}
            }
            if count > 0 {
                self.addresses.insert(address, count);
            }
        }
        difference.take = old.iter().filter(|(key, data)| new.get(*key) != Some(data)).map(owned).collect();
        if !old.is_empty() {
            new.retain(|key, data| old.get(key) != Some(data));
        }
        difference.put = new;
        difference
    }

    /// Addresses of services, of IPv4.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.addresses.keys().filter_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    /// Everything that the maps hold.
    pub fn elements(&self) -> Elements {
        let mut all = Elements::new();
        self.ports.iter().for_each(|(at, port)| elements(at, port, &mut all));
        all.extend(self.addresses.keys().map(|address| ((In::ClusterAddresses, octets(*address)), Vec::new())));
        all.extend(self.hairpin.iter().map(|pod| ((In::Hairpin, octets(*pod).repeat(2)), Vec::new())));
        let of_choice =
            |choice: &Choice| ((In::Choices, choice.number().to_ne_bytes().to_vec()), choice.chain().into_bytes());
        all.extend(self.choices.iter().map(of_choice));
        all
    }
}

fn owned((key, data): (&(In, Vec<u8>), &Vec<u8>)) -> ((In, Vec<u8>), Vec<u8>) {
    (key.clone(), data.clone())
}

/// Each endpoint that stays keeps its place; new ones fill what is free, then the last ones move down.
pub(crate) fn arranged(before: &[SocketAddr], wanted: &[SocketAddr]) -> Vec<SocketAddr> {
    let wanted: BTreeSet<SocketAddr> = wanted.iter().copied().take(ENDPOINTS_MAX).collect();
    let mut places: Vec<Option<SocketAddr>> = before.iter().map(|one| wanted.contains(one).then_some(*one)).collect();
    let staying: BTreeSet<SocketAddr> = places.iter().flatten().copied().collect();
    let mut coming = wanted.difference(&staying).copied();
    for place in places.iter_mut().filter(|place| place.is_none()) {
        *place = coming.next();
    }
    places.extend(coming.map(Some));
    for at in 0..places.len() {
        while places.last().is_some_and(Option::is_none) {
            places.pop();
        }
        if at < places.len() && places[at].is_none() {
            places[at] = places.pop().flatten();
        }
    }
    places.into_iter().flatten().collect()
}

/// The choice of a way; None: there is none to make.
fn choice(port: &Port, way: Way) -> Option<Choice> {
    let (local, endpoints) = match way {
        Way::Cluster => (false, &port.cluster),
        Way::Local => (true, &port.local),
        Way::Reject | Way::Drop => return None,
    };
    let count = endpoints.len() as u32;
    (count > 0).then_some(Choice { local, affinity: port.affinity, count })
}

fn choices(port: &Port) -> impl Iterator<Item = Choice> + '_ {
    port.frontends.iter().flat_map(|frontend| [frontend.inside, frontend.outside]).filter_map(|way| choice(port, way))
}

fn number(port: &Port, way: Way) -> u32 {
    match way {
        Way::Drop => DROP,
        // None to go to: as with `Reject`.
        way => choice(port, way).map_or(REJECT, Choice::number),
    }
}

fn elements(at: &At, port: &Port, all: &mut Elements) {
    let service = key_of(at);
    for frontend in &port.frontends {
        let key = key_of(&frontend.at);
        let mut data = [gap(at.address), &service].concat();
        data.extend(number(port, frontend.inside).to_ne_bytes());
        data.extend(number(port, frontend.outside).to_ne_bytes());
        guard(frontend, &key, all);
        all.insert((In::Services, key), data);
    }
    let pools = [(&port.cluster, In::Endpoints, In::Members), (&port.local, In::LocalEndpoints, In::LocalMembers)];
    for (endpoints, by_number, members) in pools {
        for (number, endpoint) in endpoints.iter().enumerate() {
            let target = [gap(endpoint.ip()), &octets(endpoint.ip()), &padded_port(endpoint.port())].concat();
            if port.affinity > 0 {
                all.insert((members, [&service[..], &target].concat()), Vec::new());
            }
            all.insert((by_number, [&service[..], &(number as u32).to_ne_bytes()].concat()), target);
        }
    }
}

fn guard(frontend: &Frontend, key: &[u8], all: &mut Elements) {
    if frontend.sources.is_empty() {
        return;
    }
    all.insert((In::Guarded, key.to_vec()), Vec::new());
    for range in IpNet::aggregate(&frontend.sources) {
        let end = |address: IpAddr| [key, &octets(address)].concat();
        all.insert((In::Sources, end(range.network())), end(range.broadcast()));
    }
}

/// Address, protocol, port.
pub(crate) fn key_of(at: &At) -> Vec<u8> {
    let mut key = octets(at.address);
    key.extend([at.protocol as u8, 0, 0, 0]);
    key.extend(padded_port(at.port));
    key
}

/// The service and the endpoint of an element of `Endpoints`, with its number.
pub(crate) fn read_endpoint(key: &[u8], data: &[u8]) -> Option<(At, usize, SocketAddr)> {
    let width = key.len().checked_sub(12)?;
    let data = &data[data.len().checked_sub(width + 4)?..];
    let at = read_at(key, width)?;
    let number = u32::from_ne_bytes(key.get(width + 8..)?.try_into().ok()?);
    let port = u16::from_be_bytes(data.get(width..width + 2)?.try_into().ok()?);
    Some((at, number as usize, SocketAddr::new(address(data.get(..width)?)?, port)))
}

fn read_at(key: &[u8], width: usize) -> Option<At> {
    let protocol = super::Protocol::read(*key.get(width)?)?;
    let port = u16::from_be_bytes(key.get(width + 4..width + 6)?.try_into().ok()?);
    Some(At { address: address(key.get(..width)?)?, protocol, port })
}

pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// A word before what is found in a map, which no key begins with: nft 1.0 aborts, whatever it is asked to list,
/// where the first word of a key is what another map said. (There is no room for it with IPv6.)
pub(crate) fn gap(address: IpAddr) -> &'static [u8] {
    if address.is_ipv4() { &[0; 4] } else { &[] }
}

pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
