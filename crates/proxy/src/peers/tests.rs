use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn settings() -> Settings {
    Settings { node: "own".into(), way: Way::Auto, vxlan: Vxlan { id: 7, port: 4789 } }
}

/// `NAME CREATED ADDRESS[,ADDRESS] [RANGE,…]`
fn node(text: &str) -> Object {
    let words: Vec<&str> = text.split(' ').collect();
    let addresses: Vec<_> = words[2].split(',').map(|a| json!({"type": "InternalIP", "address": a})).collect();
    let host = json!({"type": "Hostname", "address": words[0]});
    let addresses = [vec![host], addresses].concat();
    let ranges: Vec<&str> = words.get(3).map(|ranges| ranges.split(',').collect()).unwrap_or_default();
    let spec = match ranges.first() {
        Some(first) => json!({"podCIDR": first, "podCIDRs": ranges}),
        None => json!({}),
    };
    Object::from_value(&json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": words[0], "creationTimestamp": format!("2026-01-01T00:00:0{}Z", words[1])},
        "spec": spec, "status": {"addresses": addresses},
    }))
    .unwrap()
}

fn told(peers: &Peers) -> String {
    let mut text = format!("own {:?}\n", peers.own.map(|own| own.to_string()));
    for peer in &peers.others {
        let ranges: Vec<String> = peer.ranges.iter().map(IpNet::to_string).collect();
        text += &format!("{} {} {}\n", peer.name, peer.address, ranges.join(","));
    }
    text
}

fn check(nodes: &[&str], wanted: Expect) {
    let nodes: Vec<Object> = nodes.iter().map(|text| node(text)).collect();
    wanted.assert_eq(&told(&peers(&nodes, &settings(), &[])));
}

#[test]
fn every_other_node_with_an_address_and_a_range_is_a_peer() {
    check(
        &[
            "a 2 192.0.2.2 10.244.1.0/24",
            "b 1 fd00::3,192.0.2.3 10.244.2.0/24,fd01::/64",
            "no-range 1 192.0.2.4",
            "no-address 1 host.example 10.244.9.0/24",
            "own 1 192.0.2.1 10.244.0.0/24",
        ],
        expect![[r#"
            own Some("192.0.2.1")
            b 192.0.2.3 10.244.2.0/24,fd01::/64
            a 192.0.2.2 10.244.1.0/24
        "#]],
    );
}

/// Who says an address first keeps it, whoever is older; nobody gets another's packets by claiming to be there.
#[test]
fn who_had_an_address_is_believed_before_who_claims_it() {
    let nodes = |texts: &[&str]| texts.iter().map(|text| node(text)).collect::<Vec<_>>();
    let before = nodes(&["old 1 192.0.2.2 10.244.1.0/24", "victim 5 192.0.2.3 10.244.2.0/24"]);
    let before = peers(&before, &settings(), &[]);
    let after = nodes(&["old 1 192.0.2.3 10.244.1.0/24", "victim 5 192.0.2.3 10.244.2.0/24"]);
    let after = peers(&after, &settings(), &before.others);
    expect![[r#"
        own None
        victim 192.0.2.3 10.244.2.0/24
        old 192.0.2.3 10.244.1.0/24
    "#]]
    .assert_eq(&told(&after));
}
