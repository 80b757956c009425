use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::kernel::{Observed, difference};
use super::*;
use crate::route::look::SeenRoute;

fn config() -> Config {
    Config {
        instance: "test".into(),
        pod_cidr: "10.244.0.0/24".parse().unwrap(),
        cluster_cidr: "10.244.0.0/16".parse().unwrap(),
        run_dir: PathBuf::new(),
        own_ports: Vec::new(),
    }
}

/// `NAME MTU[!] NET,…`: with the address of this machine in each; `!`: it is down.
fn links(texts: &[&str]) -> Vec<Link> {
    let link = |(number, text): (usize, &&str)| {
        let words: Vec<&str> = text.split(' ').collect();
        let nets = words[2].split(',').map(|net| net.parse::<Ipv4Net>().unwrap());
        Link {
            index: number as u32 + 1,
            name: words[0].into(),
            mtu: words[1].trim_end_matches('!').parse().unwrap(),
            is_up: !words[1].ends_with('!'),
            addresses: nets.map(|net| (net.addr(), net.trunc())).collect(),
        }
    };
    texts.iter().enumerate().map(link).collect()
}

/// `NAME ADDRESS RANGE,…`
fn peers(way: Way, others: &[&str]) -> Peers {
    let peer = |text: &&str| {
        let words: Vec<&str> = text.split(' ').collect();
        let ranges = words[2].split(',').map(|range| range.parse().unwrap()).collect();
        Peer { name: words[0].into(), address: words[1].parse().unwrap(), ranges }
    };
    let own = Some("192.0.2.1".parse().unwrap());
    Peers { own, others: others.iter().map(peer).collect(), way, vxlan: Vxlan { id: 7, port: 4789 } }
}

fn told(plan: &Plan) -> String {
    let mut text = String::new();
    for (to, hop) in &plan.routes {
        text += &match hop {
            Hop::Direct { link, gateway } => format!("{to} via {gateway} link {link}\n"),
            Hop::Tunnel(gateway) => format!("{to} via {gateway} tunnel\n"),
            Hop::Nowhere => format!("{to} nowhere\n"),
        };
    }
    for (mac, end) in &plan.ends {
        text += &format!("{} at {} is {mac:02x?}\n", end.gateway, end.address);
    }
    if let Some(Device { id, port, local, mtu }) = &plan.device {
        text += &format!("tunnel {id} from {local}:{port} mtu {mtu}\n");
    }
    text += &format!("pods' mtu {:?}\n", plan.mtu);
    for Refusal { node, why } in &plan.refused {
        text += &format!("{node}: {why}\n");
    }
    text
}

fn check(way: Way, others: &[&str], machine: &[&str], wanted: Expect) {
    wanted.assert_eq(&told(&plan(&config(), &peers(way, others), &links(machine))));
}

const MACHINE: &[&str] = &["lo 65536 127.0.0.1/8,10.244.0.1/32", "eth0 1500 192.0.2.1/24"];

#[test]
fn a_node_of_the_own_network_is_reached_directly_and_another_one_through_the_tunnel() {
    check(
        Way::Auto,
        &[],
        MACHINE,
        expect![[r#"
        10.244.0.0/24 nowhere
        pods' mtu Some(1500)
    "#]],
    );
    check(
        Way::Auto,
        &["b 192.0.2.2 10.244.1.0/24"],
        MACHINE,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 192.0.2.2 link 2
        pods' mtu Some(1500)
    "#]],
    );
    let both = &["b 192.0.2.2 10.244.1.0/24", "c 198.51.100.3 10.244.2.0/24,10.244.3.0/24"];
    check(
        Way::Auto,
        both,
        MACHINE,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 192.0.2.2 link 2
        10.244.2.0/24 via 10.244.2.1 tunnel
        10.244.3.0/24 via 10.244.2.1 tunnel
        10.244.2.1 at 198.51.100.3 is [0e, 67, c6, 33, 64, 03]
        tunnel 7 from 192.0.2.1:4789 mtu 1450
        pods' mtu Some(1450)
    "#]],
    );
    check(
        Way::Direct,
        both,
        MACHINE,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 192.0.2.2 link 2
        pods' mtu Some(1500)
        c: its address 198.51.100.3 is in no network of this machine, and only direct ways are wanted (--node-tunnel)
    "#]],
    );
    check(
        Way::Vxlan,
        both,
        MACHINE,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 10.244.1.1 tunnel
        10.244.2.0/24 via 10.244.2.1 tunnel
        10.244.3.0/24 via 10.244.2.1 tunnel
        10.244.1.1 at 192.0.2.2 is [0e, 67, c0, 00, 02, 02]
        10.244.2.1 at 198.51.100.3 is [0e, 67, c6, 33, 64, 03]
        tunnel 7 from 192.0.2.1:4789 mtu 1450
        pods' mtu Some(1450)
    "#]],
    );
}

#[test]
fn the_mtu_is_that_of_the_narrowest_way() {
    let both = &["b 192.0.2.2 10.244.1.0/24", "c 203.0.113.3 10.244.2.0/24"];
    let machine = &["lo 65536 127.0.0.1/8", "eth0 9000 192.0.2.1/24", "eth1 1400 203.0.113.1/24"];
    check(
        Way::Auto,
        both,
        machine,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 192.0.2.2 link 2
        10.244.2.0/24 via 203.0.113.3 link 3
        pods' mtu Some(1400)
    "#]],
    );
    check(
        Way::Vxlan,
        both,
        machine,
        expect![[r#"
        10.244.0.0/24 nowhere
        10.244.1.0/24 via 10.244.1.1 tunnel
        10.244.2.0/24 via 10.244.2.1 tunnel
        10.244.1.1 at 192.0.2.2 is [0e, 67, c0, 00, 02, 02]
        10.244.2.1 at 203.0.113.3 is [0e, 67, cb, 00, 71, 03]
        tunnel 7 from 192.0.2.1:4789 mtu 8950
        pods' mtu Some(8950)
    "#]],
    );
    check(
        Way::Auto,
        both,
        &["lo 65536 127.0.0.1/8", "eth0 1500! 192.0.2.1/24"],
        expect![[r#"
            10.244.0.0/24 nowhere
            10.244.1.0/24 via 192.0.2.2 link 2
            10.244.2.0/24 via 10.244.2.1 tunnel
            10.244.2.1 at 203.0.113.3 is [0e, 67, cb, 00, 71, 03]
            tunnel 7 from 192.0.2.1:4789 mtu 1450
            pods' mtu Some(1450)
        "#]],
    );
}

/// What a node says of itself is not believed against what others have, nor against what this machine is.
#[test]
fn nobody_gets_packets_of_others_by_claiming_them() {
    check(
        Way::Auto,
        &[
            "first 192.0.2.2 10.244.1.0/24",
            "same-address 192.0.2.2 10.244.2.0/24",
            "this-machine 192.0.2.1 10.244.3.0/24",
            "same-range 192.0.2.3 10.244.1.0/24",
            "part-of-a-range 192.0.2.4 10.244.1.128/25",
            "all 192.0.2.5 0.0.0.0/0",
            "this-nodes-range 192.0.2.6 10.244.0.128/25",
            "more-than-it 192.0.2.7 10.244.0.0/17",
            "elsewhere 192.0.2.8 10.96.0.0/24",
            "loopback 127.0.0.1 10.244.4.0/24",
            "linked 169.254.169.254 10.244.5.0/24",
            "six 2001:db8::1 10.244.6.0/24",
            "six-range 192.0.2.9 2001:db8::/64",
            "docker 192.0.2.10 10.244.7.0/24",
            "pod 10.244.0.9 10.244.8.0/24",
            "around-itself 10.244.9.9 10.244.9.0/24",
        ],
        &[MACHINE, &["docker0 1500 10.244.7.1/26"]].concat(),
        expect![[r#"
            10.244.0.0/24 nowhere
            10.244.1.0/24 via 192.0.2.2 link 2
            pods' mtu Some(1500)
            same-address: its address 192.0.2.2 is another node's
            this-machine: its address 192.0.2.1 is another node's
            same-range: its range 10.244.1.0/24 overlaps 10.244.1.0/24, which is another node's or this one's
            part-of-a-range: its range 10.244.1.128/25 overlaps 10.244.1.0/24, which is another node's or this one's
            all: its range 0.0.0.0/0 is no part of 10.244.0.0/16 (--cluster-cidr)
            this-nodes-range: its range 10.244.0.128/25 overlaps 10.244.0.0/24, which is another node's or this one's
            more-than-it: its range 10.244.0.0/17 overlaps 10.244.0.0/24, which is another node's or this one's
            elsewhere: its range 10.96.0.0/24 is no part of 10.244.0.0/16 (--cluster-cidr)
            loopback: its address 127.0.0.1 is no machine's
            linked: its address 169.254.169.254 is no machine's
            six: its address 2001:db8::1 is no IPv4 address: nodes reach each other by IPv4 only
            six-range: its range 2001:db8::/64: pods have one IPv4 address here, no other
            docker: its range 10.244.7.0/24 overlaps 10.244.7.0/26, the network at docker0
            pod: its address 10.244.0.9 is one of this node's pods'
            around-itself: its range 10.244.9.0/24 has the address 10.244.9.9 of a node
        "#]],
    );
}

#[test]
fn what_differs_is_made_and_nothing_else() {
    let config = config();
    let plan = plan(
        &config,
        &peers(Way::Auto, &["b 192.0.2.2 10.244.1.0/24", "c 198.51.100.3 10.244.2.0/24"]),
        &links(MACHINE),
    );
    let route = |to: &str, link, gateway: Option<&str>| SeenRoute {
        to: to.parse().unwrap(),
        link,
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        source: gateway.map(|_| config.gateway()),
        is_unreachable: gateway.is_none(),
    };
    let far: Ipv4Addr = "198.51.100.3".parse().unwrap();
    let gateway: Ipv4Addr = "10.244.2.1".parse().unwrap();
    let mut observed = Observed {
        device: plan.device.clone().map(|device| (9, device)),
        routes: vec![
            route("10.244.0.0/24", None, None),
            route("10.244.1.0/24", Some(2), Some("192.0.2.2")),
            route("10.244.2.0/24", Some(9), Some("10.244.2.1")),
        ],
        neighbours: [(gateway, mac_of(far))].into(),
        forwards: [(mac_of(far), far)].into(),
    };
    assert_eq!(difference(&config, &plan, &observed), []);
    observed.routes[1].gateway = Some("192.0.2.9".parse().unwrap());
    observed.routes[2].link = Some(8);
    observed.routes.push(route("10.244.5.0/24", Some(2), Some("192.0.2.5")));
    observed.neighbours = [(far, mac_of(far))].into();
    observed.forwards = [(mac_of(far), gateway), (mac_of(gateway), gateway)].into();
    let deeds: Vec<String> = difference(&config, &plan, &observed).iter().map(|deed| format!("{deed:?}\n")).collect();
    expect![[r#"
        RemoveRoute(10.244.5.0/24)
        RemoveNeighbour(9, 198.51.100.3)
        RemoveForward(9, [14, 103, 10, 244, 2, 1], 10.244.2.1)
        PutForward(9, [14, 103, 198, 51, 100, 3], 198.51.100.3)
        PutNeighbour(9, 10.244.2.1, [14, 103, 198, 51, 100, 3])
        PutRoute(10.244.1.0/24, Direct { link: 2, gateway: 192.0.2.2 }, Some(9))
        PutRoute(10.244.2.0/24, Tunnel(10.244.2.1), Some(9))
    "#]]
    .assert_eq(&deeds.concat());
}
