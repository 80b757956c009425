use super::*;
use crate::tests::{kind, told};

fn configuration(hook: Value) -> Value {
    json!({"metadata": {"name": "c", "resourceVersion": "1", "generation": 1}, "webhooks": [hook]})
}

fn hook() -> Value {
    json!({"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://example.com/path"},
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]})
}

fn with(change: Value) -> Vec<String> {
    let mut hook = hook();
    hook.as_object_mut().unwrap().extend(change.as_object().cloned().unwrap());
    let mut configuration = configuration(hook);
    kind("mutatingwebhookconfigurations").default(&mut configuration);
    told(&kind("mutatingwebhookconfigurations").validate(&configuration, None, &Context::default()))
}

#[test]
fn a_webhook_is_completed() {
    let defaulted = |plural: &str| {
        let mut it = configuration(json!({"name": "a.b.c", "clientConfig": {"service": {"name": "s"}},
            "rules": [{}]}));
        kind(plural).default(&mut it);
        it["webhooks"][0].clone()
    };
    let mut whole = json!({"name": "a.b.c", "clientConfig": {"service": {"name": "s", "port": 443}},
        "rules": [{"scope": "*"}], "failurePolicy": "Fail", "matchPolicy": "Equivalent", "namespaceSelector": {},
        "objectSelector": {}, "timeoutSeconds": 10});
    assert_eq!(defaulted("validatingwebhookconfigurations"), whole);
    whole["reinvocationPolicy"] = "Never".into();
    assert_eq!(defaulted("mutatingwebhookconfigurations"), whole);
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_at_once() {
    assert_eq!(with(json!({})), [""; 0]);
    assert_eq!(
        with(json!({"name": "b.c", "sideEffects": "Some", "failurePolicy": "Maybe", "timeoutSeconds": 31,
            "reinvocationPolicy": "Often", "clientConfig": {}, "admissionReviewVersions": ["v2", "v2", "V"]})),
        [
            "webhooks[0].name: Invalid value: \"b.c\": should be a domain with at least three segments separated by \
             dots",
            "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"",
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
            "webhooks[0].admissionReviewVersions[2]: Invalid value: \"V\": a DNS-1035 label must consist of lower case \
             alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character \
             (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\",\"V\"]: must include at least one of \
             v1, v1beta1",
        ]
    );
    assert_eq!(
        with(json!({"sideEffects": null, "admissionReviewVersions": []})),
        [
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ]
    );
}

#[test]
fn a_webhook_listens_at_a_plain_address_or_a_service() {
    let url = |text: &str| with(json!({"clientConfig": {"url": text}}));
    let form = "; desired format: https://host[/path]";
    let at = "webhooks[0].clientConfig.url";
    assert_eq!(url("https://example.com:8443/a/b"), [""; 0]);
    assert_eq!(url("https://[::1]:8443/a"), [""; 0]);
    assert_eq!(
        url("http://me@h/?a=b#c"),
        [
            format!("{at}: Invalid value: \"http\": 'https' is the only allowed URL scheme{form}"),
            format!("{at}: Invalid value: \"me\": user information is not permitted in the URL"),
            format!("{at}: Invalid value: \"c\": fragments are not permitted in the URL"),
            format!("{at}: Invalid value: \"a=b\": query parameters are not permitted in the URL"),
        ]
    );
    assert_eq!(
        url("a/b"),
        [
            format!("{at}: Invalid value: \"\": 'https' is the only allowed URL scheme{form}"),
            format!("{at}: Invalid value: \"\": host must be specified{form}"),
        ]
    );
    for (bad, why) in [
        (":a", "missing protocol scheme"),
        ("https://h:x", "invalid port \":x\" after host"),
        ("1a:b", "first path segment in URL cannot contain colon"),
    ] {
        assert_eq!(url(bad), [format!("{at}: Required value: url must be a valid URL: parse {bad:?}: {why}{form}")]);
    }
    let service = |service: Value| with(json!({"clientConfig": {"service": service}}));
    let at = "webhooks[0].clientConfig.service";
    assert_eq!(service(json!({"name": "s", "namespace": "n", "path": "/a/b/"})), [""; 0]);
    // As upstream mixes them up.
    assert_eq!(service(json!({"name": "s"})), [format!("{at}.name: Required value")]);
    let errors = service(json!({"name": "s", "namespace": "n", "port": 0, "path": "a//B"}));
    assert_eq!(
        errors[0],
        format!("{at}.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive")
    );
    assert_eq!(errors[1], format!("{at}.path: Invalid value: \"a//B\": must start with a '/'"));
    assert_eq!(errors[2], format!("{at}.path: Invalid value: \"a//B\": segment[0] may not be empty"));
    assert_eq!(errors[3], format!("{at}.path: Invalid value: \"a//B\": segment[1] may not be empty"));
    assert!(
        errors[4].starts_with(&format!("{at}.path: Invalid value: \"a//B\": segment[2]: a lowercase")),
        "{errors:?}"
    );
    assert_eq!(
        service(json!({"name": "s", "namespace": "n", "path": "//"})),
        [format!("{at}.path: Invalid value: \"//\": segment[0] may not be empty")]
    );
}

#[test]
fn what_has_no_effect_is_said_and_names_of_files_are_refused() {
    let kind = kind("validatingwebhookconfigurations");
    let mut it = configuration(hook());
    it["webhooks"][0]["rules"] = json!([
        {"apiGroups": ["*"], "resources": ["tokenreviews"]},
        {"apiGroups": ["authentication.k8s.io", "authentication.k8s.io"], "resources": ["tokenreviews", "pods"]},
    ]);
    let old = it.clone();
    assert_eq!(
        kind.warnings(&it, Some(&old)),
        [
            "webhooks[0].rules[1]: tokenreviews.authentication.k8s.io is excluded from admission webhooks; this rule will \
          have no effect"
        ]
    );
    let told_once = kind.warnings(&configuration(hook()), None);
    assert_eq!(
        told_once,
        ["ValidatingWebhookConfiguration is stored, but no webhook is called yet: requests that it would refuse or \
          change pass as they are"]
    );
    let mut it = configuration(hook());
    it["metadata"]["name"] = "a.static.k8s.io".into();
    let why = "names ending with \".static.k8s.io\" are reserved for static manifest-based configurations and cannot \
               be managed via the API";
    let mut made = it.clone();
    kind.default(&mut made);
    assert_eq!(
        told(&kind.validate(&made, None, &Context::default())),
        [format!("metadata.name: Invalid value: \"a.static.k8s.io\": {why}")]
    );
    assert_eq!(kind.warnings(&it, Some(&it.clone())), [format!("metadata.name: {why}")]);
}

#[test]
fn generation_counts_changes_of_the_webhooks() {
    let kind = kind("validatingwebhookconfigurations");
    let old = configuration(hook());
    let mut new = old.clone();
    new["metadata"]["labels"] = json!({"a": "b"});
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 1);
    new["webhooks"][0]["timeoutSeconds"] = 5.into();
    kind.prepare(&mut new, Some(&old), &Context::default());
    assert_eq!(new["metadata"]["generation"], 2);
}
