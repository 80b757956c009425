use serde_json::json;

use super::super::tests::{params, request};
use super::*;

#[test]
fn certificates_of_nodes_agents_are_approved_by_right() {
    let client = ["client auth", "digital signature"];
    let of = |name: &str, signer: &str| request(signer, params(name, "system:nodes", &[]), &client);
    let own = of("system:node:n1", KUBELET_CLIENTS);
    assert_eq!(ways(&own), [OWN, ANY]);
    assert_eq!(ways(&of("system:node:n2", KUBELET_CLIENTS)), [ANY], "another node's");
    assert_eq!(ways(&of("system:node:n1", "kubernetes.io/kube-apiserver-client")), []);
    let masters = request(KUBELET_CLIENTS, params("system:node:n1", "system:masters", &[]), &client);
    assert_eq!(ways(&masters), []);
    for decided in [
        json!({"conditions": [{"type": "Approved", "status": "True"}]}),
        json!({"conditions": [{"type": "Denied", "status": "True"}]}),
        json!({"certificate": "eA=="}),
    ] {
        let mut own = own.clone();
        own["status"] = decided;
        assert_eq!(ways(&own), []);
    }
}
