use http::Method;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair};
use serde_json::json;

use super::*;
use crate::identity::{Component, Identity};
use crate::tests::{Cluster, cluster, read};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const BUNDLES: &str = "/apis/certificates.k8s.io/v1/clustertrustbundles";

fn stub(organization: impl Into<DnValue>) -> rcgen::CertificateSigningRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap()
}

fn request(name: &str, signer: &str, organization: impl Into<DnValue>) -> Value {
    json!({"metadata": {"name": name}, "spec": {"request": STANDARD.encode(stub(organization).pem().unwrap()),
        "signerName": signer, "usages": ["client auth"], "username": "forged", "extra": {"forged": ["x"]}}})
}

/// What an identity may do was asked for as for any other: nobody here holds a grant but by `*`.
async fn approve(c: &Cluster, who: &Identity, name: &str) -> (u16, Value) {
    let condition = json!({"type": "Approved", "status": "True", "reason": "R"});
    let patch = json!({"status": {"conditions": [condition]}}).to_string();
    let path = format!("{REQUESTS}/{name}/approval");
    read(c.raw(who, Method::PATCH, &path, "application/merge-patch+json", patch).await)
}

#[tokio::test]
async fn a_request_says_who_made_it_whatever_it_brings() {
    let c = cluster().await;
    let (code, made) = c.post(REQUESTS, request("r", "example.com/s", "o")).await;
    assert_eq!((code, &made["spec"]["username"]), (201, &json!("kubernetes-admin")), "{made}");
    assert_eq!(made["spec"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((made["spec"].get("extra"), &made["status"]), (None, &json!({})));
    // Nor does an update say otherwise.
    let patch = json!({"spec": {"username": "forged"}, "metadata": {"labels": {"a": "b"}}});
    let (code, next) = c.patch(&format!("{REQUESTS}/r"), "application/merge-patch+json", patch).await;
    assert_eq!((code, &next["spec"], &next["metadata"]["labels"]["a"]), (200, &made["spec"], &json!("b")));
    let (code, approved) = approve(&c, &c.admin, "r").await;
    assert_eq!((code, &approved["status"]["conditions"][0]["type"]), (200, &json!("Approved")), "{approved}");
    assert_eq!(approved["status"]["conditions"][0]["lastUpdateTime"], "2026-09-21T14:13:20Z");
}

#[tokio::test]
async fn nobody_becomes_an_administrator_by_a_certificate() {
    let c = cluster().await;
    let clients = "kubernetes.io/kube-apiserver-client";
    let (code, status) = c.post(REQUESTS, request("r", clients, "system:masters")).await;
    let why = "certificatesigningrequests.certificates.k8s.io \"r\" is forbidden: use of \
               kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
    assert_eq!((code, status["message"].as_str().unwrap()), (403, why));
    // In an encoding that is not read, it might be read by whoever signs.
    let hidden = DnValue::BmpString("system:masters".try_into().unwrap());
    let (code, status) = c.post(REQUESTS, request("r", clients, hidden)).await;
    assert_eq!(code, 403, "{status}");
    assert_eq!(c.post(REQUESTS, request("r", clients, "others")).await.0, 201);
    assert_eq!(c.post(REQUESTS, request("s", "example.com/s", "system:masters")).await.0, 201);
}

/// A user who holds what the resource needs, but nothing on signers: the steps themselves are asked.
#[tokio::test]
async fn signers_have_their_own_grants() {
    let c = cluster().await;
    let user = Identity::authenticated("somebody", "", vec![]);
    let (served, old) = {
        let kind = kinds::built_in().served("certificates.k8s.io", "v1", "certificatesigningrequests").unwrap();
        (kind, json!({"spec": {"signerName": "example.com/s"}}))
    };
    let ask = |subresource: &'static str, identity| Ask {
        server: &c.server,
        identity,
        served: &served,
        operation: Operation::Update,
        subresource,
        schema: &served.kind.schema,
        namespace: "",
        name: "r",
        old: Some(&old),
        dry_run: false,
    };
    let mut findings = Findings::default();
    // The signer that counts is the stored one's.
    let new = json!({"spec": {"signerName": "mine.example.com/s"}, "status": {"certificate": "x"}});
    for (step, subresource, word) in [(approval as Step, "approval", "approve"), (signing, "status", "sign")] {
        let refused = step(&ask(subresource, &user), &new, &mut findings).unwrap_err();
        let why = format!("user not permitted to {word} requests with signerName \"example.com/s\"");
        assert!(refused.message.ends_with(&why), "{refused}");
        assert!(step(&ask(subresource, &c.admin), &new, &mut findings).is_ok());
        let another = if subresource == "approval" { "status" } else { "approval" };
        assert!(step(&ask(another, &user), &new, &mut findings).is_ok());
    }
    // Without a change of what a signer says nobody is asked.
    assert!(signing(&ask("status", &user), &old, &mut findings).is_ok());
}

type Step = fn(&Ask<'_>, &Value, &mut Findings) -> Result<(), Status>;

#[tokio::test]
async fn a_signers_bundle_is_attested_by_who_may() {
    let c = cluster().await;
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let anchors = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let bundle = json!({"metadata": {"name": "example.com:s:b"},
        "spec": {"signerName": "example.com/s", "trustBundle": anchors}});
    let (code, made) = c.post(BUNDLES, bundle).await;
    assert_eq!(code, 201, "{made}");
    let served = kinds::built_in().served("certificates.k8s.io", "v1", "clustertrustbundles").unwrap();
    let user = Identity::authenticated("somebody", "", vec![]);
    let ask = Ask {
        server: &c.server,
        identity: &user,
        served: &served,
        operation: Operation::Update,
        subresource: "",
        schema: &served.kind.schema,
        namespace: "",
        name: "example.com:s:b",
        old: Some(&made),
        dry_run: false,
    };
    let with = |pointer: &str, value: Value| {
        let mut next = made.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        next.pointer_mut(parent).unwrap()[field] = value;
        attest(&ask, &next, &mut Findings::default())
    };
    assert!(with("/metadata/finalizers", json!(["a.io/b"])).is_ok());
    for (pointer, value) in [("/spec/trustBundle", json!("x")), ("/metadata/labels", json!({"a": "b"}))] {
        let why = "user not permitted to attest for signerName \"example.com/s\"";
        assert!(with(pointer, value).unwrap_err().message.ends_with(why));
    }
    assert!(with("/spec/signerName", json!("")).is_ok());
}

#[tokio::test]
async fn a_pods_certificate_is_given_by_who_may_sign() {
    let c = cluster().await;
    let served = kinds::built_in().served("certificates.k8s.io", "v1", "podcertificaterequests").unwrap();
    let user = Identity::authenticated("somebody", "", vec![]);
    let old = json!({"spec": {"signerName": "example.com/s"}, "status": {}});
    let ask = |identity| Ask {
        server: &c.server,
        identity,
        served: &served,
        operation: Operation::Update,
        subresource: "status",
        schema: &served.kind.schema,
        namespace: "default",
        name: "r",
        old: Some(&old),
        dry_run: false,
    };
    let new = json!({"spec": {"signerName": "example.com/s"}, "status": {"conditions": [{"type": "Denied"}]}});
    let refused = signing(&ask(&user), &new, &mut Findings::default()).unwrap_err();
    assert_eq!(
        refused.message,
        "PodCertificateRequest.certificates.k8s.io \"r\" is invalid: spec.signerName: Forbidden: User \"somebody\" is \
         not permitted to \"sign\" for signer \"example.com/s\""
    );
    assert!(signing(&ask(&user), &old, &mut Findings::default()).is_ok());
    assert!(signing(&ask(&c.admin), &new, &mut Findings::default()).is_ok());
}
