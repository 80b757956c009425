//! Paths that are no kind's: discovery, version, health, reviews, OpenAPI, and paths that lead nowhere.

use super::super::subjects::Subject;
use super::{Case, Step};

const PATHS: [&str; 24] = [
    "/version",
    "/version/",
    "/healthz",
    "/livez",
    "/readyz",
    "/healthz/ping",
    "/healthz/nowhere",
    "/readyz?verbose=1&exclude=x",
    "/",
    "/api",
    "/api/",
    "/api/v9",
    "/apis/nowhere",
    "/apis/apps/v9",
    "/nowhere",
    "/api/v1/nowhere",
    "/api/v1/namespaces/default/nowhere",
    "/apis/apps/v1/nowhere",
    "/api/v1/namespaces/default/pods/x/nowhere",
    "/api//v1",
    "/api/v1/",
    "/openapi/v2/nowhere",
    "/openapi/v3/nowhere",
    "/logs",
];

const REVIEWS: [(&str, &str, &[&str]); 6] = [
    (
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        "authentication.k8s.io/v1/SelfSubjectReview",
        &["{}", r#"{"x":1}"#],
    ),
    (
        "/apis/authentication.k8s.io/v1/tokenreviews",
        "authentication.k8s.io/v1/TokenReview",
        &["{}", r#"{"token":"x"}"#, r#"{"token":""}"#, r#"{"token":"x","audiences":["y"]}"#],
    ),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        "authorization.k8s.io/v1/SelfSubjectAccessReview",
        ACCESS,
    ),
    ("/apis/authorization.k8s.io/v1/subjectaccessreviews", "authorization.k8s.io/v1/SubjectAccessReview", ACCESS),
    (
        "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
        "authorization.k8s.io/v1/LocalSubjectAccessReview",
        ACCESS,
    ),
    (
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        "authorization.k8s.io/v1/SelfSubjectRulesReview",
        &["{}", r#"{"namespace":"default"}"#],
    ),
];

const ACCESS: &[&str] = &[
    "{}",
    r#"{"user":"x"}"#,
    r#"{"resourceAttributes":{"verb":"get","resource":"pods"}}"#,
    r#"{"user":"x","resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}"#,
    r#"{"user":"x","groups":["system:masters"],"resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}"#,
    r#"{"user":"x","nonResourceAttributes":{"verb":"get","path":"/healthz"}}"#,
    r#"{"user":"x","nonResourceAttributes":{"verb":"get","path":"/x"},"resourceAttributes":{"verb":"get","resource":"pods"}}"#,
    r#"{"user":"x","resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"rawSelector":"="}}}"#,
    r#"{"user":"x","resourceAttributes":{"verb":"list","resource":"pods","fieldSelector":{"requirements":[{"key":"a","operator":"x"}]}}}"#,
];

/// The cases; `served` is what both have.
pub fn outside(served: &[Subject]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut one = |name: String, step: Step| {
        cases.push(Case { kind: "outside".into(), name, steps: vec![step] });
    };
    for path in PATHS {
        for method in ["GET", "POST"] {
            one(format!("outside {method}/{path}"), Step::new(method, path));
        }
    }
    let mut roots: Vec<String> = served.iter().map(Subject::root).collect();
    roots.sort();
    roots.dedup();
    for root in roots {
        one(format!("discovery/{root}"), Step::get(&root));
        for form in ["application/yaml", "text/html", "application/json;as=APIResourceList;v=v1;g=x"] {
            one(format!("discovery form {form}/{root}"), Step::get(&root).accept(form));
        }
        if let Some((group, _)) = root.strip_prefix("/apis/").and_then(|root| root.rsplit_once('/')) {
            one(format!("discovery/{group}"), Step::get(format!("/apis/{group}")));
        }
    }
    for (path, what, specs) in REVIEWS {
        let (api_version, kind) = what.rsplit_once('/').unwrap_or_default();
        for spec in specs {
            let body = format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}","spec":{spec}}}"#);
            one(format!("review {kind}/{spec}"), Step::new("POST", path).body(body));
        }
        one(format!("review {kind}/nothing"), Step::new("POST", path).body("{}"));
        one(format!("review {kind}/no bytes"), Step::new("POST", path).body(""));
        one(format!("review {kind}/GET"), Step::get(path));
        one(format!("review {kind}/PUT"), Step::new("PUT", path).body("{}"));
        one(
            format!("review {kind}/dry"),
            Step::new("POST", format!("{path}?dryRun=All"))
                .body(format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}"}}"#)),
        );
    }
    for (what, header, value) in [
        ("a user", "impersonate-user", "x"),
        ("a group without a user", "impersonate-group", "x"),
        ("a uid without a user", "impersonate-uid", "x"),
        ("an unknown token", "authorization", "Bearer x"),
        ("no bearer", "authorization", "Basic eDp4"),
    ] {
        let step = Step::get("/api/v1/namespaces/default/pods").header(header, value);
        one(format!("who/{what}"), step);
    }
    let mut bound = Case { kind: "outside".into(), name: "token/life".into(), steps: Vec::new() };
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    bound.quietly(
        Step::new("POST", accounts).body(r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"tokens"}}"#),
    );
    for body in [
        "{}",
        r#"{"spec":{}}"#,
        r#"{"spec":{"audiences":[]}}"#,
        r#"{"spec":{"expirationSeconds":1}}"#,
        r#"{"spec":{"expirationSeconds":4294967297}}"#,
        r#"{"spec":{"audiences":["x"],"expirationSeconds":600}}"#,
        r#"{"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"missing"}}}"#,
        r#"{"spec":{"boundObjectRef":{"kind":"Else","apiVersion":"v1","name":"missing"}}}"#,
    ] {
        bound.then(Step::new("POST", format!("{accounts}/tokens/token")).body(body));
        bound.then(Step::new("POST", format!("{accounts}/missing/token")).body(body));
    }
    cases.push(bound);
    cases
}
