use std::sync::Arc;

use rcgen::{CertificateParams, SanType};
use serde_json::json;

use super::super::tests::{params, request};
use super::*;

/// All but what is the server's.
fn may_bear() -> MayBear {
    Arc::new(|_, host| !["api.example.com", "10.0.0.254", "10.0.0.1"].contains(&host))
}

fn judged(request: &Value) -> &'static [Way] {
    ways(request, None, &may_bear())
}

#[test]
fn certificates_of_nodes_agents_are_approved_by_right() {
    let client = ["client auth", "digital signature"];
    let of = |name: &str, signer: &str| request(signer, params(name, "system:nodes", &[]), &client);
    let own = of("system:node:n1", KUBELET_CLIENTS);
    assert_eq!(judged(&own), [OWN, ANY]);
    assert_eq!(judged(&of("system:node:n2", KUBELET_CLIENTS)), [ANY], "another node's");
    assert_eq!(judged(&of("system:node:n1", "kubernetes.io/kube-apiserver-client")), []);
    let masters = request(KUBELET_CLIENTS, params("system:node:n1", "system:masters", &[]), &client);
    assert_eq!(judged(&masters), []);
    for decided in [
        json!({"conditions": [{"type": "Approved", "status": "True"}]}),
        json!({"conditions": [{"type": "Denied", "status": "True"}]}),
        json!({"certificate": "eA=="}),
    ] {
        let mut own = own.clone();
        own["status"] = decided;
        assert_eq!(judged(&own), []);
    }
}

/// The Node of n1, as its agent writes it; the last three lie.
fn node() -> Value {
    let addresses = [
        ("Hostname", "n1"),
        ("InternalIP", "10.0.0.7"),
        ("InternalIP", "2001:db8::7"),
        ("InternalDNS", "api.example.com"),
        ("InternalIP", "10.0.0.254"),
        ("InternalDNS", "*"),
    ];
    let addresses = addresses.map(|(kind, address)| json!({"type": kind, "address": address}));
    json!({"metadata": {"name": "n1"}, "status": {"addresses": addresses}})
}

/// A request of n1 for a serving certificate of this name.
fn serving(params: CertificateParams) -> Value {
    let mut request = request(KUBELET_SERVING, params, &["digital signature", "server auth"]);
    request["spec"]["groups"] = json!(["system:nodes", "system:authenticated"]);
    request
}

#[test]
fn a_node_serves_with_what_its_node_says_it_is_called() {
    let ways = |names: &[&str]| {
        super::ways(&serving(params("system:node:n1", "system:nodes", names)), Some(&node()), &may_bear())
    };
    for names in [&["n1", "10.0.0.7", "2001:db8::7"][..], &["n1"], &["10.0.0.7"], &["2001:db8:0:0::7"]] {
        assert_eq!(ways(names), [SERVING], "{names:?}");
    }
    for names in [
        // Nothing, another one's, the server's though its Node says so, a short name for what it has.
        &[][..],
        &["n1", "n2"],
        &["n1", "10.0.0.8"],
        &["n1", "::ffff:10.0.0.8"],
        &["n1", "api.example.com"],
        &["n1", "10.0.0.254"],
        &["n1", "10.0.0.1"],
        &["n1", "N1"],
        &["n1", "n1."],
        &["n1", "*.n1"],
        &["n1", "kubernetes.default.svc"],
    ] {
        assert_eq!(ways(names), [], "{names:?}");
    }
}

#[test]
fn a_node_serves_as_nobody_else() {
    let good = || params("system:node:n1", "system:nodes", &["n1"]);
    let judged = |request: &Value, node: Option<&Value>| ways(request, node, &may_bear());
    let (node, own) = (node(), serving(good()));
    assert_eq!(judged(&own, Some(&node)), [SERVING]);
    assert_eq!(judged(&own, None), [], "it has no Node yet");
    let changed = |path: &str, value: Value| {
        let mut request = serving(good());
        request["spec"][path] = value;
        request
    };
    for (request, why) in [
        (changed("username", json!("system:node:n2")), "another node asks"),
        (changed("username", json!("alice")), "a user asks"),
        (changed("groups", json!(["system:authenticated"])), "who is called so and is no node"),
        (changed("groups", Value::Null), "in no group"),
        (changed("usages", json!(["digital signature", "server auth", "client auth"])), "one more usage"),
        (changed("usages", json!(["digital signature", "server auth", "cert sign"])), "an authority's"),
        (changed("usages", json!(["server auth"])), "one less"),
        (changed("signerName", json!("kubernetes.io/legacy-unknown")), "another signer"),
        (serving(params("system:node:n2", "system:nodes", &["n1"])), "another node's name"),
        (serving(params("n1", "system:nodes", &["n1"])), "no node's name"),
        (serving(params("system:node:n1", "system:masters", &["n1"])), "another organization"),
    ] {
        assert_eq!(judged(&request, Some(&node)), [], "{why}");
    }
    let mut both = good();
    both.distinguished_name.push(rcgen::DnType::LocalityName, "system:masters");
    let both = another(serving(both), 10);
    assert_eq!(Asked::of(&both).unwrap().organizations, ["system:nodes", "system:masters"]);
    assert_eq!(judged(&both, Some(&node)), [], "one more organization");
    for (more, why) in [
        (SanType::Rfc822Name("a@example.com".try_into().unwrap()), "a mail address"),
        (SanType::URI("https://n1".try_into().unwrap()), "a URI"),
    ] {
        let mut params = good();
        params.subject_alt_names.push(more);
        assert_eq!(judged(&serving(params), Some(&node)), [], "{why}");
    }
}

/// With the locality of the subject as one more attribute of the kind 2.5.4.`kind`, which rcgen does not write twice.
fn another(mut request: Value, kind: u8) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let pem = STANDARD.decode(tree::text(&request, "spec.request")).unwrap();
    let mut der = pem::parse(pem).unwrap().into_contents();
    let at = der.windows(5).position(|window| window == [6, 3, 0x55, 4, 7]).unwrap();
    der[at + 4] = kind;
    request["spec"]["request"] = json!(STANDARD.encode(pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", der))));
    request
}

/// The signer copies the subject: who is called twice would be approved for one name and believed for the other.
#[test]
fn a_subject_with_two_names_is_left_to_people() {
    for signer in [KUBELET_CLIENTS, KUBELET_SERVING] {
        let mut twice = params("system:node:n2", "system:nodes", if signer == KUBELET_SERVING { &["n1"] } else { &[] });
        twice.distinguished_name.push(rcgen::DnType::LocalityName, "system:node:n1");
        let purpose = if signer == KUBELET_SERVING { "server auth" } else { "client auth" };
        let mut asked = another(request(signer, twice, &["digital signature", purpose]), 3);
        asked["spec"]["groups"] = json!(["system:nodes"]);
        let read = Asked::of(&asked).unwrap();
        assert_eq!((read.common_name.as_str(), read.common_names), ("system:node:n1", 2));
        assert_eq!(ways(&asked, Some(&node()), &may_bear()), []);
    }
}
