//! Endpoints of Services and their pods, as tables.

use std::fmt::Write;

use expect_test::{Expect, expect};

use super::*;

fn service(spec: Value) -> Object {
    let mut whole = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    // What is absent is not stored.
    whole.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let meta = json!({"name": "web", "namespace": "n", "uid": "s", "labels": {"tier": "a"}});
    Object::from_value(&json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": whole})).unwrap()
}

/// `a 10.0.0.1`, with the words `unready`, `ending`, `named`, `hosted`.
fn pod(line: &str) -> Arc<Pod> {
    let words: Vec<&str> = line.split(' ').collect();
    let is = |word: &str| words.contains(&word);
    let ips: Vec<Value> = words[1].split(',').map(|ip| json!({"ip": ip})).collect();
    let mut pod = json!({"metadata": {"name": words[0], "namespace": "n", "uid": words[0], "resourceVersion": "1"},
        "spec": {"nodeName": "n1"}, "status": {"podIPs": ips,
            "conditions": [{"type": "Ready", "status": if is("unready") { "False" } else { "True" }}]}});
    if is("ending") {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if is("named") {
        pod["spec"]["containers"] = json!([{"ports": [{"name": "web", "containerPort": 81, "protocol": "TCP"}]}]);
    }
    if is("hosted") {
        pod["spec"]["hostname"] = json!("first");
        pod["spec"]["subdomain"] = json!("web");
    }
    Arc::new(Pod::of(&Object::from_value(&pod).unwrap()))
}

fn planned(service: &Object, pods: &[Arc<Pod>], found: Option<&Object>) -> Option<Object> {
    plan(service, &Service::of(service), pods, found).map(|value| Object::from_value(&value).unwrap())
}

/// A line a subset.
fn shown(endpoints: &Object) -> String {
    let mut text = String::new();
    for subset in subset::of(endpoints) {
        let one = |address: &Address| {
            let host = if address.hostname.is_empty() { String::new() } else { format!("({})", address.hostname) };
            format!("{}{host}", address.ip)
        };
        let ready: Vec<String> = subset.addresses.iter().map(one).collect();
        let others: Vec<String> = subset.not_ready_addresses.iter().map(one).collect();
        let ports: Vec<String> =
            subset.ports.iter().map(|port| format!("{}={}/{}", port.name, port.port, port.protocol)).collect();
        writeln!(text, "[{}] ready {ready:?} not {others:?}", ports.join(" ")).unwrap();
    }
    text
}

fn check(spec: Value, lines: &[&str], expected: Expect) {
    let service = service(spec);
    let pods: Vec<Arc<Pod>> = lines.iter().map(|line| pod(line)).collect();
    let first = planned(&service, &pods, None).unwrap();
    expected.assert_eq(&shown(&first));
    assert!(planned(&service, &pods, Some(&first)).is_none(), "nothing is left to do");
    // kubernetes/kubernetes#129652: written by an older version, in another order.
    let mut turned = first.value();
    turned["subsets"].as_array_mut().unwrap().reverse();
    let turned = Object::from_value(&turned).unwrap();
    assert!(planned(&service, &pods, Some(&turned)).is_none(), "order is no reason");
}

#[test]
fn addresses_are_ready_or_not_and_ending_ones_are_gone() {
    let lines =
        ["c 10.0.0.3", "a 10.0.0.10", "b 10.0.0.2 unready", "d 10.0.0.4 ending", "e 10.0.0.5 hosted", "f 2001:db8::1"];
    check(
        json!({}),
        &lines,
        expect![[r#"
        [http=8080/TCP] ready ["10.0.0.10", "10.0.0.3", "10.0.0.5(first)"] not ["10.0.0.2"]
    "#]],
    );
    check(
        json!({"publishNotReadyAddresses": true}),
        &lines,
        expect![[r#"
        [http=8080/TCP] ready ["10.0.0.10", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5(first)"] not []
    "#]],
    );
    check(
        json!({"ipFamilies": ["IPv6", "IPv4"]}),
        &lines,
        expect![[r#"
        [http=8080/TCP] ready ["2001:db8::1"] not []
    "#]],
    );
    check(json!({}), &[], expect![[""]]);
}

#[test]
fn addresses_that_share_their_ports_share_a_subset() {
    let port = |name: &str, to: Value| json!({"name": name, "protocol": "TCP", "port": 1, "targetPort": to});
    let ports = json!([port("http", json!("web")), port("plain", json!(9)), port("more", json!(10))]);
    check(
        json!({"ports": ports}),
        &["a 10.0.0.1 named", "b 10.0.0.2", "c 10.0.0.3 named unready"],
        expect![[r#"
        [http=81/TCP] ready ["10.0.0.1"] not ["10.0.0.3"]
        [more=10/TCP plain=9/TCP] ready ["10.0.0.1", "10.0.0.2"] not ["10.0.0.3"]
    "#]],
    );
    // Where no port is found there is no address, but of a headless Service that has none at all.
    check(json!({"ports": [port("http", json!("web"))]}), &["b 10.0.0.2"], expect![[""]]);
    check(
        json!({"ports": null, "clusterIP": "None"}),
        &["b 10.0.0.2"],
        expect![[r#"
        [] ready ["10.0.0.2"] not []
    "#]],
    );
    check(json!({"ports": null}), &["b 10.0.0.2"], expect![[""]]);
}

#[test]
fn labels_are_the_services_and_say_who_writes_and_what_is_headless() {
    let (one, own) = ([pod("a 10.0.0.1")], service(json!({"clusterIP": "None"})));
    let first = planned(&own, &one, None).unwrap();
    let expected = json!({"name": "web", "namespace": "n", "labels": {"endpoints.kubernetes.io/managed-by": "endpoint-controller",
        "service.kubernetes.io/headless": "", "tier": "a"}});
    assert_eq!(first.value()["metadata"], expected);
    // That it is not headless any more is no reason; another label is, and so is that somebody else wrote them.
    assert!(planned(&service(json!({})), &one, Some(&first)).is_none());
    for (field, label) in [("tier", json!("b")), ("more", json!("x")), (MANAGED_BY, json!("me"))] {
        let mut changed = first.value();
        changed["metadata"]["labels"][field] = label;
        let changed = Object::from_value(&changed).unwrap();
        assert_eq!(planned(&own, &one, Some(&changed)).unwrap().value()["metadata"], expected, "{field}");
    }
}

/// kubernetes/kubernetes#126578, #127370: what was truncated is followed all the same.
#[test]
fn a_thousand_addresses_are_told_ready_ones_first() {
    let own = service(json!({}));
    let many = |ready: usize, others: usize| -> Vec<Arc<Pod>> {
        let line =
            |n: usize| format!("p{n} 10.0.{}.{}{}", n / 200, n % 200 + 1, if n < ready { "" } else { " unready" });
        (0..ready + others).map(|n| pod(&line(n))).collect()
    };
    let counts = |endpoints: &Object| -> Vec<(usize, usize)> {
        subset::of(endpoints).iter().map(|s| (s.addresses.len(), s.not_ready_addresses.len())).collect()
    };
    let note = |endpoints: &Object| endpoints.annotation(OVER_CAPACITY);
    for (ready, others, told, truncated) in [
        (900, 100, (900, 100), false),
        (900, 101, (900, 100), true),
        (1000, 5, (1000, 0), true),
        (1200, 7, (1000, 0), true),
    ] {
        let pods = many(ready, others);
        let first = planned(&own, &pods, None).unwrap();
        assert_eq!(counts(&first), [told], "{ready} {others}");
        assert_eq!(note(&first).as_deref(), truncated.then_some("truncated"));
        assert!(planned(&own, &pods, Some(&first)).is_none(), "it is not written again and again");
        let fewer = planned(&own, &pods[..800], Some(&first)).unwrap();
        assert_eq!((counts(&fewer), note(&fewer)), (vec![(800, 0)], None));
    }
    // Of each subset its share, rounded up until there is no room.
    let port = |name: &str, to: Value| json!({"name": name, "protocol": "TCP", "port": 1, "targetPort": to});
    let own = service(json!({"ports": [port("http", json!("web")), port("plain", json!(9))]}));
    let mut pods = many(1200, 3);
    pods[..300]
        .iter_mut()
        .enumerate()
        .for_each(|(n, one)| *one = pod(&format!("q{n} 10.1.{}.{} named", n / 200, n % 200 + 1)));
    let first = planned(&own, &pods, None).unwrap();
    let told = counts(&first);
    assert_eq!(told.iter().map(|(ready, _)| ready).sum::<usize>(), 1000, "{told:?}");
    assert!(planned(&own, &pods, Some(&first)).is_none());
}

#[test]
fn the_same_address_of_two_owners_is_two_and_not_ready_trumps_ready() {
    let address = |ip: &str, uid: &str| json!({"ip": ip, "targetRef": {"uid": uid}});
    let port = |name: &str, number: i64| json!({"name": name, "port": number, "protocol": "TCP"});
    let subsets = |list: Value| -> Vec<Subset> { serde_json::from_value(list).unwrap() };
    let packed = subset::repack(&subsets(json!([
        {"addresses": [address("10.0.0.1", "a"), address("10.0.0.1", "b")], "ports": [port("x", 1)]},
        {"notReadyAddresses": [address("10.0.0.1", "a")], "ports": [port("x", 1)]}])));
    let expected = json!([{"addresses": [address("10.0.0.1", "b")], "notReadyAddresses": [address("10.0.0.1", "a")],
        "ports": [port("x", 1)]}]);
    assert_eq!(packed, subsets(expected));
    assert_eq!(subset::repack(&packed), packed);
}

/// As pkg/api/v1/endpoints.RepackSubsets of upstream's module ordered them.
#[test]
fn subsets_and_ports_stand_in_upstreams_order() {
    let subsets = r#"[{"addresses":[{"ip":"10.0.0.2","hostname":"h"}],"notReadyAddresses":[{"ip":"10.0.0.3"}],
        "ports":[{"port":9,"protocol":"TCP"}]},{"addresses":[{"ip":"10.0.0.4","nodeName":""}]},
        {"notReadyAddresses":[{"ip":"10.0.0.5"}],"ports":[{"name":"z","port":7,"protocol":"SCTP"}]},
        {"addresses":[{"ip":"10.0.0.1","nodeName":"n","targetRef":{"kind":"Pod","namespace":"d","name":"p","uid":"u"}}],
        "ports":[{"name":"b","port":1,"protocol":"TCP","appProtocol":"x/y"},{"name":"c","port":3,"protocol":"UDP"},
        {"name":"a","port":2,"protocol":"TCP"}]}]"#;
    let subsets: Vec<Subset> = serde_json::from_str(subsets).unwrap();
    let turned: Vec<Subset> = subsets.iter().rev().cloned().collect();
    assert_eq!(subset::repack(&turned), subsets);
}
