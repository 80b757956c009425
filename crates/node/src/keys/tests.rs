use kinds::certificates::x509::{self, Key as Kind};

use super::*;

#[test]
fn every_type_of_key_signs_an_empty_request_and_can_be_read() {
    for (name, kind, begins) in [
        ("RSA3072", Kind::Rsa(3072), 0),
        ("ECDSAP256", Kind::P256, 0),
        ("ECDSAP384", Kind::P384, 0),
        ("ECDSAP521", Kind::P521, 0),
        ("ED25519", Kind::Ed25519, 0),
    ] {
        let key = make(name).unwrap();
        let request = x509::request(&key.request).unwrap();
        let body = &request.certification_request_info;
        assert_eq!((Kind::of(&body.subject_pki), x509::check_signature(&request)), (kind, Ok(())), "{name}");
        assert!(body.subject.iter().next().is_none() && body.attributes().is_empty(), "{name}");
        let block = pem::parse(&key.pem).unwrap();
        assert_eq!(block.tag(), "PRIVATE KEY");
        // PKCS#8 of its first version.
        let version = block.contents().windows(3).find(|part| part[..2] == [2, 1]).unwrap()[2];
        assert_eq!(version, begins, "{name}");
        assert_ne!(key.pem, make(if name == "RSA3072" { "ED25519" } else { name }).unwrap().pem);
    }
    assert_eq!(make("DSA").err().unwrap(), "unknown key type \"DSA\"");
}
