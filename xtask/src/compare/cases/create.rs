//! New objects: right, empty, wrong in each field; in each form, under each option.

use serde_json::{Value, json};

use super::super::mutations;
use super::super::subjects::Subject;
use super::{Case, JSON, Step, YAML};

pub fn cases(subject: &Subject) -> Vec<Case> {
    if !subject.can("create") {
        return Vec::new();
    }
    let path = subject.path();
    let dry = format!("{path}?dryRun=All");
    let mut cases = Vec::new();
    let post = |name: String, path: &str, body: Value| {
        Case::one(subject, name, Step::new("POST", path).body(body.to_string()))
    };

    let mut lives = Case::new(subject, "create/valid");
    let object = subject.named("lives");
    lives.then(Step::new("POST", &path).body(object.to_string()));
    lives.then(Step::get(format!("{path}/lives")));
    lives.then(Step::new("POST", &path).body(object.to_string()));
    cases.push(lives);

    let api_version = subject.api_version();
    for (what, body) in [
        ("nothing", json!({})),
        ("names only", json!({"apiVersion": api_version, "kind": subject.kind})),
        ("a name only", json!({"apiVersion": api_version, "kind": subject.kind, "metadata": {"name": "x"}})),
        ("no kind", json!({"apiVersion": api_version, "metadata": {"name": "x"}})),
        ("no apiVersion", json!({"kind": subject.kind, "metadata": {"name": "x"}})),
        ("another kind", json!({"apiVersion": api_version, "kind": "Else", "metadata": {"name": "x"}})),
        ("another version", json!({"apiVersion": "v9", "kind": subject.kind, "metadata": {"name": "x"}})),
        ("another group", json!({"apiVersion": "else/v1", "kind": subject.kind, "metadata": {"name": "x"}})),
        ("a kind that there is", json!({"apiVersion": "v1", "kind": "Status", "metadata": {"name": "x"}})),
        ("a bad apiVersion", json!({"apiVersion": "a/b/c", "kind": subject.kind, "metadata": {"name": "x"}})),
        ("a list", json!([])),
        ("a text", json!("x")),
        ("null", Value::Null),
    ] {
        cases.push(post(format!("create body/{what}"), &dry, body));
    }
    for (what, text) in [
        ("no bytes", ""),
        ("no JSON", "{"),
        ("no JSON at all", "hello: [world"),
        ("twice JSON", r#"{"metadata":{}}{"metadata":{}}"#),
        ("a comma too many", r#"{"metadata":{},}"#),
        ("a bad escape", r#"{"metadata":{"name":"\x"}}"#),
    ] {
        cases.push(Case::one(subject, format!("create body/{what}"), Step::new("POST", &dry).body(text)));
    }
    let names = [
        "",
        "A",
        "a.b",
        "a_b",
        "-a",
        "a-",
        "a/b",
        "%",
        "1",
        &"a".repeat(63),
        &"a".repeat(64),
        &"a".repeat(254),
        "a b",
        ".",
        "..",
    ];
    for name in names {
        cases.push(post(format!("create name/{name}"), &dry, subject.named(name)));
    }
    let mut generated = subject.object.clone();
    for prefix in ["x-", "X", &"x".repeat(300), ""] {
        generated["metadata"] = json!({"generateName": prefix});
        cases.push(post(format!("create name/generated {prefix}"), &dry, generated.clone()));
    }
    if subject.namespaced {
        let mut elsewhere = subject.named("x");
        elsewhere["metadata"]["namespace"] = "elsewhere".into();
        cases.push(post("create namespace/another".into(), &dry, elsewhere.clone()));
        let missing = dry.replace(&subject.namespace(), "elsewhere");
        cases.push(post("create namespace/missing".into(), &missing, elsewhere));
        cases.push(post(
            "create namespace/none".into(),
            &format!("{}/{}", subject.root(), subject.plural),
            subject.named("x"),
        ));
    } else {
        let mut inside = subject.named("x");
        inside["metadata"]["namespace"] = "default".into();
        cases.push(post("create namespace/one".into(), &dry, inside));
    }
    for query in OPTIONS {
        cases.push(post(format!("create options/{query}"), &format!("{path}?{query}"), subject.named("OPTIONS")));
    }
    let object = subject.named("x").to_string();
    for content in [
        "",
        "text/plain",
        "application/xml",
        "application/merge-patch+json",
        "application/json;charset=utf-8",
        "nonsense",
    ] {
        cases.push(Case::one(
            subject,
            format!("create type/{content}"),
            Step::new("POST", &dry).typed(content, &object),
        ));
    }
    for (what, text) in [
        ("JSON in YAML", object.clone()),
        ("no YAML", "a: [".into()),
        ("twice", "a: 1\na: 2\n".into()),
        ("a tab", "a:\n\tb: 1".into()),
    ] {
        cases.push(Case::one(subject, format!("create YAML/{what}"), Step::new("POST", &dry).typed(YAML, text)));
    }
    let made = subject.named("x");
    for mutation in mutations::of_fields(subject.schema, &made) {
        let name = format!("create field/{} {}", mutation.path(), mutation.what);
        cases.push(post(name, &format!("{dry}&fieldValidation=Strict"), mutation.apply(&made)));
    }
    for (kind, texts) in
        [("unknown", mutations::unknown(subject.schema, &made)), ("twice", mutations::twice(subject.schema, &made))]
    {
        for (place, text) in texts {
            for how in ["Strict", "Warn", "Ignore", ""] {
                let path = format!("{dry}&fieldValidation={how}");
                let name = format!("create {kind} {how}/{place}");
                cases.push(Case::one(subject, name, Step::new("POST", path).typed(JSON, &text)));
            }
        }
    }
    cases
}

pub const OPTIONS: [&str; 14] = [
    "dryRun=None",
    "dryRun=",
    "dryRun=All&dryRun=All",
    "dryRun=All&dryRun=x",
    "fieldValidation=x",
    "fieldValidation=strict",
    "fieldManager=x",
    "fieldManager=%00",
    "fieldManager=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "pretty=true",
    "force=true",
    "unknown=x",
    "dryRun=All&fieldManager=a&fieldManager=b",
    "timeout=x",
];
