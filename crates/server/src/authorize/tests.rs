use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::identity::{CONTROLLERS, Component, NODES, SCHEDULER};

fn asked(verb: &str, resource: &str, namespace: &str, name: &str) -> Attributes {
    let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes {
        verb: verb.into(),
        version: "v1".into(),
        resource: resource.into(),
        subresource: sub.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

async fn authorizer() -> Authorizer {
    let options = store::Options::new(Arc::new(|| Duration::from_secs(1)));
    let store = store::Store::open(store::Backend::Memory, options).unwrap();
    let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n1", "serviceAccountName": "sa",
        "containers": [{"name": "c", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}}]}});
    let key = store::Key::new("pods/a/p");
    let value = crate::encode::split(&pod);
    store
        .write(vec![store::Step::Put {
            key,
            expect: store::Expect::Absent,
            value,
            ttl: None,
            sync: store::Sync::First,
            room: store::Room::Free,
        }])
        .await
        .unwrap();
    Authorizer::new(&Arc::new(store))
}

#[tokio::test]
async fn a_node_reaches_only_what_its_own_pods_refer_to() {
    let authorizer = authorizer().await;
    let may = |node: &str, attributes: &Attributes| {
        authorizer.decide(&Identity::component(Component::Node(node.into())), attributes).is_allowed()
    };
    for (verb, resource, namespace, name) in [
        ("get", "secrets", "a", "s"),
        ("get", "configmaps", "a", "kube-root-ca.crt"),
        ("create", "serviceaccounts/token", "a", "sa"),
        ("patch", "pods/status", "a", "p"),
        ("delete", "pods", "a", "p"),
    ] {
        let asked = asked(verb, resource, namespace, name);
        assert!(may("n1", &asked), "{asked:?}");
        // What it writes and deletes is admission's business.
        let judged_later = matches!(verb, "patch" | "delete");
        assert!(judged_later || !may("n2", &asked), "{asked:?}");
    }
    assert!(!may("n1", &asked("get", "secrets", "a", "other")));
    assert!(!may("n1", &asked("list", "pods", "", "")));
    let own = Attributes { fields: "spec.nodeName=n1".into(), ..asked("list", "pods", "", "") };
    assert!(may("n1", &own) && !may("n2", &own));
    // Two conditions both hold; one that only looks like the own node's does not.
    for fields in ["spec.nodeName=n2", "spec.nodeName!=n1", "status.phase!=x\\,spec.nodeName=n1", "spec.nodeName="] {
        let asked = Attributes { fields: fields.into(), ..asked("list", "pods", "", "") };
        assert!(!may("n1", &asked), "{fields}");
    }
    // What it writes into another's Node is admission's to refuse.
    assert!(!may("n1", &asked("get", "nodes", "", "n2")) && !may("n1", &asked("list", "nodes", "", "")));
}

/// One name over all namespaces is that of many objects, and a name alone is no relation.
#[tokio::test]
async fn a_node_reaches_nothing_by_name_alone() {
    let authorizer = authorizer().await;
    let node = Identity::component(Component::Node("n1".into()));
    let denied = |asked: Attributes| match authorizer.decide(&node, &asked) {
        Decision::Allow(_) => panic!("allowed: {asked:?}"),
        Decision::Deny(why) => why,
    };
    for verb in ["list", "watch"] {
        for (resource, name) in [("secrets", "s"), ("configmaps", "kube-root-ca.crt")] {
            assert_eq!(denied(asked(verb, resource, "", name)), "can only read namespaced object of this type");
            assert_eq!(denied(asked(verb, resource, "a", "")), "No Object name found");
        }
        for pod in [asked(verb, "pods", "", "p"), asked(verb, "pods", "b", "p"), asked(verb, "pods", "a", "q")] {
            assert_eq!(denied(pod), "no relationship found between node 'n1' and this object");
        }
    }
    assert_eq!(denied(asked("get", "pods", "a", "gone")), "no relationship found between node 'n1' and this object");
    let token = denied(asked("create", "serviceaccounts/token", "", "sa"));
    assert_eq!(token, "can only create tokens for individual service accounts");
    for (verb, resource) in [
        ("update", "secrets"),
        ("list", "serviceaccounts"),
        ("get", "namespaces"),
        ("list", "endpoints"),
        ("deletecollection", "pods"),
        ("delete", "nodes"),
        ("create", "pods/exec"),
        ("get", "nodes/proxy"),
        ("list", "leases"),
    ] {
        denied(asked(verb, resource, "a", "s"));
    }
    // Without a name it is nobody's agent.
    let nameless = Identity::authenticated("system:node:", "", vec![NODES.into()]);
    for asked in [
        asked("list", "nodes", "", ""),
        Attributes { fields: "spec.nodeName=".into(), ..asked("list", "pods", "", "") },
    ] {
        assert!(!authorizer.decide(&nameless, &asked).is_allowed(), "{asked:?}");
    }
}

#[tokio::test]
async fn a_user_of_a_groups_name_is_not_in_the_group() {
    let authorizer = authorizer().await;
    let ask = asked("get", "secrets", "a", "s");
    for identity in [
        Identity::authenticated(MASTERS, "", vec![]),
        Identity::authenticated("x", "", vec![CONTROLLERS.into(), SCHEDULER.into()]),
    ] {
        assert!(!authorizer.decide(&identity, &ask).is_allowed(), "{identity:?}");
    }
}

#[tokio::test]
async fn refusals_are_worded_as_upstream() {
    let authorizer = authorizer().await;
    let user = Identity::authenticated("x", "", vec![]);
    let ask = asked("list", "pods", "y", "");
    assert_eq!(authorizer.decide(&user, &ask).to_string(), "");
    let text = "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\"";
    assert_eq!(refusal(&user, &ask, "").message, text);
    let ask = asked("get", "nodes/proxy", "", "n");
    let text = "nodes \"n\" is forbidden: User \"x\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope";
    assert_eq!(refusal(&user, &ask, "").message, text);
    let path = Attributes { verb: "get".into(), path: "/metrics".into(), ..Attributes::default() };
    assert_eq!(
        refusal(&Identity::anonymous(), &path, "").message,
        "forbidden: User \"system:anonymous\" cannot get path \"/metrics\""
    );
}

#[tokio::test]
async fn only_masters_need_no_binding() {
    let authorizer = authorizer().await;
    let may = |who: Component, ask: &Attributes| authorizer.decide(&Identity::component(who), ask).is_allowed();
    let ask = asked("delete", "pods", "a", "p");
    assert!(may(Component::Admin, &ask));
    for who in [Component::Controllers, Component::Scheduler, Component::Controller("node-controller".into())] {
        assert!(!may(who, &ask));
    }
}
