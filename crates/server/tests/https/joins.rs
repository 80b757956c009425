//! Nodes that join: tokens, names, keys.

use super::*;

#[tokio::test]
async fn a_node_joins_with_a_token_and_a_key_of_its_own() {
    let r = running().await;
    let token = r.server.join_token(server::TOKEN_LIFETIME).await.unwrap().text;
    let (_, bearer) = token.split_once('.').unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let body = json!({"name": "n7", "hosts": ["127.0.0.1"], "request": request, "podCIDR": "10.244.3.0/24"});
    let body = body.to_string().into_bytes();
    let ask = || Request::post(server::JOIN_PATH).header("authorization", format!("Bearer {bearer}"));
    let (code, answer) = r.ask(None, ask(), body.clone()).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(code, 200, "{answer}");
    let pair = Pair { certificate: answer["certificate"].as_str().unwrap().into(), key: key.serialize_pem() };
    // The name is taken: the Node is there, and its agent reads and changes it.
    let (code, node) = r.ask(Some(&pair), Request::get("/api/v1/nodes/n7"), vec![]).await;
    assert_eq!(code, 200);
    // Whoever has a token chooses no range: it could be another node's.
    assert_eq!(serde_json::from_slice::<Value>(&node).unwrap()["spec"]["podCIDR"], Value::Null);
    let (code, _) = r.ask(Some(&pair), Request::get("/api/v1/namespaces/kube-system/secrets/x"), vec![]).await;
    assert_eq!(code, 403);
    let (code, _) = r.ask(None, Request::post(server::JOIN_PATH), body).await;
    assert_eq!(code, 403);
    // Renewed with its own certificate, for itself only, and never for what the server is known by.
    let again = async |name: &str, hosts: &[&str]| {
        let body = json!({"name": name, "hosts": hosts, "request": request}).to_string().into_bytes();
        let (code, body) = r.ask(Some(&pair), Request::post(server::JOIN_PATH), body).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        (code.as_u16(), answer["certificate"].as_str().map(names_of).unwrap_or_default())
    };
    assert_eq!(again("n8", &["n8"]).await.0, 403);
    let asked = ["n7", "localhost", "192.0.2.7", "127.0.0.1", "kubernetes", "10.96.0.1", "10.96.0.77", "example.org"];
    assert_eq!(again("n7", &asked).await, (200, vec!["192.0.2.7".to_string(), "n7".to_string()]));
}

/// Whoever has a join token had a certificate for localhost, and on the server's own machine for all of its
/// addresses: a client there took that for the API server.
#[tokio::test]
async fn a_joined_node_does_not_pass_for_the_server() {
    let r = running().await;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_string();
    // Also one that is called as the server's machine is.
    for name in ["n7", &machine.to_ascii_lowercase()] {
        let joining = Joining::new(&r).await;
        let (code, pair) = joining.ask(None, name).await;
        assert_eq!(code, 200);
        let presented = wire::tls::Presented::new(&pair).unwrap();
        let tls = wire::tls::server(presented, None, &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = tokio_rustls::TlsAcceptor::from(tls.clone()).accept(stream).await;
            }
        });
        let trust = || wire::tls::client(Trust::Authorities(r.server.authority()), None, &[]).unwrap();
        for host in ["localhost", "127.0.0.1", "::1", "10.96.0.1", "kubernetes.default.svc", machine.as_str()] {
            let error = wire::dial_as("127.0.0.1", port, host, Some(trust())).await.err();
            let error = error.unwrap_or_else(|| panic!("{name} passes for {host}")).to_string();
            assert!(error.contains("certificate"), "{host}: {error}");
        }
        // Yet its own server knows it.
        let tls = wire::tls::client(Trust::Holders(r.server.authority()), None, &[]).unwrap();
        let known = wire::dial_as("127.0.0.1", port, "127.0.0.1", Some(tls)).await.unwrap();
        let subject = wire::tls::subject(&known.certificate.unwrap()).unwrap();
        assert_eq!(subject, (format!("system:node:{}", name), vec!["system:nodes".to_string()]));
        fake.abort();
    }
    // Whom another authority has signed is nobody.
    let other = running().await;
    let tls = wire::tls::client(Trust::Holders(r.server.authority()), None, &[]).unwrap();
    let error = wire::dial_as("localhost", other.port, "localhost", Some(tls)).await.err().unwrap();
    assert!(error.to_string().contains("certificate"), "{error}");
}

/// The names and addresses of a certificate, sorted.
fn names_of(pem: &str) -> Vec<String> {
    use x509_parser::prelude::*;
    let der = &wire::tls::chain(pem).unwrap()[0];
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    let mut names: Vec<String> = names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => name.to_string(),
            GeneralName::IPAddress(bytes) => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
            other => format!("{other:?}"),
        })
        .collect();
    names.sort();
    names
}

/// A token certified any name: with that of a node in use its bearer read what that node's pods may.
#[tokio::test]
async fn a_join_token_certifies_new_names_only_and_ends() {
    let r = running().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let join_with = async |request: &str, token: &str, name: &str| {
        let (_, bearer) = token.split_once('.').unwrap();
        let body = json!({"name": name, "hosts": [], "request": request}).to_string().into_bytes();
        let ask = Request::post(server::JOIN_PATH).header("authorization", format!("Bearer {bearer}"));
        let (code, body) = r.ask(None, ask, body).await;
        (code.as_u16(), String::from_utf8_lossy(&body).into_owned())
    };
    let join = async |token: &str, name: &str| join_with(&request, token, name).await;
    let other = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
    let token = r.server.join_token(server::TOKEN_LIFETIME).await.unwrap().text;
    r.create("/api/v1/nodes", json!({"metadata": {"name": "used"}})).await;
    let _starting = r.node_pair("starting");
    for taken in ["used", "starting"] {
        let (code, text) = join(&token, taken).await;
        assert_eq!(code, 409, "{taken}: {text}");
        assert!(text.contains("delete the Node first"), "{text}");
    }
    // Of two that ask at once one gets the name.
    let (one, two) = futures::join!(join(&token, "new"), join_with(&other, &token, "new"));
    let mut codes = [one.0, two.0];
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
    // Once its Node is gone the name is free again.
    let gone = Request::delete("/api/v1/nodes/used");
    assert_eq!(r.ask(Some(&r.admin()), gone, vec![]).await.0, 200);
    assert_eq!(join(&token, "used").await.0, 200);
    for odd in ["", "a/b", "..", "N1", "a b", "system:node:x", "a\n"] {
        assert_eq!(join(&token, odd).await.0, 400, "{odd:?}");
    }
    // What cannot be signed takes no name.
    let (_, bearer) = token.split_once('.').unwrap();
    let ask = Request::post(server::JOIN_PATH).header("authorization", format!("Bearer {bearer}"));
    let body = json!({"name": "later", "hosts": [], "request": "nothing"}).to_string().into_bytes();
    assert_eq!(r.ask(None, ask, body).await.0, 400);
    assert_eq!(join(&token, "later").await.0, 200);
    // An administrator may certify a name that is taken.
    let body = json!({"name": "used", "hosts": [], "request": request}).to_string().into_bytes();
    assert_eq!(r.ask(Some(&r.admin()), Request::post(server::JOIN_PATH), body).await.0, 200);
    let over = r.server.join_token(jiff::SignedDuration::ZERO).await.unwrap();
    assert_eq!(join(&over.text, "fresh").await.0, 401);
}

/// A key, a signing request of it, and joining with both.
struct Joining<'r> {
    r: &'r Running,
    key: rcgen::KeyPair,
    bearer: String,
}

impl Joining<'_> {
    async fn new(r: &Running) -> Joining<'_> {
        let token = r.server.join_token(server::TOKEN_LIFETIME).await.unwrap().text;
        let bearer = token.split_once('.').unwrap().1.to_string();
        Joining { r, key: rcgen::KeyPair::generate().unwrap(), bearer }
    }

    /// With the token, or with a certificate.
    async fn ask(&self, who: Option<&Pair>, name: &str) -> (u16, Pair) {
        let request = rcgen::CertificateParams::default().serialize_request(&self.key).unwrap().pem().unwrap();
        let body = json!({"name": name, "hosts": ["127.0.0.1"], "request": request}).to_string().into_bytes();
        let mut ask = Request::post(server::JOIN_PATH);
        if who.is_none() {
            ask = ask.header("authorization", format!("Bearer {}", self.bearer));
        }
        let (code, body) = self.r.ask(who, ask, body).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        let certificate = answer["certificate"].as_str().unwrap_or_default().into();
        (code.as_u16(), Pair { certificate, key: self.key.serialize_pem() })
    }
}

/// An agent that ended after it had asked and before it had kept the answer locked its own name.
#[tokio::test]
async fn who_has_the_key_of_a_name_may_join_again_and_nobody_else() {
    let r = running().await;
    let (own, other) = (Joining::new(&r).await, Joining::new(&r).await);
    assert_eq!(own.ask(None, "n7").await.0, 200);
    assert_eq!(other.ask(None, "n7").await.0, 409);
    let (code, pair) = own.ask(None, "n7").await;
    assert_eq!(code, 200);
    assert_eq!(r.ask(Some(&pair), Request::get("/api/v1/nodes/n7"), vec![]).await.0, 200);
    assert_eq!(own.ask(None, "n8").await.0, 200, "one token is for any number of new names");
    // A Node that says nothing of a key is nobody's.
    r.create("/api/v1/nodes", json!({"metadata": {"name": "plain"}})).await;
    assert_eq!(own.ask(None, "plain").await.0, 409);
}

/// Its certificate held for the rest of its year, whoever had the name by then.
#[tokio::test]
async fn a_node_that_was_deleted_is_nobody_once_its_name_is_taken_anew() {
    let r = running().await;
    let (old, new) = (Joining::new(&r).await, Joining::new(&r).await);
    let (_, first) = old.ask(None, "n7").await;
    let admin = r.admin();
    assert_eq!(r.ask(Some(&admin), Request::delete("/api/v1/nodes/n7"), vec![]).await.0, 200);
    let (code, second) = new.ask(None, "n7").await;
    assert_eq!(code, 200);
    let node = || Request::get("/api/v1/nodes/n7");
    assert_eq!(r.ask(Some(&first), node(), vec![]).await.0, 401);
    assert_eq!(old.ask(Some(&first), "n7").await.0, 401);
    assert_eq!(r.ask(Some(&second), node(), vec![]).await.0, 200);
    // What a node sends is not trusted to be an object.
    let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7", "annotations": "x"}});
    let create = Request::post("/api/v1/nodes").header("content-type", "application/json");
    assert_eq!(r.ask(Some(&second), create, body.to_string().into_bytes()).await.0, 400);
    // A node does not change what is known of its keys, but renews with another one; its last counts until then.
    for keys in [Value::Null, json!("x")] {
        let patch = json!({"metadata": {"annotations": {"gousse.dev/node-keys": keys}}}).to_string().into_bytes();
        for path in ["/api/v1/nodes/n7", "/api/v1/nodes/n7/status"] {
            let request = Request::patch(path).header("content-type", "application/merge-patch+json");
            let (code, body) = r.ask(Some(&second), request, patch.clone()).await;
            assert_eq!(code, 403, "{path}: {body:?}");
        }
    }
    let (third, fourth) = (Joining::new(&r).await, Joining::new(&r).await);
    let (code, renewed) = third.ask(Some(&second), "n7").await;
    assert_eq!(code, 200);
    for pair in [&second, &renewed] {
        assert_eq!(r.ask(Some(pair), node(), vec![]).await.0, 200);
    }
    let (code, again) = fourth.ask(Some(&renewed), "n7").await;
    assert_eq!(code, 200);
    for (pair, code) in [(&second, 401), (&renewed, 200), (&again, 200)] {
        assert_eq!(r.ask(Some(pair), node(), vec![]).await.0, code);
    }
    // Deleted and made again by its agent, it is that one's.
    assert_eq!(r.ask(Some(&admin), Request::delete("/api/v1/nodes/n7"), vec![]).await.0, 200);
    let body = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n7"}}).to_string().into_bytes();
    let create = Request::post("/api/v1/nodes").header("content-type", "application/json");
    assert_eq!(r.ask(Some(&again), create, body).await.0, 201);
    assert_eq!(r.ask(Some(&first), node(), vec![]).await.0, 401);
    // An administrator certifies any name, with effect.
    let (code, by_admin) = old.ask(Some(&admin), "n7").await;
    assert_eq!(code, 200);
    assert_eq!(r.ask(Some(&by_admin), node(), vec![]).await.0, 200);
}
