//! The rule set of a node as a pure value: true sources, masquerading, host ports.
//!
//! One table per instance and family, replaced as a whole; a pod's source alone comes and goes by itself.
//! Ports and sources stand in maps and sets, not in a rule each, so a packet costs the same with one pod
//! and with a thousand.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::addresses::v4;
use crate::links;
use crate::spec::{Attachment, Config};

/// Single expressions.
mod ops;

pub(crate) use ops::Op;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleSet {
    pub family: Family,
    pub table: String,
    pub sets: Vec<Set>,
    pub chains: Vec<Chain>,
}

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A set or a map, and what it has from the start.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Set {
    pub name: Name,
    pub kind: Kind,
    pub key: Vec<Field>,
    /// Of a map.
    pub data: Vec<Field>,
    /// Keys, and data: of verdicts the name of the chain that goes on.
    pub elements: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Set,
    /// The last part of a key is a range.
    Ranges,
    Map,
    /// Where to go.
    Verdicts,
    /// Filled by packets; an element ends by itself. At most so many.
    Memory(u32),
}

/// One part of a key or of data, as nft prints it; each takes four bytes but those that say otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field {
    /// Sixteen bytes.
    Link,
    /// Of the table's family: an IPv6 address takes sixteen bytes.
    Address,
    Protocol,
    Port,
    /// In the machine's own order of bytes.
    Number,
    /// Of any kind: nft has names for five parts of a key at most, and shows these as an address of IPv6.
    FourWords,
}

/// What is read of a packet, or of the connection that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// The name of the link that it came over.
    Link,
    Source,
    Destination,
    Protocol,
    DestinationPort,
    /// Who began the connection, before masquerading.
    Client,
    /// What it leads to, behind any translation.
    Server,
    ServerProtocol,
    ServerPort,
    /// Where the connection's first packet was sent.
    FirstDestination,
    FirstDestinationPort,
    /// Bits of NF_CT_STATE_BIT; new is 8.
    State,
    /// Bits of IPS_*; 32: the destination was rewritten.
    Status,
    /// RTN_*; 2: an address of the host.
    KindOfSource,
    KindOfDestination,
}

/// The name of a set or of a chain.
pub(crate) type Name = Cow<'static, str>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chain {
    pub name: Name,
    /// None: only rules lead to it.
    pub base: Option<Base>,
    pub rules: Vec<Vec<Step>>,
}

/// Where packets come into a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Base {
    /// `filter`, `nat`
    pub kind: &'static str,
    pub hook: Hook,
    pub priority: i32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// One step of a rule: all conditions must hold, then the last step acts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Source(Ipv4Net),
    Destination(Ipv4Net),
    NotDestination(Ipv4Net),
    NotFromLink(&'static str),
    /// It came over a link whose name begins so.
    FromLinks(String),
    /// It leaves over the link of that name.
    ToLink(String),
    NotSource(Ipv4Net),
    /// An answer to its source would not leave over the link that it came over.
    NoWayBack,
    /// It is wrapped as VXLAN for this port, with this identifier.
    Wrapped {
        port: u16,
        id: u32,
    },
    /// These parts are in the set, or are not.
    In {
        set: Name,
        key: Vec<Part>,
        inside: bool,
    },
    /// The destination is one of the host's addresses.
    DestinationIsLocal,
    /// This connection's destination was rewritten.
    WasTranslated,
    /// Looks the parts up in the map, whose data are an address and a port, and sends the packet there.
    Translate {
        map: Name,
        key: Vec<Part>,
    },
    /// This part is that.
    Is {
        part: Part,
        value: Vec<u8>,
    },
    /// This part is in one of the ranges: their first and last values, sorted, apart from each other.
    Within {
        part: Part,
        ranges: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The packet belongs to no connection that the kernel follows.
    Untracked,
    /// Goes on in that chain, and comes back where it decides nothing.
    Jump(Name),
    /// Looks the parts up in the map, whose data are chains, and goes on there; nothing happens where they are not.
    ByMap {
        map: Name,
        key: Vec<Part>,
    },
    Masquerade,
    Accept,
    Drop,
    /// One expression, in registers of the rule's choosing.
    Do(Op),
}

impl Set {
    /// Of keys alone.
    pub fn of(name: impl Into<Name>, key: &[Field], keys: Vec<Vec<u8>>) -> Set {
        let elements = keys.into_iter().map(|key| (key, Vec::new())).collect();
        Set { name: name.into(), kind: Kind::Set, key: key.to_vec(), data: Vec::new(), elements }
    }

    pub fn map(name: impl Into<Name>, key: &[Field], data: &[Field], elements: Vec<(Vec<u8>, Vec<u8>)>) -> Set {
        Set { name: name.into(), kind: Kind::Map, key: key.to_vec(), data: data.to_vec(), elements }
    }
}

/// Before anything else looks at a packet.
const GUARD: Base = Base { kind: "filter", hook: Hook::Prerouting, priority: -300 };
const LOOPBACK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
const MULTICAST: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4);

/// The set of the sources that each link may send from.
pub(crate) const SOURCES: &str = "sources";

/// No IPv6 comes from a pod, which has no such address: no router advertisement, no forged source, nothing
/// to the link-local addresses of the host. That holds beside what each link is told (`links`).
pub(crate) fn plan_v6(config: &Config) -> RuleSet {
    let rules = vec![vec![Step::FromLinks(config.link_prefix()), Step::Drop]];
    let guard = Chain { name: "guard".into(), base: Some(GUARD), rules };
    RuleSet { family: Family::V6, table: config.table(), sets: Vec::new(), chains: vec![guard] }
}

/// What an attachment's link may send from: its name and its address.
pub(crate) fn source(config: &Config, attachment: &Attachment) -> Option<Vec<u8>> {
    let mut key = links::name(&config.link_prefix(), &attachment.spec.id).into_bytes();
    key.resize(16, 0);
    key.extend(v4(attachment).next()?.octets());
    Some(key)
}

/// The whole table for these attachments, of which some may not send anything yet.
pub(crate) fn plan<'a>(
    config: &Config,
    attachments: impl Iterator<Item = &'a Attachment>,
    mute: &BTreeSet<String>,
) -> RuleSet {
    let mut anywhere = Vec::new();
    let mut at_address = Vec::new();
    let mut hairpin = Vec::new();
    let mut sources = Vec::new();
    for attachment in attachments {
        let speaks = !mute.contains(&attachment.spec.id);
        sources.extend(source(config, attachment).filter(|_| speaks));
        let Some(pod) = v4(attachment).next() else { continue };
        for port in &attachment.spec.host_ports {
            let Some(protocol) = protocol_number(&port.protocol) else { continue };
            // Of a pod from before the listener: who calls the node must not be answered by it.
            if config.own_ports.iter().any(|listener| port.takes(*listener)) {
                continue;
            }
            let target = [&pod.octets()[..], &padded_port(port.container_port)].concat();
            let key = [&[protocol, 0, 0, 0][..], &padded_port(port.host_port)].concat();
            match port.host_ip {
                Some(IpAddr::V4(address)) if !address.is_unspecified() => {
                    at_address.push(([&address.octets()[..], &key].concat(), target));
                }
                Some(IpAddr::V6(_)) => continue,
                _ => anywhere.push((key, target)),
            }
        }
        if !attachment.spec.host_ports.is_empty() {
            hairpin.push([pod.octets(), pod.octets()].concat());
        }
    }
    let target = [Field::Address, Field::Port];
    let sets = vec![
        Set::map("ports", &[Field::Protocol, Field::Port], &target, anywhere),
        Set::map("ports-at", &[Field::Address, Field::Protocol, Field::Port], &target, at_address),
        Set::of(SOURCES, &[Field::Link, Field::Address], sources),
        Set::of("hairpin", &[Field::Address, Field::Address], hairpin),
    ];
    RuleSet { family: Family::V4, table: config.table(), sets, chains: chains(config) }
}

fn chains(config: &Config) -> Vec<Chain> {
    let translate = || {
        let by = |map: &'static str, key: &[Part]| Step::Translate { map: map.into(), key: key.to_vec() };
        vec![
            vec![Step::DestinationIsLocal, by("ports-at", &[Part::Destination, Part::Protocol, Part::DestinationPort])],
            vec![Step::DestinationIsLocal, by("ports", &[Part::Protocol, Part::DestinationPort])],
        ]
    };
    let nat = |hook, priority| Some(Base { kind: "nat", hook, priority });
    let unknown = Step::In { set: SOURCES.into(), key: vec![Part::Link, Part::Source], inside: false };
    let to_itself = Step::In { set: "hairpin".into(), key: vec![Part::Source, Part::Destination], inside: true };
    vec![
        // Pods with host ports are reachable from 127.0.0.1 (route_localnet), so nobody else may
        // send to the loopback range over a link. And a link is held to its pod's address: a source that
        // could be chosen would be another pod, the host itself, its loopback. Whatever is not listed is
        // dropped, so that a link is shut until its pod is known.
        Chain {
            name: "guard".into(),
            base: Some(GUARD),
            rules: vec![
                vec![Step::Destination(LOOPBACK), Step::NotFromLink("lo"), Step::Drop],
                vec![Step::FromLinks(config.link_prefix()), unknown, Step::Drop],
            ],
        },
        Chain { name: "prerouting".into(), base: nat(Hook::Prerouting, -100), rules: translate() },
        Chain { name: "output".into(), base: nat(Hook::Output, -100), rules: translate() },
        Chain {
            name: "postrouting".into(),
            base: nat(Hook::Postrouting, 100),
            rules: vec![
                vec![Step::WasTranslated, Step::Source(LOOPBACK), Step::Masquerade],
                vec![Step::WasTranslated, to_itself, Step::Masquerade],
                vec![
                    Step::Source(config.pod_cidr),
                    Step::NotDestination(config.cluster_cidr),
                    Step::NotDestination(MULTICAST),
                    Step::Masquerade,
                ],
            ],
        },
    ]
}

/// The number of a protocol as host ports name it.
pub(crate) fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "TCP" => Some(6),
        "UDP" => Some(17),
        "SCTP" => Some(132),
        _ => None,
    }
}

/// As a key or data has it.
pub(crate) fn padded_port(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}
