use rcgen::{CertificateParams, DnType, DnValue};

use super::super::tests::request as asked;
use super::super::tests::{P224, P521, RSA2048, anchor, key, keys};
use super::*;

#[test]
fn a_request_of_any_key_is_checked_by_it() {
    let kinds = [Key::P256, Key::P384, Key::Ed25519].into_iter().zip(keys().map(|key| asked(&key)));
    let given = [(Key::P521, P521.to_string()), (Key::Rsa(2048), RSA2048.to_string())];
    for (kind, pem) in kinds.chain(given) {
        let mut der = request_of(pem.as_bytes()).unwrap();
        let parsed = request(&der).unwrap();
        assert_eq!(Key::of(&parsed.certification_request_info.subject_pki), kind);
        assert_eq!(check_signature(&parsed), Ok(()), "{kind:?}");
        // A bit of the signature.
        *der.last_mut().unwrap() ^= 1;
        assert!(request(&der).is_ok_and(|parsed| check_signature(&parsed).is_err()), "{kind:?}");
        assert_eq!(request(&der[..der.len() - 1]).unwrap_err(), "asn1: syntax error: data truncated");
        der.push(0);
        assert_eq!(request(&der).unwrap_err(), "x509: trailing data");
    }
    let der = request_of(P224.as_bytes()).unwrap();
    assert_eq!(Key::of(&request(&der).unwrap().certification_request_info.subject_pki), Key::P224);
}

#[test]
fn what_is_no_block_is_passed_over() {
    let (one, two) = (anchor("one"), anchor("two"));
    let text = format!("words\n{one}# more\n-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n{two}tail");
    let found: Vec<Vec<u8>> = blocks(&text).into_iter().map(pem::Pem::into_contents).collect();
    let plain = [&one, &two].map(|text| pem::parse(text).unwrap().into_contents());
    assert_eq!(found, plain);
    assert!(blocks("").is_empty() && blocks("-----BEGIN CERTIFICATE-----").is_empty());
    assert_eq!(request_of(one.as_bytes()), Err("PEM block type must be CERTIFICATE REQUEST".into()));
}

#[test]
fn an_organization_that_cannot_be_read_is_not_passed_over() {
    let read = |organization: DnValue| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        let der = params.serialize_request(&key()).unwrap().der().to_vec();
        organizations(&request(&der).unwrap().certification_request_info.subject)
    };
    assert_eq!(read("system:masters".into()), Ok(vec!["system:masters".into()]));
    assert!(read(DnValue::BmpString("system:masters".try_into().unwrap())).is_err());
}

#[test]
fn of_a_text_that_two_readers_read_differently_nothing_is_judged() {
    let (hidden, shown) = (asked(&key()), asked(&key()));
    for text in [format!("x {hidden}{shown}"), format!("{shown}{hidden}"), format!("x {hidden}")] {
        assert!(request_of(text.as_bytes()).is_err(), "{text}");
    }
    assert!(request_of(format!("words\n{shown}").as_bytes()).is_ok());
}
