use super::*;
use crate::tests::{kind, told};

fn address(name: &str, parent: Value) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": "1"}, "spec": {"parentRef": parent}})
}

#[test]
fn the_name_is_an_address_and_somebody_has_it() {
    let kind = kind("ipaddresses");
    let judged = |name: &str, parent: Value| told(&kind.validate(&address(name, parent), None, &Context::default()));
    let parent = json!({"resource": "services", "namespace": "default", "name": "kubernetes"});
    assert_eq!(judged("10.0.0.1", parent.clone()), [""; 0]);
    assert_eq!(judged("fe80::42:1dff:fe84:f9e2", parent.clone()), [""; 0]);
    assert_eq!(
        judged("fd00:0::1", parent.clone()),
        ["metadata.name: Invalid value: \"fd00:0::1\": must be in canonical form (\"fd00::1\")"]
    );
    assert_eq!(
        judged("x", parent.clone()),
        ["metadata.name: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    );
    assert_eq!(judged("10.0.0.1", Value::Null), ["spec.parentRef: Required value"]);
    assert_eq!(
        judged("10.0.0.1", json!({"namespace": "a/b"})),
        [
            "spec.parentRef.namespace: Invalid value: \"a/b\": may not contain '/'",
            "spec.parentRef.resource: Required value",
            "spec.parentRef.name: Required value",
        ]
    );
    let (old, new) = (address("10.0.0.1", parent), address("10.0.0.1", json!({"resource": "services", "name": "b"})));
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &Context::default())),
        ["spec.parentRef: Invalid value: null: field is immutable"]
    );
}

#[test]
fn an_address_is_shown_with_who_has_it() {
    assert_eq!(parent(&address("a", json!({"resource": "services", "namespace": "n", "name": "s"}))), "services/n/s");
    assert_eq!(parent(&address("a", json!({"group": "G", "resource": "r", "name": "s"}))), "r.g/s");
    assert_eq!(parent(&json!({})), "<none>");
}
