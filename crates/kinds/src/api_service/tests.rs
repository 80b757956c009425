use super::*;
use crate::tests::{kind, told};

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({"metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"groupPriorityMinimum": 1000, "versionPriority": 15}});
    service["spec"].as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    kind("apiservices").default(&mut service);
    service
}

fn judged(name: &str, spec: Value) -> Vec<String> {
    told(&kind("apiservices").validate(&service(name, spec), None, &Context::default()))
}

#[test]
fn a_service_is_named_for_what_it_serves() {
    assert_eq!(judged("v1.", json!({"version": "v1"})), [""; 0]);
    assert_eq!(judged("v1.example.com", json!({"version": "v1", "group": "example.com"})), [""; 0]);
    assert_eq!(
        judged("v1.a", json!({"version": "v2"})),
        [
            "metadata.name: Invalid value: \"v1.a\": must be `spec.version+\".\"+spec.group`: \"v2.\"",
            "spec.group: Required value: only v1 may have an empty group and it better be legacy kube",
        ]
    );
    assert_eq!(
        judged("v1.a", json!({"version": "v1", "group": "a", "groupPriorityMinimum": 20001, "versionPriority": 0})),
        [
            "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
            "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
        ]
    );
}

#[test]
fn only_one_elsewhere_is_reached_by_tls() {
    let with = |mut spec: Value| {
        spec["version"] = "v1".into();
        spec["group"] = "a".into();
        judged("v1.a", spec)
    };
    assert_eq!(with(json!({"service": {"name": "s", "namespace": "n"}, "caBundle": "YQ=="})), [""; 0]);
    assert_eq!(
        with(json!({"caBundle": "YWI=", "insecureSkipTLSVerify": true})),
        [
            "spec.caBundle: Invalid value: \"2 bytes\": local APIServices may not have a caBundle",
            "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
        ]
    );
    assert_eq!(
        with(json!({"service": {"port": 70000}, "caBundle": "YWI=", "insecureSkipTLSVerify": true})),
        [
            "spec.service.namespace: Required value",
            "spec.service.name: Required value",
            "spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
            "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
        ]
    );
}

#[test]
fn what_this_server_serves_is_available() {
    let kind = kind("apiservices");
    let context = Context { now: "2026-01-01T00:00:00Z".into(), ..Context::default() };
    let mut local = service("v1.", json!({"version": "v1"}));
    kind.prepare(&mut local, None, &context);
    assert_eq!(
        local["status"]["conditions"][0],
        json!({"type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": "2026-01-01T00:00:00Z",
            "message": "Local APIServices are always available"})
    );
    assert_eq!(available(&local), "True");
    let mut remote = service("v1.a", json!({"version": "v1", "group": "a", "service": {"name": "s"}}));
    kind.prepare(&mut remote, None, &context);
    assert_eq!((&remote["status"], available(&remote)), (&json!({}), "Unknown".to_string()));
    let mut told_of = remote.clone();
    told_of["status"] = json!({"conditions": [{"type": "Available", "status": "False", "reason": "ServiceNotFound"}]});
    assert_eq!(available(&told_of), "False (ServiceNotFound)");
    told_of["status"]["conditions"][0]["status"] = "Maybe".into();
    let context = Context { subresource: "status".into(), ..context };
    assert_eq!(
        told(&kind.validate(&told_of, Some(&remote), &context)),
        ["status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \
          \"Unknown\""]
    );
}
