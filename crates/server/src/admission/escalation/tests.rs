//! Attacks: every way by which somebody who may write roles and bindings could come to more than they have.

use http::{Method, Request};
use serde_json::json;

use super::*;
use crate::identity::Identity;
use crate::tests::{Cluster, cluster, read};
use crate::verbs::judge;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
const CLUSTER_ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const CLUSTER_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
const WRITES: [&str; 5] = ["get", "create", "update", "patch", "delete"];

fn mallory() -> Identity {
    Identity::authenticated("mallory", "", vec!["writers".into()])
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

/// Mallory may write all kinds of access and read pods, everywhere.
async fn with_mallory() -> Cluster {
    let c = cluster().await;
    let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
    grant(&c, "writer", json!([rule(&WRITES, GROUP, &kinds), rule(&["get"], "", &["pods"])])).await;
    c
}

async fn grant(c: &Cluster, name: &str, rules: Value) {
    let role = json!({"metadata": {"name": name}, "rules": rules});
    assert_eq!(c.post(CLUSTER_ROLES, role).await.0, 201);
    let binding = json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": "mallory"}]});
    assert_eq!(c.post(CLUSTER_BINDINGS, binding).await.0, 201);
}

fn secrets() -> Value {
    json!([rule(&["get", "list"], "", &["secrets"])])
}

/// What Mallory is told.
async fn told(c: &Cluster, method: Method, path: &str, media: &str, body: &Value) -> (u16, String) {
    let (code, answer) = read(c.raw(&mallory(), method, path, media, body.to_string()).await);
    (code, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// Tries a write in every way that there is: POST, a PUT and an apply that create, each dry as well.
async fn every_way_to_create(c: &Cluster, collection: &str, object: &Value) -> Vec<(u16, String)> {
    let name = object["metadata"]["name"].as_str().unwrap();
    let one = format!("{collection}/{name}");
    let kind = match collection.rsplit('/').next().unwrap() {
        "roles" => "Role",
        "clusterroles" => "ClusterRole",
        "rolebindings" => "RoleBinding",
        _ => "ClusterRoleBinding",
    };
    let mut whole = object.clone();
    whole["apiVersion"] = json!("rbac.authorization.k8s.io/v1");
    whole["kind"] = json!(kind);
    let mut prefixed = object.clone();
    prefixed["metadata"] = json!({"generateName": "x-"});
    let json = "application/json";
    let mut answers = Vec::new();
    for dry in ["", "&dryRun=All"] {
        answers.push(told(c, Method::POST, &format!("{collection}?x{dry}"), json, object).await);
        answers.push(told(c, Method::POST, &format!("{collection}?x{dry}"), json, &prefixed).await);
        answers.push(told(c, Method::PUT, &format!("{one}?x{dry}"), json, object).await);
        let apply = format!("{one}?fieldManager=m&force=true{dry}");
        answers.push(told(c, Method::PATCH, &apply, "application/apply-patch+yaml", &whole).await);
    }
    assert_eq!(c.get(&one).await.0, 404);
    answers
}

async fn refused(c: &Cluster, collection: &str, object: Value, why: &str) {
    for (code, message) in every_way_to_create(c, collection, &object).await {
        assert_eq!(code, 403, "{message}");
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test]
async fn nobody_makes_a_role_of_what_they_do_not_have() {
    let c = with_mallory().await;
    let lacks = "is attempting to grant RBAC permissions not currently held:\n";
    let role = |rules: Value| json!({"metadata": {"name": "r"}, "rules": rules});
    let (_, message) = told(&c, Method::POST, ROLES, "application/json", &role(secrets())).await;
    assert_eq!(
        message,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"mallory\" (groups=[\"writers\" \"system:authenticated\"]) \
         is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
    );
    refused(&c, ROLES, role(secrets()), lacks).await;
    for rules in [
        secrets(),
        json!([rule(&["*"], "", &["pods"])]),
        json!([rule(&["get"], "*", &["pods"])]),
        json!([rule(&["get"], "", &["*"])]),
        json!([rule(&["get"], "", &["pods/log"])]),
        json!([rule(&["get"], "", &["*/status"])]),
        json!([rule(&["escalate"], GROUP, &["roles"])]),
        json!([rule(&["bind"], GROUP, &["clusterroles"])]),
        json!([rule(&["impersonate"], "", &["users"])]),
        json!([rule(&["create"], "", &["serviceaccounts/token"])]),
        json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["*"]}]),
        json!([rule(&["get"], "", &["pods"]), {"verbs": ["get"], "nonResourceURLs": ["*"]}]),
    ] {
        refused(&c, CLUSTER_ROLES, role(rules), lacks).await;
    }
    // What they have they may hand on.
    let held = role(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}]));
    assert_eq!(told(&c, Method::POST, ROLES, "application/json", &held).await.0, 201);
    assert_eq!(told(&c, Method::GET, &format!("{ROLES}/r"), "", &Value::Null).await.0, 200);
}

/// A megabyte of them would be billions of parts.
#[tokio::test]
async fn a_role_that_is_too_large_to_judge_is_not_made() {
    let c = with_mallory().await;
    let many: Vec<String> = (0..1_000).map(|n| format!("x{n}")).collect();
    let rule = json!({"verbs": many, "apiGroups": many, "resources": many, "resourceNames": many});
    let role = json!({"metadata": {"name": "r"}, "rules": [rule]});
    let (code, message) = told(&c, Method::POST, ROLES, "application/json", &role).await;
    assert!(code == 403 && message.contains("come to 1000000000000 parts"), "{code} {message}");
}

#[tokio::test]
async fn nobody_widens_a_role_in_any_way_of_writing_it() {
    let c = with_mallory().await;
    let path = format!("{CLUSTER_ROLES}/writer");
    let mut all = c.get(&path).await.1;
    all["rules"] = secrets();
    let lacks = "permissions not currently held";
    let applied = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "writer"}, "rules": secrets()});
    for (method, media, body) in [
        (Method::PUT, "application/json", all),
        (Method::PATCH, "application/merge-patch+json", json!({"rules": secrets()})),
        (Method::PATCH, "application/strategic-merge-patch+json", json!({"rules": secrets()})),
        (
            Method::PATCH,
            "application/json-patch+json",
            json!([{"op": "add", "path": "/rules/-", "value": secrets()[0]}]),
        ),
        (Method::PATCH, "application/apply-patch+yaml", applied),
    ] {
        let query = if media.contains("apply") { "?fieldManager=m&force=true" } else { "" };
        let (code, message) = told(&c, method, &format!("{path}{query}"), media, &body).await;
        assert!(code == 403 && message.contains(lacks), "{media}: {code} {message}");
    }
    // A role has no status by which it could be written, and who may not ask is told no more than that.
    let (code, _) = told(&c, Method::PUT, &format!("{path}/status"), "application/json", &json!({})).await;
    assert_eq!(code, 403);
}

#[tokio::test]
async fn nobody_binds_a_role_of_which_they_lack_anything() {
    let c = with_mallory().await;
    let to = |role: &str| {
        json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": "mallory"}]})
    };
    let lacks = "permissions not currently held";
    refused(&c, CLUSTER_BINDINGS, to("cluster-admin"), lacks).await;
    refused(&c, BINDINGS, to("cluster-admin"), lacks).await;
    // One that is made later could hold anything.
    let (code, message) = told(&c, Method::POST, BINDINGS, "application/json", &to("later")).await;
    assert_eq!((code, message.as_str()), (404, "clusterroles.rbac.authorization.k8s.io \"later\" not found"));
    // Nor does one join those who are bound already.
    let path = format!("{CLUSTER_BINDINGS}/cluster-admin");
    let join = json!([{"op": "add", "path": "/subjects/-",
        "value": {"kind": "User", "name": "mallory", "apiGroup": GROUP}}]);
    let (code, message) = told(&c, Method::PATCH, &path, "application/json-patch+json", &join).await;
    assert!(code == 403 && message.contains(lacks), "{message}");
    assert_eq!(told(&c, Method::POST, BINDINGS, "application/json", &to("writer")).await.0, 201);
    // The collector's work needs no rights but to write.
    let free = json!({"metadata": {"finalizers": ["a.b/c"]}});
    assert_eq!(told(&c, Method::PATCH, &path, "application/merge-patch+json", &free).await.0, 200);
}

#[tokio::test]
async fn nobody_gathers_and_nobody_is_gathered_beyond_what_they_have() {
    let c = with_mallory().await;
    let label = "rbac.authorization.k8s.io/aggregate-to-view";
    let gathered = json!({"metadata": {"name": "g"}, "aggregationRule":
        {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}});
    refused(&c, CLUSTER_ROLES, gathered, "must have cluster-admin privileges to use the aggregationRule").await;
    let labelled = json!({"metadata": {"name": "l", "labels": {label: "true"}}, "rules": secrets()});
    refused(&c, CLUSTER_ROLES, labelled, "permissions not currently held").await;
    let json = "application/merge-patch+json";
    for (role, patch, why) in [
        ("system:node", json!({"metadata": {"labels": {label: "true"}}}), "permissions not currently held"),
        ("view", json!({"aggregationRule": null}), "cluster-admin privileges"),
        ("view", json!({"aggregationRule": {"clusterRoleSelectors": [{}]}}), "cluster-admin privileges"),
        ("writer", json!({"aggregationRule": {"clusterRoleSelectors": [{}]}}), "cluster-admin privileges"),
    ] {
        let (code, message) = told(&c, Method::PATCH, &format!("{CLUSTER_ROLES}/{role}"), json, &patch).await;
        assert!(code == 403 && message.contains(why), "{role}: {message}");
    }
}

#[tokio::test]
async fn who_may_escalate_or_bind_may_do_it_there_and_to_those_only() {
    let c = with_mallory().await;
    let named =
        json!({"verbs": ["bind"], "apiGroups": [GROUP], "resources": ["clusterroles"], "resourceNames": ["view"]});
    let role = json!({"metadata": {"name": "extra"}, "rules": [rule(&["escalate"], GROUP, &["roles"]), named]});
    assert_eq!(c.post(CLUSTER_ROLES, role).await.0, 201);
    let binding = json!({"metadata": {"name": "extra"}, "roleRef": {"kind": "ClusterRole", "name": "extra"},
        "subjects": [{"kind": "User", "name": "mallory"}]});
    assert_eq!(c.post(BINDINGS, binding).await.0, 201);
    let json = "application/json";
    let role = json!({"metadata": {"name": "r"}, "rules": secrets()});
    assert_eq!(told(&c, Method::POST, ROLES, json, &role).await.0, 201);
    let elsewhere = format!("{RBAC}/namespaces/kube-system/roles");
    assert_eq!(told(&c, Method::POST, &elsewhere, json, &role).await.0, 403);
    refused(&c, CLUSTER_ROLES, role, "permissions not currently held").await;
    let to = |name: &str, role: &str| {
        json!({"metadata": {"name": name}, "roleRef": {"kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "Group", "name": "writers"}]})
    };
    assert_eq!(told(&c, Method::POST, BINDINGS, json, &to("a", "view")).await.0, 201);
    assert_eq!(
        told(&c, Method::POST, BINDINGS, json, &to("b", "edit")).await.0,
        201,
        "no controller runs: it is empty"
    );
    refused(&c, BINDINGS, to("c", "system:aggregate-to-edit"), "permissions not currently held").await;
    refused(&c, CLUSTER_BINDINGS, to("d", "cluster-admin"), "permissions not currently held").await;
}

#[tokio::test]
async fn who_may_only_change_makes_nothing() {
    let c = cluster().await;
    grant(&c, "changer", json!([rule(&["get", "update", "patch"], GROUP, &["roles"]), rule(&["get"], "", &["pods"])]))
        .await;
    let role = json!({"metadata": {"name": "r"}, "rules": [rule(&["get"], "", &["pods"])]});
    refused(&c, ROLES, role, "User \"mallory\" cannot create resource \"roles\" in API group").await;
}

#[tokio::test]
async fn nobody_is_somebody_else_without_a_grant() {
    let c = with_mallory().await;
    let role = json!({"metadata": {"name": "r"}, "rules": secrets()}).to_string();
    for (header, value) in [("impersonate-user", "kubernetes-admin"), ("impersonate-user", "mallory")] {
        let request = Request::builder().method(Method::POST).uri(ROLES).header(header, value);
        let request = request.header("impersonate-group", MASTERS).body(role.clone().into()).unwrap();
        assert_eq!(read(c.server.handle(&mallory(), request).await).0, 403);
    }
    c.account("kube-system").await;
    let token = "/api/v1/namespaces/kube-system/serviceaccounts/default/token";
    assert_eq!(told(&c, Method::POST, token, "application/json", &json!({})).await.0, 403);
}

/// Between the decision and the write somebody takes away what it rests upon.
#[tokio::test]
async fn a_write_does_not_outlive_the_rights_that_it_rests_upon() {
    let c = with_mallory().await;
    let who = mallory();
    for taken in [format!("{CLUSTER_ROLES}/writer"), format!("{CLUSTER_BINDINGS}/writer")] {
        let served = c.server.kinds().served(GROUP, "v1", "roles").unwrap();
        let ask = Ask {
            server: &c.server,
            identity: &who,
            served: &served,
            operation: Operation::Create,
            verb: "create",
            subresource: "",
            schema: &served.kind.schema,
            namespace: "default",
            name: "",
            old: None,
            dry_run: false,
        };
        let mut role = json!({"metadata": {"name": "r"}, "rules": [rule(&["get"], "", &["pods"])]});
        let findings = judge::mutate(&ask, None, &mut role).await.unwrap();
        assert!(c.server.0.store.write(findings.claims.clone()).await.is_ok());
        assert_eq!(c.delete(&taken, Value::Null).await.0, 200);
        let late = c.server.0.store.write(findings.claims).await;
        assert!(matches!(late, Err(store::Error::Conflict { .. })), "{taken}");
        if taken.contains("/clusterroles/") {
            let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
            let again = json!({"metadata": {"name": "writer"},
                "rules": [rule(&WRITES, GROUP, &kinds), rule(&["get"], "", &["pods"])]});
            assert_eq!(c.post(CLUSTER_ROLES, again).await.0, 201);
        }
    }
}

/// The right to one role by name did not count where a PUT or an apply makes it, which names it in its path.
#[tokio::test]
async fn who_may_escalate_one_role_may_make_it_by_its_name() {
    let c = with_mallory().await;
    let mut named = rule(&["escalate"], GROUP, &["clusterroles"]);
    named["resourceNames"] = json!(["mine", "other"]);
    grant(&c, "escalator", json!([named])).await;
    let role = |name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": secrets()})
    };
    let (mine, theirs) = (format!("{CLUSTER_ROLES}/mine"), format!("{CLUSTER_ROLES}/theirs"));
    let apply = |path: &str| format!("{path}?fieldManager=m&force=true");
    let json = "application/json";
    assert_eq!(told(&c, Method::POST, CLUSTER_ROLES, json, &role("mine")).await.0, 403, "the path names none");
    assert_eq!(told(&c, Method::PUT, &theirs, json, &role("theirs")).await.0, 403);
    assert_eq!(told(&c, Method::PATCH, &apply(&theirs), "application/apply-patch+yaml", &role("theirs")).await.0, 403);
    assert_eq!(told(&c, Method::PUT, &mine, json, &role("mine")).await.0, 201);
    let other = apply(&format!("{CLUSTER_ROLES}/other"));
    assert_eq!(told(&c, Method::PATCH, &other, "application/apply-patch+yaml", &role("other")).await.0, 201);
}
