//! Objects that change: a PUT of each field, of another revision; and what subresources take.

use serde_json::json;

use super::super::mutations;
use super::super::subjects::Subject;
use super::create::OPTIONS;
use super::{Case, JSON, Step};

pub fn cases(subject: &Subject) -> Vec<Case> {
    let mut cases = Vec::new();
    if !subject.can("update") || !subject.can("create") {
        return cases;
    }
    let path = subject.path();
    let object = subject.named("changes");
    let at = format!("{path}/changes");
    let mut made = Case::new(subject, "update/valid");
    made.quietly(Step::new("POST", &path).body(object.to_string()));
    made.then(Step::new("PUT", &at).body(object.to_string()));
    let mut labelled = object.clone();
    labelled["metadata"]["labels"] = json!({"changed": "yes"});
    made.then(Step::new("PUT", format!("{at}?fieldManager=other")).body(labelled.to_string()));
    made.then(Step::new("PUT", format!("{at}?fieldManager=other")).body(labelled.to_string()));
    made.then(Step::get(&at));
    cases.push(made);

    let put = |name: &str, at: &str, object: &serde_json::Value| {
        Case::one(subject, format!("update {name}"), Step::new("PUT", at).body(object.to_string()))
    };
    cases.push(put("name/missing object", &format!("{path}/missing?dryRun=All"), &subject.named("missing")));
    cases.push(put("name/another", &format!("{at}?dryRun=All"), &subject.named("else")));
    cases.push(put("name/collection", &path, &object));
    let mut nameless = object.clone();
    nameless["metadata"] = json!({});
    cases.push(put("name/none", &format!("{at}?dryRun=All"), &nameless));
    cases.push(Case::one(subject, "update name/of a POST", Step::new("POST", &at).body(object.to_string())));
    cases.push(put("body/nothing", &format!("{at}?dryRun=All"), &json!({})));
    cases.push(put("body/another kind", &format!("{at}?dryRun=All"), &json!({"apiVersion": "v1", "kind": "Else"})));
    for (name, key, value) in [
        ("a stale", "resourceVersion", "1"),
        ("no number as a", "resourceVersion", "x"),
        ("zero as the", "resourceVersion", "0"),
        ("a future", "resourceVersion", "99999999"),
        ("another", "uid", "2a1c4c0e-0000-4000-8000-000000000000"),
    ] {
        let mut object = object.clone();
        object["metadata"][key] = value.into();
        cases.push(put(&format!("precondition/{name} {key}"), &format!("{at}?dryRun=All"), &object));
    }
    for query in OPTIONS {
        cases.push(put(&format!("options/{query}"), &format!("{at}?{query}"), &subject.named("OPTIONS")));
    }
    for mutation in mutations::of_fields(subject.schema, &object) {
        // What is of another type is told as at creation.
        if mutation.what == "of another type" {
            continue;
        }
        let name = format!("field/{} {}", mutation.path(), mutation.what);
        cases.push(put(&name, &format!("{at}?dryRun=All"), &mutation.apply(&object)));
    }
    for (name, verbs) in &subject.subresources {
        cases.extend(subresource(subject, name, verbs, &at));
    }
    let nowhere = format!("{at}/nowhere");
    for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
        cases.push(Case::one(
            subject,
            format!("subresource nowhere/{method}"),
            Step::new(method, &nowhere).typed(JSON, "{}"),
        ));
    }
    cases
}

/// Those that are a part of the object.
fn subresource(subject: &Subject, name: &str, verbs: &[String], at: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let path = format!("{at}/{name}");
    if !verbs.iter().any(|verb| verb == "update") {
        for method in ["PUT", "PATCH", "DELETE"] {
            cases.push(Case::one(subject, format!("subresource {name}/{method}"), Step::new(method, &path).body("{}")));
        }
        return cases;
    }
    let object = subject.named("changes");
    cases.push(Case::one(subject, format!("subresource {name}/get"), Step::get(&path)));
    for method in ["POST", "DELETE"] {
        cases.push(Case::one(subject, format!("subresource {name}/{method}"), Step::new(method, &path).body("{}")));
    }
    let put = |what: &str, query: &str, object: &serde_json::Value| {
        Case::one(
            subject,
            format!("subresource {name}/{what}"),
            Step::new("PUT", format!("{path}{query}")).body(object.to_string()),
        )
    };
    cases.push(put("nothing", "?dryRun=All", &json!({})));
    cases.push(put("the object", "?dryRun=All", &object));
    cases.push(put("the object, by another", "?dryRun=All&fieldManager=other", &object));
    let mut missing = object.clone();
    missing["metadata"]["name"] = "missing".into();
    cases.push(Case::one(
        subject,
        format!("subresource {name}/missing object"),
        Step::new("PUT", path.replace("changes", "missing")).body(missing.to_string()),
    ));
    if subject.schema.field(name).is_some() {
        let mut object = object.clone();
        if object.get(name).is_none() {
            object[name] = json!({});
        }
        for mutation in mutations::of_fields(subject.schema, &object) {
            if mutation.path().starts_with(name) && mutation.what != "of another type" {
                cases.push(put(
                    &format!("{} {}", mutation.path(), mutation.what),
                    "?dryRun=All",
                    &mutation.apply(&object),
                ));
            }
        }
    }
    cases
}
