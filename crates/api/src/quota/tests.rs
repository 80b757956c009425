use serde_json::json;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

/// `a=1 b=2`
fn used(resource: &str, object: Value) -> String {
    let all = usage(resource, &object, now());
    all.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(" ")
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

fn container(name: &str, requests: Value, limits: Value) -> Value {
    json!({"name": name, "resources": {"requests": requests, "limits": limits}})
}

#[test]
fn a_pod_counts_for_what_it_may_use_while_it_lives() {
    let mut of = pod(json!({
        "containers": [container("a", json!({"cpu": "1", "memory": "1Gi", "x.io/gpu": "2"}), json!({"cpu": "2", "x.io/gpu": "2"})),
            container("b", json!({"cpu": "500m", "hugepages-2Mi": "4Mi"}), json!({"cpu": "1", "hugepages-2Mi": "4Mi"}))],
        "initContainers": [container("i", json!({"cpu": "4", "ephemeral-storage": "1Gi"}), json!({}))],
        "overhead": {"cpu": "100m", "memory": "1Mi"}}));
    assert_eq!(
        used("pods", of.clone()),
        "count/pods=1 cpu=4100m ephemeral-storage=1Gi hugepages-2Mi=4Mi limits.cpu=3100m memory=1025Mi pods=1 \
         requests.cpu=4100m requests.ephemeral-storage=1Gi requests.hugepages-2Mi=4Mi requests.memory=1025Mi requests.x.io/gpu=2"
    );
    of["status"] = json!({"phase": "Succeeded"});
    assert_eq!(used("pods", of.clone()), "count/pods=1");
    of["status"] = json!({});
    of["spec"] = json!({"containers": [{"name": "a"}]});
    of["metadata"] = json!({"deletionTimestamp": "2026-01-01T00:00:30Z", "deletionGracePeriodSeconds": 30});
    assert_eq!(used("pods", of.clone()), "count/pods=1 pods=1");
    of["metadata"]["deletionGracePeriodSeconds"] = json!(29);
    assert_eq!(used("pods", of), "count/pods=1", "it does not go, and counts no longer");
}

#[test]
fn a_resize_counts_for_the_larger_of_old_and_new_until_it_is_done() {
    let mut of = pod(json!({"containers": [container("a", json!({"cpu": "1"}), json!({"cpu": "1"}))]}));
    let status = json!({"name": "a", "allocatedResources": {"cpu": "2"}, "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "4"}}});
    of["status"] = json!({"containerStatuses": [status]});
    assert_eq!(used("pods", of.clone()), "count/pods=1 cpu=3 limits.cpu=4 pods=1 requests.cpu=3");
    of["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "9"}, "limits": {"cpu": "9"}});
    assert_eq!(used("pods", of.clone()), "count/pods=1 cpu=9 limits.cpu=9 pods=1 requests.cpu=9");
    of["status"]["conditions"] = json!([{"type": "PodResizePending", "reason": "Infeasible"}]);
    assert_eq!(used("pods", of.clone()), "count/pods=1 cpu=3 limits.cpu=4 pods=1 requests.cpu=3");
    of["spec"]["resources"] = json!({"requests": {"cpu": "5"}, "limits": {"cpu": "6"}});
    assert_eq!(used("pods", of), "count/pods=1 cpu=5 limits.cpu=6 pods=1 requests.cpu=5");
}

#[test]
fn services_claims_and_others_count_by_kind() {
    let service = |spec: Value| used("services", json!({"spec": spec}));
    let ports = json!([{"port": 1, "nodePort": 30000}, {"port": 2}]);
    assert_eq!(
        service(json!({"type": "ClusterIP", "ports": ports})),
        "count/services=1 services=1 services.loadbalancers=0 services.nodeports=0"
    );
    assert_eq!(
        service(json!({"type": "NodePort", "ports": ports})),
        "count/services=1 services=1 services.loadbalancers=0 services.nodeports=2"
    );
    assert_eq!(
        service(json!({"type": "LoadBalancer", "ports": ports})),
        "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2"
    );
    let suppressed = json!({"type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false});
    assert_eq!(service(suppressed), "count/services=1 services=1 services.loadbalancers=1 services.nodeports=1");
    let mut claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}});
    assert_eq!(
        used("persistentvolumeclaims", claim.clone()),
        "count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 \
         gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 requests.storage=2"
    );
    claim["spec"]["storageClassName"] = Value::Null;
    claim["status"] = json!({"allocatedResources": {"storage": "3Gi"}});
    assert_eq!(
        used("persistentvolumeclaims", claim),
        "count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=3Gi"
    );
    let devices = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "g", "allocationMode": "ExactCount", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "g", "allocationMode": "All"}, {"deviceClassName": "h", "allocationMode": "ExactCount", "count": 1}]}]}}});
    assert_eq!(
        used("resourceclaims.resource.k8s.io", devices),
        "count/resourceclaims.resource.k8s.io=1 g.deviceclass.resource.k8s.io/devices=34 h.deviceclass.resource.k8s.io/devices=1"
    );
    assert_eq!(used("secrets", json!({})), "count/secrets=1 secrets=1");
    assert_eq!(used("deployments.apps", json!({})), "count/deployments.apps=1");
}

#[test]
fn what_an_object_counts_for_is_tracked() {
    let everything = pod(json!({"containers": [container("a",
        json!({"cpu": "1", "memory": "1", "ephemeral-storage": "1", "x.io/y": "1", "hugepages-1Gi": "1Gi"}),
        json!({"cpu": "1", "memory": "1", "ephemeral-storage": "1"}))]}));
    for (resource, object) in [
        ("pods", everything),
        ("services", json!({})),
        (
            "persistentvolumeclaims",
            json!({"spec": {"storageClassName": "g", "resources": {"requests": {"storage": 1}}}}),
        ),
        ("configmaps", json!({})),
        ("jobs.batch", json!({})),
    ] {
        for name in usage(resource, &object, now()).keys() {
            assert!(tracks(resource, name), "{resource} {name}");
        }
    }
    assert!(!tracks("pods", "services") && !tracks("services", "pods") && !tracks("jobs.batch", "count/jobs"));
    assert!(!tracks("pods", "requests.storage") && !tracks("pods", "requests.kubernetes.io/x"));
    assert!(!is_counted("events") && is_counted("pods"));
}

#[test]
fn scopes_select_pods_and_claims() {
    let scoped = |scope: &str, object: &Value| selects(&json!({"spec": {"scopes": [scope]}}), "pods", object);
    let (plain, deadline) =
        (pod(json!({"containers": [{}]})), pod(json!({"activeDeadlineSeconds": 5, "containers": [{}]})));
    assert!(selects(&json!({}), "pods", &plain) && selects(&json!({}), "secrets", &json!({})));
    assert_eq!((scoped("Terminating", &plain), scoped("Terminating", &deadline)), (false, true));
    assert_eq!((scoped("NotTerminating", &plain), scoped("NotTerminating", &deadline)), (true, false));
    let busy = pod(json!({"containers": [container("a", json!({"cpu": "1"}), json!({}))]}));
    assert_eq!((scoped("BestEffort", &plain), scoped("BestEffort", &busy)), (true, false));
    assert_eq!((scoped("NotBestEffort", &plain), scoped("NotBestEffort", &busy)), (false, true));
    let near = pod(json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"podAffinityTerm": {"namespaces": ["x"]}}]}}}));
    let far = pod(json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
        [{"namespaceSelector": {}}]}}}));
    assert!(scoped("CrossNamespacePodAffinity", &near) && scoped("CrossNamespacePodAffinity", &far));
    assert!(!scoped("CrossNamespacePodAffinity", &plain));
    assert!(!selects(&json!({"spec": {"scopes": ["Terminating"]}}), "services", &json!({})), "of pods only");
    let of = |scope: &str, operator: &str, values: &[&str]| json!({"spec": {"scopeSelector": {"matchExpressions": [{"scopeName": scope, "operator": operator, "values": values}]}}});
    let class = |operator: &str, values: &[&str], name: &str| {
        selects(&of("PriorityClass", operator, values), "pods", &pod(json!({"priorityClassName": name})))
    };
    assert_eq!((class("In", &["a"], "a"), class("In", &["a"], "b"), class("In", &["a"], "")), (true, false, false));
    assert_eq!(
        (class("NotIn", &["a"], "a"), class("NotIn", &["a"], "b"), class("NotIn", &["a"], "")),
        (false, true, true)
    );
    assert_eq!((class("Exists", &[], "a"), class("Exists", &[], "")), (true, false));
    assert_eq!((class("DoesNotExist", &[], "a"), class("DoesNotExist", &[], "")), (false, true));
    let claim =
        json!({"spec": {"volumeAttributesClassName": "a"}, "status": {"currentVolumeAttributesClassName": "b"}});
    let claims = |operator: &str, values: &[&str]| {
        selects(&of("VolumeAttributesClass", operator, values), "persistentvolumeclaims", &claim)
    };
    assert_eq!((claims("In", &["b"]), claims("In", &["c"]), claims("Exists", &[])), (true, false, true));
}

#[test]
fn containers_say_what_a_quota_counts() {
    let of = pod(
        json!({"containers": [container("b", json!({"cpu": "1"}), json!({})), container("a", json!({}), json!({}))]}),
    );
    let names = ["cpu", "requests.cpu", "limits.memory", "pods", "requests.ephemeral-storage"];
    assert_eq!(
        unspecified(names.into_iter(), &of).unwrap(),
        "must specify cpu for: a; limits.memory for: a,b; requests.cpu for: a"
    );
    assert_eq!(unspecified(["pods"].into_iter(), &of), None);
    let mut whole = of;
    whole["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
    assert_eq!(unspecified(names.into_iter(), &whole), None);
}
