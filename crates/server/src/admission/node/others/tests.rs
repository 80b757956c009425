//! A node against the volumes, devices and certificates of others. Some of the kinds are not served by this build:
//! the rules hold from the day that they are.

use http::Method;
use kinds::Kind;
use kinds::kind::{Act, Subresource};
use serde_json::json;

use super::*;
use crate::identity::{Component, Identity};
use crate::tests::{Cluster, cluster, read};

fn status() -> Subresource {
    Subresource {
        name: "status",
        act: Act::Part,
        body_kind: "",
        body_group_version: "",
        query: "",
        owns: &["status"],
        shares: &[],
        at_create: true,
        resets: &[],
        verbs: &["get", "patch", "update"],
    }
}

async fn with_kinds() -> Cluster {
    let c = cluster().await;
    let claims = Kind::namespaced("v1", "PersistentVolumeClaim", "persistentvolumeclaims");
    c.server.publish([
        Kind { subresources: vec![status()], ..claims },
        Kind::cluster("storage.k8s.io/v1", "CSINode", "csinodes"),
        Kind::cluster("resource.k8s.io/v1", "ResourceSlice", "resourceslices"),
        Kind::cluster("certificates.k8s.io/v1", "CertificateSigningRequest", "certificatesigningrequests"),
        Kind::namespaced("certificates.k8s.io/v1beta1", "PodCertificateRequest", "podcertificaterequests"),
    ]);
    c
}

async fn as_node(c: &Cluster, method: Method, path: &str, body: Value) -> (u16, String) {
    let node = Identity::component(Component::Node("n1".into()));
    let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let (code, answer) = read(c.raw(&node, method, path, media, body.to_string()).await);
    (code, answer["message"].as_str().unwrap_or_default().to_string())
}

/// Whether the answer is a 403 that says so.
fn refuses(answer: &(u16, String), why: &str) {
    assert!(answer.0 == 403 && answer.1.contains(why), "{answer:?}, not {why:?}");
}

async fn node_and_pod(c: &Cluster, volumes: Value) -> (Value, Value) {
    let (_, node) = c.post("/api/v1/nodes", json!({"metadata": {"name": "n1"}})).await;
    c.account("default").await;
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]}});
    let (code, mut pod) = c.post("/api/v1/namespaces/default/pods", pod).await;
    assert_eq!(code, 201, "{pod}");
    // Volumes that this build refuses yet.
    pod["spec"]["volumes"] = volumes;
    let served = c.server.kinds().served("", "v1", "pods").unwrap();
    let key = crate::records::key(&served.kind, "default", "p");
    let step = crate::write::put(&served.kind, key, store::Expect::Any, &pod).unwrap();
    c.server.0.store.write(vec![step]).await.unwrap();
    (node, pod)
}

#[tokio::test]
async fn a_node_tells_how_a_claim_of_its_pods_has_grown_and_nothing_else() {
    let c = with_kinds().await;
    node_and_pod(&c, json!([{"name": "v", "persistentVolumeClaim": {"claimName": "own"}}])).await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    for name in ["own", "other"] {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        assert_eq!(c.post(claims, json!({"metadata": {"name": name}, "spec": spec})).await.0, 201);
    }
    let grown = json!({"status": {"capacity": {"storage": "2Gi"}}});
    let own = format!("{claims}/own/status");
    assert_eq!(as_node(&c, Method::PATCH, &own, grown.clone()).await.0, 200);
    let related = "no relationship found between node 'n1' and this object";
    refuses(&as_node(&c, Method::PATCH, &format!("{claims}/other/status"), grown).await, related);
    let fields = "is not allowed to update fields other than status.quantity and status.conditions";
    refuses(&as_node(&c, Method::PATCH, &own, json!({"status": {"phase": "Bound"}})).await, fields);
    refuses(&as_node(&c, Method::PATCH, &own, json!({"metadata": {"labels": {"a": "b"}}})).await, fields);
    refuses(&as_node(&c, Method::PATCH, &format!("{claims}/own"), json!({})).await, "");
}

#[tokio::test]
async fn a_node_writes_leases_drivers_and_devices_under_its_own_name_only() {
    let c = with_kinds().await;
    let leases = |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let named = |name: &str| json!({"metadata": {"name": name}, "spec": {}});
    let same = "with the same name as the requesting node";
    assert_eq!(as_node(&c, Method::POST, &leases("kube-node-lease"), named("n1")).await.0, 201);
    refuses(&as_node(&c, Method::POST, &leases("kube-node-lease"), named("n2")).await, same);
    refuses(&as_node(&c, Method::POST, &leases("default"), named("n1")).await, "\"kube-node-lease\" system namespace");
    let drivers = "/apis/storage.k8s.io/v1/csinodes";
    let csi = |name: &str| json!({"metadata": {"name": name}, "spec": {"drivers": []}});
    assert_eq!(as_node(&c, Method::POST, drivers, csi("n1")).await.0, 201);
    refuses(&as_node(&c, Method::POST, drivers, csi("n2")).await, same);
    refuses(&as_node(&c, Method::DELETE, &format!("{drivers}/n2"), Value::Null).await, same);
    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = |name: &str, node: &str| {
        json!({"metadata": {"name": name}, "spec": {"driver": "d", "nodeName": node,
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}})
    };
    assert_eq!(as_node(&c, Method::POST, slices, slice("a", "n1")).await.0, 201);
    refuses(&as_node(&c, Method::POST, slices, slice("b", "n2")).await, "with the same NodeName");
    assert_eq!(c.post(slices, slice("b", "n2")).await.0, 201);
    refuses(&as_node(&c, Method::DELETE, &format!("{slices}/b"), Value::Null).await, "no relationship found");
    refuses(&as_node(&c, Method::DELETE, slices, Value::Null).await, "with nodeName field selector");
}

#[tokio::test]
async fn a_node_asks_for_certificates_of_itself_and_of_its_pods_only() {
    let c = with_kinds().await;
    let signer = "a.b/c";
    let volumes = json!([{"name": "v", "projected": {"sources": [
        {"podCertificate": {"signerName": signer, "keyType": "ED25519", "credentialBundlePath": "x"}}]}}]);
    let (node, pod) = node_and_pod(&c, volumes).await;
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let request = |names: &[&str]| {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        names.iter().for_each(|name| params.distinguished_name.push(rcgen::DnType::CommonName, *name));
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        json!({"metadata": {"generateName": "r-"}, "spec": {"signerName": SIGNERS[0], "usages": ["server auth"],
            "request": STANDARD.encode(pem)}})
    };
    assert_eq!(as_node(&c, Method::POST, requests, request(&["system:node:n1"])).await.0, 201);
    let own = "can only create a node CSR with CN=system:node:n1";
    refuses(&as_node(&c, Method::POST, requests, request(&["system:node:n2"])).await, own);
    let mut foreign = request(&["system:node:n1"]);
    foreign["spec"]["request"] = json!(STANDARD.encode("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"));
    refuses(&as_node(&c, Method::POST, requests, foreign).await, "unable to parse csr");

    let path = "/apis/certificates.k8s.io/v1beta1/namespaces/default/podcertificaterequests";
    let account = c.get("/api/v1/namespaces/default/serviceaccounts/default").await.1;
    let good = json!({"signerName": signer, "podName": "p", "podUID": pod["metadata"]["uid"], "nodeName": "n1",
        "nodeUID": node["metadata"]["uid"], "serviceAccountName": "default", "serviceAccountUID": account["metadata"]["uid"],
        "maxExpirationSeconds": 86400, "pkixPublicKey": "", "proofOfPossession": ""});
    let with = |field: &str, value: &str| {
        let mut spec = good.clone();
        spec[field] = json!(value);
        json!({"metadata": {"generateName": "r-"}, "spec": spec})
    };
    assert_eq!(as_node(&c, Method::POST, path, with("signerName", signer)).await.0, 201);
    for (field, value, why) in [
        ("nodeName", "n2", "which is not the requesting node"),
        ("nodeUID", "x", "names node UID \"x\", which differs"),
        ("podUID", "x", "names pod UID \"x\", which differs"),
        ("serviceAccountName", "x", "that differs from running pod"),
        ("serviceAccountUID", "x", "names service account UID \"x\", which differs"),
        ("signerName", "a.b/d", "does not mount a podCertificate projected volume"),
    ] {
        refuses(&as_node(&c, Method::POST, path, with(field, value)).await, why);
    }
}
