//! Policies with real packets: what passes, what does not, and when that changes.
//!
//! What must not arrive is followed by something that does: what is sent later arrives later.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::Attachment;
use crate::policy::{Allow, Change, Direction, Edits, Element, Name, Peers, Policy, Ports, Set, SetEdit, Spec};

/// A wait for what does not come.
const SHORT: Duration = Duration::from_millis(300);

fn address(pod: &Attachment) -> Ipv4Addr {
    let IpAddr::V4(address) = pod.addresses[0] else { panic!() };
    address
}

fn plain(address: impl Into<IpAddr>) -> Element {
    Element { address: address.into(), port: None }
}

/// These addresses are isolated in one direction, but for what the rules allow.
fn isolate(spec: &mut Spec, direction: Direction, pods: &[&Attachment], rules: Vec<Allow>) {
    let way = if direction == Direction::Ingress { "in" } else { "out" };
    let (policy, group): (Name, Name) = (format!("{way}/x/p").into(), format!("{way}/x/0").into());
    spec.policies.insert(policy.clone(), Policy { direction, rules });
    spec.groups.insert(group.clone(), vec![policy]);
    let all = if direction == Direction::Ingress { &mut spec.ingress } else { &mut spec.egress };
    all.extend(pods.iter().map(|pod| (pod.addresses[0], group.clone())));
}

/// From or to the addresses of this set, which is made with them.
fn peers(spec: &mut Spec, set: &str, of: &[&Attachment]) -> Option<Peers> {
    let elements = of.iter().map(|pod| plain(pod.addresses[0])).collect();
    spec.sets.insert(set.into(), Set { of_ports: false, elements });
    Some(Peers { set: Some(set.into()), ranges: Vec::new() })
}

fn numbers(protocol: u8, ranges: &[(u16, u16)]) -> Option<Ports> {
    Some(Ports { numbers: [(protocol, Some(ranges.to_vec()))].into(), named: Vec::new() })
}

/// A socket inside a pod, at a port.
fn inbox(pod: &Attachment, port: u16) -> UdpSocket {
    let at = address(pod);
    let socket = within(&pod.namespace, move || UdpSocket::bind((at, port)).unwrap()).join().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// One datagram from the pod.
fn tell(pod: &Attachment, to: (Ipv4Addr, u16), text: &str) {
    send_raw(&pod.namespace, datagram(address(pod), to, text));
}

fn edit(set: &str, added: &[&Attachment], removed: &[&Attachment]) -> Change {
    let all = |pods: &[&Attachment]| pods.iter().map(|pod| plain(pod.addresses[0])).collect::<BTreeSet<_>>();
    let change = SetEdit::Changed { added: all(added), removed: all(removed) };
    Change::Edits(Edits { sets: [(set.into(), change)].into(), ..Edits::default() })
}

fn anew(spec: &Spec) -> Change {
    Change::Anew(Box::new(spec.clone()))
}

#[test]
fn who_may_reach_a_pod_follows_its_set() {
    if !inside_own_namespaces("policy::who_may_reach_a_pod_follows_its_set") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let friend = net.attach(spec("friend")).await.unwrap();
        let other = net.attach(spec("other")).await.unwrap();
        let ports = vec![host_port("UDP", 8080), host_port("TCP", 8080)];
        let pod = net.attach(AttachSpec { host_ports: ports, ..spec("pod") }).await.unwrap();
        let (open, shut, free) = (inbox(&pod, 80), inbox(&pod, 81), inbox(&other, 80));
        let mut rules = Spec::default();
        let friends = peers(&mut rules, "from/x/p/0", &[&friend]);
        let everybody_at_90 = Allow { peers: None, ports: numbers(17, &[(90, 99)]) };
        let allow = vec![Allow { peers: friends, ports: numbers(17, &[(80, 80)]) }, everybody_at_90];
        isolate(&mut rules, Direction::Ingress, &[&pod], allow);
        net.policy(anew(&rules)).await.unwrap();
        let gateway = socket(GATEWAY);
        // Through the node's port it is judged as what it is: by its real source, at the pod's port.
        for to in [(address(&pod), 80), (GATEWAY, 8080)] {
            tell(&other, to, "no");
            tell(&friend, to, "last");
            assert_eq!(arrived(&open), ["last"], "{to:?}");
        }
        tell(&friend, (address(&pod), 81), "no");
        // Its node always reaches it, and so does it itself, by its node's port too.
        gateway.send_to(b"last", (address(&pod), 81)).unwrap();
        assert_eq!(arrived(&shut), ["last"]);
        tell(&pod, (GATEWAY, 8080), "last");
        assert_eq!(arrived(&open), ["last"]);
        // It begins what it likes, and is answered.
        let asking = within(&pod.namespace, || socket(Ipv4Addr::UNSPECIFIED)).join().unwrap();
        asking.send_to(b"?", (address(&other), 80)).unwrap();
        let (_, from) = free.recv_from(&mut [0; 9]).unwrap();
        free.send_to(b"last", from).unwrap();
        assert_eq!(arrived(&asking), ["last"]);
        // Elements come and go.
        net.policy(edit("from/x/p/0", &[&other], &[&friend])).await.unwrap();
        tell(&friend, (address(&pod), 80), "no");
        tell(&other, (address(&pod), 80), "last");
        assert_eq!(arrived(&open), ["last"]);
        let ninety = inbox(&pod, 95);
        tell(&friend, (address(&pod), 95), "last");
        assert_eq!(arrived(&ninety), ["last"]);
        // Somebody took the table away: the next change brings all of it back.
        crate::nft::Netfilter::open().unwrap().remove(crate::rules::Family::V4, "gousse-test-policy").unwrap();
        net.policy(edit("from/x/p/0", &[&friend], &[&other])).await.unwrap();
        tell(&other, (address(&pod), 80), "no");
        tell(&friend, (address(&pod), 80), "last");
        assert_eq!(arrived(&open), ["last"]);
        // Without any policy there is no table.
        net.policy(anew(&Spec::default())).await.unwrap();
        let has = |table| crate::nft::Netfilter::open().unwrap().has(crate::rules::Family::V4, table).unwrap();
        assert!(!has("gousse-test-policy") && has("gousse-test"));
        tell(&other, (address(&pod), 81), "last");
        assert_eq!(arrived(&shut), ["last"]);
        net.policy(anew(&rules)).await.unwrap();
        assert!(has("gousse-test-policy"));
        net.close().await.unwrap();
        assert!(!has("gousse-test-policy"));
        assert!(net.policy(anew(&rules)).await.is_err(), "what is closed stays closed");
    });
}

#[test]
fn what_a_pod_may_begin_is_judged_at_the_other_end() {
    if !inside_own_namespaces("policy::what_a_pod_may_begin_is_judged_at_the_other_end") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let pod = net.attach(spec("pod")).await.unwrap();
        let [a, b] = ["a", "b"].map(|id| AttachSpec { host_ports: vec![host_port("UDP", 8080)], ..spec(id) });
        let a = net.attach(a).await.unwrap();
        let b = net.attach(AttachSpec { host_ports: Vec::new(), ..b }).await.unwrap();
        let (at_a, at_b, at_host) = (inbox(&a, 80), inbox(&b, 80), socket(GATEWAY));
        let host = (GATEWAY, at_host.local_addr().unwrap().port());
        let range = (a.addresses[0], a.addresses[0]);
        let mut rules = Spec::default();
        let blocks = Some(Peers { set: None, ranges: vec![range] });
        // A port by its name: of a only.
        let named = Some(Ports { numbers: BTreeMap::new(), named: vec!["port/17/web".into()] });
        let port = Element { address: a.addresses[0], port: Some((17, 80)) };
        rules.sets.insert("port/17/web".into(), Set { of_ports: true, elements: [port].into() });
        isolate(&mut rules, Direction::Egress, &[&pod], vec![Allow { peers: blocks, ports: named }]);
        net.policy(anew(&rules)).await.unwrap();
        tell(&pod, (address(&b), 80), "no");
        tell(&b, (address(&b), 80), "itself");
        tell(&a, (address(&b), 80), "last");
        assert_eq!(arrived(&at_b)[..].last().unwrap(), "last");
        // The node's port leads to a, which is allowed.
        for to in [(GATEWAY, 8080), (address(&a), 80)] {
            tell(&pod, to, "last");
            assert_eq!(arrived(&at_a), ["last"], "{to:?}");
        }
        // What its node serves is another end like any other.
        tell(&pod, host, "no");
        tell(&a, host, "last");
        assert_eq!(arrived(&at_host), ["last"]);
        // Who asks it is answered: its node, and pods.
        let asked = inbox(&pod, 53);
        for asking in [at_host.try_clone().unwrap(), at_b.try_clone().unwrap()] {
            asking.send_to(b"?", (address(&pod), 53)).unwrap();
            let (_, from) = asked.recv_from(&mut [0; 9]).unwrap();
            asked.send_to(b"last", from).unwrap();
            assert_eq!(arrived(&asking), ["last"]);
        }
        net.close().await.unwrap();
    });
}

#[test]
fn what_is_forbidden_ends_and_goes_on_when_it_is_allowed() {
    if !inside_own_namespaces("policy::what_is_forbidden_ends_and_goes_on_when_it_is_allowed") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let client = net.attach(spec("client")).await.unwrap();
        let pod = net.attach(spec("pod")).await.unwrap();
        let to = SocketAddr::from((address(&pod), 80));
        let listener = listen(&pod.namespace, to);
        let mut sent = within(&client.namespace, move || TcpStream::connect(to).unwrap()).join().unwrap();
        let (mut received, _) = listener.accept().unwrap();
        let datagrams = inbox(&pod, 80);
        let asking = within(&client.namespace, || socket(Ipv4Addr::UNSPECIFIED)).join().unwrap();
        asking.connect(to).unwrap();
        let asked = |answers: bool| {
            asking.send(b"?").unwrap();
            datagrams.set_read_timeout(Some(if answers { Duration::from_secs(5) } else { SHORT })).unwrap();
            datagrams.recv_from(&mut [0; 9])
        };
        let (_, from) = asked(true).unwrap();
        let mut bytes = [0; 4];
        sent.write_all(b"ping").unwrap();
        received.read_exact(&mut bytes).unwrap();
        let mut rules = Spec::default();
        let friends = peers(&mut rules, "from/x/p/0", &[]);
        isolate(&mut rules, Direction::Ingress, &[&pod], vec![Allow { peers: friends, ports: None }]);
        net.policy(anew(&rules)).await.unwrap();
        assert!(asked(false).is_err(), "a flow that is forbidden ends");
        // Its other direction too, though the pod may begin what it likes.
        datagrams.send_to(b"late", from).unwrap();
        asking.set_read_timeout(Some(SHORT)).unwrap();
        assert!(asking.recv(&mut bytes).is_err());
        for (mut from, mut to) in [(&sent, &received), (&received, &sent)] {
            from.write_all(b"ping").unwrap();
            to.set_read_timeout(Some(SHORT)).unwrap();
            assert!(to.read_exact(&mut bytes).is_err(), "a stream that is forbidden stands still");
        }
        net.policy(edit("from/x/p/0", &[&client], &[])).await.unwrap();
        assert!(asked(true).is_ok());
        for stream in [&mut sent, &mut received] {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"ping", "nothing of it was lost");
        }
        net.close().await.unwrap();
    });
}

#[test]
fn a_mute_attachment_says_nothing_before_it_may() {
    if !inside_own_namespaces("policy::a_mute_attachment_says_nothing_before_it_may") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let inbox = socket(GATEWAY);
        let to = (GATEWAY, inbox.local_addr().unwrap().port());
        for host_ports in [vec![], vec![host_port("UDP", 8080)]] {
            let ask = AttachSpec { host_ports, owner: "uid".into(), ..spec("p") };
            let pod = net.attach_mute(ask.clone()).await.unwrap();
            assert_eq!(net.attach_mute(ask.clone()).await.unwrap(), pod);
            tell(&pod, to, "no");
            // Others come and go meanwhile, with rules that are made anew.
            let other = AttachSpec { host_ports: vec![host_port("UDP", 8081)], ..spec("other") };
            net.attach(other).await.unwrap();
            tell(&pod, to, "no");
            net.detach("other").await.unwrap();
            net.speak("p").await.unwrap();
            tell(&pod, to, "last");
            assert_eq!(arrived(&inbox), ["last"]);
            assert_eq!(net.list().await.unwrap()[0].spec.owner, "uid");
            net.detach("p").await.unwrap();
            assert!(net.speak("p").await.is_err());
            // One that never spoke is let go like any other.
            net.attach_mute(ask).await.unwrap();
            net.detach("p").await.unwrap();
        }
        net.close().await.unwrap();
    });
}

/// The first part has the ports; the others would pass a filter that asks for them.
#[test]
fn parts_of_packets_pass_as_the_whole_does() {
    if !inside_own_namespaces("policy::parts_of_packets_pass_as_the_whole_does") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let client = net.attach(spec("client")).await.unwrap();
        let pod = net.attach(spec("pod")).await.unwrap();
        let (open, shut) = (inbox(&pod, 80), inbox(&pod, 81));
        let mut rules = Spec::default();
        let allow = vec![Allow { peers: None, ports: numbers(17, &[(80, 80)]) }];
        isolate(&mut rules, Direction::Ingress, &[&pod], allow);
        net.policy(anew(&rules)).await.unwrap();
        let sending = within(&client.namespace, || socket(Ipv4Addr::UNSPECIFIED)).join().unwrap();
        for port in [81, 80] {
            sending.send_to(&[7; 4000], (address(&pod), port)).unwrap();
        }
        let mut bytes = [0; 5000];
        assert_eq!(open.recv(&mut bytes).unwrap(), 4000);
        socket(GATEWAY).send_to(b"last", (address(&pod), 81)).unwrap();
        assert_eq!(arrived(&shut), ["last"]);
        // What belongs to no connection: a reset out of nowhere, a packet that says it answers.
        for flags in [0x04, 0x14, 0x10, 0x12] {
            send_raw(&client.namespace, segment(address(&client), (address(&pod), 81), flags));
        }
        tell(&client, (address(&pod), 80), "last");
        assert_eq!(arrived(&open), ["last"]);
        net.close().await.unwrap();
    });
}

/// A TCP segment without data.
fn segment(from: Ipv4Addr, to: (Ipv4Addr, u16), flags: u8) -> Vec<u8> {
    let mut tcp = vec![0x30, 0x39];
    tcp.extend(to.1.to_be_bytes());
    tcp.extend([0, 0, 0, 9, 0, 0, 0, 9, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&from.octets()[..], &to.0.octets(), &[0, 6, 0, 20], &tcp].concat();
    let sum = checksum(&pseudo);
    tcp[16..18].copy_from_slice(&sum);
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.0.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(tcp);
    packet
}

/// Thousands of peers, ranges and ports in one transaction each.
#[test]
fn a_huge_policy_holds() {
    if !inside_own_namespaces("policy::a_huge_policy_holds") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let (net, _running) = Net::open(config(folder.path())).unwrap();
        let client = net.attach(spec("client")).await.unwrap();
        let pod = net.attach(spec("pod")).await.unwrap();
        let open = inbox(&pod, 80);
        let mut rules = Spec::default();
        let ip = |number: u32| IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + number));
        let mut elements: BTreeSet<Element> = (0..20_000).map(|number| plain(ip(number))).collect();
        rules.sets.insert("many".into(), Set { of_ports: false, elements: elements.clone() });
        let ranges = (0..3_000).map(|number| (ip(number * 8), ip(number * 8 + 3))).collect();
        let all_ports: Vec<(u16, u16)> = (0..2_000).map(|number| (number * 4, number * 4)).collect();
        let peers = Some(Peers { set: Some("many".into()), ranges });
        let mut ports = numbers(17, &all_ports).unwrap();
        ports.named = (0..500).map(|number| format!("port/17/{number}").into()).collect();
        for name in &ports.named {
            rules.sets.insert(name.clone(), Set { of_ports: true, ..Set::default() });
        }
        let few = Allow { peers, ports: Some(ports) };
        isolate(&mut rules, Direction::Ingress, &[&pod], vec![few; 10]);
        for number in 0..3_000u32 {
            let name: Name = format!("in/y/{number}").into();
            rules.policies.insert(name, Policy { direction: Direction::Ingress, rules: Vec::new() });
        }
        net.policy(anew(&rules)).await.unwrap();
        tell(&client, (address(&pod), 80), "no");
        elements.insert(plain(client.addresses[0]));
        net.policy(edit("many", &[&client], &[])).await.unwrap();
        tell(&client, (address(&pod), 80), "last");
        tell(&client, (address(&pod), 81), "no");
        assert_eq!(arrived(&open), ["last"]);
        net.close().await.unwrap();
    });
}

/// Whatever changes step by step ends where it would be anew: in the kernel, as `nft` prints it.
#[test]
fn the_kernel_has_what_a_history_adds_up_to() {
    if !inside_own_namespaces("policy::the_kernel_has_what_a_history_adds_up_to") {
        return;
    }
    if Command::new("nft").arg("--version").output().is_err() {
        let _ = writeln!(File::options().write(true).open("/dev/stderr").unwrap(), "SKIPPED: needs nft");
        return;
    }
    let netfilter = crate::nft::Netfilter::open().unwrap();
    let listed = || {
        let out = Command::new("nft").args(["-j", "list", "table", "ip", "test-policy"]).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut lines: Vec<String> = value["nftables"].as_array().unwrap().iter().map(plainly).collect();
        lines.sort();
        lines
    };
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = |end: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % end
    };
    let mut stepwise = crate::policy::InForce::of("test");
    let mut fresh = crate::policy::InForce::of("test");
    let mut now = any_spec(&mut below);
    stepwise.change(&netfilter, anew(&now)).unwrap();
    for step in 0..60 {
        let next = any_spec(&mut below);
        // Edits that the kernel takes as they are, not by way of everything anew.
        let batch = stepwise.edits(&edits(&now, &next));
        netfilter.change(batch, "test-policy", "a step").unwrap_or_else(|why| panic!("step {step}: {why}"));
        stepwise.assume(next.clone());
        let found = listed();
        fresh.change(&netfilter, anew(&next)).unwrap();
        assert_eq!(found, listed(), "step {step}");
        now = next;
    }
}

/// Without the numbers that the kernel gives, nor the order of elements.
fn plainly(line: &serde_json::Value) -> String {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("handle");
                fields.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => {
                items.iter_mut().for_each(strip);
                if items.iter().all(|item| !item.is_object() || item.get("match").is_none()) {
                    items.sort_by_key(ToString::to_string);
                }
            }
            _ => {}
        }
    }
    let mut line = line.clone();
    strip(&mut line);
    line.to_string()
}

fn any_spec(below: &mut impl FnMut(u64) -> u64) -> Spec {
    let mut spec = Spec::default();
    let ip = |below: &mut dyn FnMut(u64) -> u64| IpAddr::V4(Ipv4Addr::new(10, 0, 0, below(12) as u8));
    for set in ["s0", "s1", "s2"] {
        if below(3) > 0 {
            let of_ports = set == "s2";
            let port = of_ports.then_some((6, 80));
            let elements = (0..below(5)).map(|_| Element { address: ip(below), port }).collect();
            spec.sets.insert(set.into(), Set { of_ports, elements });
        }
    }
    for (name, direction) in [("in/x", Direction::Ingress), ("in/y", Direction::Ingress), ("out/x", Direction::Egress)]
    {
        if name == "in/x" || below(3) > 0 {
            let rule = |below: &mut dyn FnMut(u64) -> u64| {
                let set = ["s0", "s1"][below(2) as usize];
                let set = spec.sets.contains_key(set).then(|| set.into());
                let ranges = vec![([10, 0, 0, 1].into(), [10, 0, 0, 1 + below(3) as u8].into())];
                let named = spec.sets.contains_key("s2").then(|| "s2".into()).into_iter().collect();
                let numbers = [(6, None), (17, Some(vec![(below(9) as u16, 9), (65_535, 65_535)]))].into();
                Allow {
                    peers: (below(2) == 0).then_some(Peers { set, ranges }),
                    ports: (below(2) == 0).then_some(Ports { numbers, named }),
                }
            };
            let rules = (0..below(3)).map(|_| rule(below)).collect();
            spec.policies.insert(name.into(), Policy { direction, rules });
        }
    }
    let policies: Vec<Name> = spec.policies.keys().cloned().collect();
    for (group, way) in [("to/0", "in"), ("to/1", "in"), ("from/0", "out")] {
        let mine: Vec<Name> = policies.iter().filter(|one| one.starts_with(way)).cloned().collect();
        if mine.is_empty() || below(4) == 0 {
            continue;
        }
        let some = mine[..1 + below(mine.len() as u64) as usize].to_vec();
        spec.groups.insert(group.into(), some);
        let all = if way == "in" { &mut spec.ingress } else { &mut spec.egress };
        for _ in 0..below(4) {
            all.insert(ip(below), group.into());
        }
    }
    spec
}

fn edits(old: &Spec, new: &Spec) -> Edits {
    fn differs<K: Ord + Clone, V: Clone + PartialEq>(
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
    ) -> BTreeMap<K, Option<V>> {
        let keys = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key));
        keys.map(|key| (key.clone(), new.get(key).cloned())).collect()
    }
    let mut sets = BTreeMap::new();
    for (name, set) in differs(&old.sets, &new.sets) {
        let edit = match (old.sets.get(&name), set) {
            (None, Some(set)) => SetEdit::Made(set),
            (Some(was), Some(set)) => SetEdit::Changed {
                added: set.elements.difference(&was.elements).copied().collect(),
                removed: was.elements.difference(&set.elements).copied().collect(),
            },
            (_, None) => SetEdit::Gone,
        };
        sets.insert(name, edit);
    }
    Edits {
        sets,
        policies: differs(&old.policies, &new.policies),
        groups: differs(&old.groups, &new.groups),
        ingress: differs(&old.ingress, &new.ingress),
        egress: differs(&old.egress, &new.egress),
    }
}
