use std::collections::HashMap;
use std::fmt::Write;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const CLASSES: [&str; 2] = ["gousse", "edge"];

/// Everything that is there.
#[derive(Default)]
struct World {
    ingresses: Vec<Object>,
    services: HashMap<String, Object>,
    slices: HashMap<String, Vec<Object>>,
    secrets: HashMap<String, Secret>,
}

fn object(value: Value) -> Object {
    Object::from_value(&value).unwrap()
}

fn class(name: &str, controller: &str) -> Object {
    object(json!({"kind": "IngressClass", "metadata": {"name": name}, "spec": {"controller": controller}}))
}

impl World {
    /// `key` is `namespace/name`; of equal age unless `created` says otherwise.
    fn ingress(mut self, key: &str, created: &str, mut spec: Value) -> World {
        let (namespace, name) = key.split_once('/').unwrap();
        if spec.get("ingressClassName").is_none() {
            spec["ingressClassName"] = json!("gousse");
        }
        let metadata = json!({"namespace": namespace, "name": name, "creationTimestamp": created});
        self.ingresses.push(object(json!({"kind": "Ingress", "metadata": metadata, "spec": spec})));
        self
    }

    /// A Service with an endpoint of each of these addresses at each of its ports' targets.
    fn service(mut self, key: &str, ports: Value, endpoints: Value) -> World {
        let (namespace, name) = key.split_once('/').unwrap();
        let metadata = json!({"namespace": namespace, "name": name});
        let targets: Vec<Value> = ports
            .as_array()
            .unwrap()
            .iter()
            .map(|port| json!({"name": port["name"], "port": port["targetPort"]}))
            .collect();
        self.services.insert(key.into(), object(json!({"metadata": metadata, "spec": {"ports": ports}})));
        let slice = object(json!({"metadata": metadata, "endpoints": endpoints, "ports": targets}));
        self.slices.entry(key.into()).or_default().push(slice);
        self
    }

    fn secret(mut self, key: &str, secret: Secret) -> World {
        self.secrets.insert(key.into(), secret);
        self
    }

    fn plan(&self) -> Plan {
        let classes: Vec<Object> = CLASSES.map(|name| class(name, INGRESS_CONTROLLER)).into();
        let classes = [classes, vec![class("nginx", "k8s.io/ingress-nginx")]].concat();
        let key = |namespace: &str, name: &str| format!("{namespace}/{name}");
        plan(&Seen {
            classes: &classes,
            ingresses: &self.ingresses,
            service: &|namespace, name| self.services.get(&key(namespace, name)).cloned(),
            slices: &|namespace, name| self.slices.get(&key(namespace, name)).cloned().unwrap_or_default(),
            secret: &|namespace, name| self.secrets.get(&key(namespace, name)).cloned().unwrap_or(Secret::Missing),
            own: &["192.0.2.1:80".parse().unwrap()],
            serial: 0,
        })
    }
}

fn check(world: &World, expected: Expect) {
    let plan = world.plan();
    let mut text = String::new();
    for Route { host, path, to } in &plan.routes {
        let protocol = if to.protocol == Protocol::H2c { " h2c" } else { "" };
        writeln!(text, "{host:?} {path:?} -> {}{protocol} {:?}", to.name, to.endpoints).unwrap();
    }
    for (host, certificate) in &plan.shown {
        writeln!(text, "{host:?} shows {certificate:?}").unwrap();
    }
    for Trouble { ingress, reason, message } in &plan.troubles {
        writeln!(text, "{ingress} {reason}: {message}").unwrap();
    }
    expected.assert_eq(&text);
}

fn ports() -> Value {
    json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "grpc", "port": 81, "targetPort": 8081,
        "appProtocol": "kubernetes.io/h2c"}])
}

fn to(service: &str, port: Value) -> Value {
    let port = if port.is_string() { json!({"name": port}) } else { json!({"number": port}) };
    json!({"service": {"name": service, "port": port}})
}

fn rule(host: &str, path: &str, kind: &str, backend: Value) -> Value {
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
}

fn ready(addresses: &[&str]) -> Value {
    addresses.iter().map(|address| json!({"addresses": [address], "conditions": {"ready": true}})).collect()
}

#[test]
fn rules_become_routes_to_ready_endpoints_by_number_or_name_of_the_port() {
    let endpoints = json!([{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["fd00::1", "fd00::2"], "conditions": {"ready": true}}]);
    let world = World::default().service("a/web", ports(), endpoints).ingress(
        "a/i",
        "2026-01-01T00:00:00Z",
        json!({"defaultBackend": to("web", json!(80)), "rules": [
            rule("Example.com", "/x", "Exact", to("web", json!("http"))),
            rule("*.example.com", "", "ImplementationSpecific", to("web", json!("grpc"))),
        ]}),
    );
    check(
        &world,
        expect![[r#"
            Exact("example.com") Exact("/x") -> a/web:http [10.0.0.1:8080, 10.0.0.2:8080, [fd00::1]:8080]
            Wildcard("example.com") Prefix("/") -> a/web:grpc h2c [10.0.0.1:8081, 10.0.0.2:8081, [fd00::1]:8081]
            Exact("example.com") Rest -> a/web:80 [10.0.0.1:8080, 10.0.0.2:8080, [fd00::1]:8080]
            Wildcard("example.com") Rest -> a/web:80 [10.0.0.1:8080, 10.0.0.2:8080, [fd00::1]:8080]
        "#]],
    );
}

#[test]
fn a_default_is_for_its_own_hosts_and_without_any_for_all() {
    let world = World::default()
        .service("a/web", ports(), ready(&["10.0.0.1"]))
        .ingress("a/only", "2026-01-01T00:00:00Z", json!({"defaultBackend": to("web", json!(80))}))
        .ingress(
            "a/hosts",
            "2026-01-01T00:00:01Z",
            json!({"defaultBackend": to("web", json!(80)), "rules": [{"host": "b"}]}),
        );
    check(
        &world,
        expect![[r#"
            Any Rest -> a/web:80 [10.0.0.1:8080]
            Exact("b") Rest -> a/web:80 [10.0.0.1:8080]
        "#]],
    );
}

#[test]
fn an_ingress_is_ours_by_its_class() {
    let spec = |class: Value| json!({"ingressClassName": class, "defaultBackend": to("web", json!(80))});
    let mut world = World::default().service("a/web", ports(), ready(&["10.0.0.1"]));
    for (name, class) in
        [("one", json!("gousse")), ("two", json!("edge")), ("other", json!("nginx")), ("none", json!(null))]
    {
        world = world.ingress(&format!("a/{name}"), "2026-01-01T00:00:00Z", spec(class));
    }
    let annotated = |name: &str, annotation: &str, class: Value| {
        let annotations = json!({"kubernetes.io/ingress.class": annotation});
        let metadata = json!({"namespace": "a", "name": name, "annotations": annotations});
        object(json!({"metadata": metadata, "spec": spec(class)}))
    };
    world.ingresses.push(annotated("annotated", "gousse", json!(null)));
    world.ingresses.push(annotated("both", "nginx", json!("gousse")));
    let served: Vec<String> = world.plan().served.iter().map(|key| key.name.to_string()).collect();
    assert_eq!(served, ["annotated", "one", "two"]);
}

#[test]
fn the_older_ingress_comes_first_and_of_one_age_the_first_by_name() {
    let spec = || json!({"rules": [rule("h", "/", "Prefix", to("web", json!(80)))]});
    let world = World::default()
        .ingress("b/young", "2026-01-02T00:00:00Z", spec())
        .ingress("b/old", "2026-01-01T00:00:00Z", spec())
        .ingress("a/old", "2026-01-01T00:00:00Z", spec());
    let names: Vec<String> = world.plan().routes.iter().map(|route| route.to.name.clone()).collect();
    assert_eq!(
        names,
        ["a/web:80", "b/web:80"].map(String::from).iter().chain([&"b/web:80".into()]).cloned().collect::<Vec<_>>()
    );
}

#[test]
fn what_cannot_be_served_has_no_endpoints_and_is_told() {
    let mut world = World::default()
        .service("a/web", ports(), ready(&["10.0.0.1"]))
        .service("a/udp", json!([{"port": 80, "targetPort": 80, "protocol": "UDP"}]), ready(&["10.0.0.1"]))
        .service("a/tls", json!([{"port": 443, "targetPort": 443, "appProtocol": "https"}]), ready(&["10.0.0.1"]))
        .secret("a/bad", Secret::Bad("tls.crt is not PEM".into()))
        .secret("a/coming", Secret::Asked)
        .ingress(
            "a/i",
            "2026-01-01T00:00:00Z",
            json!({"rules": [
                rule("h", "/1", "Prefix", to("none", json!(80))),
                rule("h", "/2", "Prefix", to("web", json!(82))),
                rule("h", "/3", "Prefix", to("udp", json!(80))),
                rule("h", "/4", "Prefix", to("tls", json!(443))),
                rule("h", "/5", "Prefix", to("far", json!(80))),
                rule("h", "/6", "Prefix", json!({"resource": {"apiGroup": "x", "kind": "Bucket", "name": "b"}})),
            ], "tls": [{"hosts": ["h"], "secretName": "bad"}, {"hosts": ["h"], "secretName": "missing"},
                {"hosts": ["h"], "secretName": "coming"}, {"hosts": ["h"]}]}),
        );
    let far = object(json!({"metadata": {}, "spec": {"type": "ExternalName", "externalName": "example.com"}}));
    world.services.insert("a/far".into(), far);
    check(
        &world,
        expect![[r#"
            Exact("h") Prefix("/1") -> a/none:80 []
            Exact("h") Prefix("/2") -> a/web:82 []
            Exact("h") Prefix("/3") -> a/udp:80 []
            Exact("h") Prefix("/4") -> a/tls:443 []
            Exact("h") Prefix("/5") -> a/far:80 []
            Exact("h") Prefix("/6") -> a/Bucket/b []
            a/i BadCertificate: Secret a/bad: tls.crt is not PEM
            a/i ExternalName: Service a/far is a name elsewhere: it has no endpoints
            a/i PortNotFound: Service a/udp has no TCP port 80
            a/i PortNotFound: Service a/web has no TCP port 82
            a/i ResourceBackend: backend Bucket "b" is no Service: resources as backends are not served
            a/i SecretNotFound: Secret a/missing is not there
            a/i ServiceNotFound: Service a/none is not there
            a/i UnsupportedProtocol: Service a/tls: https to endpoints is not spoken
        "#]],
    );
}

/// The attack: an Ingress that names what another namespace has.
#[test]
fn an_ingress_reads_services_and_secrets_of_its_own_namespace_only() {
    let certificate = Secret::Good(Arc::new(crate::certificates::tests::certificate("bank/tls", &["bank.example"])));
    let world =
        World::default().service("bank/web", ports(), ready(&["10.0.0.1"])).secret("bank/tls", certificate).ingress(
            "evil/i",
            "2026-01-01T00:00:00Z",
            json!({"rules": [
                rule("h", "/1", "Prefix", to("web", json!(80))),
                rule("h", "/2", "Prefix", to("bank/web", json!(80))),
                rule("h", "/3", "Prefix", to("../bank/web", json!(80))),
            ], "tls": [{"hosts": ["bank.example"], "secretName": "tls"},
                {"hosts": ["bank.example"], "secretName": "bank/tls"}]}),
        );
    let plan = world.plan();
    assert!(plan.routes.iter().all(|route| route.to.endpoints.is_empty()) && plan.shown.is_empty());
    let looked_up = plan.services.iter().chain(&plan.secrets);
    assert!(looked_up.into_iter().all(|key| &*key.namespace == "evil"));
}

/// Whoever writes slices would reach what listens on the node's loopback, or have the proxy ask itself.
#[test]
fn what_only_the_node_reaches_is_no_endpoint() {
    let addresses =
        ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"];
    let world = World::default()
        .service("a/web", ports(), ready(&addresses))
        .service("a/loop", json!([{"port": 80, "targetPort": 80}]), ready(&["192.0.2.1", "10.0.0.1"]))
        .ingress(
            "a/i",
            "2026-01-01T00:00:00Z",
            json!({"rules": [rule("h", "/", "Prefix", to("web", json!(80))), rule("h", "/x", "Prefix", to("loop", json!(80)))]}),
        );
    let endpoints: Vec<_> = world.plan().routes.iter().map(|route| route.to.endpoints.clone()).collect();
    assert_eq!(endpoints, [vec![], vec!["10.0.0.1:80".parse().unwrap()]]);
}

#[test]
fn certificates_are_for_the_hosts_that_are_named_or_those_of_the_rules() {
    let certificate = |name: &str| Secret::Good(Arc::new(crate::certificates::tests::certificate(name, &["x"])));
    let rules =
        json!([rule("h", "/", "Prefix", to("web", json!(80))), rule("*.w", "/", "Prefix", to("web", json!(80)))]);
    let world = World::default()
        .service("a/web", ports(), ready(&["10.0.0.1"]))
        .secret("a/one", certificate("a/one"))
        .secret("a/two", certificate("a/two"))
        .ingress(
            "a/named",
            "2026-01-01T00:00:00Z",
            json!({"rules": rules, "tls": [{"hosts": ["H"], "secretName": "one"}]}),
        )
        .ingress("a/unnamed", "2026-01-02T00:00:00Z", json!({"rules": rules, "tls": [{"secretName": "two"}]}))
        .ingress(
            "a/default",
            "2026-01-03T00:00:00Z",
            json!({"defaultBackend": to("web", json!(80)), "tls": [{"secretName": "one"}]}),
        );
    let table = world.plan().table();
    let shown =
        |name: Option<&str>| table.certificate(name).map(|certificate| certificate.name.clone()).unwrap_or_default();
    let names = [Some("h"), Some("x.w"), Some("x.y.w"), Some("other"), None].map(shown);
    assert_eq!(names, ["a/one", "a/two", "a/one", "a/one", "a/one"]);
}
