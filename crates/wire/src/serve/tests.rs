use bytes::Bytes;
use http_body_util::Full;
use tokio::io::AsyncReadExt;

use super::*;
use crate::tls::{Pair, Presented, Trust};

/// A connection on which nothing was sent, and how it ended.
async fn silent(alpn: &str) -> io::Error {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gousse".into()]).unwrap().self_signed(&key).unwrap();
    let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    let tls = crate::tls::server(Presented::new(&pair).unwrap(), None, &["h2", "http/1.1"]).unwrap();
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(async move {
        let stream = shake(&TlsAcceptor::from(tls), ours).await?;
        let answer = |_| async { Response::new(Full::new(Bytes::new())) };
        http(stream, answer, std::future::pending()).await
    });
    let tls = crate::tls::client(Trust::Anybody, None, &[alpn]).unwrap();
    let name = rustls_pki_types::ServerName::try_from("gousse").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(tls).connect(name, theirs).await.unwrap();
    // What the server says first, until it hangs up.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    server.await.unwrap().unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_given_up() {
    for alpn in ["h2", "http/1.1"] {
        let begun = tokio::time::Instant::now();
        silent(alpn).await;
        assert!(begun.elapsed() <= HEADER_TIMEOUT + Duration::from_secs(1), "{alpn}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_begins_is_given_up() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gousse".into()]).unwrap().self_signed(&key).unwrap();
    let pair = Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    let tls = crate::tls::server(Presented::new(&pair).unwrap(), None, &[]).unwrap();
    let (ours, _theirs) = tokio::io::duplex(64);
    let error = shake(&TlsAcceptor::from(tls), ours).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
