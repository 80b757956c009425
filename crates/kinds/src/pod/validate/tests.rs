use serde_json::json;

use std::sync::LazyLock;

use super::*;

static POD: LazyLock<Kind> = LazyLock::new(crate::pod::row);
use api::Status;

/// Prepares, judges and returns the errors as upstream prints them.
fn create(spec: Value) -> Vec<String> {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec});
    let context = Context { allow_privileged: true, ..Context::default() };
    POD.prepare(&mut pod, None, &context);
    POD.validate(&pod, None, &context).iter().map(|e| e.to_string()).collect()
}

fn with(mut container: Value) -> Value {
    let map = container.as_object_mut().unwrap();
    map.entry("name").or_insert(json!("c"));
    map.entry("image").or_insert(json!("i"));
    json!({ "containers": [container] })
}

#[test]
fn minimal_pod_is_good_and_nameless_container_is_not() {
    assert_eq!(create(json!({"containers": [{"name": "c", "image": "i"}]})), Vec::<String>::new());
    let mut pod = json!({"metadata": {"name": "x", "namespace": "d"}, "spec": {"containers": [{"image": "i"}]}});
    POD.prepare(&mut pod, None, &Context::default());
    let status = Status::invalid("", "Pod", "x", &POD.validate(&pod, None, &Context::default()));
    assert_eq!(status.message, "Pod \"x\" is invalid: spec.containers[0].name: Required value");
}

#[test]
fn specs_are_refused_in_upstreams_words() {
    let table: Vec<(Value, &[&str])> = vec![
        (json!({}), &["spec.containers: Required value"]),
        (
            json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": " i"}]}),
            &[
                "spec.containers[1].name: Duplicate value: \"c\"",
                "spec.containers[1].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ],
        ),
        (
            with(json!({"name": "C"})),
            &["spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label must consist of lower case \
               alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
               or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"],
        ),
        (
            with(json!({"imagePullPolicy": "Maybe"})),
            &["spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \
               \"IfNotPresent\", \"Never\""],
        ),
        (
            with(json!({"ports": [{"containerPort": 70000}, {"name": "a_b", "containerPort": 1}]})),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, \
                 inclusive",
                "spec.containers[0].ports[1].name: Invalid value: \"a_b\": must contain only alpha-numeric characters \
                 (a-z, 0-9), and hyphens (-)",
            ],
        ),
        (
            with(json!({"volumeMounts": [{"name": "none", "mountPath": "/x"}]})),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"none\""],
        ),
        (
            with(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1", "memory": "-1"}}})),
            &[
                "spec.containers[0].resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit \
                 of 1",
                "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal \
                 to 0",
            ],
        ),
        (
            with(json!({"livenessProbe": {"successThreshold": 2}})),
            &[
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            with(json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.foo"}}},
                {"name": "B", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.foo\": error converting \
                 fieldPath: field label not supported: spec.foo",
                "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not \
                 empty",
            ],
        ),
        (
            with(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 40}}}})),
            &["spec.containers[0].lifecycle.preStop.sleep: Invalid value: 40: must be non-negative and less than \
                 terminationGracePeriodSeconds (30)"],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Maybe", "nodeName": "-"}),
            &[
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \
                 \"Never\"",
                "spec.nodeName: Invalid value: \"-\": a lowercase RFC 1123 subdomain must consist of lower case \
                 alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "emptyDir": {}, "secret":
                {"secretName": "s"}}, {"name": "h", "hostPath": {"path": "/a/../b"}}]}),
            &[
                "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[1].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}),
            &["spec.volumes[0].nfs: Forbidden: not supported by this release: there is no driver for this volume type"],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "volumes": [
                {"name": "a", "csi": {"driver": "Acme.io", "fsType": "ext4", "readOnly": true, "nodePublishSecretRef":
                    {"name": "s"}}},
                {"name": "b", "csi": {"driver": "", "nodePublishSecretRef": {}}},
                {"name": "c", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "S"}}}]}),
            &[
                "spec.volumes[1].csi.driver: Required value",
                "spec.volumes[1].csi.nodePublishSecretRef.name: Required value",
                "spec.volumes[2].csi.name: Invalid value: \"S\": a lowercase RFC 1123 subdomain must consist of lower \
                 case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
                 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "hostUsers": false, "volumes": [
                {"name": "a", "emptyDir": {"medium": "HugePages-2Mi"}}, {"name": "b", "emptyDir": {"medium": "Memory"}}]}),
            &["spec.hostUsers: Forbidden: not supported by this release: user namespaces are not offered yet"],
        ),
        (json!({"containers": [{"name": "c", "image": "i"}], "hostUsers": true}), &[]),
        (
            json!({"containers": [{"name": "c", "image": "i"}], "initContainers": [{"name": "i", "image": "i",
                "readinessProbe": {"exec": {"command": ["a"]}}}], "tolerations": [{"key": "a", "operator": "Exists",
                "value": "b"}]}),
            &[
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without \
                 restartPolicy=Always",
                "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            ],
        ),
    ];
    for (spec, expected) in table {
        assert_eq!(create(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn privileged_is_refused_where_the_server_says_so() {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "d"},
        "spec": with(json!({"securityContext": {"privileged": true}}))});
    POD.prepare(&mut pod, None, &Context::default());
    let errors = POD.validate(&pod, None, &Context::default());
    assert_eq!(
        errors[0].to_string(),
        "spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"
    );
}

fn update(change: impl Fn(&mut Value), subresource: &str) -> Vec<String> {
    let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"}, "spec":
        {"containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}]}});
    POD.prepare(&mut old, None, &Context::default());
    let mut new = old.clone();
    change(&mut new);
    let context = Context { subresource: subresource.into(), ..Context::default() };
    POD.prepare(&mut new, Some(&old), &context);
    POD.validate(&new, Some(&old), &context).iter().map(|e| e.to_string()).collect()
}

#[test]
fn only_few_fields_of_a_pod_may_change() {
    let none: Vec<String> = Vec::new();
    assert_eq!(update(|p| p["spec"]["containers"][0]["image"] = json!("i:2"), ""), none);
    assert_eq!(update(|p| p["spec"]["tolerations"] = json!([{"operator": "Exists"}]), ""), none);
    assert_eq!(
        update(|p| p["spec"]["dnsPolicy"] = json!("Default"), ""),
        ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
          tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
          - dnsPolicy: \"ClusterFirst\"\n+ dnsPolicy: \"Default\"\n"]
    );
    assert_eq!(
        update(|p| p["spec"]["containers"] = json!([]), ""),
        ["spec.containers: Required value", "spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn resize_moves_cpu_and_memory_only() {
    let none: Vec<String> = Vec::new();
    let cpu = |p: &mut Value| p["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
    assert_eq!(update(cpu, "resize"), none);
    assert_eq!(
        update(|p| p["spec"]["containers"][0]["resources"] = json!({}), "resize"),
        [
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"
        ]
    );
    // Anything else is put back before it is judged.
    assert_eq!(update(|p| p["spec"]["containers"][0]["image"] = json!("other"), "resize"), none);
}

#[test]
fn ephemeral_containers_are_added_never_changed() {
    let added = |p: &mut Value| p["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]);
    assert_eq!(update(added, "ephemeralcontainers"), Vec::<String>::new());
    let with_ports = |p: &mut Value| {
        p["spec"]["ephemeralContainers"] = json!([{"name": "c", "image": "i", "ports": [{"containerPort": 1}]}]);
    };
    assert_eq!(
        update(with_ports, "ephemeralcontainers"),
        [
            "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container"
        ]
    );
}

#[test]
fn terminated_container_of_a_never_pod_does_not_run_again() {
    let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"}, "spec":
        {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}});
    POD.prepare(&mut old, None, &Context::default());
    old["status"]["containerStatuses"] = json!([{"name": "c", "state": {"terminated": {"exitCode": 0}}}]);
    let mut new = old.clone();
    new["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
    new["status"]["podIP"] = json!("10.0.0.1");
    let context = Context { subresource: "status".into(), ..Context::default() };
    let errors: Vec<String> = POD.validate(&new, Some(&old), &context).iter().map(|e| e.to_string()).collect();
    assert_eq!(
        errors,
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs: Invalid value: \"\": podIP and podIPs must either both be set or both be unset"
        ]
    );
}

#[test]
fn binding_names_a_node() {
    let say = |b: Value| binding(&b).iter().map(|e| e.to_string()).collect::<Vec<_>>();
    assert_eq!(say(json!({"target": {"kind": "Node", "name": "n"}})), Vec::<String>::new());
    assert_eq!(
        say(json!({"target": {"kind": "Pod"}})),
        [
            "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"",
            "target.name: Required value"
        ]
    );
}

#[test]
fn warnings_are_upstreams_and_name_what_has_no_effect() {
    let annotations =
        json!({"kubernetes.io/egress-bandwidth": "10M", "scheduler.alpha.kubernetes.io/critical-pod": ""});
    let pod = json!({"metadata": {"name": "a.b", "annotations": annotations},
        "spec": {"hostNetwork": true, "containers": [{"name": "c", "ports":
        [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "100m"}}}], "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "securityContext": {"seLinuxOptions": {"level": "s0"}}}});
    assert_eq!(
        POD.warnings(&pod, None),
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
         recommended: [must not contain dots]",
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "metadata.annotations[kubernetes.io/egress-bandwidth]: has no effect on a pod with hostNetwork",
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
         \"priorityClassName\" field instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            "spec.securityContext.seLinuxOptions: has no effect in this release: SELinux labels are not set",
        ]
    );
    assert!(POD.warnings(&pod, Some(&pod)).is_empty());
}

#[test]
fn overlapping_paths_and_ports_are_told_in_the_order_of_the_pod() {
    let items: Vec<Value> = ["b/c", "a", "b", "", "a-b", "a/x/", "b/c"].iter().map(|p| json!({ "path": p })).collect();
    let spec = json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": items}}]});
    let told = |spec: Value| POD.warnings(&json!({"metadata": {"name": "p"}, "spec": spec}), None);
    let pairs = [("b", "b/c"), ("a/x", "a"), ("b/c", "b/c"), ("b/c", "b")];
    let line = |(a, b): (&str, &str)| format!("volume \"v\" (ConfigMap \"m\"): overlapping paths: {a:?} with {b:?}");
    assert_eq!(told(spec), pairs.map(line));

    let port = |host: i64, ip: &str| json!({"containerPort": 80, "protocol": "TCP", "hostPort": host, "hostIP": ip});
    let ports = [port(1, "a"), port(1, "b"), port(1, ""), port(2, "a"), port(0, ""), port(1, "a")];
    let told = told(json!({"containers": [{"name": "c", "ports": ports}]}));
    let at = |n: usize| format!("spec.containers[0].ports[{n}]");
    let line = |(a, word, b): (usize, &str, usize)| format!("{}: {word} port definition with {}", at(a), at(b));
    let pairs = [
        (2, "dangerously ambiguous", 0),
        (2, "dangerously ambiguous", 1),
        (4, "overlapping", 0),
        (4, "overlapping", 1),
        (4, "overlapping", 2),
        (4, "overlapping", 3),
        (5, "duplicate", 0),
        (5, "dangerously ambiguous", 2),
        (5, "overlapping", 4),
    ];
    assert_eq!(told, pairs.map(line));
}

/// Pair by pair this takes minutes, and the warnings all memory.
#[test]
fn a_pod_as_large_as_a_body_may_be_is_judged_in_passes() {
    const MANY: usize = 20_000;
    let all = |of: &dyn Fn(usize) -> Value| (0..MANY).map(of).collect::<Vec<_>>();
    let same = all(&|_| json!({"path": "a", "key": "a"}));
    let flat = all(&|n| json!({"path": format!("p{n}"), "key": "a"}));
    let mut volumes = all(&|n| json!({"name": format!("v{n}"), "emptyDir": {}}));
    volumes.push(json!({"name": "same", "configMap": {"name": "m", "items": same}}));
    volumes.push(json!({"name": "flat", "configMap": {"name": "m", "items": flat}}));
    let ports = all(&|n| json!({"containerPort": 1, "protocol": "TCP", "hostPort": n / 2, "hostIP": "10.0.0.1"}));
    let env = all(&|n| {
        json!({"name": "A", "valueFrom": {"fileKeyRef":
        {"volumeName": format!("v{}", MANY - 1 - n), "path": "p", "key": "K"}}})
    });
    let mut errors = Errors::new();
    let pod = json!({"spec": {"volumes": volumes, "containers": [{"name": "c", "env": env, "ports": ports}]}});
    spec::spec(&At::root(&pod), Some("x"), true, &mut errors);
    assert!(!errors.iter().any(|e| e.field.ends_with("volumeName")));
    let told = POD.warnings(&pod, None);
    assert_eq!(told.iter().filter(|w| w.contains("overlapping paths")).count(), 100);
    assert_eq!(told.iter().filter(|w| w.contains("port definition")).count(), 100);
}

#[test]
fn old_annotations_are_judged_by_what_they_hold() {
    let judged = |key: &str, value: &str| {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d", "annotations": {key: value}},
            "spec": with(json!({}))});
        POD.prepare(&mut pod, None, &Context::default());
        let errors = POD.validate(&pod, None, &Context::default());
        errors.iter().map(|e| e.to_string()).collect::<Vec<_>>()
    };
    let tolerations = "scheduler.alpha.kubernetes.io/tolerations";
    assert_eq!(judged(tolerations, "[{\"operator\": \"Exists\"}]"), Vec::<String>::new());
    assert_eq!(
        judged(tolerations, "[{\"key\": \"a b\", \"operator\": \"Exists\", \"value\": \"c\"}]").last().unwrap(),
        "metadata.annotations.scheduler.alpha.kubernetes.io/tolerations[0].operator: Invalid value: \"c\": value must \
         be empty when `operator` is 'Exists'"
    );
    let broken = judged(tolerations, "{}");
    assert!(
        broken[0].starts_with("metadata.annotations: Invalid value: \"scheduler.alpha.kubernetes.io/tolerations\": "),
        "{broken:?}"
    );
    for key in ["seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/c"] {
        assert_eq!(judged(key, "localhost/a/b"), Vec::<String>::new());
        let line = |why: &str| format!("metadata.annotations.{key}: Invalid value: {why}");
        assert_eq!(judged(key, "localhost/../x"), [line("\"../x\": must not contain '..'")]);
        assert_eq!(judged(key, "localhost//x"), [line("\"/x\": must be a relative path")]);
        assert_eq!(judged(key, "other"), [line("\"other\": must be a valid seccomp profile")]);
    }
}

fn write_status(spec: Value, status: Value) -> (Vec<String>, Vec<String>) {
    let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"}, "spec": spec});
    POD.prepare(&mut old, None, &Context::default());
    let mut new = old.clone();
    new["status"] = status;
    let context = Context { subresource: "status".into(), ..Context::default() };
    POD.prepare(&mut new, Some(&old), &context);
    let errors = POD.validate(&new, Some(&old), &context).iter().map(|e| e.to_string()).collect();
    (errors, (POD.hooks.status_warnings)(&POD, &new))
}

#[test]
fn a_status_names_devices_that_the_pod_has() {
    let spec = with(json!({"resources": {"limits": {"example.com/gpu": "1"}}}));
    let device = |id: &str, health: &str| json!({"resourceID": id, "health": health});
    let told = json!({
        "containerStatuses": [{"name": "c", "allocatedResourcesStatus": [
            {"name": "example.com/gpu", "resources": [device("a", "Healthy"), device("a", "Fine")]},
            {"name": "claim:x/r", "resources": [{"resourceID": "b", "health": "Unknown", "message": ""}]},
            {"name": "claim:object/r"}, {"name": "other"}]}],
        "ephemeralContainerStatuses": [{"name": "e", "allocatedResourcesStatus": [{"name": "x"}]}],
        "resourceClaimStatuses": [{"name": "x", "resourceClaimName": "A"}],
        "extendedResourceClaimStatus": {"resourceClaimName": "object", "requestMappings": [
            {"containerName": "c", "resourceName": "example.com/gpu", "requestName": "r"},
            {"containerName": "d", "resourceName": "x", "requestName": "-"}]},
    });
    let allocated = "status.containerStatuses[0].allocatedResourcesStatus";
    let wanted = [
        "status.resourceClaimStatuses[0].name: Invalid value: \"x\": must match the name of an entry in \
         `spec.resourceClaims`"
            .to_string(),
        "status.resourceClaimStatuses[0].resourceClaimName: Invalid value: \"A\": ".to_string(),
        "status.extendedResourceClaimStatus.requestMappings[1].containerName: Invalid value: \"d\": must match the \
         name of an entry in spec.initContainers.name or spec.containers.name"
            .to_string(),
        "status.extendedResourceClaimStatus.requestName: Invalid value: \"-\": ".to_string(),
        format!(
            "{allocated}[0].resources[1].health: Unsupported value: \"Fine\": supported values: \"Healthy\", \
             \"Unhealthy\", \"Unknown\""
        ),
        format!("{allocated}[0].resources[1].resourceID: Duplicate value: \"a\""),
        format!("{allocated}[1].name: Invalid value: \"claim:x/r\": must match one of the container's resource claims"),
        format!("{allocated}[1].resources[0].message: Required value: must be non-empty if specified"),
        format!("{allocated}[3].name: Invalid value: \"other\": must match one of the container's resource requests"),
        "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container \
         status"
            .to_string(),
    ];
    let (errors, _) = write_status(spec, told);
    assert_eq!(errors.len(), wanted.len(), "{errors:#?}");
    for (error, wanted) in errors.iter().zip(&wanted) {
        assert!(error.starts_with(wanted), "{error}\n{wanted}");
    }
}

#[test]
fn what_upstream_has_switched_off_does_not_come_into_a_status() {
    let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"}, "spec": with(json!({}))});
    POD.prepare(&mut old, None, &Context::default());
    let mut new = old.clone();
    new["status"]["volumeHealth"] = json!([{"name": "v"}]);
    new["status"]["nodeAllocatableResourceClaimStatuses"] = json!([{"resourceClaimName": "x"}]);
    new["status"]["containerStatuses"] = json!([{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v",
        "volumeStatus": {"image": {"imageRef": "i"}}}]}]);
    let context = Context { subresource: "status".into(), ..Context::default() };
    POD.prepare(&mut new, Some(&old), &context);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    old["status"]["containerStatuses"] = json!([{"name": "c", "volumeMounts": mounts}]);
    assert_eq!(new["status"], old["status"]);
}

#[test]
fn addresses_in_an_odd_form_and_old_seccomp_notes_are_worth_a_word() {
    let odd =
        |path: &str| format!("{path}: IPv6 address \"FD00::0:1\" should be in RFC 5952 canonical format (\"fd00::1\")");
    let status = json!({"podIP": "FD00::0:1", "podIPs": [{"ip": "FD00::0:1"}], "hostIP": "10.0.0.1",
        "hostIPs": [{"ip": "10.0.0.1"}]});
    assert_eq!(write_status(with(json!({})), status), (vec![], vec![odd("status.podIPs[0].ip")]));
    let key = "container.seccomp.security.alpha.kubernetes.io/c";
    let pod = json!({"metadata": {"name": "p", "annotations": {key: "unconfined"}}, "spec": {
        "dnsConfig": {"nameservers": ["FD00::0:1", "fd00::1", "10.0.0.1"]}, "hostAliases": [{"ip": "FD00::0:1"}],
        "containers": [{"name": "c"}]}});
    assert_eq!(
        POD.warnings(&pod, None),
        [
            format!("metadata.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"),
            odd("spec.dnsConfig.nameservers[0]"),
            odd("spec.hostAliases[0].ip"),
        ]
    );
}
