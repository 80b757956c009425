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
    assert_eq!(serde_json::from_slice::<Value>(&node).unwrap()["spec"]["podCIDR"], "10.244.3.0/24");
    let (code, _) = r.ask(Some(&pair), Request::get("/api/v1/namespaces/kube-system/secrets/x"), vec![]).await;
    assert_eq!(code, 403);
    let (code, _) = r.ask(None, Request::post(server::JOIN_PATH), body).await;
    assert_eq!(code, 403);
    // Renewed with its own certificate, for itself only, and never for what the server is known by.
    let again = |name: &str, host: &str| {
        let body = json!({"name": name, "hosts": [host], "request": request}).to_string().into_bytes();
        r.ask(Some(&pair), Request::post(server::JOIN_PATH), body)
    };
    for host in ["n7", "localhost", "192.0.2.7", "127.0.0.1"] {
        assert_eq!(again("n7", host).await.0, 200, "{host}");
    }
    assert_eq!(again("n8", "n8").await.0, 403);
    for host in ["kubernetes.default.svc", "kubernetes", "10.96.0.1", "example.org", "n8"] {
        let (code, body) = again("n7", host).await;
        assert_eq!(code, 403, "{host}: {}", String::from_utf8_lossy(&body));
    }
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
