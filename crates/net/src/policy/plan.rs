//! The table of policies as a rule set: base chains, a chain for each policy and group, sets, maps.
//!
//! Ingress and egress have a base chain each, so that an `accept` ends one question and not both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Allow, Direction, Element, Name, Policy, Ports, Set, Spec};
use crate::rules::{self, Base, Chain, Family, Field, Hook, Kind, Part, RuleSet, Step, padded_port};

/// Isolated addresses, and the chain of their group; named as their base chains.
pub(super) const INGRESS: &str = "ingress";
pub(super) const EGRESS: &str = "egress";
/// Every isolated address.
pub(super) const ISOLATED: &str = "isolated";
/// Every isolated address beside itself: a pod may always talk with itself.
pub(super) const ITSELF: &str = "itself";

/// After every translation of destinations and before any of sources, as all filters.
const FORWARD: Base = Base { kind: "filter", hook: Hook::Forward, priority: 0 };

pub(super) fn plan(family: Family, table: &str, spec: &Spec) -> RuleSet {
    let mut sets: Vec<rules::Set> = spec.sets.iter().map(|(name, all)| set(family, name, all)).collect();
    let by_address = |all: &BTreeMap<IpAddr, Name>, name: &'static str| {
        let group = |(ip, group): (&IpAddr, &Name)| Some((octets(family, *ip)?, group.as_bytes().to_vec()));
        let elements = all.iter().filter_map(group).collect();
        rules::Set { kind: Kind::Verdicts, ..rules::Set::map(name, &[Field::Address], &[], elements) }
    };
    sets.push(by_address(&spec.ingress, INGRESS));
    sets.push(by_address(&spec.egress, EGRESS));
    let isolated = || isolated(spec).into_iter().filter_map(|ip| octets(family, ip));
    sets.push(rules::Set::of(ISOLATED, &[Field::Address], isolated().collect()));
    sets.push(rules::Set::of(ITSELF, &[Field::Address; 2], isolated().map(|ip| ip.repeat(2)).collect()));
    let mut chains = Vec::new();
    let chain = |name: &Name, rules| Chain { name: name.to_string().into(), base: None, rules };
    let all = spec.policies.iter().flat_map(|(name, one)| policy(family, name, one));
    chains.extend(all.map(|(name, rules)| chain(&name, rules)));
    chains.extend(spec.groups.iter().map(|(name, policies)| chain(name, group(policies))));
    chains.extend(base_chains());
    RuleSet { family, table: table.into(), sets, chains }
}

fn base_chains() -> [Chain; 3] {
    let is = |part| Step::In { set: ISOLATED.into(), key: vec![part], inside: true };
    let judged = |map: &'static str, by| vec![Step::ByMap { map: map.into(), key: vec![by] }];
    // What belongs to no connection that the kernel knows has no ends to judge by.
    let stray = |part| vec![Step::Untracked, is(part), Step::Drop];
    [
        Chain {
            name: INGRESS.into(),
            base: Some(FORWARD),
            rules: vec![stray(Part::Source), stray(Part::Destination), judged(INGRESS, Part::Server)],
        },
        Chain {
            name: EGRESS.into(),
            base: Some(Base { priority: 1, ..FORWARD }),
            rules: vec![judged(EGRESS, Part::Client)],
        },
        Chain {
            name: "to-the-host".into(),
            base: Some(Base { hook: Hook::Input, ..FORWARD }),
            rules: vec![stray(Part::Source), judged(EGRESS, Part::Client)],
        },
    ]
}

/// What one of the policies allows, and what goes from a pod to itself; nothing else.
pub(super) fn group(policies: &[Name]) -> Vec<Vec<Step>> {
    let to_itself = Step::In { set: ITSELF.into(), key: vec![Part::Client, Part::Server], inside: true };
    let mut rules = vec![vec![to_itself, Step::Accept]];
    rules.extend(policies.iter().map(|policy| vec![Step::Jump(policy.to_string().into())]));
    rules.push(vec![Step::Drop]);
    rules
}

/// The chains of a policy, its own last. Where a rule has several kinds of ports and of peers, its ports have a
/// chain of their own: nothing is there twice, however many there are.
pub(super) fn policy(family: Family, name: &Name, policy: &Policy) -> Vec<(Name, Vec<Vec<Step>>)> {
    let (mut chains, mut rules) = (Vec::new(), Vec::new());
    for (number, allow) in policy.rules.iter().enumerate() {
        let peers = peers(family, policy.direction, allow);
        let mut ports: Vec<Vec<Step>> = ports(allow.ports.as_ref()).into_iter().map(accepted).collect();
        if has_own_chain(allow) {
            let chain = ports_of(name, number);
            rules.extend(peers.into_iter().map(|peer| [&peer[..], &[Step::Jump(chain.to_string().into())]].concat()));
            chains.push((chain, ports));
        } else if let Some(port) = ports.pop() {
            rules.extend(peers.into_iter().map(|peer| [&peer[..], &port].concat()));
        }
    }
    chains.push((name.clone(), rules));
    chains
}

/// The names of the chains of a policy.
pub(super) fn chains_of(name: &Name, policy: &Policy) -> Vec<Name> {
    let own = policy.rules.iter().enumerate().filter(|(_, allow)| has_own_chain(allow));
    own.map(|(number, _)| ports_of(name, number)).chain([name.clone()]).collect()
}

fn has_own_chain(allow: &Allow) -> bool {
    allow.ports.as_ref().is_some_and(|ports| ports.numbers.len() + ports.named.len() > 1)
}

fn ports_of(name: &Name, rule: usize) -> Name {
    format!("{name}/{rule}/ports").into()
}

fn accepted(mut steps: Vec<Step>) -> Vec<Step> {
    steps.push(Step::Accept);
    steps
}

fn peers(family: Family, direction: Direction, allow: &Allow) -> Vec<Vec<Step>> {
    let Some(peers) = &allow.peers else { return vec![Vec::new()] };
    let part = match direction {
        Direction::Ingress => Part::Client,
        Direction::Egress => Part::Server,
    };
    let in_set = peers.set.as_ref().map(|set| Step::In { set: set.to_string().into(), key: vec![part], inside: true });
    let pair = |(first, last): &(IpAddr, IpAddr)| Some((octets(family, *first)?, octets(family, *last)?));
    let ranges: Vec<_> = peers.ranges.iter().filter_map(pair).collect();
    let in_range = (!ranges.is_empty()).then_some(Step::Within { part, ranges });
    in_set.into_iter().chain(in_range).map(|step| vec![step]).collect()
}

fn ports(ports: Option<&Ports>) -> Vec<Vec<Step>> {
    let Some(ports) = ports else { return vec![Vec::new()] };
    let numbers = ports.numbers.iter().map(|(protocol, ranges)| {
        let protocol = Step::Is { part: Part::ServerProtocol, value: vec![*protocol] };
        let bytes = |port: u16| port.to_be_bytes().to_vec();
        let within = |ranges: &Vec<(u16, u16)>| Step::Within {
            part: Part::ServerPort,
            ranges: ranges.iter().map(|(first, last)| (bytes(*first), bytes(*last))).collect(),
        };
        std::iter::once(protocol).chain(ranges.as_ref().map(within)).collect()
    });
    let key = || vec![Part::Server, Part::ServerProtocol, Part::ServerPort];
    let named = ports.named.iter().map(|set| vec![Step::In { set: set.to_string().into(), key: key(), inside: true }]);
    numbers.chain(named).collect()
}

pub(super) fn set(family: Family, name: &Name, set: &Set) -> rules::Set {
    let key: &[Field] = match set.of_ports {
        true => &[Field::Address, Field::Protocol, Field::Port],
        false => &[Field::Address],
    };
    let keys = set.elements.iter().filter_map(|one| element(family, one)).collect();
    rules::Set::of(name.to_string(), key, keys)
}

/// An element's key; None: of another family.
pub(super) fn element(family: Family, element: &Element) -> Option<Vec<u8>> {
    let mut key = octets(family, element.address)?;
    if let Some((protocol, port)) = element.port {
        key.extend([protocol, 0, 0, 0]);
        key.extend(padded_port(port));
    }
    Some(key)
}

/// Every address that is isolated in one direction at least.
pub(super) fn isolated(spec: &Spec) -> std::collections::BTreeSet<IpAddr> {
    spec.ingress.keys().chain(spec.egress.keys()).copied().collect()
}

pub(super) fn octets(family: Family, address: IpAddr) -> Option<Vec<u8>> {
    match (family, address) {
        (Family::V4, IpAddr::V4(address)) => Some(address.octets().to_vec()),
        (Family::V6, IpAddr::V6(address)) => Some(address.octets().to_vec()),
        _ => None,
    }
}
