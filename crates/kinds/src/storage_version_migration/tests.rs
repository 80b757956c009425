use super::*;
use crate::tests::{kind, told};

fn migration(resource: Value, status: Value) -> Value {
    json!({"metadata": {"name": "m", "resourceVersion": "1"}, "spec": {"resource": resource}, "status": status})
}

#[test]
fn a_migration_is_of_one_resource_for_good() {
    let kind = kind("storageversionmigrations");
    let judged = |resource: Value| told(&kind.validate(&migration(resource, json!({})), None, &Context::default()));
    assert_eq!(judged(json!({"resource": "foo"})), [""; 0]);
    assert_eq!(judged(json!({})), ["spec.resource.resource: Required value: resource is required to be set"]);
    assert_eq!(
        judged(json!({"resource": "1a"})),
        ["spec.resource.resource: Invalid value: \"1a\": a DNS-1035 label must consist of lower case alphanumeric \
             characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
             'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"]
    );
    let (old, new) =
        (migration(json!({"resource": "a"}), json!({})), migration(json!({"resource": "b", "group": "g"}), json!({})));
    assert_eq!(
        told(&kind.validate(&new, Some(&old), &Context::default())),
        [r#"spec: Invalid value: {"Resource":{"group":"g","resource":"b"}}: field is immutable"#]
    );
    assert_eq!((resource(&new), resource(&old)), ("b.g".into(), "a".into()));
}

#[test]
fn a_migration_ends_once() {
    let kind = kind("storageversionmigrations");
    let of = |revision: &str, conditions: &[(&str, &str)]| {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status)| {
                json!({"type": kind, "status": status, "reason": "R", "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        migration(json!({"resource": "a"}), json!({"resourceVersion": revision, "conditions": conditions}))
    };
    let context = Context { subresource: "status".into(), ..Context::default() };
    let judged = |new: Value, old: Value| {
        let told = told(&kind.validate(&new, Some(&old), &context)).into_iter();
        told.map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(judged(of("5", &[("Running", "True")]), of("", &[])), [""; 0]);
    assert_eq!(judged(of("05", &[]), of("", &[])), ["05"]);
    assert_eq!(judged(of("6", &[]), of("5", &[])), ["field is immutable"]);
    assert_eq!(
        judged(of("", &[("Succeeded", "True"), ("Failed", "True")]), of("", &[])),
        ["Both success and failed conditions cannot be true at the same time"]
    );
    assert_eq!(
        judged(of("", &[]), of("", &[("Succeeded", "True"), ("Failed", "True")])),
        [
            "Success condition cannot be set to false once it is true",
            "Failed condition cannot be set to false once it is true"
        ]
    );
    assert_eq!(state(&of("", &[("Running", "False"), ("Failed", "True")])), "Failed");
    assert_eq!(state(&json!({})), "Unknown");
}
