use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
use serde_json::json;

use super::*;

/// A request for a name, organizations and further names (`a.example.com`, `10.0.0.1`).
pub fn params(name: &str, organization: &str, names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub fn request(signer: &str, params: CertificateParams, usages: &[&str]) -> Value {
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({"metadata": {"name": "r", "creationTimestamp": "2026-09-21T14:13:20Z"}, "spec": {"signerName": signer,
        "request": STANDARD.encode(pem), "usages": usages, "username": "system:node:n1"}, "status": {}})
}

#[test]
fn what_a_nodes_agent_may_ask_for_is_its_own_name() {
    let client = ["client auth", "digital signature"];
    let judged = |params: CertificateParams, usages: &[&str]| {
        let request = request(KUBELET_CLIENTS, params, usages);
        of_kubelet_client(&Asked::of(&request).unwrap(), &request).err().unwrap_or_default()
    };
    let good = || params("system:node:n1", "system:nodes", &[]);
    assert_eq!(judged(good(), &client), "");
    assert_eq!(judged(good(), &["client auth", "digital signature", "key encipherment"]), "");
    assert_eq!(
        judged(good(), &["client auth"]),
        "usages did not match [client auth digital signature key encipherment]"
    );
    const NOT_NODES: &str = "subject organization is not system:nodes";
    assert_eq!(judged(params("system:node:n1", "system:masters", &[]), &client), NOT_NODES);
    assert_eq!(
        judged(params("n1", "system:nodes", &[]), &client),
        "subject common name does not begin with system:node:"
    );
    for (name, why) in [("a.example.com", "DNS"), ("10.0.0.1", "IP")] {
        let told = judged(params("system:node:n1", "system:nodes", &[name]), &client);
        assert_eq!(told, format!("{why} subjectAltNames are not allowed"));
    }
}

#[test]
fn what_a_nodes_agent_serves_with_names_hosts() {
    let server = ["server auth", "digital signature"];
    let judged = |names: &[&str], usages: &[&str]| {
        let request = request(KUBELET_SERVING, params("system:node:n1", "system:nodes", names), usages);
        of_kubelet_serving(&Asked::of(&request).unwrap(), &request).err().unwrap_or_default()
    };
    assert_eq!(judged(&["n1", "10.0.0.1", "fd00::1"], &server), "");
    assert_eq!(judged(&[], &server), "DNS or IP subjectAltName is required");
    assert_eq!(
        judged(&["n1"], &["client auth", "digital signature"]),
        "usages did not match [digital signature key encipherment server auth]"
    );
}

#[test]
fn a_subject_that_cannot_be_read_is_not_passed_over() {
    let mut hidden = params("x", "o", &[]);
    let masters = DnValue::BmpString("system:masters".try_into().unwrap());
    hidden.distinguished_name.push(DnType::OrganizationalUnitName, masters);
    let asked = Asked::of(&request(CLIENTS, hidden, &["client auth"]));
    assert_eq!(asked.err().unwrap(), "subject 2.5.4.11 cannot be read");
}
