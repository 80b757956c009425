use api::schema;
use serde_json::{Value, json};

use super::difference::{Difference, between};
use super::level::Seen;
use super::mutations;
use super::servers::Answer;

fn answer(code: u16, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Answer { code, headers: headers.collect(), body: body.to_string().into() }
}

fn told(stock: &Answer, gousse: &Answer) -> Vec<(String, String, String)> {
    let mut seen = [Seen::default(), Seen::default()];
    let found = between(stock, gousse, &mut seen);
    found.into_iter().map(|Difference { place, stock, gousse }| (place, stock, gousse)).collect()
}

fn line(place: &str, stock: &str, gousse: &str) -> (String, String, String) {
    (place.to_owned(), stock.to_owned(), gousse.to_owned())
}

#[test]
fn what_must_differ_does_not_count_but_its_form_and_sameness_do() {
    let object = |uid: &str, revision: &str, time: &str, again: &str| {
        json!({"metadata": {"uid": uid, "resourceVersion": revision, "creationTimestamp": time, "generateName": "x-",
            "name": format!("x-{again}")}, "spec": {"uid": uid}})
    };
    let (one, other) = ("2a1c4c0e-0000-4000-8000-000000000000", "2a1c4c0e-0000-4000-8000-000000000001");
    let stock = answer(200, &[("audit-id", "1")], &object(one, "7", "2026-01-01T00:00:00Z", "abcde"));
    let gousse = answer(200, &[("audit-id", "2")], &object(other, "99", "2027-01-01T00:00:01Z", "fghij"));
    assert_eq!(told(&stock, &gousse), []);
    let mut changed = object(other, "99", "2027-01-01T00:00:01.5Z", "fghi");
    changed["spec"]["uid"] = one.into();
    let found = told(&stock, &answer(200, &[], &changed));
    let want = [
        line("header audit-id", "<made up>", ""),
        line(".metadata.creationTimestamp", "<moment 0>", "<moment 1>"),
        line(".metadata.name", "x-<5 made up>", "x-<4 made up>"),
        line(".spec.uid", "<uid 1>", "<uid 2>"),
    ];
    assert_eq!(found, want);
}

#[test]
fn of_refusals_each_cause_is_told() {
    let status = |causes: &[&str]| {
        let causes: Vec<Value> =
            causes.iter().map(|field| json!({"field": field, "message": "m", "reason": "r"})).collect();
        json!({"kind": "Status", "apiVersion": "v1", "message": causes.len(), "details": {"causes": causes}})
    };
    let of = |causes: &[&str]| answer(422, &[], &status(causes));
    assert_eq!(told(&of(&["a", "b"]), &of(&["b", "c"])), [line("cause", "a: m (r)", "c: m (r)")]);
    let order = line("cause (order)", "a: m (r) | b: m (r)", "b: m (r) | a: m (r)");
    // From the first that stands elsewhere.
    assert_eq!(told(&of(&["x", "a", "b"]), &of(&["x", "b", "a"])), [order]);
    let other = answer(400, &[], &json!({"kind": "Status", "apiVersion": "v1", "message": "no"}));
    assert_eq!(told(&of(&["a"]), &other)[0].0, "code 422 400");
}

#[test]
fn a_bookmark_by_the_way_is_none() {
    let event = |annotations: Value| {
        let metadata = json!({"resourceVersion": "5", "annotations": annotations});
        json!({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": metadata}})
    };
    let (last, other) = (event(json!({"k8s.io/initial-events-end": "true"})), event(Value::Null));
    let watch = |events: &[&Value]| answer(200, &[], &json!(events));
    assert_eq!(told(&watch(&[&last, &other]), &watch(&[&last])), []);
    assert_eq!(told(&watch(&[&last]), &watch(&[&other])).len(), 1);
}

#[test]
fn objects_of_lists_are_compared_with_those_of_their_names() {
    let list = |items: &[(&str, i64)]| {
        let items: Vec<Value> = items.iter().map(|(name, x)| json!({"metadata": {"name": name}, "x": x})).collect();
        answer(200, &[], &json!({"items": items}))
    };
    let found = told(&list(&[("a", 1), ("b", 2), ("c", 3)]), &list(&[("b", 2), ("c", 4), ("d", 5)]));
    assert_eq!(found, [line(".items[]", "a", ""), line(".items[].x", "3", "4"), line(".items[]", "", "d")]);
}

#[test]
fn every_field_is_made_wrong_in_place() {
    let of = schema::get("io.k8s.api.core.v1.ConfigMap").unwrap();
    let object =
        json!({"kind": "ConfigMap", "data": {"a": "b"}, "metadata": {"name": "m", "ownerReferences": [{"name": "o"}]}});
    let all = mutations::of_fields(of, &object);
    let find = |path: &str, what: &str| {
        let found = all.iter().find(|mutation| mutation.path() == path && mutation.what == what);
        found.unwrap_or_else(|| panic!("{path} {what}")).apply(&object)
    };
    assert_eq!(find("data", "missing").get("data"), None);
    assert_eq!(find("immutable", "true")["immutable"], true);
    assert_eq!(
        find("metadata.ownerReferences[0].uid", "\"x\"")["metadata"]["ownerReferences"][0],
        json!({"name": "o", "uid": "x"})
    );
    let owners = find("metadata.ownerReferences", "the first twice")["metadata"]["ownerReferences"].clone();
    assert_eq!(owners, json!([{"name": "o"}, {"name": "o"}]));
    let twice: Vec<String> = mutations::twice(of, &object).into_iter().map(|(_, text)| text).collect();
    assert!(twice.iter().any(|text| text.matches("\"name\":\"o\"").count() == 2), "{twice:?}");
}

#[test]
fn the_tables_are_read() {
    for table in [super::report::PURPOSES, super::workloads::PURPOSES] {
        assert!(super::report::Report::new(table, Vec::new()).is_ok(), "{table}");
    }
    let objects = super::subjects::objects().unwrap();
    let strangers: Vec<&String> =
        objects.iter().filter(|(_, object)| object["metadata"].is_null()).map(|(name, _)| name).collect();
    assert!(objects.len() > 50 && strangers.is_empty(), "{strangers:?}");
}
