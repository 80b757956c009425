//! What is asked of Services, and of Endpoints that somebody else writes.

use serde_json::{Value, json};

use super::{Act, Add, Fate, merge, replicas, spec};

const SERVICES: &str = "services/v1";
const ENDPOINTS: &str = "endpoints/v1";
const IT: &str = "services";
const PODS: &str = "replicasets";

/// Headless, so that nothing is told apart by an address that was given out.
fn service(further: Value) -> Value {
    let port = json!({"name": "http", "port": 80, "targetPort": "http"});
    let mut spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [port]});
    merge(&mut spec, further);
    json!({"metadata": {"name": "web", "labels": {"tier": "front"}}, "spec": spec})
}

fn port(name: &str, number: u16, to: Value) -> Value {
    json!({"name": name, "port": number, "targetPort": to, "appProtocol": "example.com/x"})
}

pub fn services(add: Add<'_>) {
    use Act::{Create, Delete, Patch, Play, Pods};
    let patch = |patch: Value| Patch(IT, "web", patch);
    let pods = |count: u8| Create(PODS, replicas(count, json!({})));
    let selector = vec![
        Create(IT, service(json!({}))),
        pods(2),
        Pods(Fate::Ready, 1),
        Play,
        Pods(Fate::Unready, 1),
        Play,
        Pods(Fate::Deleted, 1),
        Play,
        patch(json!({"metadata": {"labels": {"tier": "back", "more": "x"}}})),
        patch(json!({"metadata": {"annotations": {"note": "x"}}})),
        patch(spec(json!({"ports": [port("http", 80, json!(8080))]}))),
        patch(spec(json!({"selector": {"app": "nobody"}}))),
        patch(spec(json!({"selector": {"app": "web"}}))),
        Pods(Fate::Failed(1), 1),
        Delete(PODS, "web", "Background"),
        Play,
        Delete(IT, "web", ""),
    ];
    add(SERVICES, "selector", selector);
    let addressed = service(json!({"clusterIP": "10.96.200.1"}));
    add(SERVICES, "an address", vec![Create(IT, addressed), pods(2), Play, Delete(IT, "web", "")]);
    let portless = service(json!({"ports": null}));
    add(SERVICES, "no ports", vec![pods(2), Play, Create(IT, portless), Pods(Fate::Unready, 1)]);
    let early = service(json!({"publishNotReadyAddresses": true}));
    let early = vec![
        Create(IT, early),
        pods(2),
        Play,
        Pods(Fate::Unready, 1),
        Pods(Fate::Deleted, 1),
        patch(spec(json!({"publishNotReadyAddresses": false}))),
        Play,
    ];
    add(SERVICES, "not ready", early);
    let ports = json!([port("b", 1, json!("http")), port("a", 2, json!(9)), port("none", 3, json!("nothing"))]);
    let named = vec![
        Create(IT, service(json!({"ports": ports}))),
        pods(2),
        Play,
        patch(spec(json!({"ports": [port("none", 3, json!("nothing"))]}))),
        patch(spec(json!({"ports": [port("c", 3, json!(7)), port("d", 4, json!(7)), port("b", 1, json!("http"))]}))),
    ];
    add(SERVICES, "named ports", named);
    let near = vec![
        Create(IT, service(json!({"trafficDistribution": "PreferSameZone"}))),
        pods(2),
        Play,
        patch(spec(json!({"trafficDistribution": "PreferSameNode"}))),
        Pods(Fate::Unready, 1),
        patch(spec(json!({"trafficDistribution": null}))),
        patch(json!({"metadata": {"annotations": {"service.kubernetes.io/topology-mode": "Auto"}}})),
    ];
    add(SERVICES, "hints", near);
    let external = json!({"type": "ExternalName", "externalName": "example.com", "clusterIP": null, "clusterIPs": null,
        "ipFamilies": null, "ipFamilyPolicy": null});
    add(SERVICES, "external", vec![Create(IT, service(json!({}))), pods(1), Play, patch(spec(external))]);
    add(
        SERVICES,
        "of both families",
        vec![Create(IT, service(json!({"ipFamilyPolicy": "PreferDualStack"}))), pods(1), Play],
    );
}

pub fn endpoints(add: Add<'_>) {
    use Act::{Create, Delete, Patch};
    const OWN: &str = "endpoints";
    let subset = |ips: &[&str], others: &[&str], port: Value| {
        let list = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
        let mut subset = json!({"addresses": list(ips), "ports": [port]});
        if !others.is_empty() {
            subset["notReadyAddresses"] = json!(list(others));
        }
        subset
    };
    let own = |subsets: Value| json!({"metadata": {"name": "web", "labels": {"tier": "front"}, "annotations": {"note": "x"}}, "subsets": subsets});
    let port = |number: u16| json!({"name": "http", "port": number, "protocol": "TCP"});
    // Without a selector it would be of both families, and with one that it gets later it may not be here.
    let unselecting = || service(json!({"selector": null, "ipFamilyPolicy": "SingleStack"}));
    let skip = |word: Value| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": word}}});
    let mirrored = vec![
        Create(IT, unselecting()),
        Create(OWN, own(json!([subset(&["192.0.2.1", "2001:db8::1"], &["192.0.2.2"], port(80))]))),
        Patch(
            OWN,
            "web",
            json!({"subsets": [subset(&["192.0.2.1"], &[], port(81)), subset(&["192.0.2.3"], &[], port(82))]}),
        ),
        Patch(OWN, "web", json!({"metadata": {"labels": {"tier": "back"}, "annotations": {"note": "y"}}})),
        Patch(OWN, "web", skip(json!("true"))),
        Patch(OWN, "web", skip(Value::Null)),
        Patch(IT, "web", spec(json!({"selector": {"app": "web"}}))),
        Patch(IT, "web", spec(json!({"selector": null}))),
        Delete(OWN, "web", ""),
    ];
    add(ENDPOINTS, "mirrored", mirrored);
    let orphan = vec![
        Create(OWN, own(json!([subset(&["192.0.2.1"], &[], port(80))]))),
        Create(IT, unselecting()),
        Delete(IT, "web", ""),
    ];
    add(ENDPOINTS, "before their service", orphan);
}
