use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn ingress(spec: Value) -> Value {
    json!({"metadata": {"name": "i", "namespace": "n", "resourceVersion": "1"}, "spec": spec})
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    let kind = kind("ingresses");
    told(&(kind.hooks.validate)(kind, new, old, &Context::default()))
}

fn backend_of(service: Value) -> Value {
    json!({"service": service})
}

fn rule(host: &str, path: &str, kind: &str) -> Value {
    let backend = backend_of(json!({"name": "s", "port": {"number": 80}}));
    json!({"host": host, "http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}})
}

#[test]
fn an_ingress_needs_rules_or_a_backend() {
    assert_eq!(
        judged(&ingress(json!({})), None),
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
    );
    assert_eq!(judged(&ingress(json!({"rules": [rule("a.example.com", "/", "Prefix")]})), None), [""; 0]);
    let with = |backend: Value| judged(&ingress(json!({"defaultBackend": backend})), None);
    assert_eq!(with(json!({})), [r#"spec.defaultBackend: Invalid value: "": resource or service backend is required"#]);
    assert_eq!(with(json!({"resource": {"kind": "K", "name": "n"}})), [""; 0]);
    assert_eq!(
        with(json!({"resource": {}, "service": {}})),
        [r#"spec.defaultBackend: Invalid value: "": cannot set both resource and service backends"#]
    );
    assert_eq!(
        with(backend_of(json!({}))),
        [
            "spec.defaultBackend.service.name: Required value",
            "spec.defaultBackend: Required value: port name or number is required"
        ]
    );
    assert_eq!(
        with(backend_of(json!({"name": "s", "port": {"name": "a", "number": 1}}))),
        [r#"spec.defaultBackend: Invalid value: "": cannot set both port name & port number"#]
    );
    assert_eq!(
        with(backend_of(json!({"name": "s", "port": {"number": 70000}}))),
        ["spec.defaultBackend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"]
    );
}

#[test]
fn hosts_and_paths_are_judged() {
    let with = |rule: Value| judged(&ingress(json!({"rules": [rule]})), None);
    assert_eq!(with(rule("*.example.com", "/", "Exact")), [""; 0]);
    assert_eq!(
        with(rule("10.0.0.1", "/", "Exact")),
        [r#"spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address"#]
    );
    assert_eq!(
        with(rule("a.*.com", "/", "Exact")),
        [
            "spec.rules[0].host: Invalid value: \"a.*.com\": a wildcard DNS-1123 subdomain must start with '*.', followed \
          by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with \
          an alphanumeric character (e.g. '*.example.com', regex used for validation is \
          '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    let path = "spec.rules[0].http.paths[0]";
    assert_eq!(
        with(rule("", "a//b/..", "Prefix")),
        [
            format!(r#"{path}.path: Invalid value: "a//b/..": must be an absolute path"#),
            format!(r#"{path}.path: Invalid value: "a//b/..": must not contain '//'"#),
            format!(r#"{path}.path: Invalid value: "a//b/..": cannot end with '/..'"#),
        ]
    );
    assert_eq!(with(rule("", "", "ImplementationSpecific")), [""; 0]);
    assert_eq!(
        with(rule("", "a", "ImplementationSpecific")),
        [format!(r#"{path}.path: Invalid value: "a": must be an absolute path"#)]
    );
    assert_eq!(
        with(rule("", "/", "Regex")),
        [format!(
            r#"{path}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix""#
        )]
    );
    assert_eq!(
        with(json!({"http": {"paths": [{"path": "/"}]}})),
        [format!("{path}.pathType: Required value: pathType must be specified")]
    );
    assert_eq!(with(json!({"http": {"paths": []}})), ["spec.rules[0].http.paths: Required value"]);
}

#[test]
fn an_update_need_not_mend_what_was_let_in_before() {
    let bad = |host: &str| json!({"rules": [{"host": host, "http": {"paths": []}}], "tls": [{"secretName": "A"}]});
    let wild = ingress(bad("*.example.com"));
    assert_eq!(judged(&wild, None).len(), 2);
    assert_eq!(judged(&wild, Some(&wild)), [""; 0]);
    // But only what it excuses.
    assert_eq!(judged(&ingress(bad("a.example.com")), Some(&wild)), ["spec.rules[0].http.paths: Required value"]);
}

#[test]
fn the_older_way_to_name_a_class_warns_or_agrees() {
    let kind = kind("ingresses");
    let mut object = ingress(json!({"rules": [rule("", "/", "Exact")]}));
    object["metadata"]["annotations"] = json!({ANNOTATION: "a"});
    let warned = |object: &Value| (kind.hooks.warnings)(kind, object, None);
    let deprecated =
        r#"annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead"#;
    assert_eq!((warned(&object), judged(&object, None)), (vec![deprecated.to_string()], vec![]));
    object["spec"]["ingressClassName"] = "b".into();
    let differs = r#"annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified"#;
    assert_eq!((warned(&object), judged(&object, None)), (vec![], vec![differs.to_string()]));
    assert_eq!(judged(&object, Some(&object)), [""; 0]);
}

#[test]
fn a_status_tells_of_addresses_or_names() {
    let kind = kind("ingresses");
    let status = Context { subresource: "status".into(), ..Context::default() };
    let with = |entry: Value| {
        let mut object = ingress(json!({}));
        object["status"] = json!({"loadBalancer": {"ingress": [entry]}});
        told(&(kind.hooks.validate)(kind, &object, Some(&object), &status))
    };
    assert_eq!(with(json!({"ip": "10.0.0.1", "hostname": "a.example.com"})), [""; 0]);
    let at = "status.loadBalancer.ingress[0]";
    assert_eq!(
        with(json!({"ip": "10.0.0"})),
        [format!(r#"{at}.ip: Invalid value: "10.0.0": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"#)]
    );
    assert_eq!(
        with(json!({"hostname": "10.0.0.1"})),
        [format!(r#"{at}.hostname: Invalid value: "10.0.0.1": must be a DNS name, not an IP address"#)]
    );
}

#[test]
fn an_ingress_is_shown_with_its_hosts_and_addresses() {
    let with = |all: &[&str]| {
        let rules: Vec<Value> = all.iter().map(|host| json!({"host": host})).collect();
        hosts(&ingress(json!({"rules": rules})))
    };
    assert_eq!(with(&[""]), "*");
    assert_eq!(with(&["a", "b", "c"]), "a,b,c");
    assert_eq!(with(&["a", "b", "c", "d", "e"]), "a,b,c + 2 more...");
    let at = |all: Value| addresses(&json!({"status": {"loadBalancer": {"ingress": all}}}));
    assert_eq!(at(json!([{"ip": "10.0.0.2"}, {"hostname": "a"}, {"ip": "10.0.0.2"}])), "10.0.0.2,a");
    assert_eq!(at(json!([{"hostname": "a-name.example.com"}])), "a-name.exampl...");
    assert_eq!(at(json!([])), "");
}
