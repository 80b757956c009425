//! A site behind the ingress: the example's, fetched by its name in the clear and over TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::stage::{Instance, Stage, play};

const SITE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/ingress.yaml");

#[test]
fn a_page_is_fetched_by_its_name() {
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let example = std::fs::read_to_string(SITE).unwrap();
        // The class last: what is there by then is in the first table.
        let (class, rest) = example.split_once("\n---\n").unwrap();
        assert!(own.apply(rest).ok);
        own.must("rollout status deployment/front --timeout=60s");
        assert!(own.apply(&slice(&own)).ok);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["page.example".into()]).unwrap().self_signed(&key).unwrap();
        assert!(own.apply(&secret(&certificate.pem(), &key.serialize_pem())).ok);
        assert!(TcpStream::connect(("127.0.0.1", 80)).is_err(), "no class, no port");
        assert!(own.apply(class).ok);
        own.must("wait --for=jsonpath={.status.loadBalancer.ingress[0].ip} ingress/front --timeout=60s");
        let address = own.must("get ingress front -o jsonpath={.status.loadBalancer.ingress[0].ip}");
        let page = fetch(TcpStream::connect((address.as_str(), 80)).unwrap(), "page.example");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("Hello through an Ingress"), "{page}");
        let other = fetch(TcpStream::connect((address.as_str(), 80)).unwrap(), "other.example");
        assert!(other.starts_with("HTTP/1.1 404"), "{other}");
        let tls = wire::tls::client(wire::tls::Trust::Authorities(&certificate.pem()), None, &["http/1.1"]).unwrap();
        let name = "page.example".to_string().try_into().unwrap();
        let tls = rustls::ClientConnection::new(Arc::clone(&tls), name).unwrap();
        let stream = rustls::StreamOwned::new(tls, TcpStream::connect((address.as_str(), 443)).unwrap());
        let page = fetch(stream, "page.example");
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("Hello through an Ingress"), "{page}");
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// As a controller writes it.
fn slice(own: &Instance) -> String {
    let pods = own.must("get pods -l app=front -o jsonpath={.items[*].status.podIP}");
    let endpoints: Vec<String> =
        pods.split_whitespace().map(|address| format!("{{addresses: ['{address}']}}")).collect();
    assert_eq!(endpoints.len(), 2, "{pods}");
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: front-by-hand, labels: {{kubernetes.io/service-name: front}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{}]
",
        endpoints.join(", ")
    )
}

fn secret(certificate: &str, key: &str) -> String {
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: page-tls}}
type: kubernetes.io/tls
data: {{tls.crt: {}, tls.key: {}}}
",
        encoded(certificate),
        encoded(key)
    )
}

fn fetch(mut stream: impl Read + Write, host: &str) -> String {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    // TLS may end without a word.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}
