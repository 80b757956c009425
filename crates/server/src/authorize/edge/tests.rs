use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::Authorizer;
use super::*;
use crate::identity::{Component, Identity};

/// Namespace `a` has Ingresses of ours, `b` one of another class; `edge` is an edge, `n1` is none.
async fn authorizer() -> Authorizer {
    let options = store::Options::new(Arc::new(|| Duration::from_secs(1)));
    let store = store::Store::open(store::Backend::Memory, options).unwrap();
    let class = |controller: &str| json!({"metadata": {}, "spec": {"controller": controller}});
    let ingress = |class: &str, secret: &str| json!({"metadata": {}, "spec": {"ingressClassName": class, "tls": [{"secretName": secret}]}});
    let secret = |r#type: &str| json!({"metadata": {}, "type": r#type});
    let mut annotated = ingress("gousse", "annotated");
    annotated["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": "nginx"});
    for (key, value) in [
        ("nodes/edge", json!({"metadata": {"labels": {"node-restriction.kubernetes.io/gousse-ingress": ""}}})),
        ("nodes/n1", json!({"metadata": {"labels": {"gousse-ingress": ""}}})),
        ("ingressclasses.networking.k8s.io/gousse", class("gousse.dev/ingress")),
        ("ingressclasses.networking.k8s.io/nginx", class("k8s.io/ingress-nginx")),
        ("ingresses.networking.k8s.io/a/one", ingress("gousse", "tls")),
        ("ingresses.networking.k8s.io/a/two", ingress("gousse", "token")),
        ("ingresses.networking.k8s.io/a/three", ingress("gousse", "later")),
        ("ingresses.networking.k8s.io/a/four", annotated),
        ("ingresses.networking.k8s.io/b/one", ingress("nginx", "tls")),
        ("secrets/a/tls", secret("kubernetes.io/tls")),
        ("secrets/a/other", secret("kubernetes.io/tls")),
        ("secrets/a/annotated", secret("kubernetes.io/tls")),
        ("secrets/a/token", secret("kubernetes.io/service-account-token")),
        ("secrets/b/tls", secret("kubernetes.io/tls")),
    ] {
        let step = store::Step::Put {
            key: store::Key::new(key),
            expect: store::Expect::Absent,
            value: crate::encode::split(&value),
            ttl: None,
            sync: store::Sync::First,
            room: store::Room::Free,
        };
        store.write(vec![step]).await.unwrap();
    }
    Authorizer::new(&Arc::new(store))
}

fn asked(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn node(name: &str) -> Identity {
    Identity::component(Component::Node(name.into()))
}

/// The attack: a node, or the ingress itself, that is somebody else's now.
#[tokio::test]
async fn no_secret_is_read_but_what_an_ingress_of_ours_shows() {
    let authorizer = authorizer().await;
    let may = |who: &Identity, verb: &str, namespace: &str, name: &str| {
        authorizer.decide(who, &asked(verb, "", "secrets", namespace, name)).is_allowed()
    };
    for who in [node("edge"), Identity::component(Component::Ingress)] {
        for verb in READ {
            assert!(may(&who, verb, "a", "tls") && may(&who, verb, "a", "later"), "{verb}");
            for (namespace, name) in
                [("a", "other"), ("a", "token"), ("a", "annotated"), ("b", "tls"), ("a", ""), ("", "tls"), ("", "")]
            {
                assert!(!may(&who, verb, namespace, name), "{verb} {namespace}/{name}");
            }
        }
        for verb in ["update", "patch", "delete", "create", "deletecollection"] {
            assert!(!may(&who, verb, "a", "tls"), "{verb}");
        }
    }
    assert!(!READ.iter().any(|verb| may(&node("n1"), verb, "a", "tls")), "only an edge");
}

#[tokio::test]
async fn only_an_edge_serves_and_only_what_is_of_our_class() {
    let authorizer = authorizer().await;
    let may = |who: &str, asked: Attributes| authorizer.decide(&node(who), &asked).is_allowed();
    let networking = "networking.k8s.io";
    let list = |resource: &str| asked("list", networking, resource, "", "");
    let status = |namespace: &str, name: &str| asked("patch", networking, "ingresses/status", namespace, name);
    assert!(
        may("edge", list("ingresses"))
            && may("edge", list("ingressclasses"))
            && may("edge", asked("watch", "", "nodes", "", ""))
    );
    assert!(may("edge", status("a", "one")));
    for refused in [
        status("b", "one"),
        status("a", "four"),
        status("a", "none"),
        asked("patch", networking, "ingresses", "a", "one"),
    ] {
        assert!(!may("edge", refused.clone()), "{refused:?}");
    }
    assert!(!may("n1", list("ingresses")) && !may("n1", status("a", "one")));
}
