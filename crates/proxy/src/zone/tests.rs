use std::collections::BTreeMap;

use client::Key;
use expect_test::{Expect, expect};
use net::dns::{Difference, Name, Records};
use serde_json::{Value, json};

use super::{Service, Slice, Zone, records};

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"spec": spec})).unwrap()
}

fn slices(all: Value) -> Vec<Slice> {
    serde_json::from_value(all).unwrap()
}

fn lines<'a>(names: impl IntoIterator<Item = (&'a Name, &'a Records)>) -> String {
    let line = |(name, records): (&Name, &Records)| match records {
        Records::Targets(targets) => {
            let target = |t: &net::dns::Target| format!("{}:{} {} {:?}", t.name, t.port, t.weight, t.addresses);
            format!("{name} {}", targets.iter().map(target).collect::<Vec<_>>().join(", "))
        }
        other => format!("{name} {other:?}"),
    };
    let mut lines: Vec<String> = names.into_iter().map(line).collect();
    lines.sort();
    lines.join("\n")
}

fn check(spec: Value, all: Value, expected: Expect) {
    let zone = Name::parse("svc.cluster.local").unwrap();
    let made = records(&zone, &Key::new("ns", "web"), &service(spec), &slices(all));
    let pointers = made.pointers.iter().map(|((address, endpoint), names)| format!("\n{address} {endpoint} {names:?}"));
    expected.assert_eq(&(lines(&made.names) + &pointers.collect::<String>()));
}

#[test]
fn a_service_with_addresses_has_its_own_name_and_its_named_ports() {
    let spec = json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
            {"port": 81, "protocol": "TCP"}]});
    let endpoints = json!([{"endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}},
        {"addresses": ["10.244.0.3"], "conditions": {"ready": false}}], "ports": [{"name": "http", "port": 8080}]}]);
    check(
        spec,
        endpoints,
        expect![[r#"
        _dns._udp.web.ns.svc.cluster.local. web.ns.svc.cluster.local.:53 100 [10.96.0.7, fd00::7]
        _http._tcp.web.ns.svc.cluster.local. web.ns.svc.cluster.local.:80 100 [10.96.0.7, fd00::7]
        _tcp.web.ns.svc.cluster.local. Nothing
        _udp.web.ns.svc.cluster.local. Nothing
        web.ns.svc.cluster.local. Host { addresses: [10.96.0.7, fd00::7], below: [10.244.0.2] }
        10.96.0.7 false [web.ns.svc.cluster.local.]
        fd00::7 false [web.ns.svc.cluster.local.]"#]],
    );
    check(json!({"type": "ClusterIP", "ports": [{"name": "a", "port": 1}]}), json!([]), expect![[""]]);
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    let spec = json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"name": "sql", "port": 5432}]});
    let two = json!([
        {"endpoints": [{"addresses": ["10.244.0.2"], "conditions": {"ready": true}, "hostname": "db-0"},
            {"addresses": ["10.244.0.3"], "conditions": {}, "hostname": "db-1"},
            {"addresses": ["10.244.0.4"], "conditions": {"ready": false}, "hostname": "db-2"}],
         "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}, {"name": "", "port": 1}]},
        {"endpoints": [{"addresses": ["fd00::5"]}], "ports": [{"name": "sql", "port": 5433, "protocol": "TCP"}]}]);
    check(
        spec.clone(),
        two,
        expect![[r#"
        _sql._tcp.web.ns.svc.cluster.local. db-0.web.ns.svc.cluster.local.:5432 33 [10.244.0.2], db-1.web.ns.svc.cluster.local.:5432 33 [10.244.0.3], fd00--5.web.ns.svc.cluster.local.:5433 33 [fd00::5]
        _tcp.web.ns.svc.cluster.local. Nothing
        db-0.web.ns.svc.cluster.local. Addresses([10.244.0.2])
        db-1.web.ns.svc.cluster.local. Addresses([10.244.0.3])
        web.ns.svc.cluster.local. Host { addresses: [10.244.0.2, 10.244.0.3, fd00::5], below: [fd00::5] }
        10.244.0.2 true [db-0.web.ns.svc.cluster.local.]
        10.244.0.3 true [db-1.web.ns.svc.cluster.local.]"#]],
    );
    let none =
        json!([{"endpoints": [{"addresses": ["10.244.0.4"], "conditions": {"ready": false}}]}, {"endpoints": null}]);
    check(spec.clone(), none, expect![[""]]);
    let portless = json!([{"endpoints": [{"addresses": ["10.244.0.4"]}], "ports": null}]);
    check(
        spec,
        portless,
        expect![[r#"
        web.ns.svc.cluster.local. Host { addresses: [10.244.0.4], below: [10.244.0.4] }"#]],
    );
}

#[test]
fn an_external_name_is_an_alias() {
    let of = |external: &str| json!({"type": "ExternalName", "externalName": external});
    check(of("www.Example.com"), json!([]), expect!["web.ns.svc.cluster.local. Alias(www.example.com.)"]);
    check(of("192.0.2.1"), json!([]), expect![[""]]);
    check(of(""), json!([]), expect![[""]]);
    check(of(&"x".repeat(64)), json!([]), expect![[""]]);
}

#[test]
fn names_at_their_longest_are_names_and_what_is_longer_has_none() {
    let zone = Name::parse("svc.cluster.local").unwrap();
    let spec = service(json!({"clusterIP": "10.96.0.7", "ports": [{"name": "a", "port": 1}]}));
    let made = |name: &str| records(&zone, &Key::new(&"n".repeat(63), name), &spec, &[]).names.len();
    assert_eq!([made(&"s".repeat(63)), made(&"s".repeat(64))], [3, 0]);
}

/// Objects change at random; what the differences add up to is what would be made of them at once.
#[test]
fn differences_add_up_to_the_whole() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % bound
    };
    let (mut zone, first) = Zone::new("cluster.local").unwrap();
    let mut table = BTreeMap::new();
    let apply = |table: &mut BTreeMap<Name, Records>, difference: Difference| {
        for name in difference.gone {
            table.remove(&name);
        }
        table.extend(difference.put);
    };
    apply(&mut table, first);
    let mut services: BTreeMap<Key, (Service, Vec<Slice>)> = BTreeMap::new();
    let mut namespaces: BTreeMap<String, bool> = BTreeMap::new();
    for step in 0..4000 {
        let key = Key::new(&format!("ns{}", below(3)), &format!("s{}", below(4)));
        match below(8) {
            0 => {
                let name = key.namespace.to_string();
                let exists = below(2) == 0;
                namespaces.insert(name.clone(), exists);
                apply(&mut table, zone.namespace(&name, exists));
            }
            1 => {
                services.remove(&key);
                apply(&mut table, zone.service(&key, None));
            }
            _ => {
                let address = format!("10.96.0.{}", below(6));
                let spec = match below(4) {
                    0 => json!({"type": "ExternalName", "externalName": "example.com"}),
                    1 => json!({"clusterIP": "None", "ports": []}),
                    2 => json!({"clusterIP": address, "ports": [{"name": format!("p{}", below(2)), "port": below(3)}]}),
                    _ => json!({"clusterIP": ""}),
                };
                let mut endpoint = || {
                    let named = below(2) == 0;
                    json!({"addresses": [format!("10.244.0.{}", below(4))], "conditions": {"ready": below(3) > 0},
                        "hostname": named.then(|| format!("h{}", below(2)))})
                };
                let all: Vec<Value> = (0..step % 3)
                    .map(|_| json!({"endpoints": [endpoint(), endpoint()], "ports": [{"name": "p", "port": 1}]}))
                    .collect();
                let made = (service(spec), slices(json!(all)));
                apply(&mut table, zone.service(&key, Some((&made.0, &made.1))));
                services.insert(key, made);
            }
        }
        if step % 7 == 0 {
            let (mut anew, first) = Zone::new("cluster.local").unwrap();
            let mut whole = BTreeMap::new();
            apply(&mut whole, first);
            for (name, exists) in &namespaces {
                apply(&mut whole, anew.namespace(name, *exists));
            }
            for (key, (service, slices)) in &services {
                apply(&mut whole, anew.service(key, Some((service, slices))));
            }
            assert_eq!(lines(&table), lines(&whole), "after step {step}");
        }
    }
}

#[test]
fn a_change_of_one_service_touches_its_names_alone() {
    let (mut zone, _) = Zone::new("cluster.local").unwrap();
    let headless = service(json!({"clusterIP": "None"}));
    let of = |last: u8| slices(json!([{"endpoints": [{"addresses": [format!("10.244.0.{last}")], "hostname": "a"}]}]));
    for name in ["one", "two"] {
        zone.service(&Key::new("ns", name), Some((&headless, &of(1))));
    }
    let difference = zone.service(&Key::new("ns", "two"), Some((&headless, &of(2))));
    expect![[r#"
        1.0.244.10.in-addr.arpa. Pointers([a.one.ns.svc.cluster.local.])
        2.0.244.10.in-addr.arpa. Pointers([a.two.ns.svc.cluster.local.])
        a.two.ns.svc.cluster.local. Addresses([10.244.0.2])
        two.ns.svc.cluster.local. Addresses([10.244.0.2])
        gone []"#]]
    .assert_eq(&format!("{}\ngone {:?}", lines(difference.put.iter().map(|(n, r)| (n, r))), difference.gone));
}
