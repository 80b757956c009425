//! The end of objects: under each option, of one and of many.

use super::super::subjects::Subject;
use super::{Case, JSON, Step, YAML};

/// Bodies of a deletion that is only tried.
const BODIES: [&str; 22] = [
    "",
    "{}",
    "null",
    "[]",
    "{",
    r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#,
    r#"{"kind":"DeleteOptions","apiVersion":"v9"}"#,
    r#"{"kind":"Else","apiVersion":"v1"}"#,
    r#"{"gracePeriodSeconds":0}"#,
    r#"{"gracePeriodSeconds":-1}"#,
    r#"{"gracePeriodSeconds":"x"}"#,
    r#"{"propagationPolicy":"Orphan"}"#,
    r#"{"propagationPolicy":"Background"}"#,
    r#"{"propagationPolicy":"Foreground"}"#,
    r#"{"propagationPolicy":"x"}"#,
    r#"{"orphanDependents":true}"#,
    r#"{"orphanDependents":true,"propagationPolicy":"Background"}"#,
    r#"{"preconditions":{"uid":"x"}}"#,
    r#"{"preconditions":{"resourceVersion":"1"}}"#,
    r#"{"dryRun":["x"]}"#,
    r#"{"unknown":1}"#,
    r#"{"ignoreStoreReadErrorWithClusterBreakingPotential":true}"#,
];

const QUERIES: [&str; 12] = [
    "gracePeriodSeconds=0",
    "gracePeriodSeconds=x",
    "propagationPolicy=Orphan",
    "propagationPolicy=Foreground",
    "propagationPolicy=Background",
    "propagationPolicy=x",
    "orphanDependents=true",
    "orphanDependents=x",
    "dryRun=x",
    "preconditions.uid=x",
    "unknown=x",
    "pretty=true",
];

pub fn cases(subject: &Subject) -> Vec<Case> {
    if !subject.can("delete") || !subject.can("create") {
        return Vec::new();
    }
    let path = subject.path();
    let mut cases = Vec::new();
    let made = |case: &mut Case, name: &str| {
        let mut object = subject.named(name);
        object["metadata"]["labels"] = serde_json::json!({"case": "delete"});
        case.quietly(Step::new("POST", &path).body(object.to_string()));
    };
    let mut prepared = Case::new(subject, "delete/prepare");
    made(&mut prepared, "stays");
    cases.push(prepared);
    let stays = format!("{path}/stays?dryRun=All");
    for (number, body) in BODIES.iter().enumerate() {
        let (mut case, name) = (Case::new(subject, format!("delete body/{body}")), format!("body-{number}"));
        made(&mut case, &name);
        case.then(Step::new("DELETE", format!("{path}/{name}")).body(*body));
        cases.push(case);
    }
    for query in QUERIES {
        cases.push(Case::one(
            subject,
            format!("delete options/{query}"),
            Step::new("DELETE", format!("{stays}&{query}")),
        ));
    }
    for content in ["", "text/plain", YAML] {
        cases.push(Case::one(
            subject,
            format!("delete type/{content}"),
            Step::new("DELETE", &stays).typed(content, r#"{"dryRun":["All"]}"#),
        ));
    }
    cases.push(Case::one(subject, "delete name/missing", Step::new("DELETE", format!("{path}/missing"))));
    let mut tried = Case::new(subject, "delete options/dryRun of the query, with a body");
    made(&mut tried, "tried");
    tried.then(Step::new("DELETE", format!("{path}/tried?dryRun=All")).body("{}"));
    tried.then(Step::get(format!("{path}/tried")));
    cases.push(tried);
    let both = format!("{stays}&gracePeriodSeconds=5");
    cases.push(Case::one(
        subject,
        "delete options/in both",
        Step::new("DELETE", both).body(r#"{"gracePeriodSeconds":7,"dryRun":["All"]}"#),
    ));

    for (what, body) in [
        ("plain", ""),
        ("at once", r#"{"gracePeriodSeconds":0}"#),
        ("orphan", r#"{"propagationPolicy":"Orphan"}"#),
        ("foreground", r#"{"propagationPolicy":"Foreground"}"#),
        ("right preconditions", r#"{"preconditions":{"uid":"{uid}","resourceVersion":"{revision}"}}"#),
    ] {
        let name = format!("ends-{}", what.replace(' ', "-"));
        let mut case = Case::new(subject, format!("delete life/{what}"));
        made(&mut case, &name);
        let at = format!("{path}/{name}");
        case.quietly(Step::get(&at));
        let delete = Step::new("DELETE", &at);
        case.then(if body.is_empty() { delete } else { delete.typed(JSON, body) });
        // What is left to a garbage collector goes when it comes by; the stock server has none.
        if ["orphan", "foreground"].contains(&what) {
            cases.push(case);
            continue;
        }
        case.then(Step::get(&at));
        case.then(Step::new("DELETE", &at));
        case.then(Step::get(&at));
        cases.push(case);
    }
    let mut held = Case::new(subject, "delete life/held by a finalizer");
    let mut object = subject.named("held");
    object["metadata"]["finalizers"] = serde_json::json!(["example.com/held"]);
    let at = format!("{path}/held");
    let merge = |body: &str| Step::new("PATCH", &at).typed(super::MERGE, body);
    held.quietly(Step::new("POST", &path).body(object.to_string()));
    held.then(Step::new("DELETE", &at));
    held.then(Step::get(&at));
    held.then(Step::new("DELETE", &at));
    held.then(merge(r#"{"metadata":{"finalizers":["example.com/held","example.com/more"]}}"#));
    held.then(merge(r#"{"metadata":{"labels":{"x":"y"}}}"#));
    held.then(Step::new("POST", &path).body(object.to_string()));
    held.then(merge(r#"{"metadata":{"finalizers":null}}"#));
    held.then(Step::get(&at));
    cases.push(held);

    if subject.can("deletecollection") {
        let mut many = Case::new(subject, "delete collection/life");
        for name in ["many-1", "many-2"] {
            let mut object = subject.named(name);
            object["metadata"]["labels"] = serde_json::json!({"case": "many"});
            many.quietly(Step::new("POST", &path).body(object.to_string()));
        }
        many.then(Step::new("DELETE", format!("{path}?labelSelector=case%3Dnone")));
        many.then(Step::new("DELETE", format!("{path}?labelSelector=case%3Dmany&dryRun=All")));
        many.then(Step::new("DELETE", format!("{path}?labelSelector=case%3Dmany&limit=1")));
        many.then(Step::new("DELETE", format!("{path}?labelSelector=case%3Dmany")));
        many.then(Step::get(format!("{path}?labelSelector=case%3Dmany")));
        cases.push(many);
        for query in [
            "labelSelector=%3D",
            "fieldSelector=nowhere%3Dx",
            "resourceVersion=x",
            "limit=x",
            "continue=x",
            "propagationPolicy=x",
        ] {
            let step = Step::new("DELETE", format!("{path}?dryRun=All&{query}"));
            cases.push(Case::one(subject, format!("delete collection/{query}"), step));
        }
        let body = r#"{"preconditions":{"uid":"x"}}"#;
        let step = Step::new("DELETE", format!("{path}?dryRun=All&labelSelector=case%3Ddelete")).body(body);
        cases.push(Case::one(subject, "delete collection/preconditions", step));
    } else {
        cases.push(Case::one(subject, "delete collection/not there", Step::new("DELETE", &path)));
    }
    if subject.namespaced {
        let everywhere = format!("{}/{}", subject.root(), subject.plural);
        cases.push(Case::one(subject, "delete collection/everywhere", Step::new("DELETE", everywhere)));
    }
    cases
}
