use std::time::Duration;

use serde_json::{Value, json};
use store::{Backend, Expect, Options, Room, Step, Sync};

use super::*;
use crate::authorize::Authorizer;
use crate::authorize::rule::{compact, described, missing};

async fn store() -> Arc<Store> {
    Arc::new(Store::open(Backend::Memory, Options::new(Arc::new(|| Duration::from_secs(1)))).unwrap())
}

async fn put(store: &Store, key: &str, object: Value) {
    let (key, value) = (Key::new(key), crate::encode::split(&object));
    let step = Step::Put { key, expect: Expect::Any, value, ttl: None, sync: Sync::First, room: Room::Free };
    store.write(vec![step]).await.unwrap();
}

async fn role(store: &Store, place: &str, rules: Value) {
    let plural = if place.contains('/') { "roles" } else { "clusterroles" };
    put(store, &format!("{plural}.{GROUP}/{place}"), json!({"metadata": {}, "rules": rules})).await;
}

async fn bind(store: &Store, place: &str, role: (&str, &str), subjects: Value) {
    let plural = if place.contains('/') { "rolebindings" } else { "clusterrolebindings" };
    let object = json!({"metadata": {}, "roleRef": {"kind": role.0, "name": role.1}, "subjects": subjects});
    put(store, &format!("{plural}.{GROUP}/{place}"), object).await;
}

fn user(name: &str, groups: &[&str]) -> Identity {
    Identity::as_given(name.into(), groups.iter().map(|group| group.to_string()).collect())
}

/// `get pods/log a/name`, `get apps/deployments a/`, `get /metrics`
fn ask(text: &str) -> Attributes {
    let mut words = text.split(' ').map(String::from);
    let (verb, what) = (words.next().unwrap(), words.next().unwrap());
    if what.starts_with('/') {
        return Attributes { verb, path: what, ..Attributes::default() };
    }
    let (group, what) = what.split_once(':').map_or(("", what.as_str()), |(group, what)| (group, what));
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let place = words.next().unwrap_or_default();
    let (namespace, name) = place.split_once('/').unwrap_or(("", &place));
    Attributes {
        verb,
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    }
}

fn rule(value: Value) -> Rule {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_rule_allows_what_it_says() {
    let rules = json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods/log"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["*/status"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["*"]},
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["pods"]},
        {"verbs": ["get", "list", "create", "deletecollection"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]},
        {"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]},
        {"verbs": ["get"], "nonResourceURLs": ["*"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["*"]},
    ]);
    let rules: Vec<Rule> = rules.as_array().unwrap().iter().map(|value| rule(value.clone())).collect();
    for (text, by) in [
        ("get pods a/p", &[0, 3, 4, 5][..]),
        ("get pods a/q", &[0, 3, 4]),
        ("list pods a/", &[4]),
        // A field selector for one name makes that the name.
        ("list pods a/p", &[4, 5]),
        ("create pods a/", &[4]),
        ("deletecollection pods a/", &[4]),
        ("get pods/log a/p", &[1, 3]),
        ("get pods/status a/p", &[2, 3]),
        ("get nodes/status n", &[2, 3]),
        ("get podsx/log a/p", &[3]),
        ("get pods/logs a/p", &[3]),
        ("get apps:pods a/p", &[4]),
        ("get /healthz/ping", &[6, 7]),
        ("get /healthz", &[7]),
        ("post /healthz/ping", &[]),
        ("get pods a/*", &[0, 3, 4, 8]),
    ] {
        let found: Vec<usize> = (0..rules.len()).filter(|at| rules[*at].allows(&ask(text))).collect();
        assert_eq!(found, by, "{text}");
    }
}

#[test]
fn rules_cover_others_part_by_part() {
    let uncovered = |held: Value, wanted: Value| {
        let list = |value: Value| -> Vec<Rule> { serde_json::from_value(value).unwrap() };
        let (held, wanted) = (list(held), list(wanted));
        described(&compact(missing(&held.iter().collect::<Vec<_>>(), &wanted)))
    };
    let pods = |verbs: Value, names: Value| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"], "resourceNames": names}]);
    let both = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
        {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(uncovered(both.clone(), pods(json!(["get", "list"]), json!([]))), "");
    assert_eq!(uncovered(both.clone(), pods(json!(["get"]), json!(["p"]))), "");
    assert_eq!(
        uncovered(
            both,
            json!([{"verbs": ["get", "watch", "delete"], "apiGroups": ["", "apps"], "resources": ["pods"]}])
        ),
        "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\" \"delete\"]}\n\
         {APIGroups:[\"apps\"], Resources:[\"pods\"], Verbs:[\"get\" \"watch\" \"delete\"]}"
    );
    // Who may only touch some by name may not hand out all, nor those that are called `*`.
    let named = pods(json!(["get"]), json!(["p"]));
    assert_ne!(uncovered(named.clone(), pods(json!(["get"]), json!([]))), "");
    assert_ne!(uncovered(named, pods(json!(["get"]), json!(["*"]))), "");
    assert_ne!(uncovered(pods(json!(["get"]), json!(["*"])), pods(json!(["get"]), json!(["p"]))), "");
    // All verbs known today are not all verbs.
    assert_ne!(uncovered(pods(json!(["get", "list"]), json!([])), pods(json!(["*"]), json!([]))), "");
    let of = |resource: &str| json!([{"verbs": ["get"], "apiGroups": [""], "resources": [resource]}]);
    assert_eq!(uncovered(of("*/log"), of("pods/log")), "");
    assert_ne!(uncovered(of("pods"), of("pods/log")), "");
    assert_ne!(uncovered(of("*/log"), of("*")), "");
    let paths = |path: &str| json!([{"verbs": ["get"], "nonResourceURLs": [path]}]);
    assert_eq!(uncovered(paths("/a/*"), paths("/a/b")), "");
    assert_eq!(uncovered(paths("/a/*"), paths("/a*")), "{NonResourceURLs:[\"/a*\"], Verbs:[\"get\"]}");
    assert_ne!(uncovered(of("*"), paths("/a")), "");
    assert_ne!(uncovered(paths("*"), of("pods")), "");
}

#[tokio::test]
async fn a_binding_holds_where_it_is_and_for_whom_it_names() {
    let store = store().await;
    let authorizer = Authorizer::new(&store);
    role(&store, "reader", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])).await;
    role(&store, "a/writer", json!([{"verbs": ["update"], "apiGroups": [""], "resources": ["pods"]}])).await;
    bind(&store, "everywhere", ("ClusterRole", "reader"), json!([{"kind": "Group", "name": "ops"}])).await;
    let subjects = json!([{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"},
        {"kind": "ServiceAccount", "name": "t", "namespace": "b"}, {"kind": "User", "name": "u"}]);
    bind(&store, "a/read", ("ClusterRole", "reader"), subjects.clone()).await;
    bind(&store, "a/write", ("Role", "writer"), subjects).await;
    // A cluster's binding names no namespace's role, and an account of no namespace is nobody.
    bind(&store, "bad", ("Role", "writer"), json!([{"kind": "ServiceAccount", "name": "s"}])).await;
    let account = |namespace: &str, name: &str| user(&format!("system:serviceaccount:{namespace}:{name}"), &[]);
    for (who, text, why) in [
        (
            user("x", &["ops"]),
            "get pods b/p",
            r#"RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "ops""#,
        ),
        (user("ops", &[]), "get pods b/p", ""),
        (user("x", &["u"]), "get pods a/p", ""),
        (
            user("u", &[]),
            "get pods a/p",
            r#"RBAC: allowed by RoleBinding "read/a" of ClusterRole "reader" to User "u""#,
        ),
        (user("u", &[]), "get pods b/p", ""),
        // Over all namespaces no namespace's binding holds.
        (user("u", &[]), "get pods", ""),
        (user("u", &[]), "update pods a/p", r#"RBAC: allowed by RoleBinding "write/a" of Role "writer" to User "u""#),
        (
            account("a", "s"),
            "get pods a/p",
            r#"RBAC: allowed by RoleBinding "read/a" of ClusterRole "reader" to ServiceAccount "s/a""#,
        ),
        (account("b", "s"), "get pods a/p", ""),
        (
            account("b", "t"),
            "get pods a/p",
            r#"RBAC: allowed by RoleBinding "read/a" of ClusterRole "reader" to ServiceAccount "t/b""#,
        ),
        (account("a", "s"), "update pods b/p", ""),
    ] {
        let decision = authorizer.decide(&who, &ask(text));
        assert_eq!((decision.to_string().as_str(), decision.is_allowed()), (why, !why.is_empty()), "{who:?} {text}");
    }
}

#[tokio::test]
async fn what_is_taken_away_is_gone_at_the_next_question() {
    let store = store().await;
    let authorizer = Authorizer::new(&store);
    let may = || authorizer.decide(&user("u", &["g"]), &ask("get pods a/p"));
    let reader = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    bind(&store, "a/b", ("Role", "r"), json!([{"kind": "User", "name": "u"}])).await;
    bind(&store, "a/c", ("ClusterRole", "gone"), json!([{"kind": "Group", "name": "g"}])).await;
    assert_eq!(
        may().to_string(),
        r#"RBAC: [role.rbac.authorization.k8s.io "r" not found, clusterrole.rbac.authorization.k8s.io "gone" not found]"#
    );
    role(&store, "a/r", reader.clone()).await;
    assert!(may().is_allowed());
    role(&store, "a/r", json!([])).await;
    assert!(!may().is_allowed());
    role(&store, "a/r", reader).await;
    bind(&store, "a/b", ("Role", "r"), json!([{"kind": "User", "name": "v"}])).await;
    assert!(!may().is_allowed());
    bind(&store, "a/b", ("Role", "r"), json!([{"kind": "User", "name": "v"}, {"kind": "User", "name": "u"}])).await;
    assert!(may().is_allowed());
    let key = Key::new(format!("rolebindings.{GROUP}/a/b"));
    let last = crate::encode::split(&json!({"metadata": {}}));
    store.write(vec![Step::Delete { key, expect: Expect::Any, last }]).await.unwrap();
    assert!(!may().is_allowed());
}
