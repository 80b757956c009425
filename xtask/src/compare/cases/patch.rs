//! Patches of every type: of lists of every type, under every option, and what is no patch.

use api::schema::List;
use serde_json::{Value, json};

use super::super::mutations::{self, Segment};
use super::super::subjects::Subject;
use super::create::OPTIONS;
use super::{APPLY, Case, JSON, MERGE, PATCH, STRATEGIC, Step};

pub fn cases(subject: &Subject) -> Vec<Case> {
    if !subject.can("patch") || !subject.can("create") {
        return Vec::new();
    }
    let path = subject.path();
    let object = subject.named("patched");
    let at = format!("{path}/patched");
    let mut cases = Vec::new();
    let mut made = Case::new(subject, "patch/prepare");
    made.quietly(Step::new("POST", &path).body(object.to_string()));
    cases.push(made);

    let one = |name: String, content: &str, query: &str, body: String| {
        Case::one(subject, name, Step::new("PATCH", format!("{at}{query}")).typed(content, body))
    };
    let dry = "?dryRun=All";
    for (kind, content, bodies) in BODIES {
        for body in *bodies {
            cases.push(one(format!("patch {kind}/{body}"), content, dry, (*body).to_owned()));
        }
    }
    for content in ["", JSON, "text/plain", "application/yaml", "application/apply-patch+cbor", "nonsense"] {
        cases.push(one(format!("patch type/{content}"), content, dry, "{}".to_owned()));
    }
    for query in OPTIONS {
        let body = r#"{"metadata":{"labels":{"x":"Not good!"}}}"#;
        cases.push(one(format!("patch options/{query}"), MERGE, &format!("?{query}"), body.to_owned()));
    }
    for (what, at) in [("missing object", format!("{path}/missing")), ("collection", path.clone())] {
        for content in [MERGE, STRATEGIC] {
            let step = Step::new("PATCH", &at).typed(content, "{}");
            cases.push(Case::one(subject, format!("patch name/{what} {content}"), step));
        }
        let step = Step::new("PATCH", &at).typed(PATCH, "[]");
        cases.push(Case::one(subject, format!("patch name/{what} {PATCH}"), step));
    }
    for (place, field) in mutations::lists(subject.schema, &object) {
        let name = mutations::dotted(&place);
        let list = mutations::at(&object, &place).clone();
        let pointer: String = place
            .iter()
            .map(|segment| match segment {
                Segment::Name(name) => format!("/{}", name.replace('~', "~0").replace('/', "~1")),
                Segment::Index(index) => format!("/{index}"),
            })
            .collect();
        let of = match field.list {
            Some(List::Map) => "map",
            Some(List::Set) => "set",
            _ => "atomic",
        };
        let first = list[0].clone();
        for (what, patch) in [
            ("add", json!([{"op": "add", "path": format!("{pointer}/-"), "value": first}])),
            ("add at 0", json!([{"op": "add", "path": format!("{pointer}/0"), "value": first}])),
            ("add at 9", json!([{"op": "add", "path": format!("{pointer}/9"), "value": first}])),
            ("remove", json!([{"op": "remove", "path": format!("{pointer}/0")}])),
            ("remove all", json!([{"op": "remove", "path": pointer}])),
            ("test", json!([{"op": "test", "path": format!("{pointer}/0"), "value": first}])),
        ] {
            cases.push(one(format!("patch list {of} {what}/{name}"), PATCH, dry, patch.to_string()));
        }
        let keys = |item: &Value| -> Value {
            field
                .keys
                .iter()
                .map(|key| ((*key).to_owned(), item[*key].clone()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let mut bodies = vec![("replace", json!([first])), ("empty", json!([])), ("null", Value::Null)];
        if first.is_object() {
            bodies.push(("delete", json!([{"$patch": "delete", field.merge_key: first[field.merge_key]}])));
            bodies.push(("replace all", json!([{"$patch": "replace"}, first])));
            bodies.push(("keys", json!([keys(&first)])));
            bodies.push(("nothing", json!([{}])));
        }
        for (what, value) in bodies {
            for (kind, content) in [("merge", MERGE), ("strategic", STRATEGIC)] {
                let body = nested(&place, value.clone()).to_string();
                cases.push(one(format!("patch list {of} {kind} {what}/{name}"), content, dry, body));
            }
        }
    }
    cases.extend(applies(subject));
    cases
}

/// A patch that has a value at a place; what is inside a list is not reached.
fn nested(place: &[Segment], value: Value) -> Value {
    place.iter().rev().fold(value, |value, segment| match segment {
        Segment::Name(name) => json!({name.as_str(): value}),
        Segment::Index(_) => json!([value]),
    })
}

/// Server-side apply.
fn applies(subject: &Subject) -> Vec<Case> {
    let path = subject.path();
    let mut cases = Vec::new();
    let apply = |at: &str, query: &str, body: &Value| {
        Step::new("PATCH", format!("{at}?{query}")).typed(APPLY, body.to_string())
    };
    let object = subject.named("applied");
    let at = format!("{path}/applied");
    let mut made = Case::new(subject, "apply/life");
    made.then(apply(&at, "fieldManager=first", &object));
    made.then(apply(&at, "fieldManager=first", &object));
    let mut labelled = object.clone();
    labelled["metadata"]["labels"] = json!({"of": "second"});
    made.then(apply(&at, "fieldManager=second", &labelled));
    labelled["metadata"]["labels"] = json!({"of": "first", "more": "x"});
    made.then(apply(&at, "fieldManager=first", &labelled));
    made.then(apply(&at, "fieldManager=first&force=true", &labelled));
    made.then(
        Step::new("PATCH", format!("{at}?fieldManager=third")).typed(MERGE, r#"{"metadata":{"labels":{"more":"y"}}}"#),
    );
    made.then(apply(&at, "fieldManager=first", &labelled));
    made.then(apply(&at, "fieldManager=first&force=true", &object));
    made.then(apply(&at, "fieldManager=second", &subject.nothing("applied")));
    made.then(Step::get(&at));
    cases.push(made);

    // Each list and each field, taken over by a second manager.
    for mutation in mutations::of_fields(subject.schema, &object) {
        if ["\"x\"", "1", "true", "[]", "{}"].contains(&mutation.what.as_str()) {
            let step = apply(&at, "fieldManager=third&dryRun=All", &mutation.apply(&object));
            let name = format!("apply taken over/{} {}", mutation.path(), mutation.what);
            cases.push(Case::one(subject, name, step));
        }
    }
    let dry = "fieldManager=x&dryRun=All";
    let mut other = object.clone();
    for (what, query, body) in [
        ("no manager", "dryRun=All", object.clone()),
        ("bad force", "fieldManager=x&force=x&dryRun=All", object.clone()),
        ("another name", dry, subject.named("else")),
        ("no kind", dry, json!({"apiVersion": subject.api_version(), "metadata": {"name": "applied"}})),
        ("no apiVersion", dry, json!({"kind": subject.kind, "metadata": {"name": "applied"}})),
        (
            "another kind",
            dry,
            json!({"kind": "Else", "apiVersion": subject.api_version(), "metadata": {"name": "applied"}}),
        ),
        (
            "another version",
            dry,
            json!({"kind": subject.kind, "apiVersion": "else/v1", "metadata": {"name": "applied"}}),
        ),
        ("managed fields", dry, {
            other["metadata"]["managedFields"] = json!([{"manager": "x"}]);
            other.clone()
        }),
        ("a revision", dry, {
            other["metadata"] = json!({"name": "applied", "resourceVersion": "1"});
            other.clone()
        }),
        ("a uid", dry, {
            other["metadata"] = json!({"name": "applied", "uid": "2a1c4c0e-0000-4000-8000-000000000000"});
            other.clone()
        }),
        ("null", dry, Value::Null),
        ("a list", dry, json!([])),
        ("an unknown field", dry, {
            other["metadata"] = json!({"name": "applied"});
            other["unknownField"] = 1.into();
            other.clone()
        }),
    ] {
        cases.push(Case::one(subject, format!("apply body/{what}"), apply(&at, query, &body)));
    }
    for text in ["", "a: [", "a: 1\na: 2\n", "- a", "a: b: c", "{\"apiVersion\": \"v1\", \"apiVersion\": \"v1\"}"] {
        let step = Step::new("PATCH", format!("{at}?{dry}")).typed(APPLY, text);
        cases.push(Case::one(subject, format!("apply text/{text}"), step));
    }
    for mutation in mutations::of_fields(subject.schema, &object) {
        if mutation.what == "of another type" || mutation.what == "null" {
            let name = format!(
                "apply field/{} {} {}",
                mutation.path(),
                mutation.what,
                mutation.value.clone().unwrap_or_default()
            );
            cases.push(Case::one(subject, name, apply(&at, dry, &mutation.apply(&object))));
        }
    }
    for subresource in subject.subresources.keys() {
        let step = apply(&format!("{at}/{subresource}"), dry, &object);
        cases.push(Case::one(subject, format!("apply subresource/{subresource}"), step));
    }
    cases
}

impl Subject {
    /// What somebody applies who owns nothing.
    fn nothing(&self, name: &str) -> Value {
        json!({"apiVersion": self.api_version(), "kind": self.kind, "metadata": {"name": name}})
    }
}

type Bodies = &'static [(&'static str, &'static str, &'static [&'static str])];

const BODIES: Bodies = &[
    (
        "json",
        PATCH,
        &[
            "",
            "{}",
            "[]",
            "null",
            "[",
            "[1]",
            "[{}]",
            r#"[{"op":"add"}]"#,
            r#"[{"op":"add","path":"/metadata/labels"}]"#,
            r#"[{"op":"add","path":"/metadata/labels","value":{"x":"y"}}]"#,
            r#"[{"op":"add","path":"/metadata/labels","value":null}]"#,
            r#"[{"op":"add","path":"/metadata/nowhere/x","value":1}]"#,
            r#"[{"op":"add","path":"/unknown","value":1}]"#,
            r#"[{"op":"add","path":"metadata","value":1}]"#,
            r#"[{"op":"replace","path":"/metadata/nowhere","value":1}]"#,
            r#"[{"op":"replace","path":"/metadata/name","value":"else"}]"#,
            r#"[{"op":"replace","path":"/kind","value":"Else"}]"#,
            r#"[{"op":"replace","path":"/apiVersion","value":"v9"}]"#,
            r#"[{"op":"replace","path":"/metadata/resourceVersion","value":"1"}]"#,
            r#"[{"op":"replace","path":"/metadata/uid","value":"x"}]"#,
            r#"[{"op":"replace","path":"/metadata","value":null}]"#,
            r#"[{"op":"replace","path":"","value":{}}]"#,
            r#"[{"op":"replace","path":"","value":null}]"#,
            r#"[{"op":"remove","path":""}]"#,
            r#"[{"op":"remove","path":"/metadata/nowhere"}]"#,
            r#"[{"op":"remove","path":"/metadata"}]"#,
            r#"[{"op":"remove","path":"/kind"}]"#,
            r#"[{"op":"test","path":"/metadata/name","value":"else"}]"#,
            r#"[{"op":"test","path":"/metadata/name","value":"patched"}]"#,
            r#"[{"op":"test","path":"/metadata/nowhere","value":1}]"#,
            r#"[{"op":"test","path":"/metadata/nowhere","value":null}]"#,
            r#"[{"op":"move","from":"/metadata/name","path":"/metadata/generateName"}]"#,
            r#"[{"op":"move","from":"/metadata/nowhere","path":"/metadata/generateName"}]"#,
            r#"[{"op":"copy","from":"/metadata/name","path":"/metadata/generateName"}]"#,
            r#"[{"op":"copy","from":"/metadata/nowhere","path":"/metadata/generateName"}]"#,
            r#"[{"op":"copy","path":"/metadata/generateName"}]"#,
            r#"[{"op":"nonsense","path":"/metadata"}]"#,
            r#"[{"op":"add","path":"/metadata/labels","value":{},"more":1}]"#,
            r#"[{"op":"add","op":"add","path":"/metadata/labels","value":{}}]"#,
            r#"[{"op":"add","path":"/metadata/labels","value":{"x":1}}]"#,
            r#"[{"op":"add","path":"/metadata/labels","value":[]}]"#,
        ],
    ),
    (
        "merge",
        MERGE,
        &[
            "",
            "{}",
            "[]",
            "null",
            "\"x\"",
            "{",
            r#"{"metadata":null}"#,
            r#"{"metadata":[]}"#,
            r#"{"metadata":{"labels":{"x":1}}}"#,
            r#"{"metadata":{"labels":{"x":"y"}}}"#,
            r#"{"metadata":{"labels":{"x":"y","x":"z"}}}"#,
            r#"{"metadata":{"labels":null,"annotations":null}}"#,
            r#"{"metadata":{"name":"else"}}"#,
            r#"{"metadata":{"namespace":"else"}}"#,
            r#"{"metadata":{"uid":"x"}}"#,
            r#"{"metadata":{"resourceVersion":"1"}}"#,
            r#"{"metadata":{"resourceVersion":"x"}}"#,
            r#"{"metadata":{"generation":7}}"#,
            r#"{"metadata":{"creationTimestamp":null}}"#,
            r#"{"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z"}}"#,
            r#"{"metadata":{"deletionTimestamp":"2020-01-01T00:00:00Z"}}"#,
            r#"{"metadata":{"managedFields":[]}}"#,
            r#"{"metadata":{"managedFields":[{}]}}"#,
            r#"{"metadata":{"managedFields":null}}"#,
            r#"{"metadata":{"finalizers":["x"]}}"#,
            r#"{"metadata":{"finalizers":["example.com/x","example.com/x"]}}"#,
            r#"{"metadata":{"ownerReferences":[{}]}}"#,
            r#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"x","uid":"y"},{"apiVersion":"v1","kind":"Pod","name":"x","uid":"y"}]}}"#,
            r#"{"kind":"Else"}"#,
            r#"{"apiVersion":"v9"}"#,
            r#"{"kind":null}"#,
            r#"{"unknown":1}"#,
            r#"{"spec":1}"#,
            r#"{"spec":null}"#,
            r#"{"status":{}}"#,
            r#"{"data":{"x":1}}"#,
        ],
    ),
    (
        "strategic",
        STRATEGIC,
        &[
            "",
            "{}",
            "[]",
            "null",
            "\"x\"",
            "{",
            r#"{"metadata":null}"#,
            r#"{"metadata":[]}"#,
            r#"{"metadata":{"labels":{"x":1}}}"#,
            r#"{"metadata":{"labels":{"$patch":"replace","x":"y"}}}"#,
            r#"{"metadata":{"labels":{"$patch":"delete"}}}"#,
            r#"{"metadata":{"labels":{"$patch":"nonsense"}}}"#,
            r#"{"metadata":{"labels":{"$retainKeys":["x"],"x":"y"}}}"#,
            r#"{"metadata":{"$retainKeys":["name"],"name":"patched"}}"#,
            r#"{"metadata":{"finalizers":["example.com/x"]}}"#,
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["example.com/x"]}}"#,
            r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":"x"}}"#,
            r#"{"metadata":{"$setElementOrder/finalizers":["example.com/y","example.com/x"],"finalizers":["example.com/x","example.com/y"]}}"#,
            r#"{"metadata":{"$setElementOrder/finalizers":["example.com/y"],"finalizers":["example.com/x","example.com/y"]}}"#,
            r#"{"metadata":{"ownerReferences":[{"name":"x"}]}}"#,
            r#"{"metadata":{"ownerReferences":[{"uid":"y","name":"x"}]}}"#,
            r#"{"metadata":{"ownerReferences":[{"$patch":"delete","uid":"y"}]}}"#,
            r#"{"metadata":{"ownerReferences":"x"}}"#,
            r#"{"$patch":"replace"}"#,
            r#"{"$patch":"delete"}"#,
            r#"{"unknown":1}"#,
            r#"{"kind":"Else"}"#,
            r#"{"spec":1}"#,
            r#"{"spec":null}"#,
        ],
    ),
];
