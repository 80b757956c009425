//! The chains through which packets find services: the same for one and for thousands.
//!
//! Pure. Only a choice (`one of three endpoints`) that was not there before brings a chain of its own. What a
//! rule has loaded is gone in the next one, so that each finds the service anew. Registers, in words of four
//! bytes: the source, then the service (address, protocol, port), then a number or an endpoint. With IPv4 a word
//! stands before the service and the endpoint (`elements::gap`).

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::Ranges;
use super::elements::{Choice, DROP, In, LOCAL, REJECT};
use crate::rules::{Base, Chain, Family, Field, Hook, Kind, Op, Part, Set, Step, padded_port};

/// Which services each client is held to; and how many that can be.
const AFFINITY: &str = "affinity";
const AFFINITY_MAX: u32 = 1 << 18;
/// What the host serves itself, by TCP.
pub(crate) const OWN_PORTS: &str = "own-ports";
/// Choices that refuse, and where they lead.
pub(crate) const REFUSALS: &str = "refusals";

/// Where what comes from outside is told apart: right before addresses are rewritten.
const BEFORE: i32 = -110;
const NAT: i32 = -100;
const STATE_NEW: [u8; 4] = 8u32.to_ne_bytes();
const REWRITTEN: [u8; 4] = 32u32.to_ne_bytes();
const HOST: [u8; 4] = 2u32.to_ne_bytes();
const TCP: [u8; 4] = [6, 0, 0, 0];

impl In {
    pub fn name(self) -> &'static str {
        match self {
            In::Services => "services",
            In::Endpoints => "endpoints",
            In::LocalEndpoints => "endpoints-local",
            In::Members => "members",
            In::LocalMembers => "members-local",
            In::ClusterAddresses => "cluster-addresses",
            In::Hairpin => "hairpin",
            In::Guarded => "guarded",
            In::Sources => "sources",
            In::Choices => "choices",
        }
    }
}

/// All sets and maps, empty.
pub(crate) fn sets(family: Family) -> Vec<Set> {
    use Field::{Address, FourWords, Number, Port, Protocol};
    let gap: &[Field] = if family == Family::V4 { &[Number] } else { &[] };
    let service = [Address, Protocol, Port];
    let found = |more: &[Field]| [gap, more].concat();
    // The gap and a service are four words.
    let (a_service, member) = match family {
        Family::V4 => (vec![FourWords, Number, Number], vec![FourWords, Address, Port]),
        Family::V6 => (vec![Address, Protocol, Port, Number, Number], vec![Address, Protocol, Port, Address, Port]),
    };
    let endpoint = found(&[Address, Port]);
    let held = [&[Address], &found(&service)[..]].concat();
    let set = |name: &'static str, key: &[Field]| Set::of(name, key, Vec::new());
    let map = |name: &'static str, key: &[Field], data: &[Field]| Set::map(name, key, data, Vec::new());
    let of_kind = |kind, set| Set { kind, ..set };
    let numbered = [Address, Protocol, Port, Number];
    vec![
        map(In::Services.name(), &service, &a_service),
        map(In::Endpoints.name(), &numbered, &endpoint),
        map(In::LocalEndpoints.name(), &numbered, &endpoint),
        set(In::Members.name(), &member),
        set(In::LocalMembers.name(), &member),
        set(In::ClusterAddresses.name(), &[Address]),
        set(In::Hairpin.name(), &[Address, Address]),
        set(In::Guarded.name(), &service),
        of_kind(Kind::Ranges, set(In::Sources.name(), &[Address, Protocol, Port, Address])),
        of_kind(Kind::Verdicts, set(In::Choices.name(), &[Number])),
        of_kind(Kind::Verdicts, set(REFUSALS, &[Number])),
        of_kind(Kind::Memory(AFFINITY_MAX), map(AFFINITY, &held, &endpoint)),
        set(OWN_PORTS, &[Port]),
    ]
}

/// Elements that never change: of the map, what it says, and of the set.
pub(crate) fn refusals() -> [(u32, Option<&'static str>); 2] {
    [(REJECT, Some("reject")), (DROP, None)]
}

/// Keys of the host's own ports.
pub(crate) fn own_ports(ranges: &Ranges) -> impl Iterator<Item = [u8; 4]> + '_ {
    ranges.own_ports.iter().map(|port| padded_port(*port))
}

/// Where what is loaded stands, by family.
struct Registers {
    family: Family,
    source: u32,
    /// Words before what is found.
    gap: u32,
    service: u32,
    protocol: u32,
    port: u32,
    /// A number, or the address of an endpoint.
    next: u32,
    next_port: u32,
}

impl Registers {
    fn of(family: Family) -> Registers {
        let (address, gap) = if family == Family::V4 { (1, 1) } else { (4, 0) };
        let service = address + gap;
        let protocol = service + address;
        let (port, next) = (protocol + 1, protocol + 2);
        Registers { family, source: 0, gap, service, protocol, port, next, next_port: next + gap + address }
    }

    /// Finds the service that is asked for: by its address, or as a port of this node. Its own address is in its
    /// registers then, and how it goes on for who is inside and who is outside in the next two.
    fn service(&self, of_node: bool) -> Vec<Op> {
        let mut ops = if of_node { self.to_this_node() } else { vec![Op::Load(Part::Destination, self.service)] };
        ops.extend([Op::Load(Part::Protocol, self.protocol), Op::Load(Part::DestinationPort, self.port)]);
        ops.extend(self.find(In::Services.name(), self.service, self.service - self.gap));
        ops
    }

    /// Looks up what stands under a key.
    fn find(&self, map: &'static str, key: u32, to: u32) -> Vec<Op> {
        let known = (self.gap > 0).then(|| Op::Constant(to, vec![0; 4]));
        std::iter::once(Op::Lookup(map.into(), key, to)).chain(known).collect()
    }

    /// The address of the endpoint that was found.
    fn endpoint(&self) -> u32 {
        self.next + self.gap
    }

    /// As above, of what the connection was sent to at first.
    fn first_service(&self, of_node: bool) -> Vec<Op> {
        let address = match of_node {
            true => Op::Constant(self.service, vec![0; self.octets()]),
            false => Op::Load(Part::FirstDestination, self.service),
        };
        let port = Op::Load(Part::FirstDestinationPort, self.port);
        let found = self.find(In::Services.name(), self.service, self.service - self.gap);
        with(vec![address, Op::Load(Part::Protocol, self.protocol), port], found)
    }

    /// To an address of this node that others can reach; no address stands where that of a service would.
    fn to_this_node(&self) -> Vec<Op> {
        let mut ops = vec![
            Op::Load(Part::KindOfDestination, self.service),
            Op::Equal(self.service, HOST.to_vec()),
            Op::Load(Part::Destination, self.service),
        ];
        match self.family {
            Family::V4 => {
                ops.push(Op::Mask(self.service, vec![255, 0, 0, 0]));
                ops.push(Op::Unequal(self.service, vec![127, 0, 0, 0]));
            }
            Family::V6 => ops.push(Op::Unequal(self.service, Ipv6Addr::LOCALHOST.octets().to_vec())),
        }
        ops.push(Op::Constant(self.service, vec![0; self.octets()]));
        ops
    }

    fn octets(&self) -> usize {
        if self.family == Family::V4 { 4 } else { 16 }
    }

    fn from(&self, range: Option<IpNet>) -> Option<Vec<Op>> {
        let range = range?;
        let octets = |address: IpAddr| super::elements::octets(address);
        Some(vec![
            Op::Load(Part::Source, self.source),
            Op::Mask(self.source, octets(range.netmask())),
            Op::Equal(self.source, octets(range.network())),
        ])
    }
}

/// The chains that are there whatever the services are.
pub(crate) fn chains(family: Family, ranges: &Ranges) -> Vec<Chain> {
    let r = Registers::of(family);
    let of_family = |range: IpNet| (matches!(range, IpNet::V4(_)) == (family == Family::V4)).then_some(range);
    let (cluster, node) = (of_family(ranges.cluster), of_family(ranges.node));
    let goto = |name: &'static str| Op::Goto(name.into());
    let new = || vec![Op::Load(Part::State, 0), Op::Mask(0, STATE_NEW.to_vec()), Op::Unequal(0, vec![0; 4])];
    // What this host serves itself stays its own, whatever addresses a service claims.
    let own = || {
        vec![
            Op::Load(Part::KindOfDestination, 0),
            Op::Equal(0, HOST.to_vec()),
            Op::Load(Part::Protocol, 0),
            Op::Equal(0, TCP.to_vec()),
            Op::Load(Part::DestinationPort, 0),
            Op::Within(OWN_PORTS.into(), 0),
        ]
    };
    let towards = |map: &'static str, word: u32| -> Vec<Vec<Op>> {
        let verdict = |of_node| with(r.service(of_node), [Op::Verdict(map.into(), r.next + word)]);
        vec![verdict(false), verdict(true)]
    };
    let told_apart = |inside: &'static str, outside: &'static str, first: Vec<Vec<Op>>, when: Vec<Op>| {
        let mut rules = first;
        rules.extend(r.from(cluster).map(|ops| [when.clone(), ops, vec![goto(inside)]].concat()));
        rules.push(with(when, [goto(outside)]));
        rules
    };
    let mut refuse_inside = towards(REFUSALS, 0);
    let mut refuse_outside = towards(REFUSALS, 1);
    for rules in [&mut refuse_inside, &mut refuse_outside] {
        rules.insert(0, with(own(), [Op::Return]));
        rules.push(vec![
            Op::Load(Part::Destination, r.service),
            Op::Within(In::ClusterAddresses.name().into(), r.service),
            goto("reject"),
        ]);
    }
    let guarded = [
        &[Op::Load(Part::Destination, r.service)][..],
        &[Op::Load(Part::Protocol, r.protocol), Op::Load(Part::DestinationPort, r.port)],
        &[Op::Within(In::Guarded.name().into(), r.service), Op::Load(Part::Source, r.next)],
        &[Op::Without(In::Sources.name().into(), r.service)],
    ];
    let guarded = || steps(guarded.concat(), Some(Step::Drop));
    let checked = |hook| base("filter", hook, BEFORE);
    let filter = |hook| base("filter", hook, 0);
    let all = |rules: Vec<Vec<Op>>| rules.into_iter().map(|ops| steps(ops, None)).collect::<Vec<_>>();
    let apart = || told_apart("refuse-inside", "refuse-outside", Vec::new(), new());
    let chain = |name: &'static str, base, rules| Chain { name: name.into(), base, rules };
    let source_check = || vec![steps(with(new(), [goto("sources")]), None)];
    let own_first = || vec![with(own(), [Op::Return])];
    vec![
        chain("sources", None, vec![guarded()]),
        chain(
            "reject",
            None,
            all(vec![vec![Op::Load(Part::Protocol, 0), Op::Equal(0, TCP.to_vec()), Op::Reset], vec![Op::Unreachable]]),
        ),
        chain("inside", None, all(towards(In::Choices.name(), 0))),
        chain("outside", None, all(towards(In::Choices.name(), 1))),
        chain("refuse-inside", None, all(refuse_inside)),
        chain("refuse-outside", None, all(refuse_outside)),
        chain("sources-prerouting", checked(Hook::Prerouting), source_check()),
        chain("sources-output", checked(Hook::Output), source_check()),
        chain(
            "prerouting",
            base("nat", Hook::Prerouting, NAT),
            all(told_apart("inside", "outside", own_first(), Vec::new())),
        ),
        chain("output", base("nat", Hook::Output, NAT), all([own_first(), vec![vec![goto("inside")]]].concat())),
        chain("postrouting", base("nat", Hook::Postrouting, 100), masquerading(&r, node)),
        chain("refuse-input", filter(Hook::Input), all(apart())),
        chain("refuse-forward", filter(Hook::Forward), all(apart())),
        chain("refuse-output", filter(Hook::Output), all(vec![with(new(), [goto("refuse-inside")])])),
    ]
}

/// Answers must come back this way: whatever was sent on to an endpoint by this node and does not come from one
/// of its pods gets an address of the node. Endpoints of this node alone see where it came from.
fn masquerading(r: &Registers, node: Option<IpNet>) -> Vec<Vec<Step>> {
    let status = vec![Op::Load(Part::Status, 0), Op::Mask(0, REWRITTEN.to_vec())];
    let mut rules = vec![
        steps(with(status, [Op::Equal(0, vec![0; 4]), Op::Return]), None),
        steps(
            vec![
                Op::Load(Part::Source, r.source),
                Op::Load(Part::Destination, r.service - r.gap),
                Op::Within(In::Hairpin.name().into(), r.source),
            ],
            Some(Step::Masquerade),
        ),
    ];
    rules.extend(r.from(node).map(|ops| steps(with(ops, [Op::Return]), None)));
    let of_host = [Op::Load(Part::KindOfSource, 0), Op::Equal(0, HOST.to_vec())];
    let anywhere = [Op::Mask(r.next + 1, LOCAL.to_ne_bytes().to_vec()), Op::Equal(r.next + 1, vec![0; 4])];
    for of_node in [false, true] {
        let masked = |last: &[Op]| steps([r.first_service(of_node), last.to_vec()].concat(), Some(Step::Masquerade));
        rules.push(masked(&anywhere));
        rules.push(masked(&of_host));
    }
    rules
}

/// The chain of a choice. A change of services may come between finding how many endpoints there are and taking
/// one: who finds none takes the first.
pub(crate) fn choosing(family: Family, choice: Choice) -> Chain {
    let r = Registers::of(family);
    let (endpoints, members) = match choice.local {
        false => (In::Endpoints, In::Members),
        true => (In::LocalEndpoints, In::LocalMembers),
    };
    let any = || match choice.count {
        1 => Op::Constant(r.next, vec![0; 4]),
        count => Op::Random(r.next, count),
    };
    let take = |number| with(vec![number], r.find(endpoints.name(), r.service, r.next));
    let there = || Op::Destination(r.endpoint(), r.next_port);
    let both = |ops: &dyn Fn(bool) -> Vec<Op>| [false, true].map(|of_node| steps(ops(of_node), None));
    let mut rules = Vec::new();
    if choice.affinity > 0 {
        let remember = || Op::Remember { map: AFFINITY.into(), key: r.source, data: r.next, seconds: choice.affinity };
        let forget = || Op::Forget { map: AFFINITY.into(), key: r.source, data: r.next };
        let client = |of_node| [vec![Op::Load(Part::Source, r.source)], r.service(of_node)].concat();
        rules.extend(both(&|of_node| {
            let found = with(client(of_node), r.find(AFFINITY, r.source, r.next));
            with(found, [Op::Within(members.name().into(), r.service), remember(), there()])
        }));
        rules.extend(both(&|of_node| [client(of_node), take(any()), vec![forget(), remember(), there()]].concat()));
    }
    rules.extend(both(&|of_node| [r.service(of_node), take(any()), vec![there()]].concat()));
    if choice.count > 1 {
        let first = || Op::Constant(r.next, vec![0; 4]);
        rules.extend(both(&|of_node| [r.service(of_node), take(first()), vec![there()]].concat()));
    }
    Chain { name: choice.chain().into(), base: None, rules }
}

fn base(kind: &'static str, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base { kind, hook, priority })
}

fn with(mut ops: Vec<Op>, more: impl IntoIterator<Item = Op>) -> Vec<Op> {
    ops.extend(more);
    ops
}

fn steps(ops: Vec<Op>, last: Option<Step>) -> Vec<Step> {
    ops.into_iter().map(Step::Do).chain(last).collect()
}
