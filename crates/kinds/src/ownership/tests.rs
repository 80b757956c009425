use serde_json::{Value, json};

use crate::row::*;

/// No hook of its own.
fn gadget() -> Kind {
    let part = |name, owns, shares| Subresource { name, owns, shares, ..PART };
    Kind {
        subresources: vec![part("scale", &[], &["spec"]), part("seal", &["seal"], &[]), STATUS],
        ..Kind::namespaced("example.com/v1", "Gadget", "gadgets")
    }
}

fn written(old: Option<&Value>, new: &Value, subresource: &str) -> Value {
    let mut object = new.clone();
    let context = Context { subresource: subresource.into(), ..Context::default() };
    gadget().prepare(&mut object, old, &context);
    object
}

#[test]
fn row_without_a_hook_keeps_spec_and_status_apart() {
    let old = json!({"metadata": {"labels": {"a": "1"}}, "spec": 1, "status": 1, "seal": 1});
    let new = json!({"metadata": {"labels": {"a": "2"}}, "spec": 2, "status": 2, "seal": 2, "extra": 2});
    let made = |change: Value| {
        let mut made = old.clone();
        made["metadata"] = new["metadata"].clone();
        made.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
        made
    };
    assert_eq!(written(Some(&old), &new, ""), made(json!({"spec": 2, "extra": 2})));
    assert_eq!(written(Some(&old), &new, "status"), made(json!({"status": 2})));
    assert_eq!(written(Some(&old), &new, "seal"), made(json!({"seal": 2})));
    assert_eq!(written(Some(&old), &new, "scale"), made(json!({"spec": 2})));
}

#[test]
fn what_a_write_leaves_out_and_does_not_own_stays() {
    let old = json!({"metadata": {}, "spec": 1, "status": 1});
    assert_eq!(written(Some(&old), &json!({"metadata": {}}), "status"), json!({"metadata": {}, "spec": 1}));
    assert_eq!(written(Some(&old), &json!({"metadata": {}}), ""), json!({"metadata": {}, "status": 1}));
}

#[test]
fn new_object_brings_no_status_unless_its_row_says_so() {
    let new = json!({"metadata": {}, "spec": 1, "status": 1, "seal": 1});
    assert_eq!(written(None, &new, ""), json!({"metadata": {}, "spec": 1}));
    let mut node = new.clone();
    crate::built_in().by_plural("", "nodes").unwrap().prepare(&mut node, None, &Context::default());
    assert_eq!(node, new);
}

#[test]
fn new_object_has_the_empty_status_that_its_type_always_writes() {
    for (group, plural, status) in
        [("", "resourcequotas", json!({})), ("networking.k8s.io", "ingresses", json!({"loadBalancer": {}}))]
    {
        let mut object = json!({"metadata": {}, "status": {"used": 1}});
        crate::built_in().by_plural(group, plural).unwrap().prepare(&mut object, None, &Context::default());
        assert_eq!(object["status"], status);
    }
}

#[test]
fn status_alone_leaves_the_metadata() {
    let kind = Kind { subresources: vec![STATUS_ALONE], ..gadget() };
    let old = json!({"metadata": {"labels": {"a": "1"}, "managedFields": [1]}, "spec": 1, "status": 1});
    let mut new = json!({"metadata": {"labels": {"a": "2"}, "managedFields": [2]}, "spec": 2, "status": 2});
    kind.prepare(&mut new, Some(&old), &Context { subresource: "status".into(), ..Context::default() });
    let expected = json!({"metadata": {"labels": {"a": "1"}, "managedFields": [2]}, "spec": 1, "status": 2});
    assert_eq!(new, expected);
}
