use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519,
};
use serde_json::json;

use super::*;
use crate::tests::told;

pub const P521: &str = include_str!("tests/p521.pem");
pub const P224: &str = include_str!("tests/p224.pem");
pub const RSA2048: &str = include_str!("tests/rsa2048.pem");

/// 2026-09-21T14:13:20Z
pub const NOW: i64 = 1_790_000_000;

pub fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// One of each type that ring can make.
pub fn keys() -> [KeyPair; 3] {
    [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].map(|kind| KeyPair::generate_for(kind).unwrap())
}

pub fn base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}

/// A signing request, PEM.
pub fn request(key: &KeyPair) -> String {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
}

/// A certificate by its own key: for these names, from so many seconds after `NOW` to so many.
pub fn certificate(key: &KeyPair, names: &[&str], from: i64, until: i64) -> String {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    let at = |second: i64| {
        let second = u64::try_from(NOW + second).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(second)
    };
    (params.not_before, params.not_after) = (at(from), at(until));
    params.self_signed(key).unwrap().pem()
}

/// The certificate of an authority.
pub fn anchor(name: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&key()).unwrap().pem()
}

#[test]
fn a_signers_name_has_a_domain_and_a_path() {
    let judged = |name: &str| {
        let object = json!({ "signerName": name });
        let mut errors = Errors::new();
        signer_name(&At::root(&object).get("signerName"), &mut errors);
        told(&errors)
    };
    for name in ["example.com/a", "kubernetes.io/kubelet-serving", "a.b/c.d-e.f"] {
        assert_eq!(judged(name), [""; 0]);
    }
    assert_eq!(judged(""), ["signerName: Required value"]);
    const FORM: &str = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
    for name in ["example.com", "example.com/a/b"] {
        assert_eq!(judged(name), [format!("signerName: Invalid value: {name:?}: {FORM}")]);
    }
    const DOTS: &str = "should be a domain with at least two segments separated by dots";
    assert_eq!(judged("host/a"), [format!("signerName: Invalid value: \"host\": {DOTS}")]);
    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
                         must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used \
                         for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    assert_eq!(
        judged("Up.example.com/a"),
        [format!("signerName: Invalid value: \"Up.example.com\": validating label \"Up\": {LABEL}")]
    );
    assert!(judged("example.com/A")[0].starts_with("signerName: Invalid value: \"A\": validating label \"A\": "));
    let long = format!("example.com/{}", vec!["a".repeat(250); 3].join("."));
    assert_eq!(judged(&long), ["signerName: Too long: may not be more than 571 bytes"]);
}

#[test]
fn a_bundle_is_named_after_its_signer() {
    assert_eq!(bundle_name("", "plain"), [""; 0]);
    assert_eq!(bundle_name("", "a:b"), ["ClusterTrustBundle without signer name must not have \":\" in its name"]);
    assert_eq!(bundle_name("example.com/s", "example.com:s:live"), [""; 0]);
    assert_eq!(
        bundle_name("example.com/s", "live"),
        ["ClusterTrustBundle for signerName example.com/s must be named with prefix example.com:s:"]
    );
    assert!(!bundle_name("example.com/s", "example.com:s:").is_empty());
    assert_eq!(signer_of_bundle("example.com:s:live"), "example.com/s");
    assert_eq!(signer_of_bundle("live"), "");
}

#[test]
fn what_a_pod_tells_its_signer_has_domains() {
    let judged = |annotations: serde_json::Value| {
        let mut errors = Errors::new();
        user_annotations(&At::root(&json!({ "a": annotations })).get("a"), &mut errors);
        told(&errors)
    };
    assert_eq!(judged(json!({"acme.io/Foo": "x"})), [""; 0]);
    assert_eq!(
        judged(json!({"foo": "x"})),
        ["a: Invalid value: \"foo\": must be a domain-prefixed key (such as \"acme.io/foo\")"]
    );
    assert_eq!(judged(json!({"": "x"})), ["a: Required value"]);
    assert_eq!(judged(json!({"a.io/b": "x".repeat(256 * 1024)})), ["a: Too long: may not be more than 262144 bytes"]);
}

#[test]
fn lives_are_shorter_under_signers_of_kubernetes() {
    assert_eq!(life_max("kubernetes.io/x"), 86_400);
    assert_eq!(life_max("a.kubernetes.io/x"), 86_400);
    assert_eq!(life_max("notkubernetes.io/x"), 7_862_400);
}
