use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::identity::{Component, Identity};
use crate::tests::{cluster, read};

const BUNDLES: &str = "/apis/certificates.k8s.io/v1/clustertrustbundles";
const POD_REQUESTS: &str = "/apis/certificates.k8s.io/v1/namespaces/default/podcertificaterequests";

#[tokio::test]
async fn a_node_asks_for_certificates_of_its_own_pods_only() {
    let c = cluster().await;
    c.account("default").await;
    let uid = async |path: &str| c.get(path).await.1["metadata"]["uid"].clone();
    for node in ["n1", "n2"] {
        assert_eq!(c.post("/api/v1/nodes", json!({"metadata": {"name": node}})).await.0, 201);
    }
    let served = c.get("/api/v1/namespaces/default/pods").await.0;
    assert_eq!(served, 200);
    let source = json!({"podCertificate": {"signerName": "example.com/s", "keyType": "ECDSAP256", "keyPath": "k"}});
    let pod = |name: &str, node: &str| {
        json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "projected": {"sources": [source]}}]}})
    };
    for (name, node) in [("mine", "n1"), ("other", "n2")] {
        let (code, made) = c.post("/api/v1/namespaces/default/pods", pod(name, node)).await;
        assert_eq!(code, 201, "{made}");
    }
    let account = uid("/api/v1/namespaces/default/serviceaccounts/default").await;
    let (mine, other) =
        (uid("/api/v1/namespaces/default/pods/mine").await, uid("/api/v1/namespaces/default/pods/other").await);
    let (n1, n2) = (uid("/api/v1/nodes/n1").await, uid("/api/v1/nodes/n2").await);
    let agent = c.server.internal(Component::Node("n1".into()));
    let stub = {
        let request = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap());
        STANDARD.encode(request.unwrap().der())
    };
    let ask = async |change: Value| {
        let mut spec = json!({"signerName": "example.com/s", "podName": "mine", "podUID": mine, "nodeName": "n1",
            "nodeUID": n1, "serviceAccountName": "default", "serviceAccountUID": account, "stubPKCS10Request": stub});
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let request = json!({"metadata": {"generateName": "r-"}, "spec": spec}).to_string();
        c.call_as(&agent, Method::POST, POD_REQUESTS, request).await
    };
    let (code, made) = ask(json!({})).await;
    assert_eq!((code, &made["spec"]["maxExpirationSeconds"]), (201, &json!(86400)), "{made}");
    for (change, expected, why) in [
        (json!({"nodeName": "n2", "nodeUID": n2}), 403, "which is not the requesting node"),
        (json!({"nodeUID": n2}), 403, "names node UID"),
        (json!({"podName": "other", "podUID": other}), 403, "is not running on node"),
        (json!({"podUID": other}), 403, "names pod UID"),
        (json!({"podName": "gone"}), 404, "not found"),
        (json!({"serviceAccountName": "root"}), 403, "that differs from running pod"),
        (json!({"serviceAccountUID": "x"}), 403, "names service account UID"),
        (
            json!({"signerName": "example.com/t"}),
            403,
            "does not mount a podCertificate projected volume for signer \"example.com/t\"",
        ),
    ] {
        let (code, status) = ask(change).await;
        assert_eq!(code, expected, "{status}");
        assert!(status["message"].as_str().unwrap().contains(why), "{status}");
    }
    // It reads its own requests, and answers none.
    let name = made["metadata"]["name"].as_str().unwrap();
    let path = format!("{POD_REQUESTS}/{name}");
    let stranger = c.server.internal(Component::Node("n2".into()));
    assert_eq!(c.call_as(&agent, Method::GET, &path, String::new()).await.0, 200);
    assert_eq!(c.call_as(&stranger, Method::GET, &path, String::new()).await.0, 403);
    let all = "/apis/certificates.k8s.io/v1/podcertificaterequests";
    assert_eq!(c.call_as(&agent, Method::GET, all, String::new()).await.0, 403);
    let own = format!("{all}?fieldSelector=spec.nodeName%3Dn1");
    assert_eq!(c.call_as(&agent, Method::GET, &own, String::new()).await.0, 200);
    assert_eq!(c.call_as(&stranger, Method::GET, &own, String::new()).await.0, 403);
    let denied = json!({"status": {"conditions": [{"type": "Denied", "status": "True", "reason": "R",
        "lastTransitionTime": "2026-09-21T14:13:20Z"}]}});
    let media = "application/merge-patch+json";
    let answer = async |who: &Identity| {
        read(c.raw(who, Method::PATCH, &format!("{path}/status"), media, denied.to_string()).await)
    };
    assert_eq!(answer(&agent).await.0, 403);
    assert_eq!(answer(&c.admin).await.0, 200);
    for bundles in [BUNDLES, "/apis/certificates.k8s.io/v1/clustertrustbundles?watch=true"] {
        assert_eq!(c.call_as(&agent, Method::GET, bundles, String::new()).await.0, 200);
    }
}
