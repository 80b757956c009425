use serde_json::json;

use super::*;

fn pod(spec: Value, container: Value) -> Value {
    let mut pod = json!({"spec": spec});
    pod["spec"]["containers"] = json!([{"name": "c", "securityContext": container}]);
    pod
}

#[test]
fn violations_are_worded_as_upstream() {
    let check = |level, pod: Value, want: Option<&str>| assert_eq!(violations(&pod, level).as_deref(), want, "{pod}");
    let privileged = json!({"privileged": true});
    let text = "privileged (container \"c\" must not set securityContext.privileged=true)";
    check(Level::Baseline, pod(json!({}), privileged.clone()), Some(text));
    check(Level::Privileged, pod(json!({}), privileged), None);
    check(Level::Baseline, pod(json!({}), json!({})), None);
    let host = json!({"hostNetwork": true, "hostPID": true});
    check(Level::Baseline, pod(host, json!({})), Some("host namespaces (hostNetwork=true, hostPID=true)"));
    let volumes = json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]});
    check(Level::Baseline, pod(volumes.clone(), json!({})), Some("hostPath volumes (volume \"v\")"));
    let added = json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}});
    let text =
        "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)";
    check(Level::Baseline, pod(json!({}), added), Some(text));
    let text = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
                unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
                runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
                seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    check(Level::Restricted, pod(json!({}), json!({})), Some(text));
    let good = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}});
    check(Level::Restricted, pod(json!({}), good.clone()), None);
    let text = "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")";
    check(Level::Restricted, pod(volumes, good), Some(text));
}

#[test]
fn restricted_replaces_the_checks_it_names() {
    for check in baseline::CHECKS.iter().filter(|check| !check.replaced_by.is_empty()) {
        assert!(restricted::CHECKS.iter().any(|r| r.id == check.replaced_by), "{}", check.id);
    }
}
