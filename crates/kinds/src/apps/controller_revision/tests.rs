use super::*;
use crate::tests::{kind, told};

#[test]
fn a_revision_holds_an_object_that_stays() {
    let row = kind("controllerrevisions");
    let revision = |data: Value, number: i64| json!({"metadata": {"name": "r", "namespace": "n", "resourceVersion": "1"}, "data": data, "revision": number});
    let judged = |new: Value, old: Option<&Value>| told(&row.validate(&new, old, &Context::default()));
    assert_eq!(judged(revision(json!({"a": 1}), 1), None), [""; 0]);
    assert_eq!(
        judged(revision(Value::Null, -1), None),
        ["revision: Invalid value: -1: must be greater than or equal to 0", "data: Required value: data is mandatory"]
    );
    assert_eq!(judged(revision(json!([1]), 1), None), ["data: Required value: data must be a valid JSON object"]);
    let old = revision(json!({"a": 1}), 1);
    assert_eq!(judged(revision(json!({"a": 1}), 2), Some(&old)), [""; 0]);
    assert_eq!(
        judged(revision(json!({"a": 2}), 1), Some(&old)),
        ["data: Invalid value: {\"a\":2}: field is immutable"]
    );
    assert_eq!(judged(revision(Value::Null, 1), Some(&old)), ["data: Invalid value: null: field is immutable"]);
    let mut owned = old;
    assert_eq!(controller(&owned), "<none>");
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true}]);
    assert_eq!(controller(&owned), "statefulset.apps/web");
}
