//! Upstream's cases (test/e2e/network/netpol), histories, and what must not be inherited.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::Object;
use net::policy::{Allow, Direction, Element, Name, Spec};
use serde_json::{Value, json};

use super::State;
use crate::policy::objects::{Pod, Policy};

/// Namespaces x, y and z with pods a, b and c each, all of this node; each serves 80 and 81 under upstream's names.
fn world() -> State {
    let mut state = State::default();
    for space in ["x", "y", "z"] {
        state.namespace(space, Some(labels(json!({"kubernetes.io/metadata.name": space}))));
        for pod in ["a", "b", "c"] {
            state.pod(pod_of(space, pod, json!({"pod": pod})));
            state.enter(
                &format!("{space}/{pod}"),
                &format!("{space}/{pod}"),
                &[address(&format!("{space}/{pod}"))],
                None,
            );
        }
    }
    state
}

fn labels(value: Value) -> BTreeMap<String, String> {
    serde_json::from_value(value).unwrap()
}

fn address(pod: &str) -> IpAddr {
    let bytes = pod.as_bytes();
    [10, 244, bytes[0] - b'w', bytes[2] - b'a' + 2].into()
}

fn pod_of(space: &str, name: &str, labels: Value) -> Pod {
    let key = format!("{space}/{name}");
    let ports: Vec<Value> = [("TCP", 80), ("TCP", 81), ("UDP", 80), ("UDP", 81)]
        .iter()
        .map(|(protocol, port)| {
            let name = format!("serve-{port}-{}", protocol.to_lowercase());
            json!({"name": name, "containerPort": port, "protocol": protocol})
        })
        .collect();
    read_pod(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": space, "name": name, "uid": key, "labels": labels},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIP": address(&key), "podIPs": [{"ip": address(&key)}]},
    }))
}

fn read_pod(value: Value) -> Pod {
    Pod::read(&Object::from_value(&value).unwrap()).unwrap()
}

/// `x/name` and its spec.
fn put(state: &mut State, key: &str, spec: Value) {
    let (space, name) = key.split_once('/').unwrap();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": space, "name": name}, "spec": spec,
    });
    state.policy(space, name, Policy::read(&Object::from_value(&object).unwrap()));
}

/// What `net` does with a spec, in the plainest words.
fn passes(spec: &Spec, from: IpAddr, to: IpAddr, protocol: u8, port: u16) -> bool {
    let judged = |group: Option<&Name>, other: IpAddr| {
        let Some(group) = group else { return true };
        spec.groups[group]
            .iter()
            .any(|policy| spec.policies[policy].rules.iter().any(|rule| allows(spec, rule, other, to, protocol, port)))
    };
    from == to || judged(spec.ingress.get(&to), from) && judged(spec.egress.get(&from), to)
}

fn allows(spec: &Spec, rule: &Allow, other: IpAddr, to: IpAddr, protocol: u8, port: u16) -> bool {
    let has = |set: &Name, element: Element| spec.sets[set].elements.contains(&element);
    let peers = rule.peers.as_ref().is_none_or(|peers| {
        peers.set.as_ref().is_some_and(|set| has(set, Element { address: other, port: None }))
            || peers.ranges.iter().any(|(first, last)| (first..=last).contains(&&other))
    });
    peers
        && rule.ports.as_ref().is_none_or(|ports| {
            let numbers = ports.numbers.get(&protocol);
            numbers.is_some_and(|ranges| {
                ranges.as_ref().is_none_or(|all| all.iter().any(|(first, last)| (first..=last).contains(&&port)))
            }) || ports.named.iter().any(|set| has(set, Element { address: to, port: Some((protocol, port)) }))
        })
}

/// Whether exactly those connections pass: all, but for the words of `wanted` in order: `-from>to` denies,
/// `+from>to` allows; `*` is anybody, `x` all of a namespace.
fn reach(state: &mut State, what: &str, probe: (u8, u16), wanted: &str) {
    let spec = state.whole();
    let pods: Vec<String> =
        ["x", "y", "z"].iter().flat_map(|space| ["a", "b", "c"].map(|pod| format!("{space}/{pod}"))).collect();
    let is = |pattern: &str, pod: &str| pattern == "*" || pattern == pod || pod.split('/').next() == Some(pattern);
    for from in &pods {
        for to in pods.iter().filter(|to| *to != from) {
            let mut expected = true;
            for word in wanted.split_whitespace() {
                let (left, right) = word[1..].split_once('>').unwrap();
                if is(left, from) && is(right, to) {
                    expected = word.starts_with('+');
                }
            }
            let found = passes(&spec, address(from), address(to), probe.0, probe.1);
            assert_eq!(found, expected, "{what}: {from} to {to}, {probe:?}");
        }
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The cases of upstream's suite, by their names there: policies, a probe, who reaches whom.
#[test]
fn upstream_cases_have_upstreams_answers() {
    let a = json!({"matchLabels": {"pod": "a"}});
    let space = |name: &str| json!({"matchLabels": {"kubernetes.io/metadata.name": name}});
    let ns = "kubernetes.io/metadata.name";
    let not_x = json!({"matchExpressions": [{"key": ns, "operator": "NotIn", "values": ["x"]}]});
    let pod = |name: &str| json!({"podSelector": {"matchLabels": {"pod": name}}});
    let from = |peers: Value| json!({"podSelector": a, "ingress": [{"from": peers}]});
    let deny = json!({"podSelector": {}});
    let out = json!({"podSelector": {}, "policyTypes": ["Egress"]});
    let both = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let port = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [{"port": port}]}]});
    type Case = (&'static str, Vec<Value>, (u8, u16), &'static str);
    let cases: Vec<Case> = vec![
        ("default-deny-ingress", vec![deny.clone()], (TCP, 80), "-*>x"),
        ("default-deny-all", vec![both.clone()], (TCP, 80), "-*>x -x>*"),
        ("pods within server namespace", vec![from(json!([pod("b")]))], (TCP, 80), "-*>x/a +x/b>x/a"),
        (
            "ingress traffic for a target",
            vec![deny.clone(), from(json!([{"podSelector": {}, "namespaceSelector": {}}]))],
            (TCP, 80),
            "-*>x +*>x/a",
        ),
        ("pods in all namespaces", vec![from(json!([{"namespaceSelector": {"matchLabels": {}}}]))], (TCP, 80), ""),
        ("a different namespace", vec![from(json!([{"namespaceSelector": space("y")}]))], (TCP, 80), "-x>x/a -z>x/a"),
        (
            "PodSelector with MatchExpressions",
            vec![from(
                json!([{"podSelector": {"matchExpressions": [{"key": "pod", "operator": "In", "values": ["b"]}]}}]),
            )],
            (TCP, 80),
            "-*>x/a +x/b>x/a",
        ),
        (
            "NamespaceSelector with MatchExpressions",
            vec![from(
                json!([{"namespaceSelector": {"matchExpressions": [{"key": ns, "operator": "In", "values": ["y"]}]}}]),
            )],
            (TCP, 80),
            "-x>x/a -z>x/a",
        ),
        (
            "PodSelector or NamespaceSelector",
            vec![from(json!([{"namespaceSelector": not_x}, pod("b")]))],
            (TCP, 80),
            "-x/c>x/a",
        ),
        (
            "PodSelector and NamespaceSelector",
            vec![from(json!([{"namespaceSelector": not_x, "podSelector": {"matchLabels": {"pod": "b"}}}]))],
            (TCP, 80),
            "-*>x/a +y/b>x/a +z/b>x/a",
        ),
        (
            "Multiple PodSelectors and NamespaceSelectors",
            vec![from(json!([{"namespaceSelector": not_x,
                "podSelector": {"matchExpressions": [{"key": "pod", "operator": "In", "values": ["b", "c"]}]}}]))],
            (TCP, 80),
            "-x>x/a -y/a>x/a -z/a>x/a",
        ),
        ("any PodSelectors", vec![from(json!([pod("b"), pod("c")]))], (TCP, 80), "-*>x/a +x/b>x/a +x/c>x/a"),
        (
            "Ports",
            vec![
                json!({"podSelector": a, "ingress": [{"from": [{"namespaceSelector": space("y")}], "ports": [{"port": 81, "protocol": "TCP"}]}]}),
            ],
            (TCP, 81),
            "-x>x/a -z>x/a",
        ),
        (
            "stacked policies, the port that is not there",
            vec![
                json!({"podSelector": a, "ingress": [{"from": [{"namespaceSelector": space("y")}], "ports": [{"port": 81}]}]}),
            ],
            (TCP, 80),
            "-*>x/a",
        ),
        ("allow-all", vec![json!({"podSelector": {}, "ingress": [{}]})], (TCP, 81), ""),
        ("one named port", vec![port(json!("serve-81-tcp"))], (TCP, 81), ""),
        ("one named port, another", vec![port(json!("serve-81-tcp"))], (TCP, 80), "-*>x"),
        ("a named port of another protocol", vec![port(json!("serve-81-udp"))], (TCP, 81), "-*>x"),
        (
            "from namespace on one named port",
            vec![
                json!({"podSelector": a, "ingress": [{"from": [{"namespaceSelector": space("y")}], "ports": [{"port": "serve-80-tcp"}]}]}),
            ],
            (TCP, 80),
            "-x>x/a -z>x/a",
        ),
        (
            "egress on one named port",
            vec![
                json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "serve-80-tcp"}]}]}),
            ],
            (TCP, 81),
            "-x>*",
        ),
        (
            "egress on that named port",
            vec![
                json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "serve-80-tcp"}]}]}),
            ],
            (TCP, 80),
            "",
        ),
        ("no such port", vec![port(json!("no-such-port"))], (TCP, 80), "-*>x"),
        (
            "pods on other namespaces",
            vec![json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})],
            (TCP, 80),
            "-y>x -z>x",
        ),
        (
            "egress based on PodSelector",
            vec![json!({"podSelector": a, "policyTypes": ["Egress"]})],
            (TCP, 80),
            "-x/a>*",
        ),
        ("egress from all pods", vec![out.clone()], (TCP, 80), "-x>*"),
        (
            "ingress and egress together",
            vec![
                json!({"podSelector": a, "policyTypes": ["Egress", "Ingress"], "ingress": [{"from": [pod("b")]}], "egress": [{"ports": [{"port": 80}]}]}),
            ],
            (TCP, 81),
            "-*>x/a -x/a>* +x/b>x/a",
        ),
        (
            "egress to a server in a different namespace",
            vec![
                json!({"podSelector": a, "policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": space("y"), "podSelector": a}]}]}),
            ],
            (TCP, 80),
            "-x/a>* +x/a>y/a",
        ),
        (
            "any port of a protocol",
            vec![json!({"podSelector": a, "ingress": [{"ports": [{"protocol": "TCP"}]}]})],
            (TCP, 80),
            "",
        ),
        (
            "any port of another protocol",
            vec![json!({"podSelector": a, "ingress": [{"ports": [{"protocol": "TCP"}]}]})],
            (UDP, 80),
            "-*>x/a",
        ),
        (
            "multiple ingress policies",
            vec![port(json!(80)), json!({"podSelector": {}, "ingress": [{}]})],
            (TCP, 81),
            "",
        ),
        ("one ingress policy", vec![port(json!(80))], (TCP, 81), "-*>x"),
        (
            "multiple egress policies",
            vec![out.clone(), json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]})],
            (TCP, 81),
            "",
        ),
        (
            "a CIDR block",
            vec![
                json!({"podSelector": a, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.244.2.3/32"}}]}]}),
            ],
            (TCP, 80),
            "-x/a>* +x/a>y/b",
        ),
        (
            "except clause",
            vec![
                json!({"podSelector": a, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/4", "except": ["10.244.1.3/32"]}}]}]}),
            ],
            (TCP, 80),
            "-x/a>x/b",
        ),
        (
            "both CIDR and Except",
            vec![
                json!({"podSelector": a, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/4", "except": ["10.244.1.3/32"]}}]}]}),
                json!({"podSelector": a, "policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.244.1.3/32"}}]}]}),
            ],
            (TCP, 80),
            "",
        ),
        (
            "SCTP is not TCP",
            vec![deny.clone(), json!({"podSelector": a, "ingress": [{"ports": [{"port": 81, "protocol": "SCTP"}]}]})],
            (TCP, 81),
            "-*>x",
        ),
        (
            "SCTP isolates",
            vec![json!({"podSelector": a, "ingress": [{"ports": [{"port": 80, "protocol": "SCTP"}]}]})],
            (TCP, 81),
            "-*>x/a",
        ),
        (
            "UDP is not TCP",
            vec![json!({"podSelector": a, "ingress": [{"ports": [{"port": 81, "protocol": "UDP"}]}]})],
            (TCP, 81),
            "-*>x/a",
        ),
        (
            "a range of ports, its end",
            vec![
                json!({"podSelector": a, "ingress": [{"ports": [{"port": 32768, "endPort": 32770}, {"port": 79, "endPort": 81}]}]}),
            ],
            (TCP, 81),
            "",
        ),
        (
            "a range of ports, past its end",
            vec![json!({"podSelector": a, "ingress": [{"ports": [{"port": 79, "endPort": 80}]}]})],
            (TCP, 81),
            "-*>x/a",
        ),
        (
            "policyTypes that leave the rules out",
            vec![json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [], "egress": [{}]})],
            (TCP, 80),
            "",
        ),
        (
            "policyTypes as defaulted",
            vec![json!({"podSelector": {}, "ingress": [{}], "egress": [{"to": [pod("b")]}]})],
            (TCP, 80),
            "-x>* +x>x/b",
        ),
    ];
    for (what, policies, probe, wanted) in cases {
        let mut state = world();
        for (at, spec) in policies.iter().enumerate() {
            put(&mut state, &format!("x/p{at}"), spec.clone());
        }
        reach(&mut state, what, probe, wanted);
    }
}

#[test]
fn changes_of_labels_and_policies_are_followed() {
    let mut state = world();
    let a = json!({"matchLabels": {"pod": "a"}});
    let by_space =
        json!({"podSelector": a, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns2": "updated"}}}]}]});
    put(&mut state, "x/p", by_space);
    reach(&mut state, "before the namespace", (TCP, 80), "-*>x/a");
    state.namespace("y", Some(labels(json!({"kubernetes.io/metadata.name": "y", "ns2": "updated"}))));
    reach(&mut state, "updated namespace", (TCP, 80), "-*>x/a +y>x/a");
    put(
        &mut state,
        "x/p",
        json!({"podSelector": a, "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod2": "updated"}}}]}]}),
    );
    reach(&mut state, "before the pod", (TCP, 80), "-*>x/a");
    state.pod(pod_of("x", "b", json!({"pod": "b", "pod2": "updated"})));
    reach(&mut state, "updated pod", (TCP, 80), "-*>x/a +x/b>x/a");
    put(&mut state, "x/p", json!({"podSelector": {"matchLabels": {"target": "isolated"}}}));
    reach(&mut state, "nobody is selected", (TCP, 80), "");
    state.pod(pod_of("x", "a", json!({"pod": "a", "target": "isolated"})));
    reach(&mut state, "isolated by its labels", (TCP, 80), "-*>x/a");
    state.policy("x", "p", None);
    reach(&mut state, "deleted", (TCP, 80), "");
    assert_eq!(state.whole(), Spec::default(), "nothing is left of it");
}

#[test]
fn an_address_inherits_nothing() {
    let mut state = world();
    put(
        &mut state,
        "x/p",
        json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]}),
    );
    let (old, target) = (address("x/b"), address("x/a"));
    assert!(passes(&state.whole(), old, target, TCP, 80));
    // The API still has the pod, its sandbox is gone: the address is another pod's, of another namespace.
    state.leave("x/b");
    let other = Pod { namespace: "y".into(), uid: "new".into(), labels: labels(json!({"pod": "b"})), ..Pod::default() };
    state.enter("new", "new", &[old], Some(other));
    let spec = state.whole();
    assert!(!passes(&spec, old, target, TCP, 80), "it is no peer any more");
    assert!(passes(&spec, target, old, TCP, 80), "nor isolated");
    // A pod that is forgotten but runs is held to what it was.
    state.no_pod("x/a");
    assert!(!passes(&state.whole(), address("y/a"), target, TCP, 80));
    state.leave("x/a");
    assert!(!state.whole().ingress.contains_key(&target));
}

#[test]
fn who_has_a_nodes_address_or_has_ended_is_no_peer() {
    let mut state = world();
    put(&mut state, "x/p", json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}));
    let remote = |name: &str, spec: Value, phase: &str, ip: &str, born: &str| {
        read_pod(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "y", "name": name, "uid": name, "creationTimestamp": born}, "spec": spec,
            "status": {"phase": phase, "podIP": ip, "podIPs": [{"ip": ip}]},
        }))
    };
    let elsewhere = json!({"nodeName": "other"});
    state.pod(remote("host", json!({"nodeName": "other", "hostNetwork": true}), "Running", "192.0.2.1", ""));
    state.pod(remote("done", elsewhere.clone(), "Succeeded", "10.244.9.2", ""));
    state.pod(remote("there", elsewhere.clone(), "Running", "10.244.9.3", ""));
    // What claims the address of a pod that is here has it not.
    state.pod(remote("liar", elsewhere.clone(), "Running", "10.244.1.2", ""));
    let target = address("x/a");
    let spec = state.whole();
    let reaches = |from: [u8; 4]| passes(&spec, from.into(), target, TCP, 80);
    assert_eq!([[192, 0, 2, 1], [10, 244, 9, 2], [10, 244, 9, 3]].map(reaches), [false, false, true]);
    assert_eq!(spec.ingress.get(&target).map(|group| group.starts_with("to/x/")), Some(true));
    // Of two that claim one address the younger has it.
    put(
        &mut state,
        "x/p",
        json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"pod": "new"}}}]}]}),
    );
    let mut young = remote("young", elsewhere, "Running", "10.244.9.3", "2026-01-02T00:00:00Z");
    young.labels = labels(json!({"pod": "new"}));
    state.pod(young);
    assert!(passes(&state.whole(), [10, 244, 9, 3].into(), target, TCP, 80));
    state.no_pod("young");
    assert!(!passes(&state.whole(), [10, 244, 9, 3].into(), target, TCP, 80));
}

/// The usual rule for names holds though no pod serves them.
#[test]
fn names_are_asked_of_the_node_where_policies_allow_the_dns_pods() {
    let mut state = world();
    let (gateway, pod): (IpAddr, IpAddr) = ([10, 244, 1, 1].into(), address("x/a"));
    state.stand_in(gateway);
    put(&mut state, "x/deny", json!({"podSelector": {}, "policyTypes": ["Egress"]}));
    assert!(!passes(&state.whole(), pod, gateway, UDP, 53));
    let dns = json!({"matchLabels": {"k8s-app": "kube-dns"}});
    let system = json!({"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}});
    let to = json!([{"namespaceSelector": system, "podSelector": dns}]);
    let ports = json!([{"port": "dns", "protocol": "UDP"}, {"port": 53}]);
    put(
        &mut state,
        "x/names",
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": to, "ports": ports}]}),
    );
    let spec = state.whole();
    let asked =
        [(UDP, 53), (TCP, 53), (TCP, 10250)].map(|(protocol, port)| passes(&spec, pod, gateway, protocol, port));
    assert_eq!(asked, [true, true, false]);
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing() {
    let mut state = world();
    put(&mut state, "x/p", json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}]}));
    reach(&mut state, "a range that is none", (TCP, 80), "-*>x");
    put(
        &mut state,
        "x/p",
        json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["?"]}}]}]}),
    );
    reach(&mut state, "an exception that cannot be read", (TCP, 80), "-*>x");
    put(&mut state, "x/p", json!({"podSelector": {}, "ingress": [{"from": [{}]}]}));
    reach(&mut state, "a peer that is none", (TCP, 80), "-*>x");
    let long = "n".repeat(253);
    put(&mut state, &format!("x/{long}"), json!({"podSelector": {}, "egress": [{"to": [{"podSelector": {}}]}]}));
    let spec = state.whole();
    let names = spec.policies.keys().chain(spec.groups.keys()).chain(spec.sets.keys());
    assert!(names.clone().count() > 4 && names.clone().all(|name| name.len() <= 255), "{names:?}");
}

/// The law: any history adds up to what its end is made of anew.
#[test]
fn any_history_adds_up() {
    for seed in 1..=20u64 {
        let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (mut state, mut told, mut now) = (State::default(), Spec::default(), World::default());
        let mut is_first = true;
        for step in 0..120 {
            for _ in 0..=chance.below(3) {
                let act = now.act(&mut chance);
                play(&mut state, &act);
            }
            // Some changes are told together.
            let edits = match is_first || chance.below(40) == 0 {
                true => {
                    told = state.whole();
                    Default::default()
                }
                false => state.settle(),
            };
            is_first = false;
            told.edit(edits);
            let anew = now.anew().whole();
            assert_eq!(told, anew, "seed {seed}, step {step}");
            let named: BTreeSet<&Name> = anew.groups.values().flatten().collect();
            assert!(named.iter().all(|name| anew.policies.contains_key(*name)));
            assert!(anew.ingress.values().chain(anew.egress.values()).all(|group| anew.groups.contains_key(group)));
            assert!(anew.policies.values().all(|one| matches!(one.direction, Direction::Ingress | Direction::Egress)));
        }
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// What there is in the end, to be made anew of.
#[derive(Clone, Debug, Default)]
struct World {
    spaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<String, Pod>,
    local: BTreeMap<String, (String, IpAddr, Pod)>,
    policies: BTreeMap<String, Value>,
}

enum Act {
    Space(String, Option<BTreeMap<String, String>>),
    Pod(Box<Pod>),
    NoPod(String),
    Enter(String, String, IpAddr, Box<Pod>),
    Leave(String),
    Policy(String, Option<Value>),
}

fn play(state: &mut State, act: &Act) {
    match act {
        Act::Space(name, labels) => state.namespace(name, labels.clone()),
        Act::Pod(pod) => state.pod((**pod).clone()),
        Act::NoPod(uid) => state.no_pod(uid),
        Act::Enter(id, uid, address, pod) => state.enter(id, uid, &[*address], Some((**pod).clone())),
        Act::Leave(id) => state.leave(id),
        Act::Policy(key, Some(spec)) => put(state, key, spec.clone()),
        Act::Policy(key, None) => {
            let (space, name) = key.split_once('/').unwrap();
            state.policy(space, name, None);
        }
    }
}

impl World {
    fn act(&mut self, chance: &mut Chance) -> Act {
        let space = ["x", "y", "z"][chance.below(3) as usize].to_owned();
        let color = |chance: &mut Chance| ["red", "green"][chance.below(2) as usize];
        match chance.below(10) {
            0 => {
                let labels = labels(json!({"kubernetes.io/metadata.name": space, "color": color(chance)}));
                self.spaces.insert(space.clone(), labels.clone());
                Act::Space(space, Some(labels))
            }
            1..=3 => {
                let name = ["a", "b", "c"][chance.below(3) as usize];
                let mut pod = pod_of(&space, name, json!({"pod": name, "color": color(chance)}));
                pod.uid = format!("{}/{}", pod.uid, chance.below(2));
                pod.over = chance.below(5) == 0;
                pod.addresses = vec![[10, 0, 0, chance.below(9) as u8].into()];
                pod.born = format!("{}", chance.below(3));
                if chance.below(3) == 0 {
                    pod.ports.clear();
                }
                for (_, _, known) in self.local.values_mut().filter(|(uid, ..)| *uid == pod.uid) {
                    *known = pod.clone();
                }
                self.pods.insert(pod.uid.clone(), pod.clone());
                Act::Pod(Box::new(pod))
            }
            4 => match self.pods.keys().nth(chance.below(6) as usize).cloned() {
                Some(uid) => {
                    self.pods.remove(&uid);
                    Act::NoPod(uid)
                }
                None => Act::NoPod("nobody".into()),
            },
            5 | 6 => {
                let id = format!("s{}", chance.below(4));
                let pod = self.pods.values().nth(chance.below(4) as usize).cloned();
                let pod = pod.unwrap_or_else(|| pod_of(&space, "a", json!({"pod": "a"})));
                // The network gives no address twice.
                let address: IpAddr = [10, 0, 0, chance.below(9) as u8].into();
                if self.local.iter().any(|(other, (_, taken, _))| *other != id && *taken == address) {
                    return Act::Leave("nobody".into());
                }
                self.local.insert(id.clone(), (pod.uid.clone(), address, pod.clone()));
                Act::Enter(id, pod.uid.clone(), address, Box::new(pod))
            }
            7 => {
                let id = format!("s{}", chance.below(4));
                self.local.remove(&id);
                Act::Leave(id)
            }
            8 => {
                let key = format!("{space}/p{}", chance.below(3));
                self.policies.remove(&key);
                Act::Policy(key, None)
            }
            _ => {
                let key = format!("{space}/p{}", chance.below(3));
                let peer = |chance: &mut Chance| match chance.below(4) {
                    0 => json!({"podSelector": {"matchLabels": {"color": "red"}}}),
                    1 => json!({"namespaceSelector": {"matchLabels": {"color": "green"}}}),
                    2 => json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"pod": "b"}}}),
                    _ => json!({"ipBlock": {"cidr": "10.0.0.0/29", "except": ["10.0.0.4/31"]}}),
                };
                let rule = |chance: &mut Chance, side: &str| {
                    let mut rule = json!({});
                    if chance.below(4) > 0 {
                        rule[side] = json!([peer(chance), peer(chance)]);
                    }
                    if chance.below(2) == 0 {
                        let named = ["serve-80-tcp", "serve-81-udp"][chance.below(2) as usize];
                        rule["ports"] = json!([{"port": named}, {"port": 5}]);
                    }
                    rule
                };
                let selector = [json!({}), json!({"matchLabels": {"color": "red"}})][chance.below(2) as usize].clone();
                let mut spec =
                    json!({"podSelector": selector, "ingress": [rule(chance, "from"), rule(chance, "from")]});
                if chance.below(2) == 0 {
                    spec["egress"] = json!([rule(chance, "to")]);
                }
                self.policies.insert(key.clone(), spec.clone());
                Act::Policy(key, Some(spec))
            }
        }
    }

    fn anew(&self) -> State {
        let mut state = State::default();
        for (id, (uid, address, pod)) in &self.local {
            state.enter(id, uid, &[*address], Some(pod.clone()));
        }
        self.policies.iter().for_each(|(key, spec)| put(&mut state, key, spec.clone()));
        self.pods.values().for_each(|pod| state.pod(pod.clone()));
        self.spaces.iter().for_each(|(name, labels)| state.namespace(name, Some(labels.clone())));
        state
    }
}
