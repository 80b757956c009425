use super::super::tests::{anchor, certificate, key};
use super::*;
use crate::tests::{kind, told};

fn bundle(name: &str, signer: &str, anchors: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": {"signerName": signer, "trustBundle": anchors}})
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    let kind = kind("clustertrustbundles");
    told(&kind.validate(new, old, &Context::default()))
}

#[test]
fn a_bundle_holds_authorities_each_once() {
    let (one, two) = (anchor("one"), anchor("two"));
    let trust = |anchors: &str| judged(&bundle("b", "", anchors), None);
    assert_eq!(trust(&format!("{one}{two}")), [""; 0]);
    let error = |why: &str| format!("spec.trustBundle: Invalid value: \"<value omitted>\": {why}");
    assert_eq!(trust("nothing"), [error("at least one trust anchor must be provided")]);
    assert_eq!(trust(&format!("{one}{two}{one}")), [error("duplicate trust anchor (indices [0 2])")]);
    let leaf = certificate(&key(), &["a.example.com"], 0, 10);
    assert_eq!(trust(&format!("{one}{leaf}")), [error("entry 1 does not have the CA bit set")]);
    let key = key().serialize_pem();
    let headed = one.replacen("-----\n", "-----\nA: b\n\n", 1);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(
        trust(&format!("{key}{headed}{garbage}")),
        [
            error("entry 0 has bad block type: PRIVATE KEY"),
            error("entry 1 has PEM block headers"),
            error("entry 2 does not parse as X.509"),
        ]
    );
    assert_eq!(trust(&"x".repeat(1024 * 1024 + 1)), ["spec.trustBundle: Too long: may not be more than 1048576 bytes"]);
}

#[test]
fn a_bundles_signer_is_in_its_name_and_stays() {
    let one = anchor("one");
    let good = bundle("example.com:s:live", "example.com/s", &one);
    assert_eq!(judged(&good, None), [""; 0]);
    assert_eq!(
        judged(&bundle("live", "example.com/s", &one), None),
        ["metadata.name: Invalid value: \"live\": ClusterTrustBundle for signerName example.com/s must be named with \
          prefix example.com:s:"]
    );
    assert_eq!(judged(&bundle("example.com:s:live", "example.com/t", &one), Some(&good)).len(), 2);
    // What does not change is not judged again.
    let old = bundle("b", "", "older rules");
    assert_eq!(judged(&bundle("b", "", "older rules"), Some(&old)), [""; 0]);
    assert_eq!(judged(&bundle("b", "", "other"), Some(&old)).len(), 1);
    let cells = |object: &Value| kind("clustertrustbundles").columns[1].of(object, "");
    assert_eq!((cells(&good), cells(&old)), (json!("example.com/s"), json!("<none>")));
}
