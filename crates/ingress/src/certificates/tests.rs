use serde_json::{Value, json};

use super::*;

/// A self-signed pair for these names.
pub fn pair(names: &[&str]) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// The Secret `namespace/name` of a pair.
pub fn secret(key: &str, pair: &Pair) -> Value {
    let (namespace, name) = key.split_once('/').unwrap();
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": name}, "type": TLS,
        "data": {"tls.crt": encoded(&pair.certificate), "tls.key": encoded(&pair.key)}})
}

pub fn certificate(key: &str, names: &[&str]) -> Certificate {
    Certificate::read(&Object::from_value(&secret(key, &pair(names))).unwrap()).unwrap()
}

#[test]
fn a_secret_that_cannot_be_used_says_why_and_nothing_of_the_key() {
    let (good, other) = (pair(&["a"]), pair(&["a"]));
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut secret = secret("a/b", &good);
        change(&mut secret);
        Certificate::read(&Object::from_value(&secret).unwrap()).map(|_| ()).unwrap_err()
    };
    let text = |text: &str| json!(BASE64_STANDARD.encode(text));
    assert_eq!(refused(&|s| s["type"] = json!("Opaque")), "it is of type \"Opaque\", not kubernetes.io/tls");
    assert_eq!(refused(&|s| s["data"]["tls.crt"] = json!("§")), "tls.crt is not base64");
    assert_eq!(refused(&|s| s["data"]["tls.key"] = json!("/w==")), "tls.key is not PEM");
    let mismatch = refused(&|s| s["data"]["tls.key"] = text(&other.key));
    assert_eq!(mismatch, "tls.key is not the key of the certificate in tls.crt");
    for (field, value) in [
        ("tls.crt", text("")),
        ("tls.key", text("")),
        ("tls.key", text(&good.certificate)),
        ("tls.crt", text(&good.key)),
    ] {
        let why = refused(&|s| s["data"][field] = value.clone());
        assert!(why.starts_with("its certificate or key cannot be used"), "{why}");
        assert!(!why.contains(good.key.lines().nth(1).unwrap()), "{why}");
    }
    assert!(refused(&|s| s["data"] = json!(null)).starts_with("its certificate or key cannot be used"));
}
