use http::{Method, Request};
use serde_json::{Value, json};

use crate::identity::{Component, Identity};
use crate::tests::{Cluster, cluster, read};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
const LOCAL: &str = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
const OWN: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
const RULES: &str = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

async fn ask(c: &Cluster, path: &str, spec: Value) -> Value {
    let (code, answer) = c.post(path, json!({"spec": spec})).await;
    if code == 201 { answer["status"].clone() } else { json!(answer["message"]) }
}

#[tokio::test]
async fn a_review_says_why() {
    let c = cluster().await;
    let pods = json!({"verb": "delete", "resource": "pods", "namespace": "default", "name": "p"});
    let asked = |user: &str, groups: Value| json!({"user": user, "groups": groups, "resourceAttributes": pods});
    assert_eq!(ask(&c, REVIEWS, asked("u", json!([]))).await, json!({"allowed": false}));
    assert_eq!(ask(&c, REVIEWS, asked("u", json!(["system:masters"]))).await, json!({"allowed": true}));
    assert_eq!(
        ask(&c, REVIEWS, asked("system:kube-scheduler", json!([]))).await,
        json!({"allowed": true, "reason":
            "RBAC: allowed by ClusterRoleBinding \"system:kube-scheduler\" of ClusterRole \"system:kube-scheduler\" to User \"system:kube-scheduler\""})
    );
    let node = |verb: &str| {
        json!({"user": "system:node:n", "groups": ["system:nodes"],
            "resourceAttributes": {"verb": verb, "resource": "secrets", "namespace": "default", "name": "s"}})
    };
    assert_eq!(
        ask(&c, REVIEWS, node("get")).await,
        json!({"allowed": false, "reason": "no relationship found between node 'n' and this object"})
    );
    let gone = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "gone"},
        "subjects": [{"kind": "User", "name": "u"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(c.post(bindings, gone).await.0, 201);
    let reason = "RBAC: role.rbac.authorization.k8s.io \"gone\" not found";
    assert_eq!(ask(&c, LOCAL, asked("u", json!([]))).await, json!({"allowed": false, "reason": reason}));
}

#[tokio::test]
async fn a_review_is_judged_as_upstream_judges_it() {
    let c = cluster().await;
    let resource = json!({"verb": "get", "resource": "pods", "namespace": "other"});
    let invalid = |why: &str| json!(format!(".authorization.k8s.io \"\" is invalid: {why}"));
    let none =
        "spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
    assert_eq!(ask(&c, OWN, json!({})).await, invalid(none));
    let user = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
    assert_eq!(ask(&c, REVIEWS, json!({"resourceAttributes": resource})).await, invalid(user));
    assert_eq!(
        ask(&c, LOCAL, json!({"user": "u", "resourceAttributes": resource})).await,
        invalid("spec.resourceAttributes.namespace: Invalid value: \"other\": must match metadata.namespace")
    );
    let path = json!({"path": "/x", "verb": "get"});
    assert_eq!(
        ask(&c, LOCAL, json!({"user": "u", "nonResourceAttributes": path})).await,
        invalid(
            "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: disallowed on this kind of request"
        )
    );
    assert_eq!(ask(&c, RULES, json!({})).await, json!("no namespace on request"));
    let both = json!({"verb": "list", "resource": "pods", "fieldSelector": {}, "labelSelector":
        {"rawSelector": "a", "requirements": [{"key": "", "operator": "In"}]}});
    let message = ask(&c, OWN, json!({"resourceAttributes": both})).await;
    for why in [
        "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is \
         specified, requirements or rawSelector is required",
        "spec.resourceAttributes.labelSelector.rawSelector: Invalid value: \"a\": may not specified at the same time as requirements",
        "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
    ] {
        assert!(message.as_str().unwrap().contains(why), "{message}");
    }
}

#[tokio::test]
async fn a_review_minds_selectors_and_says_which_it_could_not_read() {
    let c = cluster().await;
    let asked = async |fields: Value| {
        let resource = json!({"verb": "list", "resource": "pods", "fieldSelector": fields});
        ask(&c, REVIEWS, json!({"user": "system:node:n", "groups": ["system:nodes"], "resourceAttributes": resource}))
            .await
    };
    let term = |key: &str, operator: &str, values: Value| json!({"key": key, "operator": operator, "values": values});
    let own = term("spec.nodeName", "In", json!(["n"]));
    assert_eq!(asked(json!({"rawSelector": "spec.nodeName=n"})).await, json!({"allowed": true}));
    assert_eq!(asked(json!({"requirements": [own]})).await, json!({"allowed": true}));
    assert_eq!(asked(json!({"rawSelector": "spec.nodeName=m"})).await["allowed"], false);
    assert_eq!(asked(json!({"requirements": [term("spec.nodeName", "NotIn", json!(["n"]))]})).await["allowed"], false);
    // A value is no further term.
    assert_eq!(asked(json!({"requirements": [term("a", "In", json!(["b,spec.nodeName=n"]))]})).await["allowed"], false);
    assert_eq!(asked(json!({"requirements": [term("spec.nodeName=n,a", "In", json!(["b"]))]})).await["allowed"], false);
    let partly = asked(json!({"requirements": [own, term("a", "Exists", json!([]))]})).await;
    let text = "spec.resourceAttributes.fieldSelector partially ignored due to parse error";
    assert_eq!(partly, json!({"allowed": true, "evaluationError": text}));
    let ignored = asked(json!({"requirements": [term("spec.nodeName", "In", json!(["n", "m"]))]})).await;
    assert_eq!(ignored["evaluationError"], "spec.resourceAttributes.fieldSelector ignored due to parse error");
    assert_eq!(ignored["allowed"], false);
}

#[tokio::test]
async fn everybody_is_told_their_rules() {
    let c = cluster().await;
    let rules = async |who: &Identity| {
        let body = json!({"spec": {"namespace": "default"}}).to_string();
        let request = Request::builder().method(Method::POST).uri(RULES).body(body.into()).unwrap();
        read(c.server.handle(who, request).await).1["status"].clone()
    };
    let user = rules(&Identity::authenticated("u", "", vec![])).await;
    assert_eq!(user["resourceRules"].as_array().unwrap().len(), 2, "{user}");
    assert_eq!((&user["incomplete"], user.get("evaluationError")), (&json!(false), None));
    let admin = rules(&c.admin).await;
    assert!(admin["resourceRules"].to_string().contains(r#""resources":["*"]"#), "{admin}");
    let node = rules(&Identity::component(Component::Node("n".into()))).await;
    let why = "node authorizer does not support user rule resolution";
    assert_eq!((&node["incomplete"], &node["evaluationError"]), (&json!(true), &json!(why)));
}

#[tokio::test]
async fn who_one_is_is_told_in_an_object_of_its_own() {
    let c = cluster().await;
    let body = json!({"metadata": {"name": "x", "labels": {"a": "b"}}, "status": {"userInfo": {"username": "root"}}});
    let (code, told) = c.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", body).await;
    let user = json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]});
    let expected = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
        "metadata": {"creationTimestamp": "2026-09-21T14:13:20Z"}, "status": {"userInfo": user}});
    assert_eq!((code, told), (201, expected));
}
