//! Plans, as tables: a Service, its pods and its slices, and what is done with them.

use std::fmt::Write;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

/// A Service of the namespace `n` with the UID `s`.
fn service(spec: Value) -> Object {
    service_with(json!({}), json!({}), spec)
}

fn service_with(labels: Value, annotations: Value, spec: Value) -> Object {
    let mut whole = json!({"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}]});
    for (field, value) in spec.as_object().unwrap() {
        whole[field] = value.clone();
    }
    // What is absent is not stored.
    whole.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "n", "uid": "s",
        "labels": labels, "annotations": annotations}, "spec": whole});
    Object::from_value(&service).unwrap()
}

/// `a 10.0.0.1 node`, with the words `unready`, `ending`, `failed`.
fn pod(line: &str) -> Object {
    let mut words = line.split(' ');
    let (name, ips, node) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let words: Vec<&str> = words.collect();
    let is = |word: &str| words.contains(&word);
    let ips: Vec<Value> = ips.split(',').map(|ip| json!({"ip": ip})).collect();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}"), "resourceVersion": "1"},
        "spec": {"nodeName": node, "containers": []},
        "status": {"phase": if is("failed") { "Failed" } else { "Running" }, "podIP": ips[0]["ip"], "podIPs": ips,
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
    Object::from_value(&pod).unwrap()
}

fn pods(lines: &[&str]) -> Vec<Arc<Pod>> {
    lines.iter().map(|line| Arc::new(Pod::of(&pod(line)))).collect()
}

/// As many, ready, on the node n1.
fn many(count: usize) -> Vec<Arc<Pod>> {
    let line = |n: usize| format!("p{n:04} 10.0.{}.{} n1", n / 200, n % 200 + 1);
    (0..count).map(|n| Arc::new(Pod::of(&pod(&line(n))))).collect()
}

/// Nodes with their zones; an empty one is none. All are ready and have a CPU.
fn topology(nodes: &[(&str, &str)]) -> Topology {
    let mut topology = Topology::default();
    for (name, zone) in nodes {
        topology.set(name, Some(node(zone, "1", "True")));
    }
    topology
}

fn node(zone: &str, cpu: &str, ready: &str) -> Node {
    let mut labels = json!({});
    if !zone.is_empty() {
        labels[topology::ZONE] = json!(zone);
    }
    let node = json!({"metadata": {"name": "n", "labels": labels}, "status": {"allocatable": {"cpu": cpu},
        "conditions": [{"type": "Ready", "status": ready}]}});
    Node::of(&Object::from_value(&node).unwrap())
}

fn planned(service: &Object, pods: &[Arc<Pod>], slices: Vec<Slice>, topology: &mut Topology) -> Plan {
    let key = Key::of(service);
    let spec = Service::of(service);
    plan(&Asked { key: &key, object: service, service: &spec, pods }, slices, topology)
}

/// What the server holds after a plan was carried out.
fn stored(service: &Object, plan: Plan) -> Vec<Slice> {
    let Changes { create, update, keep, .. } = plan.changes;
    let mut all = keep;
    for (at, slice) in create.into_iter().chain(update).enumerate() {
        let mut value = slice.to_value(service, &slice.annotations(None));
        if slice.found.is_none() {
            value["metadata"]["name"] = json!(format!("web-{}{at}", slice.family.as_str()));
        }
        all.push(Slice::of(&Object::from_value(&value).unwrap()).unwrap());
    }
    all
}

/// A line a slice, then what is told: `+` made, `~` changed, `-` ended, `=` kept.
fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    let Changes { create, update, delete, keep } = &plan.changes;
    for (sign, slices) in [('+', create), ('~', update), ('-', delete), ('=', keep)] {
        for slice in slices {
            let port = |port: &slice::Port| {
                format!(
                    "{}={}/{}",
                    port.name.as_deref().unwrap_or("?"),
                    port.port.unwrap_or(0),
                    port.protocol.as_deref().unwrap_or("?")
                )
            };
            let ports: Vec<String> = slice.ports.iter().map(port).collect();
            writeln!(text, "{sign} {} [{}]{}", slice.family.as_str(), ports.join(" "), endpoints(slice)).unwrap();
        }
    }
    for told in &plan.told {
        writeln!(text, "! {} {}", told.reason, told.message).unwrap();
    }
    plan.nodeless.iter().for_each(|why| writeln!(text, "! {why}").unwrap());
    text
}

fn endpoints(slice: &Slice) -> String {
    if slice.endpoints.len() > 9 {
        return format!(" {} endpoints", slice.endpoints.len());
    }
    let one = |endpoint: &Endpoint| {
        let conditions = &endpoint.conditions;
        let flag = |is: Option<bool>, word: &str| if is == Some(true) { format!(" {word}") } else { String::new() };
        let mut text = endpoint.addresses.join(",");
        text += &flag(conditions.ready, "ready");
        text += &flag(conditions.serving, "serving");
        text += &flag(conditions.terminating, "terminating");
        text += &endpoint.hostname.iter().map(|name| format!(" host={name}")).collect::<String>();
        text += &endpoint.zone.iter().map(|zone| format!(" in {zone}")).collect::<String>();
        let hints = endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().chain(&hints.for_nodes));
        text += &hints.map(|hint| format!(" for {}", hint.name)).collect::<String>();
        text
    };
    let all: Vec<String> = slice.endpoints.iter().map(one).collect();
    if all.is_empty() { String::new() } else { format!(" {}", all.join("; ")) }
}

fn check(service: &Object, pods: &[Arc<Pod>], expected: Expect) {
    let mut topology = topology(&[("n1", "z1"), ("n2", "")]);
    let first = planned(service, pods, Vec::new(), &mut topology);
    expected.assert_eq(&shown(&first));
    // Law 8: nothing is left to do.
    let again = planned(service, pods, stored(service, first), &mut topology).changes;
    assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{again:?}");
}

#[test]
fn conditions_tell_ready_serving_and_terminating() {
    let lines = [
        "a 10.0.0.1 n1",
        "b 10.0.0.2 n2 unready",
        "c 10.0.0.3 n1 ending",
        "d 10.0.0.4 n1 ending unready",
        "e 10.0.0.5 n1 failed",
        "f 10.0.0.6 n1 hosted",
    ];
    check(
        &service(json!({})),
        &pods(&lines),
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2; 10.0.0.3 serving terminating in z1; 10.0.0.4 terminating in z1; 10.0.0.6 ready serving host=first in z1
    "#]],
    );
    check(
        &service(json!({"publishNotReadyAddresses": true})),
        &pods(&lines),
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready; 10.0.0.3 ready serving terminating in z1; 10.0.0.4 ready terminating in z1; 10.0.0.6 ready serving host=first in z1
    "#]],
    );
}

#[test]
fn families_are_the_services() {
    let lines = ["a 10.0.0.1,2001:db8::1 n1", "b 10.0.0.2 n1"];
    check(
        &service(json!({"ipFamilies": ["IPv6", "IPv4"]})),
        &pods(&lines),
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving in z1
        + IPv6 [http=8080/TCP] 2001:db8::1 ready serving in z1
    "#]],
    );
    check(
        &service(json!({"ipFamilies": null, "clusterIP": "2001:db8::9"})),
        &pods(&lines),
        expect![[r#"
        + IPv6 [http=8080/TCP] 2001:db8::1 ready serving in z1
    "#]],
    );
    check(
        &service(json!({"ipFamilies": null, "clusterIP": "None", "ports": null})),
        &pods(&lines),
        expect![[r#"
        + IPv4 [] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving in z1
        + IPv6 [] 2001:db8::1 ready serving in z1
    "#]],
    );
}

#[test]
fn pods_that_have_a_named_port_and_those_that_do_not_are_in_different_slices() {
    let port = |name: &str, to: Value| json!({"name": name, "protocol": "TCP", "port": 1, "targetPort": to});
    let ports = json!([port("http", json!("web")), port("plain", json!(9))]);
    check(
        &service(json!({"ports": ports})),
        &pods(&["a 10.0.0.1 n1 named", "b 10.0.0.2 n1"]),
        expect![[r#"
        + IPv4 [http=81/TCP plain=9/TCP] 10.0.0.1 ready serving in z1
        + IPv4 [plain=9/TCP] 10.0.0.2 ready serving in z1
    "#]],
    );
}

/// As endpointsliceutil.NewPortMapKey of upstream's module ordered them.
#[test]
fn ports_stand_in_upstreams_order() {
    let ports = r#"[{"name":"b","protocol":"TCP","port":1,"appProtocol":"x/y"},{"name":"a","protocol":"TCP","port":2},
        {"name":"c","protocol":"TCP","port":5},{"name":"","protocol":"UDP","port":3},{"name":"none"},
        {"protocol":"SCTP","port":4}]"#;
    let ports: Vec<slice::Port> = serde_json::from_str(ports).unwrap();
    let turned: Vec<slice::Port> = ports.iter().rev().cloned().collect();
    assert_eq!(slice::order(turned), ports);
}

#[test]
fn a_service_without_pods_has_one_slice_of_nothing() {
    check(
        &service(json!({})),
        &[],
        expect![[r#"
        + IPv4 []
    "#]],
    );
    // A pod that has an address of the other family only makes a slice of nothing too, and it stays when that pod goes.
    let lines = pods(&["a 2001:db8::1 n1"]);
    check(
        &service(json!({})),
        &lines,
        expect![[r#"
        + IPv4 []
    "#]],
    );
}

#[test]
fn a_pod_on_a_node_that_is_not_there_is_left_out_and_said() {
    let lines = pods(&["a 10.0.0.1 n9", "b 10.0.0.2 n1"]);
    check(
        &service(json!({})),
        &lines,
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.2 ready serving in z1
        ! skipping Pod a for Service n/web: Node n9 Not Found
    "#]],
    );
    check(
        &service(json!({"publishNotReadyAddresses": true})),
        &lines,
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving; 10.0.0.2 ready serving in z1
    "#]],
    );
}

#[test]
fn slices_have_the_services_labels_and_owner_and_the_time_of_what_they_tell() {
    let service = service_with(
        json!({"tier": "a", MANAGED_BY: "mine", "service.kubernetes.io/headless": "x"}),
        json!({}),
        json!({"clusterIP": "None"}),
    );
    let plan = planned(&service, &pods(&["a 10.0.0.1 n1"]), Vec::new(), &mut topology(&[("n1", "z1")]));
    let slice = &plan.changes.create[0];
    let value = slice.to_value(&service, &slice.annotations(Some("2026-01-01T00:00:05Z".parse().unwrap())));
    expect![[r#"
        {
          "addressType": "IPv4",
          "apiVersion": "discovery.k8s.io/v1",
          "endpoints": [
            {
              "addresses": [
                "10.0.0.1"
              ],
              "conditions": {
                "ready": true,
                "serving": true,
                "terminating": false
              },
              "nodeName": "n1",
              "targetRef": {
                "kind": "Pod",
                "name": "a",
                "namespace": "n",
                "uid": "uid-a"
              },
              "zone": "z1"
            }
          ],
          "kind": "EndpointSlice",
          "metadata": {
            "annotations": {
              "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:05Z"
            },
            "generateName": "web-",
            "labels": {
              "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
              "kubernetes.io/service-name": "web",
              "service.kubernetes.io/headless": "",
              "tier": "a"
            },
            "namespace": "n",
            "ownerReferences": [
              {
                "apiVersion": "v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "Service",
                "name": "web",
                "uid": "s"
              }
            ]
          },
          "ports": [
            {
              "name": "http",
              "port": 8080,
              "protocol": "TCP"
            }
          ]
        }"#]]
    .assert_eq(&format!("{value:#}"));
}

/// The slices that a Service has, then what another set of pods makes of them.
fn then(service: &Object, before: &[Arc<Pod>], after: &[Arc<Pod>], expected: Expect) {
    let mut topology = topology(&[("n1", "z1"), ("n2", "")]);
    let slices = stored(service, planned(service, before, Vec::new(), &mut topology));
    expected.assert_eq(&shown(&planned(service, after, slices, &mut topology)));
}

#[test]
fn what_changes_is_written_where_it_stands_and_nothing_else_is() {
    let web = service(json!({}));
    then(
        &web,
        &many(250),
        &many(251),
        expect![[r#"
        ~ IPv4 [http=8080/TCP] 51 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
    "#]],
    );
    let mut fewer = many(250);
    fewer.remove(7);
    then(
        &web,
        &many(250),
        &fewer,
        expect![[r#"
        ~ IPv4 [http=8080/TCP] 99 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 50 endpoints
    "#]],
    );
    // What is written anyway is filled first.
    fewer.extend(pods(&["x 10.9.0.1 n1"]));
    then(
        &web,
        &many(250),
        &fewer,
        expect![[r#"
        ~ IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 50 endpoints
    "#]],
    );
    // Sixty do not fit into what is left of fifty.
    then(
        &web,
        &many(250),
        &many(310),
        expect![[r#"
        + IPv4 [http=8080/TCP] 60 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 100 endpoints
        = IPv4 [http=8080/TCP] 50 endpoints
    "#]],
    );
    then(
        &web,
        &many(2),
        &[],
        expect![[r#"
        ~ IPv4 []
    "#]],
    );
    then(
        &web,
        &[],
        &many(1),
        expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1
    "#]],
    );
}

#[test]
fn a_thousand_endpoints_cost_as_many_writes_as_changed() {
    let web = service(json!({}));
    let mut topology = topology(&[("n1", "z1")]);
    let slices = stored(&web, planned(&web, &many(1000), Vec::new(), &mut topology));
    assert_eq!(slices.len(), 10);
    let mut next = many(1000);
    next[512] = pods(&["p0512 10.0.2.113 n1 unready"]).remove(0);
    let changes = planned(&web, &next, slices, &mut topology).changes;
    assert_eq!((changes.create.len(), changes.update.len(), changes.delete.len(), changes.keep.len()), (0, 1, 0, 9));
}

#[test]
fn a_pod_of_the_same_name_and_address_is_told_as_the_other_one() {
    let mut other = pod("a 10.0.0.1 n1").value();
    other["metadata"]["uid"] = json!("another");
    let other = Arc::new(Pod::of(&Object::from_value(&other).unwrap()));
    then(
        &service(json!({})),
        &pods(&["a 10.0.0.1 n1"]),
        &[other],
        expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1
    "#]],
    );
}

#[test]
fn labels_of_the_service_come_over_and_those_that_are_reserved_are_no_reason() {
    let (mut topology, one) = (topology(&[("n1", "z1")]), pods(&["a 10.0.0.1 n1"]));
    let slices = stored(&service(json!({})), planned(&service(json!({})), &one, Vec::new(), &mut topology));
    let headless = service(json!({"clusterIP": "None"}));
    assert!(planned(&headless, &one, slices.clone(), &mut topology).changes.update.is_empty());
    let labelled = service_with(json!({"tier": "b"}), json!({}), json!({}));
    let changes = planned(&labelled, &one, slices, &mut topology).changes;
    assert_eq!(changes.update[0].labels.get("tier").map(String::as_str), Some("b"));
}

/// kubernetes/kubernetes#94720: slices of a Service that had the same name.
#[test]
fn slices_of_a_namesake_go_and_are_made_anew() {
    let mut old = service(json!({})).value();
    old["metadata"]["uid"] = json!("old");
    let old = Object::from_value(&old).unwrap();
    let (mut topology, one) = (topology(&[("n1", "z1")]), pods(&["a 10.0.0.1 n1"]));
    for pods in [one, Vec::new()] {
        let slices = stored(&old, planned(&old, &pods, Vec::new(), &mut topology));
        let changes = planned(&service(json!({})), &pods, slices, &mut topology).changes;
        assert_eq!(
            (changes.create.len(), changes.update.len(), changes.delete.len()),
            (1, 0, 1),
            "not changed into its own"
        );
    }
}

/// kubernetes/kubernetes#93374, #100033: the same endpoint in two slices.
#[test]
fn an_endpoint_that_is_in_two_slices_stays_in_one() {
    let (web, mut topology) = (service(json!({})), topology(&[("n1", "z1")]));
    let mut slices = stored(&web, planned(&web, &many(3), Vec::new(), &mut topology));
    slices.extend(slices.clone());
    let plan = planned(&web, &many(3), slices, &mut topology);
    expect![[r#"
        - IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving in z1; 10.0.0.3 ready serving in z1
        = IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving in z1; 10.0.0.3 ready serving in z1
    "#]]
    .assert_eq(&shown(&plan));
}

#[test]
fn families_that_a_service_lost_lose_their_slices() {
    let both = service(json!({"ipFamilies": ["IPv4", "IPv6"]}));
    let (mut topology, one) = (topology(&[("n1", "z1")]), pods(&["a 10.0.0.1,2001:db8::1 n1"]));
    let slices = stored(&both, planned(&both, &one, Vec::new(), &mut topology));
    expect![[r#"
        - IPv6 [http=8080/TCP] 2001:db8::1 ready serving in z1
        = IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1
    "#]]
    .assert_eq(&shown(&planned(&service(json!({})), &one, slices, &mut topology)));
}

/// Laws of packing over many turns: at most so many in a slice, each endpoint in one, all of them, and few slices.
#[test]
fn whatever_comes_and_goes_every_pod_is_in_one_slice() {
    let (web, mut topology) = (service(json!({})), topology(&[("n1", "z1")]));
    let (mut slices, mut seed) = (Vec::new(), 7_u64);
    let mut below = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    let all = many(600);
    for turn in 0..60 {
        let mut now = all.clone();
        now.retain(|_| below(10) < turn % 11);
        let plan = planned(&web, &now, slices, &mut topology);
        let written = plan.changes.create.len() + plan.changes.update.len();
        assert!(plan.changes.create.is_empty() || plan.changes.delete.is_empty(), "one that goes is used again");
        slices = stored(&web, plan);
        let told: Vec<&str> = slices.iter().flat_map(|s| &s.endpoints).map(|e| e.addresses[0].as_str()).collect();
        let distinct: BTreeSet<&str> = told.iter().copied().collect();
        assert_eq!((told.len(), distinct.len()), (now.len(), now.len()), "turn {turn}");
        assert!(slices.iter().all(|slice| slice.endpoints.len() <= MOST));
        assert!(written <= 12, "turn {turn}: {written} writes");
    }
}

#[test]
fn ready_endpoints_hint_at_their_zone_or_node() {
    let lines = pods(&["a 10.0.0.1 n1", "b 10.0.0.2 n2", "c 10.0.0.3 n1 unready"]);
    for zonal in ["PreferClose", "PreferSameZone"] {
        check(
            &service(json!({"trafficDistribution": zonal})),
            &lines,
            expect![[r#"
            + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1 for z1; 10.0.0.2 ready serving; 10.0.0.3 in z1
        "#]],
        );
    }
    let near = service(json!({"trafficDistribution": "PreferSameNode"}));
    check(
        &near,
        &lines,
        expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1 for z1 for n1; 10.0.0.2 ready serving for n2; 10.0.0.3 in z1
    "#]],
    );
    // Asked for later, and not any more.
    let mut topology = topology(&[("n1", "z1"), ("n2", "")]);
    let slices = stored(&service(json!({})), planned(&service(json!({})), &lines, Vec::new(), &mut topology));
    let plan = planned(&near, &lines, slices, &mut topology);
    expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1 for z1 for n1; 10.0.0.2 ready serving for n2; 10.0.0.3 in z1
    "#]]
    .assert_eq(&shown(&plan));
    let plan = planned(&service(json!({})), &lines, stored(&near, plan), &mut topology);
    expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving; 10.0.0.3 in z1
    "#]]
    .assert_eq(&shown(&plan));
}

#[test]
fn by_annotation_zones_get_endpoints_by_their_share_of_the_cpu() {
    let auto = service_with(json!({}), json!({"service.kubernetes.io/topology-mode": "Auto"}), json!({}));
    let seven = pods(&[
        "a 10.0.0.1 n1",
        "b 10.0.0.2 n1",
        "c 10.0.0.3 n1",
        "d 10.0.0.4 n1",
        "e 10.0.0.5 n2",
        "f 10.0.0.6 n1",
        "g 10.0.0.7 n1 unready",
    ]);
    let mut known = topology(&[("n1", "z1"), ("n2", "z2")]);
    let plan = planned(&auto, &seven, Vec::new(), &mut known);
    // Of six each shall have three.
    expect![[r#"
        + IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1 for z2; 10.0.0.2 ready serving in z1 for z2; 10.0.0.3 ready serving in z1 for z1; 10.0.0.4 ready serving in z1 for z1; 10.0.0.5 ready serving in z2 for z2; 10.0.0.6 ready serving in z1 for z1; 10.0.0.7 in z1
        ! TopologyAwareHintsEnabled Topology Aware Hints has been enabled, addressType: IPv4
    "#]]
    .assert_eq(&shown(&plan));
    let slices = stored(&auto, plan);
    let again = planned(&auto, &seven, slices.clone(), &mut known);
    assert!(again.changes.update.is_empty() && again.told.is_empty(), "{}", shown(&again));
    assert!(known.overloaded().is_empty());
    // Another zone has none of them.
    known.set("n3", Some(node("z3", "4", "True")));
    assert_eq!(known.overloaded(), [Key::new("n", "web")]);
    let plan = planned(&auto, &seven, slices.clone(), &mut known);
    expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1 for z3; 10.0.0.2 ready serving in z1 for z3; 10.0.0.3 ready serving in z1 for z3; 10.0.0.4 ready serving in z1 for z3; 10.0.0.5 ready serving in z2 for z2; 10.0.0.6 ready serving in z1 for z1; 10.0.0.7 in z1
    "#]]
    .assert_eq(&shown(&plan));
    let hinted = stored(&auto, plan);
    // The annotation goes.
    expect![[r#"
        ~ IPv4 [http=8080/TCP] 10.0.0.1 ready serving in z1; 10.0.0.2 ready serving in z1; 10.0.0.3 ready serving in z1; 10.0.0.4 ready serving in z1; 10.0.0.5 ready serving in z2; 10.0.0.6 ready serving in z1; 10.0.0.7 in z1
        ! TopologyAwareHintsDisabled Topology Aware Hints has been disabled, addressType: IPv4
    "#]]
    .assert_eq(&shown(&planned(&service(json!({})), &seven, hinted, &mut known)));
}

#[test]
fn where_zones_cannot_have_their_share_nobody_hints() {
    let auto = service_with(json!({}), json!({"service.kubernetes.io/topology-aware-hints": "auto"}), json!({}));
    let told = |nodes: &[(&str, Node)], lines: &[&str]| {
        let mut known = Topology::default();
        nodes.iter().for_each(|(name, node)| drop(known.set(name, Some(node.clone()))));
        let plan = planned(&auto, &pods(lines), Vec::new(), &mut known);
        let hinted = plan.changes.create.iter().flat_map(|slice| &slice.endpoints).any(|e| e.hints.is_some());
        format!("{hinted} {}", plan.told.iter().map(|told| told.message.as_str()).collect::<String>())
    };
    let one = |zone: &str| node(zone, "1", "True");
    let three = ["a 10.0.0.1 n1", "b 10.0.0.2 n1", "c 10.0.0.3 n2"];
    for (nodes, lines, what) in [
        (
            vec![("n1", one("z1")), ("n2", one("z1"))],
            &three[..],
            "false Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4",
        ),
        (
            vec![("n1", one("z1")), ("n2", one(""))],
            &three,
            "false Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4",
        ),
        (
            vec![("n1", one("z1")), ("n2", node("z2", "0", "True"))],
            &three,
            "false Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4",
        ),
        (
            vec![("n1", one("z1")), ("n2", one("z2"))],
            &three[..1],
            "false Insufficient number of endpoints (1 endpoints, 2 zones), addressType: IPv4",
        ),
        (
            vec![("n1", one("z1")), ("n2", one("z2"))],
            &three,
            "false Unable to allocate minimum required endpoints to each zone without exceeding overload threshold (3 endpoints, 2 zones), addressType: IPv4",
        ),
        // One that is not ready does not count.
        (
            vec![("n1", one("z1")), ("n2", node("z2", "1", "False"))],
            &three,
            "false Insufficient Node information: allocatable CPU or zone not specified on one or more nodes, addressType: IPv4",
        ),
    ] {
        assert_eq!(told(&nodes, lines), what);
    }
}
