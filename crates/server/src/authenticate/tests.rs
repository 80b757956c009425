use http::Method;
use serde_json::json;

use super::*;
use crate::identity::Component;
use crate::tests::{Cluster, cluster};

const TOKEN: &str = "abcdef.0123456789abcdef";

async fn made(c: &Cluster, with: Value) -> Option<Identity> {
    let mut data = json!({"token-id": "abcdef", "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true"});
    let mut kind = "bootstrap.kubernetes.io/token".to_string();
    for (key, value) in with.as_object().unwrap() {
        match (key.as_str(), value) {
            ("type", value) => kind = value.as_str().unwrap().into(),
            (key, Value::Null) => drop(data.as_object_mut().unwrap().remove(key)),
            (key, value) => data[key] = value.clone(),
        }
    }
    let encoded: serde_json::Map<String, Value> = data
        .as_object()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.clone(), STANDARD.encode(v.as_str().unwrap()).into()))
        .collect();
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": kind, "data": encoded});
    let (code, answer) = c.post(secrets, secret).await;
    assert_eq!(code, 201, "{answer}");
    let found = bootstrap(TOKEN, &c.server.0.snapshot, (c.server.0.config.clock)().as_second());
    c.delete(&format!("{secrets}/bootstrap-token-abcdef"), Value::Null).await;
    found
}

#[tokio::test]
async fn a_bootstrap_token_is_in_bootstrappers_groups_or_none() {
    let c = cluster().await;
    let extra = "system:bootstrappers:x:y-9,system:bootstrappers:a";
    let found = made(&c, json!({"auth-extra-groups": extra})).await.unwrap();
    assert_eq!(found.name(), "system:bootstrap:abcdef");
    let groups =
        ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:x:y-9", "system:authenticated"];
    assert_eq!(found.groups(), groups);
    let long = format!("system:bootstrappers:{}", "a".repeat(257));
    for refused in [
        "system:masters",
        "system:nodes",
        "system:bootstrappers:a,system:masters",
        "system:bootstrappers:a, system:bootstrappers:b",
        "system:bootstrappers:",
        "system:bootstrappers:a-",
        "system:bootstrappers:A",
        "system:bootstrappers:a\nsystem:masters",
        "system:bootstrappers:a,",
        &long,
    ] {
        assert_eq!(made(&c, json!({"auth-extra-groups": refused})).await, None, "{refused:?}");
    }
}

#[tokio::test]
async fn a_bootstrap_token_that_is_over_or_of_another_use_is_none() {
    let c = cluster().await;
    assert!(made(&c, json!({})).await.is_some());
    assert!(made(&c, json!({"expiration": "2026-09-21T14:13:21Z"})).await.is_some());
    for refused in [
        json!({"expiration": "2026-09-21T14:13:20Z"}),
        json!({"expiration": "tomorrow"}),
        json!({"usage-bootstrap-authentication": "yes"}),
        json!({"usage-bootstrap-authentication": null}),
        json!({"token-id": "abcdeg"}),
        json!({"token-secret": "0123456789abcdeg"}),
        json!({"token-secret": "0123456789abcde"}),
        json!({"type": "Opaque"}),
    ] {
        assert_eq!(made(&c, refused.clone()).await, None, "{refused}");
    }
}

#[tokio::test]
async fn a_token_ends_with_a_pod_that_a_finalizer_still_holds() {
    let c = cluster().await;
    c.account("default").await;
    let spec = json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "p", "finalizers": ["x/y"]}, "spec": spec});
    let (_, pod) = c.post("/api/v1/namespaces/default/pods", pod).await;
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let ask = json!({"spec": {"boundObjectRef": reference, "expirationSeconds": 86400}});
    let (code, answer) = c.post("/api/v1/namespaces/default/serviceaccounts/default/token", ask).await;
    assert_eq!(code, 201, "{answer}");
    let token = answer["status"]["token"].as_str().unwrap();
    let holds = || {
        let now = (c.server.0.config.clock)().as_second();
        by_token(token, &[ISSUER.into()], &c.server.0.tokens, &c.server.0.snapshot, now).is_ok()
    };
    assert!(holds());
    let (code, _) = c.delete("/api/v1/namespaces/default/pods/p", json!({"gracePeriodSeconds": 30})).await;
    assert_eq!(code, 200);
    // Through its grace, and a minute more.
    let pass = |seconds: i64| c.clock.fetch_add(seconds, std::sync::atomic::Ordering::SeqCst);
    pass(90);
    assert!(holds());
    pass(1);
    assert!(!holds());
    assert_eq!(c.get("/api/v1/namespaces/default/pods/p").await.0, 200);
}

/// The audience must be one that a pod of the node asks for: else a node could speak for its pods to
/// whomever it likes.
#[tokio::test]
async fn a_node_asks_for_a_token_of_an_audience_that_its_pod_names() {
    let c = cluster().await;
    c.account("default").await;
    let sources = json!([{"serviceAccountToken": {"audience": "vault", "path": "t"}}]);
    let volumes = json!([{"name": "t", "projected": {"sources": sources}}]);
    let spec = json!({"nodeName": "n1", "automountServiceAccountToken": false, "volumes": volumes,
        "containers": [{"name": "c", "image": "i"}]});
    let (code, pod) = c.post("/api/v1/namespaces/default/pods", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    assert_eq!(code, 201, "{pod}");
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"]});
    let agent = c.server.internal(Component::Node("n1".into()));
    let ask = async |audiences: Value| {
        let body = json!({"spec": {"boundObjectRef": reference, "audiences": audiences}}).to_string();
        c.call_as(&agent, Method::POST, "/api/v1/namespaces/default/serviceaccounts/default/token", body).await
    };
    assert_eq!(ask(json!(["vault"])).await.0, 201);
    for (audiences, why) in [
        (json!(["bank"]), "system:node:n1 is not authorized to request tokens for audience \"bank\""),
        // This pod has no token for the API server either.
        (json!([]), "system:node:n1 is not authorized to request tokens for audience \"\""),
        (json!(["vault", "bank"]), "node may only request 0 or 1 audiences"),
    ] {
        let (code, status) = ask(audiences).await;
        let text = format!("serviceaccounts \"default\" is forbidden: {why}");
        assert_eq!((code, status["message"].as_str().unwrap()), (403, text.as_str()));
    }
    // Whoever administers may.
    let body = json!({"spec": {"boundObjectRef": reference, "audiences": ["bank"]}});
    assert_eq!(c.post("/api/v1/namespaces/default/serviceaccounts/default/token", body).await.0, 201);
}

/// What lies in a Secret speaks for its account while both are there, are the same and nobody says otherwise.
#[tokio::test]
async fn a_token_in_a_secret_holds_as_long_as_the_secret() {
    let c = crate::tests::cluster().await;
    c.account("default").await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |name: &str, account: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token"})
    };
    let (code, made) = c.post(secrets, secret("s", "default")).await;
    assert_eq!(code, 201, "{made}");
    let text = |key: &str| decoded(&made["data"][key]).unwrap_or_default();
    assert_eq!((text("namespace").as_str(), text("ca.crt").contains("BEGIN CERTIFICATE")), ("default", true));
    let token = text("token");
    let who = async |audiences: Value| {
        let review = json!({"spec": {"token": token, "audiences": audiences}});
        c.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await.1["status"].clone()
    };
    let status = who(json!([])).await;
    assert_eq!(status["user"]["username"], "system:serviceaccount:default:default", "{status}");
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(status["user"]["groups"], groups);
    assert_eq!(who(json!(["elsewhere"])).await["authenticated"], Value::Null);
    // What nobody knows gets none, and an update keeps what is there.
    let (_, unknown) = c.post(secrets, secret("u", "nobody")).await;
    assert!(unknown["data"].get("token").is_none(), "{unknown}");
    let path = format!("{secrets}/s");
    let labels = |label: Value| json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": label}}});
    let merge = "application/merge-patch+json";
    let (_, marked) = c.patch(&path, merge, labels(json!("2026-01-01"))).await;
    assert_eq!(marked["data"]["token"], made["data"]["token"]);
    let why = who(json!([])).await["error"].clone();
    assert!(why.as_str().unwrap().contains("has been marked invalid"), "{why}");
    assert_eq!(c.patch(&path, merge, labels(Value::Null)).await.0, 200);
    assert_eq!(who(json!([])).await["authenticated"], true);
    // Another token in its place, an account made anew, no Secret.
    let (_, renewed) = c.patch(&path, merge, json!({"data": {"token": null}})).await;
    assert_ne!(renewed["data"]["token"], made["data"]["token"]);
    assert_eq!(who(json!([])).await["error"], "Token does not match server's copy");
    assert_eq!(c.patch(&path, merge, json!({"data": {"token": made["data"]["token"]}})).await.0, 200);
    assert_eq!(who(json!([])).await["authenticated"], true);
    assert_eq!(c.delete("/api/v1/namespaces/default/serviceaccounts/default", Value::Null).await.0, 200);
    assert_eq!(who(json!([])).await["authenticated"], Value::Null);
    c.account("default").await;
    let why = who(json!([])).await["error"].clone();
    assert!(why.as_str().unwrap().contains("does not match claim"), "{why}");
    assert_eq!(c.delete(&path, Value::Null).await.0, 200);
    assert_eq!(who(json!([])).await["error"], "Token has been invalidated");
}

#[tokio::test]
async fn a_token_is_asked_for_in_its_accounts_own_name() {
    let c = cluster().await;
    c.account("default").await;
    c.post("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "other"}})).await;
    c.pod("p").await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let refused = async |path: &str, request: Value| {
        let (code, status) = c.post(path, request).await;
        format!("{code} {}", status["message"].as_str().unwrap_or_default())
    };
    assert_eq!(
        refused(path, json!({"metadata": {"name": "x"}})).await,
        "422 TokenRequest.authentication.k8s.io \"default\" is invalid: metadata.name: Invalid value: \"x\": must match the \
         service account name if specified"
    );
    let answer = refused(path, json!({"metadata": {"uid": "x"}})).await;
    assert!(
        answer.starts_with("409") && answer.contains("the UID in the token request (x) does not match"),
        "{answer}"
    );
    let bound = |version: &str, kind: &str| json!({"spec": {"boundObjectRef": {"apiVersion": version, "kind": kind, "name": "p"}}});
    let other = "/api/v1/namespaces/default/serviceaccounts/other/token";
    assert_eq!(
        refused(other, bound("v1", "Pod")).await,
        "400 cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name."
    );
    assert_eq!(
        refused(path, bound("apps/v1", "Pod")).await,
        "400 cannot bind token to object of type apps/v1, Kind=Pod"
    );
    let (_, made) = c.post(path, json!({})).await;
    let (_, account) = c.get("/api/v1/namespaces/default/serviceaccounts/default").await;
    assert_eq!(made["metadata"]["uid"], account["metadata"]["uid"]);
}

/// Who may make Secrets and not read them is no account of the namespace.
#[tokio::test]
async fn a_secret_shows_its_token_to_nobody_who_may_not_read_it() {
    let c = crate::tests::cluster().await;
    c.account("default").await;
    let rules = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "update"]}]);
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    assert_eq!(c.post(&format!("{roles}/roles"), json!({"metadata": {"name": "w"}, "rules": rules})).await.0, 201);
    let binding = json!({"metadata": {"name": "w"}, "subjects": [{"kind": "User", "name": "mallory"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "w"}});
    assert_eq!(c.post(&format!("{roles}/rolebindings"), binding).await.0, 201);
    let mallory = Identity::authenticated("mallory", "", vec![]);
    let secret = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token"});
    let path = "/api/v1/namespaces/default/secrets";
    let (code, made) = c.call_as(&mallory, Method::POST, path, secret.to_string()).await;
    assert_eq!(code, 201, "{made}");
    assert!(made["data"].get("token").is_none(), "{made}");
    let (code, again) = c.call_as(&mallory, Method::PUT, &format!("{path}/s"), made.to_string()).await;
    assert_eq!(code, 200, "{again}");
    assert!(again["data"].get("token").is_none(), "{again}");
}

/// Upstream's controllers tell by it which of them nobody needs.
#[tokio::test]
async fn a_secret_says_on_which_day_its_token_was_used_last() {
    let c = crate::tests::cluster().await;
    let labels = tokio::spawn(crate::tokens::used::label(c.server.clone()));
    c.account("default").await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token"});
    let (_, made) = c.post(secrets, secret).await;
    let token = decoded(&made["data"]["token"]).unwrap();
    let store = c.server.0.store.clone();
    let mut watch = store.watch("secrets/default/s", store.revision()).unwrap();
    let used = async |times: usize| {
        for _ in 0..times {
            let review = json!({"spec": {"token": token}});
            let (_, answer) = c.post("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
            assert_eq!(answer["status"]["authenticated"], true);
        }
    };
    for date in ["2026-09-21", "2026-09-22"] {
        used(3).await;
        watch.next().await.unwrap().unwrap();
        let (_, now) = c.get(&format!("{secrets}/s")).await;
        assert_eq!(now["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"], date);
        let written = store.revision();
        used(3).await;
        tokio::task::yield_now().await;
        assert_eq!(store.revision(), written, "once a day");
        c.clock.fetch_add(24 * 3600, std::sync::atomic::Ordering::SeqCst);
    }
    labels.abort();
}
