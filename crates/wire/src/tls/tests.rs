//! Whom each trust believes: a server as it should be, and one that shows a certificate of somebody else.

use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn pair() -> Pair {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["web".into()]).unwrap().self_signed(&key).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Whether a client of this trust takes a server that shows this certificate and signs with this key.
async fn takes(trust: Trust<'_>, name: &str, certificate: &Pair, key: &Pair) -> bool {
    let shown = Pair { certificate: certificate.certificate.clone(), key: key.key.clone() };
    let acceptor = TlsAcceptor::from(server(Presented::new(&shown).unwrap(), None, &[]).unwrap());
    let connector = TlsConnector::from(client(trust, None, &[]).unwrap());
    let (here, there) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (met, _) = tokio::join!(connector.connect(name, here), acceptor.accept(there));
    met.is_ok()
}

#[tokio::test]
async fn only_a_probe_believes_a_certificate_without_its_key() {
    let (own, other) = (pair(), pair());
    let trusts = |pem: &'static str| {
        [Trust::Authorities(pem), Trust::Machine(Some(pem)), Trust::Holders(pem), Trust::Anybody, Trust::Whatever]
    };
    let known: &'static str = own.certificate.clone().leak();
    let unknown: &'static str = other.certificate.clone().leak();
    for (number, [trust, stranger]) in trusts(known).into_iter().zip(trusts(unknown)).map(|(a, b)| [a, b]).enumerate() {
        assert!(takes(trust, "web", &own, &own).await, "{number}");
        assert_eq!(takes(trust, "db", &own, &own).await, number >= 2, "{number}: another name");
        assert_eq!(takes(stranger, "web", &own, &own).await, number >= 3, "{number}: another authority");
        assert_eq!(takes(trust, "web", &own, &other).await, number == 4, "{number}: without its key");
    }
}

/// A request for two names was approved for the last and believed for the first: another node's.
#[test]
fn of_several_common_names_the_last_is_the_user() {
    let key = KeyPair::generate().unwrap();
    // SET { SEQUENCE { OID 2.5.4.3, UTF8String } } for each.
    let named = |name: &str| {
        let text = [&[0x0c, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        let pair = [&[6, 3, 0x55, 4, 3][..], &text].concat();
        let pair = [&[0x30, u8::try_from(pair.len()).unwrap()], &pair[..]].concat();
        [&[0x31, u8::try_from(pair.len()).unwrap()], &pair[..]].concat()
    };
    // rcgen writes one attribute of a kind: a second one takes the place of one of the same length.
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "n2");
    params.distinguished_name.push(rcgen::DnType::LocalityName, "n1");
    let mut der = params.self_signed(&key).unwrap().der().to_vec();
    let locality = [0x06, 3, 0x55, 4, 7];
    while let Some(at) = der.windows(5).position(|window| window == locality) {
        der[at + 4] = 3;
    }
    for name in ["n1", "n2"] {
        assert!(der.windows(named(name).len()).any(|window| window == named(name)), "{name}");
    }
    assert_eq!(subject(&der.into()), Some(("n1".to_owned(), vec![])));
}

#[test]
fn a_certificate_says_for_how_long_whom_and_what_it_is() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let key = KeyPair::generate().unwrap();
    let made = |purposes: &[rcgen::ExtendedKeyUsagePurpose]| {
        let mut params = CertificateParams::new(["n1", "192.0.2.1", "2001:db8::1"].map(String::from)).unwrap();
        params.extended_key_usages = purposes.to_vec();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        params.self_signed(&key).unwrap().pem()
    };
    let facts = Facts::of(&made(&[ServerAuth])).unwrap();
    let hosts = ["n1", "192.0.2.1", "2001:db8::1"].map(String::from).to_vec();
    let expected = Facts { from: 1_767_225_600, until: 1_798_761_600, hosts, serves: true, asks: false };
    assert_eq!(facts, expected);
    assert_eq!(Facts::of(&made(&[ServerAuth, ClientAuth])).unwrap(), Facts { asks: true, ..expected.clone() });
    assert_eq!(Facts::of(&made(&[])).unwrap(), Facts { serves: false, ..expected });
    let (own, other) = (made(&[]), pair());
    assert!(is_signed_by(&own, &own) && !is_signed_by(&own, &other.certificate) && !is_signed_by("", &own));
    assert!(belong_together(&Pair { certificate: own.clone(), key: key.serialize_pem() }).is_ok());
    assert!(belong_together(&Pair { certificate: own, key: other.key }).is_err());
}
