use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn class(spec: Value) -> Value {
    json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": spec})
}

#[test]
fn a_class_names_its_controller_and_what_that_looks_at() {
    let kind = kind("ingressclasses");
    let judged = |spec: Value| {
        let mut class = class(spec);
        (kind.hooks.default)(kind, &mut class);
        told(&(kind.hooks.validate)(kind, &class, None, &Context::default()))
    };
    assert_eq!(judged(json!({"controller": "acme.io/foo"})), [""; 0]);
    assert_eq!(judged(json!({})), ["spec.controller: Required value"]);
    let not_prefixed = |text: &str| {
        format!("spec.controller: Invalid value: {text:?}: must be a domain-prefixed path (such as \"acme.io/foo\")")
    };
    assert_eq!(judged(json!({"controller": "acme.io/"})), [not_prefixed("acme.io/")]);
    assert_eq!(judged(json!({"controller": "acme.io"})), [not_prefixed("acme.io")]);
    assert_eq!(
        judged(json!({"controller": "acme.io/a b"})),
        [
            r#"spec.controller: Invalid value: "a b": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"#
        ]
    );
    let long = format!("acme.io/{}", "a".repeat(250));
    assert_eq!(judged(json!({"controller": long})), ["spec.controller: Too long: may not be more than 250 bytes"]);
    let with = |parameters: Value| judged(json!({"controller": "acme.io/foo", "parameters": parameters}));
    assert_eq!(with(json!({"kind": "K", "name": "n"})), [""; 0]);
    assert_eq!(
        with(json!({"kind": "a/b", "apiGroup": "A", "scope": "Namespace"})),
        [
            "spec.parameters.apiGroup: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
             'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "spec.parameters.kind: Invalid value: \"a/b\": may not contain '/'",
            "spec.parameters.name: Required value",
            "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'",
        ]
    );
    assert_eq!(
        with(json!({"kind": "K", "name": "n", "namespace": "n"})),
        ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]
    );
    assert_eq!(
        with(json!({"kind": "K", "name": "n", "scope": "World"})),
        [r#"spec.parameters.scope: Unsupported value: "World": supported values: "Cluster", "Namespace""#]
    );
}

#[test]
fn a_classes_controller_stays() {
    let kind = kind("ingressclasses");
    let (old, mut new) = (class(json!({"controller": "acme.io/a"})), class(json!({"controller": "acme.io/b"})));
    (kind.hooks.prepare)(kind, &mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 1);
    assert_eq!(
        told(&(kind.hooks.validate)(kind, &new, Some(&old), &Context::default())),
        [r#"spec.controller: Invalid value: "acme.io/b": field is immutable"#]
    );
}

#[test]
fn a_class_is_shown_with_its_parameters() {
    let mut class = class(json!({"controller": "acme.io/a", "parameters": {"kind": "K", "name": "n"}}));
    assert_eq!((name(&class), parameters(&class)), ("c".into(), "K/n".into()));
    class["spec"]["parameters"]["apiGroup"] = "acme.io".into();
    class["metadata"]["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    assert_eq!((name(&class), parameters(&class)), ("c (default)".into(), "K.acme.io/n".into()));
    assert_eq!(parameters(&json!({})), "<none>");
}
