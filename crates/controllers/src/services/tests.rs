use serde_json::json;

use super::trigger::Triggers;
use super::*;

fn pod(name: &str, spec: Value, status: Value) -> Object {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name,
        "resourceVersion": "1"}, "spec": spec, "status": status});
    Object::from_value(&pod).unwrap()
}

fn ready(since: &str) -> Arc<Pod> {
    let conditions = json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
    Arc::new(Pod::of(&pod("a", json!({}), json!({"podIP": "10.0.0.1", "conditions": conditions}))))
}

#[test]
fn ports_are_found_by_number_or_by_name_in_containers_then_in_sidecars() {
    let port =
        |name: &str, number: i64, protocol: &str| json!({"name": name, "containerPort": number, "protocol": protocol});
    let spec = json!({
        "containers": [{"ports": [port("dns", 53, "UDP"), port("web", 80, "TCP")]}, {"ports": [port("web", 81, "TCP")]}],
        "initContainers": [{"ports": [port("once", 1, "TCP")]},
            {"restartPolicy": "Always", "ports": [port("web", 82, "TCP"), port("side", 83, "TCP")]}]});
    let pod = Pod::of(&pod("a", spec, json!({})));
    let target =
        |to: Value, protocol: &str| pod.target(&Port { target_port: to, protocol: protocol.into(), ..Port::default() });
    for (to, protocol, number) in [
        (json!(8080), "TCP", Some(8080)),
        (json!("web"), "TCP", Some(80)),
        (json!("web"), "UDP", None),
        (json!("dns"), "UDP", Some(53)),
        (json!("side"), "TCP", Some(83)),
        // One that ends before the others begin serves nobody.
        (json!("once"), "TCP", None),
        (json!(""), "TCP", None),
    ] {
        assert_eq!(target(to.clone(), protocol), number, "{to} {protocol}");
    }
}

#[test]
fn a_pod_is_somewhere_while_it_has_an_address_and_has_not_ended() {
    for (status, is_nowhere) in [
        (json!({"phase": "Pending"}), true),
        (json!({"phase": "Running", "podIP": "10.0.0.1"}), false),
        (json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]}), false),
        (json!({"phase": "Succeeded", "podIP": "10.0.0.1"}), true),
        // kubernetes/kubernetes#109414: its address may be another's by now.
        (json!({"phase": "Failed", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}), true),
    ] {
        assert_eq!(Pod::of(&pod("a", json!({}), status.clone())).is_nowhere, is_nowhere, "{status}");
    }
    let both = json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "2001:0db8::0001"}, {"ip": "::ffff:10.0.0.2"}]});
    let pod = Pod::of(&pod("a", json!({}), both));
    let of = |family| pod.of_family(family).map(|ip| ip.to_string()).collect::<Vec<_>>();
    assert_eq!(
        (of(Family::IPv4), of(Family::IPv6)),
        (vec!["10.0.0.1".into(), "10.0.0.2".into()], vec!["2001:db8::1".into()])
    );
}

#[test]
fn what_no_endpoint_tells_of_is_no_change() {
    let spec = json!({"nodeName": "n1"});
    let status = json!({"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let before = Pod::of(&pod("a", spec.clone(), status.clone()));
    let with = |field: &str, value: Value| {
        let mut next = status.clone();
        next[field] = value;
        Pod::of(&pod("a", spec.clone(), next))
    };
    let condition = |kind: &str, status: &str| json!([{"type": kind, "status": status}]);
    assert_eq!(with("hostIP", json!("192.0.2.1")), before);
    assert_eq!(with("conditions", condition("Ready", "False")), before, "since when is told, and is no reason");
    assert_eq!(with("conditions", condition("Other", "True")), before);
    assert_ne!(with("conditions", condition("Ready", "True")), before);
    assert_ne!(with("podIPs", json!([{"ip": "10.0.0.2"}])), before);
    assert_ne!(with("phase", json!("Failed")), before);
}

#[test]
fn the_earliest_change_since_the_last_look_is_told() {
    let (triggers, service) = (Triggers::default(), Key::new("n", "s"));
    let time = |text: &str| Some(text.parse().unwrap());
    let created = time("2026-01-01T00:00:00Z");
    let look = |pods: &[Arc<Pod>]| triggers.look(&service, created, pods);
    let (early, late) = (ready("2026-01-01T00:01:00Z"), ready("2026-01-01T00:02:00Z"));
    assert_eq!(look(std::slice::from_ref(&early)), created, "of a Service seen for the first time, its own");
    assert_eq!(look(std::slice::from_ref(&early)), None, "nothing changed");
    assert_eq!(look(std::slice::from_ref(&late)), time("2026-01-01T00:02:00Z"));
    assert_eq!(look(&[]), None, "that a pod went has no time");
    assert_eq!(look(&[early, late]), time("2026-01-01T00:01:00Z"));
    triggers.forget(&service);
    assert_eq!(look(&[]), created);
}
