use super::*;

/// A service of the name, made in the order of the names.
fn service(name: &str, more: Value) -> Service {
    let mut value = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": format!("2026-01-01T00:00:0{}Z", name.len())},
        "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]}});
    for (pointer, part) in more.as_object().unwrap() {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[key] = part.clone();
    }
    Service::of(&Object::from_value(&value).unwrap()).unwrap()
}

fn having(ips: &[&str]) -> Value {
    let ingress: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
    json!({"/status": {"loadBalancer": {"ingress": ingress}}})
}

fn shown(placed: Result<Vec<IpAddr>, Why>) -> String {
    match placed {
        Ok(ips) => ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        Err(why) => why.to_string(),
    }
}

#[test]
fn without_a_pool_a_service_has_the_nodes_addresses_and_the_older_the_port() {
    let nodes: BTreeSet<IpAddr> = ["10.0.0.1", "10.0.0.2", "fd00::1"].iter().map(|ip| ip.parse().unwrap()).collect();
    let ground = Ground { nodes, reserved: [6443, 10250].into(), pool: &[] };
    let placed = |own: &Service, others: &[Service]| shown(place(own, others, &ground));
    let (old, new) = (service("a", json!({})), service("bb", json!({})));
    assert_eq!(placed(&new, &[]), "10.0.0.1 10.0.0.2");
    assert_eq!(placed(&service("b", json!({"/spec/ipFamilies": ["IPv6"]})), &[]), "fd00::1");
    assert_eq!(placed(&new, std::slice::from_ref(&old)), "port 80/TCP of the nodes is that of service n/a");
    assert_eq!(placed(&old, std::slice::from_ref(&new)), "10.0.0.1 10.0.0.2");
    // Whoever has it keeps it.
    assert_eq!(
        placed(&old, &[service("bb", having(&["10.0.0.1"]))]),
        "port 80/TCP of the nodes is that of service n/bb"
    );
    for (what, other) in [
        ("another port", json!({"/spec/ports": [{"port": 81, "protocol": "TCP"}]})),
        ("another protocol", json!({"/spec/ports": [{"port": 80, "protocol": "UDP"}]})),
        ("another's class", json!({"/spec/loadBalancerClass": "a.example/b"})),
        ("on its way out", json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"})),
    ] {
        assert_eq!(placed(&new, &[service("a", other)]), "10.0.0.1 10.0.0.2", "{what}");
    }
    let asking = |name: &str, ip: &str| service(name, json!({"/spec/loadBalancerIP": ip}));
    assert_eq!(placed(&asking("a", "10.0.0.2"), &[]), "10.0.0.2");
    assert_eq!(placed(&asking("bb", "10.0.0.2"), &[asking("a", "10.0.0.1")]), "10.0.0.2");
    for other in ["10.0.0.9", "fd00::1", "x"] {
        assert_eq!(placed(&asking("a", other), &[]), format!("loadBalancerIP {other} is no address that it can have"));
    }
    let nobody = Ground { nodes: BTreeSet::new(), reserved: BTreeSet::new(), pool: &[] };
    assert_eq!(shown(place(&new, &[], &nobody)), "no node has an address of its family");
    // Nobody takes the API's port from it, or the nodes'.
    let taking =
        |protocol: &str, port: i64| service("a", json!({"/spec/ports": [{"port": port, "protocol": protocol}]}));
    for port in [6443, 10250] {
        let why = format!("port {port}/TCP of the nodes is that of the cluster itself");
        assert_eq!(placed(&taking("TCP", port), &[]), why);
    }
    assert_eq!(placed(&taking("UDP", 6443), &[]), "10.0.0.1 10.0.0.2");
}

#[test]
fn of_a_pool_each_service_has_an_address_for_itself() {
    let pool: Vec<AddressPool> = vec!["192.0.2.0-192.0.2.2".parse().unwrap()];
    // A node's own address in the pool is nobody's.
    let ground = Ground { nodes: ["192.0.2.0".parse().unwrap()].into(), reserved: [80].into(), pool: &pool };
    let placed = |own: &Service, others: &[Service]| shown(place(own, others, &ground));
    let own = service("bb", json!({}));
    assert_eq!(placed(&own, &[]), "192.0.2.1");
    let first = service("a", having(&["192.0.2.1"]));
    assert_eq!(placed(&own, std::slice::from_ref(&first)), "192.0.2.2", "the same port at another address");
    assert_eq!(
        placed(&own, &[first.clone(), service("c", having(&["192.0.2.2"]))]),
        "all addresses of the pool are used (--load-balancer-pool)"
    );
    assert_eq!(placed(&service("bb", having(&["192.0.2.2"])), &[]), "192.0.2.2", "it keeps what it has");
    assert_eq!(placed(&service("bb", having(&["192.0.2.9"])), &[]), "192.0.2.1", "the pool is another now");
    assert_eq!(
        placed(&service("bb", having(&["192.0.2.1"])), std::slice::from_ref(&first)),
        "192.0.2.2",
        "found twice"
    );
    assert_eq!(placed(&first, &[service("bb", having(&["192.0.2.1"]))]), "192.0.2.1");
    let asking = |ip: &str| service("bb", json!({"/spec/loadBalancerIP": ip}));
    assert_eq!(placed(&asking("192.0.2.2"), &[]), "192.0.2.2");
    assert_eq!(placed(&asking("192.0.2.1"), &[first]), "loadBalancerIP 192.0.2.1 is that of service n/a");
    for other in ["192.0.2.3", "192.0.2.0"] {
        assert_eq!(placed(&asking(other), &[]), format!("loadBalancerIP {other} is no address that it can have"));
    }
}

#[test]
fn a_service_is_ours_without_a_class_or_of_ours() {
    let held = json!({"/metadata/finalizers": [FINALIZER]});
    let with = |more: Value| {
        let mut all = held.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service("a", all).step()
    };
    assert_eq!(service("a", json!({})).step(), Step::Balance);
    assert_eq!(service("a", json!({"/spec/loadBalancerClass": CLASS})).step(), Step::Balance);
    assert_eq!(service("a", json!({"/spec/loadBalancerClass": "a.example/b"})).step(), Step::Nothing);
    assert_eq!(service("a", json!({"/metadata/deletionTimestamp": "t"})).step(), Step::Nothing);
    assert_eq!(with(json!({})), Step::Balance);
    assert_eq!(with(json!({"/metadata/deletionTimestamp": "t"})), Step::CleanUp);
    assert_eq!(with(json!({"/spec/type": "ClusterIP"})), Step::CleanUp);
    assert_eq!(
        with(json!({"/spec/loadBalancerClass": "a.example/b", "/metadata/deletionTimestamp": "t"})),
        Step::Nothing
    );
}

#[test]
fn nodes_that_are_ready_have_a_part_unless_they_are_excluded() {
    let node = |ip: &str, ready: &str, more: Value| {
        let mut value = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": ip, "labels": {}}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": ip},
                    {"type": "ExternalIP", "address": "192.0.2.1"}]}});
        for (pointer, part) in more.as_object().unwrap() {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            value.pointer_mut(parent).unwrap()[key] = part.clone();
        }
        Object::from_value(&value).unwrap()
    };
    let all = |nodes: &[Object]| shown(Ok(of_nodes(&mut nodes.iter()).0.into_iter().collect()));
    let (well, ill) = (node("10.0.0.1", "True", json!({})), node("10.0.0.2", "False", json!({})));
    assert_eq!(all(&[well.clone(), ill.clone()]), "10.0.0.1");
    assert_eq!(all(&[ill]), "10.0.0.2", "none is ready");
    for out in [
        json!({"/metadata/labels": {EXCLUDED: ""}}),
        json!({"/metadata/labels": {EXCLUDED: "true"}}),
        json!({"/metadata/deletionTimestamp": "2026-01-01T00:00:00Z"}),
        json!({"/spec/taints": [{"key": TO_BE_DELETED, "effect": "NoSchedule"}]}),
    ] {
        assert_eq!(all(&[well.clone(), node("10.0.0.3", "True", out.clone())]), "10.0.0.1", "{out}");
    }
    let kept = node("10.0.0.3", "True", json!({"/metadata/labels": {EXCLUDED: "false"}}));
    assert_eq!(all(&[well, kept]), "10.0.0.1 10.0.0.3");
    let own = json!({"/status/daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}});
    assert_eq!(of_nodes(&mut [node("10.0.0.1", "True", own)].iter()).1, [10250].into());
}
