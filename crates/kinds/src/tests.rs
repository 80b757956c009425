use api::resource::NAMED;
use api::selector::Fields;
use serde_json::json;

use super::*;

/// The examples of docs/adding-a-kind.md.
mod gadget;
mod widget;

pub fn kind(plural: &str) -> &'static Kind {
    built_in().iter().find(|kind| kind.plural == plural).unwrap()
}

/// Errors as a client reads them.
pub fn told(errors: &[api::FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_is_found_by_its_names() {
    for row in built_in().iter() {
        assert!(Arc::ptr_eq(built_in().by_plural(&row.group, &row.plural).unwrap(), row));
        assert!(Arc::ptr_eq(built_in().by_kind(&row.api_version(), &row.kind).unwrap(), row));
        assert_eq!(row.singular, row.kind.to_lowercase());
        assert!(row.verbs.is_sorted() && row.subresources.iter().is_sorted_by_key(|s| s.name));
        assert!(api::schema::get(&row.schema).is_some(), "{}", row.schema);
    }
    let event = built_in().served("events.k8s.io", "v1", "events").unwrap();
    assert_eq!((event.kind.plural.as_str(), event.api_version().as_str()), ("events", "events.k8s.io/v1"));
    assert!(built_in().served("events.k8s.io", "v2", "events").is_none());
}

#[test]
fn what_parts_name_by_hand_is_as_its_row_says() {
    for named in NAMED {
        let row = built_in().by_kind(&named.api_version(), &named.kind).unwrap_or_else(|| panic!("{named:?}"));
        let of = |resource: &api::Resource| (resource.plural.clone(), resource.namespaced, resource.list_kind.clone());
        assert_eq!(of(named), of(row));
    }
}

fn example(number: usize) -> &'static str {
    let document = include_str!("../../../docs/adding-a-kind.md");
    document.split("```rust\n").nth(number).and_then(|rest| rest.split("```").next()).unwrap()
}

#[test]
fn kind_without_behaviour_is_one_file_and_one_line() {
    let file = include_str!("tests/widget.rs");
    assert_eq!(example(1), file, "the document shows what is compiled here");
    let lines = file.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 15, "{lines} lines");
    // Beside its line in the table nothing of the crate names a row but the declaration of its file.
    let table = include_str!("lib.rs");
    for module in ["config_map", "priority_class", "service_account"] {
        let named: Vec<&str> = table.lines().map(str::trim).filter(|line| line.contains(module)).collect();
        assert_eq!(named, [format!("mod {module};"), format!("{module}::row,")]);
    }

    let more = built_in().with([widget::row()]);
    let kind = more.served("example.com", "v1", "widgets").unwrap().kind;
    assert_eq!((kind.singular.as_str(), kind.short_names[0].as_str()), ("widget", "wd"));
    assert_eq!(kind.columns.iter().map(|c| c.name.as_ref()).collect::<Vec<_>>(), ["Name", "Size", "Age"]);
    let old = json!({"metadata": {"name": "w", "namespace": "n"}, "spec": {"size": "1"}, "status": {"ready": true}});
    let mut new = json!({"metadata": {"name": "w", "namespace": "n"}, "spec": {"size": "2"}, "status": {"ready": 0}});
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!((&new["spec"]["size"], &new["status"]["ready"]), (&json!("2"), &json!(true)));
    assert!(kind.selects(&Fields::parse("spec.size=2").unwrap(), &new));
    let bad = json!({"metadata": {"name": "W", "namespace": "n"}});
    assert_eq!(kind.validate(&bad, None, &Context::default()).len(), 1);
    let documents = openapi::Subjects { kinds: &more, reviews: &[] };
    assert!(documents.v3("apis/example.com/v1").to_string().contains("/widgets/{name}/status"));
}

#[test]
fn kind_with_behaviour_says_it_in_its_file() {
    assert_eq!(example(2), include_str!("tests/gadget.rs"), "the document shows what is compiled here");
    let more = built_in().with([gadget::row()]);
    let kind = more.served("example.com", "v1", "gadgets").unwrap().kind;
    let gadget = |spec| {
        json!({"metadata": {"name": "g", "namespace": "n", "generation": 1, "resourceVersion": "5"},
        "spec": spec})
    };
    let old = gadget(json!({"parts": 1, "material": "lead"}));
    let mut new = gadget(json!({"parts": -1}));
    kind.prepare(&mut new, Some(&old), &Context::default());
    kind.default(&mut new);
    assert_eq!((&new["metadata"]["generation"], &new["spec"]["material"]), (&json!(2), &json!("brass")));
    let wrong: Vec<String> =
        kind.validate(&new, Some(&old), &Context::default()).iter().map(|e| e.to_string()).collect();
    assert_eq!(
        wrong,
        [
            "spec.parts: Invalid value: -1: must be greater than or equal to 0",
            "spec.material: Invalid value: \"brass\": field is immutable"
        ]
    );
    assert_eq!(kind.warnings(&old, None), ["spec.material: lead is deprecated; use tin"]);
}

#[test]
fn kind_on_which_nobody_acts_says_so_to_who_makes_one() {
    let dormant = widget::row().dormant("nothing makes widgets yet");
    assert_eq!(dormant.warnings(&json!({}), None), ["Widget is stored, but nothing makes widgets yet"]);
    assert!(dormant.warnings(&json!({}), Some(&json!({}))).is_empty(), "told once, not at every write");
    assert!(widget::row().warnings(&json!({}), None).is_empty());
}

#[test]
fn table_with_another_row_serves_it_in_all_its_versions() {
    let mut widget = Kind::namespaced("example.com/v3", "Widget", "widgets");
    let beta = |version| kind::Version {
        resource: api::Resource::namespaced(&format!("example.com/{version}"), "Widget", "widgets"),
        schema: format!("com.example.{version}.Widget").into(),
        from_stored: |_| {},
        to_stored: |_| {},
    };
    widget.versions = vec![beta("v1"), beta("v2")];
    let more = built_in().with([widget]);
    let served =
        |version| more.served("example.com", version, "widgets").map(|s| (s.api_version(), s.schema().to_owned()));
    assert_eq!(served("v2"), Some(("example.com/v2".into(), "com.example.v2.Widget".into())));
    assert_eq!(served("v3"), Some(("example.com/v3".into(), "io.k8s.api.example.v3.Widget".into())));
    assert_eq!(served("v4"), None);
    assert!(built_in().served("example.com", "v3", "widgets").is_none());
    assert_eq!(more.all_served().count(), built_in().all_served().count() + 3);
}

#[test]
fn events_survive_the_way_to_the_other_group_and_back() {
    let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "hello",
        "involvedObject": {"kind": "Pod", "name": "p"}, "reportingComponent": "kubelet", "count": 3});
    let served = built_in().served("events.k8s.io", "v1", "events").unwrap();
    let mut event = core.clone();
    served.of_stored(&mut event);
    assert_eq!(event["note"], "hello");
    assert_eq!(event["reportingController"], "kubelet");
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
    served.to_stored(&mut event);
    assert_eq!(event, core);
}

#[test]
fn string_data_lands_in_data() {
    let mut s = json!({"stringData": {"a": "b"}, "data": {"a": "eA==", "c": "eA=="}});
    kind("secrets").default(&mut s);
    assert_eq!(s, json!({"data": {"a": "Yg==", "c": "eA=="}, "type": "Opaque"}));
}

#[test]
fn field_selectors_know_their_kind() {
    let fields = Fields::parse("metadata.name=a\\,b,status.phase!=Running,").unwrap();
    let pod = json!({"metadata": {"name": "a,b"}, "status": {"phase": "Pending"}});
    let pods = kind("pods");
    assert!(pods.check(&fields).is_ok() && pods.selects(&fields, &pod));
    let error = pods.check(&Fields::parse("spec.foo=1").unwrap()).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (400, "field label not supported: spec.foo"));
}
