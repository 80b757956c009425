//! Against a real server on the loopback: both protocols, one connection for all, closed ones replaced.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::Client;

fn kind() -> &'static api::Resource {
    &api::resource::PODS
}

struct Server {
    config: HttpsConfig,
    connections: Arc<AtomicUsize>,
    /// Closes every connection that is there.
    close: Arc<Notify>,
}

/// Answers each GET with a pod whose name is the path and the authorization header it saw.
async fn serve(alpn: &[&str], tls: bool) -> Server {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["gousse".into()]).unwrap().self_signed(&key).unwrap();
    let pair = wire::Pair { certificate: certificate.pem(), key: key.serialize_pem() };
    let serving = wire::tls::Presented::new(&pair).unwrap();
    let acceptor = TlsAcceptor::from(wire::tls::server(serving, None, alpn).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (connections, close) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, closing) = (connections.clone(), close.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let (acceptor, closing) = (acceptor.clone(), closing.clone());
            tokio::spawn(async move {
                let stream: wire::Duplex = match tls {
                    true => Box::new(acceptor.accept(stream).await.unwrap()),
                    false => Box::new(stream),
                };
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let served = server.serve_connection(TokioIo::new(stream), service_fn(echo));
                tokio::select! { _ = served => {}, () = closing.notified() => {} }
            });
        }
    });
    let scheme = if tls { "https" } else { "http" };
    let config = HttpsConfig {
        server: format!("{scheme}://127.0.0.1:{port}/prefix/"),
        ca: Some(pair.certificate),
        bearer: Some(Bearer::Token("secret".into())),
        tls_server_name: Some("gousse".into()),
        ..HttpsConfig::default()
    };
    Server { config, connections, close }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap()).unwrap_or_default();
    let name = format!("{} {:?} {authorization}", request.uri().path(), request.version());
    let body = serde_json::json!({"metadata": {"name": name}}).to_string();
    Ok(Response::new(Full::new(body.into())))
}

async fn get(client: &Client, name: &str) -> String {
    client.get(kind(), "default", name).await.unwrap().meta().name.clone()
}

#[tokio::test]
async fn http2_carries_everything_over_one_connection() {
    let server = serve(&["h2", "http/1.1"], true).await;
    let client = Client::new(Arc::new(Https::new(server.config).unwrap()));
    let names = futures::future::join_all((0..20).map(|n| {
        let client = client.clone();
        async move { get(&client, &format!("p{n}")).await }
    }))
    .await;
    assert_eq!(names[3], "/prefix/api/v1/namespaces/default/pods/p3 HTTP/2.0 Bearer secret");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    server.close.notify_waiters();
    tokio::task::yield_now().await;
    assert!(get(&client, "again").await.contains("again"));
}

#[tokio::test]
async fn http1_connections_are_used_again_and_replaced() {
    for tls in [true, false] {
        let server = serve(&["http/1.1"], tls).await;
        let client = Client::new(Arc::new(Https::new(server.config).unwrap()));
        for n in 0..5 {
            let name = get(&client, &format!("p{n}")).await;
            assert_eq!(name, format!("/prefix/api/v1/namespaces/default/pods/p{n} HTTP/1.1 Bearer secret"));
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
        server.close.notify_waiters();
        for n in 0..3 {
            get(&client, &format!("q{n}")).await;
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_by_the_next_request() {
    for alpn in ["h2", "http/1.1"] {
        let server = serve(&[alpn], true).await;
        let pair = || {
            let made = rcgen::generate_simple_self_signed(vec!["n1".into()]).unwrap();
            wire::Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
        };
        let https = Arc::new(Https::new(HttpsConfig { identity: Some(pair()), ..server.config }).unwrap());
        let client = Client::new(https.clone());
        for (asked, dialled) in [("a", 1), ("b", 1)] {
            get(&client, asked).await;
            assert_eq!(server.connections.load(Ordering::SeqCst), dialled, "{alpn}");
        }
        https.present(&pair()).unwrap();
        for asked in ["c", "d"] {
            get(&client, asked).await;
            assert_eq!(server.connections.load(Ordering::SeqCst), 2, "{alpn}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused() {
    let server = serve(&["h2"], true).await;
    let strict = HttpsConfig { tls_server_name: Some("other".into()), ..server.config.clone() };
    let error = Client::new(Arc::new(Https::new(strict).unwrap())).get(kind(), "", "x").await.unwrap_err();
    assert_eq!(error.reason, Reason::ServiceUnavailable);
    assert!(error.message.contains("certificate"), "{error}");
    let insecure = HttpsConfig { tls_server_name: None, insecure: true, ..server.config };
    get(&Client::new(Arc::new(Https::new(insecure).unwrap())), "x").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let config = HttpsConfig { server: format!("http://127.0.0.1:{port}"), ..HttpsConfig::default() };
    let error = Client::new(Arc::new(Https::new(config).unwrap())).get(kind(), "", "x").await.unwrap_err();
    assert_eq!(error.reason, Reason::ServiceUnavailable);
    assert!(Https::new(HttpsConfig { server: "ftp://x".into(), ..HttpsConfig::default() }).is_err());
}
