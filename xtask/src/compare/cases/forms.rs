//! Each verb in protobuf, and the forms that only some verbs have.

use serde_json::{Value, json};

use super::super::mutations;
use super::super::subjects::Subject;
use super::{APPLY, Case, JSON, MERGE, PATCH, Step, YAML};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = ";as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = ";as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
/// Mutations that are tried in protobuf, where JSON's cases try all.
const MUTATIONS: usize = 24;

/// Bodies that are no object, or no such one.
const BAD: [(&str, &str); 7] = [
    ("no bytes", ""),
    ("the magic alone", "k8s\0"),
    ("no magic", "\n\0"),
    ("JSON", "{"),
    ("a tag without an end", "k8s\0\n"),
    ("a length beyond the end", "k8s\0\n\x7fx"),
    ("another kind", r#"{"apiVersion":"v1","kind":"Status","metadata":{}}"#),
];

pub fn cases(subject: &Subject) -> Vec<Case> {
    let path = subject.path();
    let (own, at) = ("labelSelector=case%3Dform", format!("{path}/form-1"));
    let mut cases = Vec::new();
    let one = |name: &str, step: Step| Case::one(subject, format!("form {name}"), step);
    let proto = |method, path: String| Step::new(method, path).accept(PROTOBUF);
    let mut labelled = subject.named("form-1");
    labelled["metadata"]["labels"] = json!({"case": "form"});

    let mut life = Case::new(subject, "form life/protobuf");
    if subject.can("create") {
        life.then(proto("POST", path.clone()).typed(PROTOBUF, labelled.to_string()));
        let mut second = labelled.clone();
        second["metadata"]["name"] = "form-2".into();
        life.then(Step::new("POST", &path).typed(PROTOBUF, second.to_string()));
    }
    life.then(proto("GET", at.clone()));
    life.then(proto("GET", format!("{path}?{own}")));
    life.then(proto("GET", format!("{path}?{own}&limit=1")));
    life.then(proto("GET", format!("{path}?{own}&limit=1&continue={{continue}}")));
    cases.push(life);

    cases.push(one("refusal/missing", proto("GET", format!("{path}/missing"))));
    cases.push(one("refusal/options", proto("GET", format!("{path}?limit=x"))));
    for form in [TABLE, PARTIAL, ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ";as=Table;v=v9;g=meta.k8s.io"] {
        cases.push(one(&format!("of one/{form}"), Step::get(&at).accept(&format!("{PROTOBUF}{form}"))));
        cases.push(one(
            &format!("of many/{form}"),
            Step::get(format!("{path}?{own}")).accept(&format!("{PROTOBUF}{form}")),
        ));
    }
    for both in [format!("{PROTOBUF},{JSON}"), format!("{PROTOBUF}{TABLE},{JSON}{TABLE},{JSON}")] {
        cases.push(one(&format!("of many/{both}"), Step::get(format!("{path}?{own}")).accept(&both)));
    }
    if subject.can("watch") {
        // Each takes a second.
        let watch = format!("{path}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dform-1");
        let initial =
            format!("{watch}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
        for form in [PROTOBUF.to_owned(), format!("{PROTOBUF}{PARTIAL}"), format!("{JSON}{TABLE}")] {
            cases.push(one(&format!("of a watch/{form}"), Step::get(&initial).accept(&form)));
        }
        for form in [format!("{PROTOBUF}{TABLE}"), YAML.to_owned()] {
            cases.push(one(&format!("of a watch/{form}"), Step::get(&watch).accept(&form)));
        }
        let refused = Step::get(format!("{watch}&resourceVersion=x")).accept(PROTOBUF);
        cases.push(one("of a watch/refused", refused));
        let bare = format!("{watch}&includeObject=None");
        cases.push(one("of a watch/Table alone", Step::get(bare).accept(&format!("{JSON}{TABLE}"))));
    }
    if subject.can("create") {
        cases.extend(creations(subject, &path));
    }
    if subject.can("update") {
        let dry = format!("{at}?dryRun=All");
        cases.push(one("update/protobuf", proto("PUT", dry.clone()).typed(PROTOBUF, labelled.to_string())));
        cases.push(one("update/YAML", Step::new("PUT", &dry).typed(YAML, labelled.to_string()).accept(YAML)));
        for (name, verbs) in &subject.subresources {
            if !["status", "scale", "approval"].contains(&name.as_str()) {
                continue;
            }
            let path = format!("{at}/{name}");
            cases.push(one(&format!("subresource/{name} get"), proto("GET", path.clone())));
            if verbs.iter().any(|verb| verb == "update") && name != "scale" {
                let put = proto("PUT", format!("{path}?dryRun=All")).typed(PROTOBUF, labelled.to_string());
                cases.push(one(&format!("subresource/{name} put"), put));
            }
        }
    }
    if subject.can("patch") {
        let dry = format!("{at}?dryRun=All&fieldManager=x");
        for (content, body) in
            [(MERGE, r#"{"metadata":{"labels":{"more":"x"}}}"#), (PATCH, r#"[{"op":"test","path":"/x","value":1}]"#)]
        {
            cases.push(one(&format!("patch/{content}"), proto("PATCH", dry.clone()).typed(content, body)));
        }
        let applied = json!({"apiVersion": subject.api_version(), "kind": subject.kind,
            "metadata": {"name": "form-1", "labels": {"more": "x"}}});
        cases.push(one("patch/apply", proto("PATCH", dry.clone()).typed(APPLY, applied.to_string())));
        cases.push(one("patch/protobuf", proto("PATCH", dry).typed(PROTOBUF, labelled.to_string())));
    }
    if subject.can("delete") {
        for (what, options) in [
            ("options", json!({"dryRun": ["All"]})),
            ("a precondition", json!({"preconditions": {"uid": "x"}})),
            ("a wrong policy", json!({"propagationPolicy": "x"})),
        ] {
            let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
            body.as_object_mut()
                .into_iter()
                .for_each(|map| map.extend(options.as_object().cloned().unwrap_or_default()));
            cases.push(one(&format!("delete/{what}"), proto("DELETE", at.clone()).typed(PROTOBUF, body.to_string())));
        }
        for (what, body) in BAD {
            let step = Step::new("DELETE", format!("{at}?dryRun=All")).typed(PROTOBUF, body);
            cases.push(one(&format!("delete body/{what}"), step));
        }
        cases.push(one("delete/itself", proto("DELETE", at.clone())));
    }
    if subject.can("deletecollection") {
        cases.push(one("delete/many", proto("DELETE", format!("{path}?{own}"))));
    }
    cases
}

fn creations(subject: &Subject, path: &str) -> Vec<Case> {
    let dry = format!("{path}?dryRun=All&fieldValidation=Strict");
    let sent =
        |name: String, body: &str| Case::one(subject, name, Step::new("POST", &dry).typed(PROTOBUF, body.to_owned()));
    let object = subject.named("formed");
    let mut cases = vec![sent("form create/whole".into(), &object.to_string())];
    let yaml = Step::new("POST", &dry).typed(YAML, object.to_string()).accept(YAML);
    cases.push(Case::one(subject, "form create/YAML", yaml));
    for (what, body) in BAD {
        cases.push(sent(format!("form create body/{what}"), body));
    }
    let nothing = json!({"apiVersion": subject.api_version(), "kind": subject.kind, "metadata": {}});
    cases.push(sent("form create/nothing".into(), &nothing.to_string()));
    let refused = Step::new("POST", &dry).typed(PROTOBUF, nothing.to_string()).accept(PROTOBUF);
    cases.push(Case::one(subject, "form create/nothing, answered in protobuf", refused));
    // What has no place on the wire cannot be sent.
    let of_type = |value: &Option<Value>| value.as_ref().is_none_or(|value| !value.is_null());
    let mutations = mutations::of_fields(subject.schema, &object);
    let own = mutations.iter().filter(|one| {
        one.place.len() <= 2
            && !["apiVersion", "kind", "metadata"].contains(&one.path().split('.').next().unwrap_or_default())
    });
    let fit: Vec<_> = own.filter(|one| one.what != "of another type" && of_type(&one.value)).collect();
    for mutation in fit.iter().step_by((fit.len() / MUTATIONS).max(1)) {
        let name = format!("form create field/{} {}", mutation.path(), mutation.what);
        cases.push(sent(name, &mutation.apply(&object).to_string()));
    }
    cases
}
