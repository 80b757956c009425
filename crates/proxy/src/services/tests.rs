//! What becomes of services and slices, by upstream's rules; and histories against the same made at once.

use std::collections::BTreeMap;

use api::Object;
use client::Key;
use expect_test::{Expect, expect};
use net::services::{At, Port, Protocol};
use serde_json::{Value, json};

use super::served::{Asked, shown};
use super::{Here, Local, Served, Slice, Table, served};

fn here() -> Here {
    Here { node: "n1".into(), zone: "z1".into(), addresses: vec!["192.0.2.10".parse().unwrap()] }
}

fn service(spec: Value) -> Object {
    let meta = json!({"namespace": "default", "name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"});
    let status = spec.get("status").cloned().unwrap_or_else(|| json!({}));
    Object::from_value(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec, "status": status}),
    )
    .unwrap()
}

fn plain(more: Value) -> Value {
    let mut spec = json!({
        "type": "ClusterIP", "clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"],
        "ports": [{"name": "", "protocol": "TCP", "port": 80}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// `10.244.1.2@n1 !ready serving terminating zone=z1 node=n2`
fn endpoint(text: &str) -> Value {
    let mut words = text.split(' ');
    let (address, node) = words.next().unwrap().split_once('@').unwrap();
    let mut endpoint = json!({"addresses": [address], "nodeName": node, "conditions": {"ready": true}});
    for word in words {
        match word.split_once('=') {
            Some(("zone", zone)) => endpoint["hints"]["forZones"] = json!([{"name": zone}]),
            Some((_, node)) => endpoint["hints"]["forNodes"] = json!([{"name": node}]),
            None => {
                let (word, value) = word.strip_prefix('!').map_or((word, true), |word| (word, false));
                endpoint["conditions"][word] = value.into();
            }
        }
    }
    endpoint
}

fn slice(endpoints: &[&str]) -> Value {
    let endpoints: Vec<Value> = endpoints.iter().map(|text| endpoint(text)).collect();
    json!({
        "addressType": "IPv4", "ports": [{"name": "", "protocol": "TCP", "port": 8080}], "endpoints": endpoints,
    })
}

fn tell(ports: &[(At, Port)]) -> String {
    let mut text = String::new();
    for (at, port) in ports {
        text += &shown(at);
        let list = |endpoints: &[std::net::SocketAddr]| {
            endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (name, endpoints) in [("cluster", &port.cluster), ("local", &port.local), ("serving", &port.serving)] {
            if !endpoints.is_empty() {
                text += &format!(" {name} [{}]", list(endpoints));
            }
        }
        if port.affinity > 0 {
            text += &format!(" for {} s", port.affinity);
        }
        text += "\n";
        for frontend in &port.frontends {
            let (at, inside, outside) = (shown(&frontend.at), frontend.inside, frontend.outside);
            let only = frontend.sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let only = if only.is_empty() { only } else { format!(" only {only}") };
            text += &format!("  {at} {inside:?}/{outside:?}{only}\n");
        }
    }
    text
}

fn ports_of(spec: Value, slices: &[Value], local: &Local) -> (Vec<Served>, Option<Asked>) {
    let slices: Vec<Slice> = slices.iter().map(|slice| serde_json::from_value(slice.clone()).unwrap()).collect();
    served(&service(spec), &slices, &here(), local)
}

fn check(spec: Value, endpoints: &[&str], wanted: Expect) {
    let (ports, asked) = ports_of(spec, &[slice(endpoints)], &Local::new());
    let ports: Vec<(At, Port)> = ports.into_iter().map(|served| (served.at, served.port)).collect();
    let asked = asked.map(|asked| format!("asked at {}: {}\n", asked.port, asked.local)).unwrap_or_default();
    wanted.assert_eq(&(tell(&ports) + &asked));
}

const TWO: [&str; 2] = ["10.244.1.2@n1", "10.244.2.2@n2"];

#[test]
fn a_cluster_address_leads_to_what_is_ready() {
    check(
        plain(json!({})),
        &TWO,
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.1.2:8080 10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
    check(
        plain(json!({})),
        &[],
        expect![[r#"
        10.96.0.20:80/Tcp
          10.96.0.20:80/Tcp Reject/Reject
    "#]],
    );
    check(
        plain(json!({})),
        &["10.244.1.2@n1 !ready", "10.244.2.2@n2"],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
    for spec in [json!({"type": "ExternalName"}), json!({"clusterIP": "None"}), json!({"clusterIP": ""})] {
        check(plain(spec), &TWO, expect![""]);
    }
}

#[test]
fn those_that_end_serve_only_when_nobody_else_does() {
    let ending = "10.244.1.2@n1 !ready serving terminating";
    check(
        plain(json!({})),
        &[ending, "10.244.2.2@n2"],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
    check(
        plain(json!({})),
        &[ending, "10.244.2.2@n2 !ready !serving terminating"],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.1.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
    // An address that another pod has by now.
    check(
        plain(json!({})),
        &["10.244.1.2@n1", ending],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.1.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
}

#[test]
fn policies_keep_to_this_node() {
    let inner = plain(json!({"internalTrafficPolicy": "Local"}));
    check(
        inner.clone(),
        &TWO,
        expect![[r#"
        10.96.0.20:80/Tcp local [10.244.1.2:8080]
          10.96.0.20:80/Tcp Local/Local
    "#]],
    );
    check(
        inner.clone(),
        &TWO[1..],
        expect![[r#"
        10.96.0.20:80/Tcp
          10.96.0.20:80/Tcp Drop/Drop
    "#]],
    );
    check(
        inner,
        &[],
        expect![[r#"
        10.96.0.20:80/Tcp
          10.96.0.20:80/Tcp Reject/Reject
    "#]],
    );
    let outer = plain(json!({
        "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "ports": [{"port": 80, "nodePort": 30080}],
        "externalIPs": ["203.0.113.9", "2001:db8::9"],
        "loadBalancerSourceRanges": ["192.0.2.0/24 ", "2001:db8::/32"],
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}, {"ip": "203.0.113.8", "ipMode": "Proxy"}]}},
    }));
    check(
        outer.clone(),
        &TWO,
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.1.2:8080 10.244.2.2:8080] local [10.244.1.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
          203.0.113.7:80/Tcp Cluster/Local only 192.0.2.0/24 203.0.113.7/32
          203.0.113.9:80/Tcp Cluster/Local
          0.0.0.0:30080/Tcp Cluster/Local
        asked at 31000: 1
    "#]],
    );
    check(
        outer,
        &TWO[1..],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
          203.0.113.7:80/Tcp Cluster/Drop only 192.0.2.0/24 203.0.113.7/32
          203.0.113.9:80/Tcp Cluster/Drop
          0.0.0.0:30080/Tcp Cluster/Drop
        asked at 31000: 0
    "#]],
    );
    // Nobody comes from outside: its policy is of no matter.
    check(
        plain(json!({"externalTrafficPolicy": "Local"})),
        &TWO[1..],
        expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
    "#]],
    );
}

#[test]
fn hints_count_where_all_have_them_and_one_is_for_here() {
    let three = |hints: [&str; 3]| {
        let [a, b, c] = hints;
        [format!("10.244.1.2@n1{a}"), format!("10.244.2.2@n2{b}"), format!("10.244.3.2@n3{c}")]
    };
    let cluster = |hints| {
        let endpoints = three(hints);
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let (ports, _) = ports_of(plain(json!({})), &[slice(&endpoints)], &Local::new());
        ports[0].port.cluster.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = "10.244.1.2 10.244.2.2 10.244.3.2";
    assert_eq!(cluster([" zone=z1", " zone=z1", " zone=z2"]), "10.244.1.2 10.244.2.2");
    assert_eq!(cluster([" zone=z1", " zone=z1", ""]), all);
    assert_eq!(cluster([" zone=z2", " zone=z2", " zone=z3"]), all);
    assert_eq!(cluster([" zone=z1 node=n1", " zone=z1 node=n2", " zone=z2 node=n3"]), "10.244.1.2");
    assert_eq!(cluster([" zone=z1 node=n2", " zone=z2 node=n2", " zone=z2 node=n3"]), "10.244.1.2");
    assert_eq!(cluster([" zone=z1 !ready", " zone=z1", " zone=z2"]), "10.244.2.2");
}

#[test]
fn ports_are_found_by_name_and_protocol_in_each_family() {
    let spec = plain(json!({
        "clusterIPs": ["10.96.0.20", "fd96::20"], "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 300}},
        "ports": [
            {"name": "dns", "protocol": "UDP", "port": 53}, {"name": "dns-tcp", "protocol": "TCP", "port": 53},
            {"name": "sctp", "protocol": "SCTP", "port": 53}, {"name": "no-such", "protocol": "TCP", "port": 54},
        ],
    }));
    let ports = json!([
        {"name": "dns", "protocol": "UDP", "port": 5353}, {"name": "dns-tcp", "protocol": "TCP", "port": 5354},
        {"name": "sctp", "protocol": "SCTP", "port": 5355}, {"name": "no-such", "protocol": "TCP"},
    ]);
    let slice = |family: &str, addresses: &[&str]| {
        let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
        json!({"addressType": family, "ports": ports, "endpoints": endpoints})
    };
    // Validation refuses the last ones of each.
    let v4 = slice("IPv4", &["10.244.1.2", "127.0.0.1", "169.254.1.1", "0.0.0.0", "224.0.0.1"]);
    let v6 = slice("IPv6", &["fd00::2", "::1", "fe80::1", "::", "ff02::1"]);
    let names = slice("FQDN", &["example.com"]);
    let (ports, _) = ports_of(spec, &[v4, v6, names], &Local::new());
    let ports: Vec<(At, Port)> = ports.into_iter().map(|served| (served.at, served.port)).collect();
    expect![[r#"
        10.96.0.20:53/Udp cluster [10.244.1.2:5353] serving [10.244.1.2:5353] for 300 s
          10.96.0.20:53/Udp Cluster/Cluster
        10.96.0.20:53/Tcp cluster [10.244.1.2:5354] for 300 s
          10.96.0.20:53/Tcp Cluster/Cluster
        10.96.0.20:53/Sctp cluster [10.244.1.2:5355] serving [10.244.1.2:5355] for 300 s
          10.96.0.20:53/Sctp Cluster/Cluster
        10.96.0.20:54/Tcp for 300 s
          10.96.0.20:54/Tcp Reject/Reject
        [fd96::20]:53/Udp cluster [[fd00::2]:5353] serving [[fd00::2]:5353] for 300 s
          [fd96::20]:53/Udp Cluster/Cluster
        [fd96::20]:53/Tcp cluster [[fd00::2]:5354] for 300 s
          [fd96::20]:53/Tcp Cluster/Cluster
        [fd96::20]:53/Sctp cluster [[fd00::2]:5355] serving [[fd00::2]:5355] for 300 s
          [fd96::20]:53/Sctp Cluster/Cluster
        [fd96::20]:54/Tcp for 300 s
          [fd96::20]:54/Tcp Reject/Reject
    "#]]
    .assert_eq(&tell(&ports));
}

#[test]
fn what_this_node_serves_itself_goes_there() {
    let at = At { address: [10, 96, 0, 20].into(), protocol: Protocol::Tcp, port: 80 };
    let local = Local::from([(at, "10.244.1.1:5353".parse().unwrap())]);
    for (policy, endpoints) in [("Cluster", &TWO[..]), ("Local", &TWO[1..]), ("Local", &[])] {
        let spec = plain(json!({"internalTrafficPolicy": policy}));
        let (ports, _) = ports_of(spec, &[slice(endpoints)], &local);
        assert_eq!(ports[0].port.cluster, ["10.244.1.1:5353".parse().unwrap()]);
        assert_eq!(tell(&[(at, ports[0].port.clone())]).lines().last(), Some("  10.96.0.20:80/Tcp Cluster/Cluster"));
    }
}

fn named(name: &str, since: u32, spec: Value) -> (Key, Option<Vec<Served>>) {
    let meta =
        json!({"namespace": "default", "name": name, "creationTimestamp": format!("2026-01-01T00:00:{since:02}Z")});
    let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec,
        "status": spec.get("status").cloned().unwrap_or_else(|| json!({}))});
    let slices = [serde_json::from_value(slice(&TWO)).unwrap()];
    let (ports, _) = served(&Object::from_value(&object).unwrap(), &slices, &here(), &Local::new());
    (Key::new("default", name), Some(ports))
}

/// CVE-2020-8554, as far as it can be held: no external address is another's address in the cluster.
#[test]
fn an_external_address_takes_nothing_that_is_anothers() {
    let victim = |since| named("victim", since, plain(json!({})));
    let thief = |since| {
        named(
            "thief",
            since,
            plain(json!({
                "clusterIP": "10.96.0.66", "clusterIPs": ["10.96.0.66"],
                "externalIPs": ["10.96.0.20", "203.0.113.7", "203.0.113.9"],
            })),
        )
    };
    let balanced = |since| {
        named(
            "balanced",
            since,
            plain(json!({
                "clusterIP": "10.96.0.30", "clusterIPs": ["10.96.0.30"],
                "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}},
            })),
        )
    };
    let wanted = expect![[r#"
        10.96.0.20:80/Tcp cluster [10.244.1.2:8080 10.244.2.2:8080]
          10.96.0.20:80/Tcp Cluster/Cluster
        10.96.0.30:80/Tcp cluster [10.244.1.2:8080 10.244.2.2:8080]
          10.96.0.30:80/Tcp Cluster/Cluster
          203.0.113.7:80/Tcp Cluster/Cluster
        10.96.0.66:80/Tcp cluster [10.244.1.2:8080 10.244.2.2:8080]
          10.96.0.66:80/Tcp Cluster/Cluster
          203.0.113.9:80/Tcp Cluster/Cluster
    "#]];
    let tell_all = |table: &Table| tell(&table.all().into_iter().collect::<Vec<_>>());
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let mut table = Table::default();
        for which in order {
            table.change(vec![[thief(0), victim(5), balanced(9)][which].clone()]);
        }
        wanted.assert_eq(&tell_all(&table));
        // What its owner gives up, the next one has.
        let changes = table.change(vec![(Key::new("default", "balanced"), None)]);
        let gone = At { address: [10, 96, 0, 30].into(), protocol: Protocol::Tcp, port: 80 };
        assert_eq!(changes.get(&gone), Some(&None));
        let next = At { address: [10, 96, 0, 66].into(), ..gone };
        assert_eq!(changes[&next].as_ref().unwrap().frontends.len(), 3);
    }
    // Two services with one address in the cluster (it is repaired elsewhere): the older one has it.
    let twin = named("twin", 9, plain(json!({"externalIPs": ["203.0.113.1"]})));
    let mut table = Table::default();
    table.change(vec![twin, victim(5)]);
    assert_eq!(table.all().into_values().map(|port| port.frontends.len()).collect::<Vec<_>>(), [1]);
}

#[test]
fn any_history_ends_as_if_planned_at_once() {
    let mut state = 7u64;
    let mut dice = |end: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % end
    };
    for _ in 0..40 {
        let (mut table, mut told) = (Table::default(), BTreeMap::<At, Port>::new());
        let mut model: BTreeMap<Key, Option<Vec<Served>>> = BTreeMap::new();
        for _ in 0..25 {
            let mut batch = Vec::new();
            for _ in 0..=dice(2) {
                let name = format!("s{}", dice(4));
                let cluster = format!("10.96.0.{}", dice(4));
                let spec = plain(json!({
                    "type": "NodePort", "clusterIP": cluster, "clusterIPs": [cluster],
                    "ports": [{"port": 80 + dice(2), "nodePort": 30000 + dice(2)}],
                    "externalIPs": [format!("10.96.0.{}", dice(4)), format!("203.0.113.{}", dice(2))],
                }));
                let (key, planned) = named(&name, dice(3) as u32, spec);
                let planned = if dice(4) == 0 { None } else { planned };
                batch.retain(|(other, _)| *other != key);
                model.insert(key.clone(), planned.clone());
                batch.push((key, planned));
            }
            for (at, port) in table.change(batch) {
                match port {
                    Some(port) => drop(told.insert(at, port)),
                    None => drop(told.remove(&at)),
                }
            }
            assert_eq!(told, table.all());
            let mut anew = Table::default();
            anew.change(model.clone().into_iter().collect());
            assert_eq!(told, anew.all());
            // No two have the same.
            let mut taken = std::collections::BTreeSet::new();
            assert!(told.values().flat_map(|port| &port.frontends).all(|frontend| taken.insert(frontend.at)));
        }
    }
}
