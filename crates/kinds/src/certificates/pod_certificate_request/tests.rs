use jiff::Timestamp;
use rcgen::KeyPair;

use super::super::tests::{NOW, P224, P521, RSA2048, anchor, base64, certificate, key, keys, request as asked};
use super::*;
use crate::tests::{kind, told};

fn of_stub(stub: &str) -> Value {
    let der = x509::request_of(stub.as_bytes()).unwrap();
    json!({"metadata": {"name": "r", "namespace": "n", "resourceVersion": "1"}, "spec": {"signerName": "example.com/s",
        "podName": "p", "podUID": "1", "serviceAccountName": "default", "serviceAccountUID": "2", "nodeName": "node",
        "nodeUID": "3", "maxExpirationSeconds": 86400, "stubPKCS10Request": base64(der)}, "status": {}})
}

fn request(key: &KeyPair) -> Value {
    of_stub(&asked(key))
}

fn judged(new: &Value, old: Option<&Value>, subresource: &str) -> Vec<String> {
    let now = Timestamp::from_second(NOW).unwrap().to_string();
    let context = Context { subresource: subresource.into(), now, ..Context::default() };
    told(&kind("podcertificaterequests").validate(new, old, &context))
}

#[test]
fn a_request_names_pod_account_and_node_whole() {
    let with = |field: &str, value: Value| {
        let mut request = request(&key());
        request["spec"][field] = value;
        judged(&request, None, "")
    };
    assert_eq!(with("podUID", json!("1")), [""; 0]);
    assert_eq!(with("podUID", json!("")), ["spec.podUID: Invalid value: \"\": must not be empty"]);
    assert_eq!(with("nodeUID", json!("x".repeat(129))), ["spec.nodeUID: Too long: may not be more than 128 bytes"]);
    assert!(with("podName", json!("P"))[0].starts_with("spec.podName: Invalid value: \"P\": a lowercase RFC 1123"));
    assert_eq!(with("signerName", json!("")), ["spec.signerName: Required value"]);
    assert_eq!(
        with("maxExpirationSeconds", json!(3599)),
        ["spec.maxExpirationSeconds: Invalid value: 3599: must be in the range [3600, 7862400]"]
    );
    let mut own = request(&key());
    own["spec"]["signerName"] = json!("kubernetes.io/s");
    own["spec"]["maxExpirationSeconds"] = json!(86401);
    assert_eq!(
        judged(&own, None, ""),
        ["spec.maxExpirationSeconds: Invalid value: 86401: must be in the range [3600, 86400]"]
    );
    assert_eq!(with("maxExpirationSeconds", Value::Null), ["spec.maxExpirationSeconds: Required value: must be set"]);
    assert_eq!(
        with("stubPKCS10Request", json!("")),
        ["spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set"]
    );
    assert_eq!(
        with("unverifiedUserAnnotations", json!({"a": "b"})),
        [
            "spec.unverifiedUserAnnotations: Invalid value: \"a\": must be a domain-prefixed key (such as \"acme.io/foo\")"
        ]
    );
}

#[test]
fn a_request_is_by_a_good_key_and_signed_by_it() {
    for stub in keys().map(|key| asked(&key)).into_iter().chain([P521.to_string()]) {
        assert_eq!(judged(&of_stub(&stub), None, ""), [""; 0]);
    }
    let error = |why: &str| [format!("spec.stubPKCS10Request: Invalid value: {why}")];
    assert_eq!(
        judged(&of_stub(P224), None, ""),
        error("\"curve P-224\": elliptic public keys must use curve P256, P384, or P521")
    );
    assert_eq!(
        judged(&of_stub(RSA2048), None, ""),
        error("\"2048-bit modulus\": RSA keys must have modulus size 3072 or 4096")
    );
    let with = |der: Vec<u8>| {
        let mut request = request(&key());
        request["spec"]["stubPKCS10Request"] = json!(base64(der));
        judged(&request, None, "")
    };
    let mut der = x509::request_of(asked(&key()).as_bytes()).unwrap();
    *der.last_mut().unwrap() ^= 1;
    assert_eq!(with(der), error("invalid signature"));
    assert_eq!(with(vec![1, 2, 3]), error("must be a valid PKCS#10 CSR"));
    assert_eq!(with(vec![0; 10 * 1024 + 1]), ["spec.stubPKCS10Request: Too long: may not be more than 10240 bytes"]);
}

#[test]
fn what_is_asked_never_changes() {
    let old = request(&key());
    let mut new = old.clone();
    new["spec"]["podName"] = json!("q");
    assert!(judged(&new, Some(&old), "")[0].starts_with("spec: Invalid value: {"));
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(judged(&new, Some(&old), ""), [""; 0]);
    // Of a status the metadata stays.
    let context = Context { subresource: "status".into(), ..Context::default() };
    kind("podcertificaterequests").prepare(&mut new, Some(&old), &context);
    assert_eq!(new, old);
}

fn condition(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "R", "lastTransitionTime": "2026-09-21T14:13:20Z"})
}

fn time(second: i64) -> Value {
    json!(Timestamp::from_second(NOW + second).unwrap().to_string())
}

/// The answer of a signer whose certificate lives so long.
fn issued(key: &KeyPair, names: &[&str], from: i64, until: i64) -> Value {
    json!({"conditions": [condition("Issued")], "certificateChain": certificate(key, names, from, until),
        "notBefore": time(from), "notAfter": time(until), "beginRefreshAt": time(from + 1200)})
}

#[test]
fn a_certificate_is_what_was_asked_for() {
    let own = key();
    let old = request(&own);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        new["status"] = issued(&own, &["a.example.com"], -60, 7200);
        change(&mut new["status"]);
        judged(&new, Some(&old), "status")
    };
    assert_eq!(with(&|_| {}), [""; 0]);
    assert_eq!(
        with(&|s| s["certificateChain"] = json!(format!("{}{}", s["certificateChain"].as_str().unwrap(), anchor("ca")))),
        [""; 0]
    );
    let ends = |change: &dyn Fn(&mut Value), path: &str, why: &str| {
        let wrong = with(change);
        assert!(wrong.len() == 1 && wrong[0].starts_with(path) && wrong[0].ends_with(why), "{wrong:?} is not {why}");
    };
    let chain = "status.certificateChain: Invalid value: ";
    ends(&|s| s["certificateChain"] = json!("x"), chain, "must contain at least one certificate");
    ends(
        &|s| s["certificateChain"] = json!(key().serialize_pem()),
        chain,
        "consist entirely of CERTIFICATE PEM blocks",
    );
    ends(
        &|s| s["certificateChain"] = json!(certificate(&key(), &[], -60, 7200)),
        chain,
        "leaf certificate was not issued to the requested public key",
    );
    ends(
        &|s| {
            s["certificateChain"] =
                json!(format!("{}{}", s["certificateChain"].as_str().unwrap(), key().serialize_pem()))
        },
        chain,
        "must consist entirely of CERTFICATE PEM blocks",
    );
    ends(
        &|s| s["certificateChain"] = json!(certificate(&own, &["a..b"], -60, 7200)),
        "status.certificateChain: Invalid value: \"a..b\": ",
        "leaf certificate's DNSName should not contain '..'",
    );
    ends(&|s| drop(s.as_object_mut().unwrap().remove("notAfter")), "status.notAfter: Required value: ", "certificate");
    ends(&|s| s["notBefore"] = time(-61), "status.notBefore: Invalid value: ", "encoded in the leaf certificate");
    ends(&|s| s["notAfter"] = time(7201), "status.notAfter: Invalid value: ", "encoded in the leaf certificate");
    ends(
        &|s| *s = issued(&own, &[], -301, 7200),
        "status.notBefore: ",
        "within 5 minutes of kube-apiserver's current time",
    );
    ends(
        &|s| *s = issued(&own, &[], 0, 3599),
        "status.certificateChain: Invalid value: 3599000000000: ",
        "leaf certificate lifetime must be >= 1 hour",
    );
    ends(&|s| *s = issued(&own, &[], 0, 86401), chain, "must be <= spec.maxExpirationSeconds (86400)");
    ends(&|s| s["beginRefreshAt"] = time(539), "status.beginRefreshAt: ", "at least 10 minutes after status.notBefore");
    ends(
        &|s| s["beginRefreshAt"] = time(6601),
        "status.beginRefreshAt: ",
        "at least 10 minutes before status.notAfter",
    );
    ends(
        &|s| s["certificateChain"] = json!("x".repeat(100 * 1024 + 1)),
        "status.certificateChain: Too long: ",
        "may not be more than 102400 bytes",
    );
}

#[test]
fn an_answer_is_one_final_condition_and_stays() {
    let own = key();
    let old = request(&own);
    let answered = |status: Value, before: &Value| {
        let (mut new, mut old) = (old.clone(), old.clone());
        (new["status"], old["status"]) = (status, before.clone());
        judged(&new, Some(&old), "status")
    };
    let (none, denied) = (json!({}), json!({"conditions": [condition("Denied")]}));
    assert_eq!(answered(denied.clone(), &none), [""; 0]);
    assert_eq!(
        answered(json!({}), &denied),
        ["status: Invalid value: immutable after PodCertificateRequest is issued, denied, or failed"]
    );
    assert_eq!(
        answered(json!({"conditions": [condition("Failed")], "certificateChain": "x"}), &none),
        ["status: Invalid value: non-condition status fields must be empty when denying or failing the \
          PodCertificateRequest"]
    );
    assert_eq!(
        answered(json!({"certificateChain": "x"}), &none),
        ["status: Invalid value: status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\""]
    );
    let mut other = condition("Other");
    assert_eq!(
        answered(json!({"conditions": [other]}), &none),
        [
            "status.conditions.[0].type: Unsupported value: \"Other\": supported values: \"Issued\", \"Denied\", \"Failed\""
        ]
    );
    other = condition("Failed");
    other["status"] = json!("False");
    assert_eq!(
        answered(json!({"conditions": [other, condition("Denied")]}), &none),
        [
            "status.conditions.[0].status: Unsupported value: \"False\": supported values: \"True\"",
            "status.conditions.[1].type: Invalid value: \"Denied\": There may be at most one condition with type \
             \"Issued\", \"Denied\", or \"Failed\"",
        ]
    );
    let bare = json!({"conditions": [{"type": "Denied", "status": "True", "reason": "1"}]});
    let wrong = answered(bare, &none);
    assert_eq!(wrong[0], "status.conditions[0].lastTransitionTime: Required value");
    assert!(wrong[1].starts_with("status.conditions[0].reason: Invalid value: \"1\": a condition reason must start"));
}

#[test]
fn a_row_shows_how_far_it_is() {
    let mut request = request(&key());
    let shown = |request: &Value| {
        let columns = &kind("podcertificaterequests").columns;
        columns.iter().map(|column| column.of(request, "").as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(&request), ["r", "p", "default", "node", "example.com/s", "Pending", "<none>"]);
    request["status"]["conditions"] = json!([condition("Issued")]);
    request["spec"]["unverifiedUserAnnotations"] = json!({"a.io/b": "c"});
    assert_eq!(shown(&request)[5..], ["Issued", "a.io/b=c"]);
}
