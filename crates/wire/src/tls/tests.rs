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
