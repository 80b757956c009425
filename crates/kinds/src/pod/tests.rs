use serde_json::json;

use std::sync::LazyLock;

use super::*;
use api::pod::Demands;

static POD: LazyLock<Kind> = LazyLock::new(row);

fn born(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "generation": 7}, "spec": spec, "status": {"phase": "Running"}});
    POD.prepare(&mut pod, None, &Context::default());
    pod
}

#[test]
fn created_pod_is_defaulted_and_pending() {
    let pod = born(json!({"containers": [{"name": "c", "image": "nginx",
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}, "livenessProbe": {"httpGet": {"port": 80}}}],
        "volumes": [{"name": "v"}]}));
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(pod["metadata"]["generation"], 1);
    let c = &pod["spec"]["containers"][0];
    assert_eq!(c["imagePullPolicy"], "Always");
    assert_eq!(c["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    assert_eq!(
        c["livenessProbe"],
        json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(pod["spec"]["volumes"][0], json!({"name": "v", "emptyDir": {}}));
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 30);
}

#[test]
fn spec_and_status_are_written_apart_and_only_spec_counts_as_generation() {
    let old = born(json!({"containers": [{"name": "c", "image": "a:1"}]}));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = json!("a:2");
    new["status"]["phase"] = json!("Failed");
    let mut update = new.clone();
    POD.prepare(&mut update, Some(&old), &Context::default());
    assert_eq!((&update["status"]["phase"], &update["metadata"]["generation"]), (&json!("Pending"), &json!(2)));
    let mut status = new.clone();
    status["status"].as_object_mut().unwrap().remove("qosClass");
    POD.prepare(&mut status, Some(&old), &Context { subresource: "status".into(), ..Context::default() });
    assert_eq!(status["spec"], old["spec"]);
    assert_eq!(status["status"], json!({"phase": "Failed", "qosClass": "BestEffort"}));
    assert_eq!(status["metadata"]["generation"], 1);
}

#[test]
fn requests_are_the_peak_over_the_pods_life() {
    let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
    let mut sidecar = container("100m");
    sidecar["restartPolicy"] = json!("Always");
    let pod = json!({"spec": {"initContainers": [container("1"), sidecar, container("500m")],
        "containers": [container("200m"), container("300m")], "overhead": {"cpu": "10m"}}});
    let demands = Demands::of(&pod);
    assert_eq!(demands.requests()["cpu"].to_string(), "1010m");
    let pod = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        "resources": {"requests": {"cpu": "2"}}}});
    assert_eq!(Demands::of(&pod).requests()["cpu"].to_string(), "2");
}

#[test]
fn status_word_is_that_of_the_first_container_with_a_reason() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}},
            {"name": "b", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    let row: Vec<String> =
        POD.columns[..4].iter().map(|c| c.of(&pod, "2026-01-01T00:00:10Z").as_str().unwrap().to_string()).collect();
    assert_eq!(row, ["p", "1/2", "CrashLoopBackOff", "3 (10s ago)"]);
}

#[test]
fn an_app_armor_annotation_becomes_the_field() {
    let born = |notes: &[(&str, &str)], spec: Value| {
        let notes: serde_json::Map<String, Value> =
            notes.iter().map(|(name, note)| (format!("{}{name}", app_armor::ANNOTATION), json!(note))).collect();
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d", "annotations": notes}, "spec": spec});
        POD.prepare(&mut pod, None, &Context::default());
        pod
    };
    let containers = |context: Value| json!([{"name": "c", "image": "i", "securityContext": context}]);
    let field = |pod: &Value| pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"].clone();
    let line = "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use \
                the \"appArmorProfile\" field instead";

    let local = born(&[("c", "localhost/x")], json!({"containers": containers(Value::Null)}));
    assert_eq!(field(&local), json!({"type": "Localhost", "localhostProfile": "x"}));
    let errors = POD.validate(&local, None, &Context::default());
    let shown: Vec<String> = errors.iter().map(|e| e.to_string()).collect();
    assert_eq!(
        shown,
        ["spec.containers[0].securityContext.appArmorProfile.type: Forbidden: not supported by this release: \
          AppArmor profiles are not loaded"]
    );
    assert_eq!(POD.warnings(&local, None), [line]);

    // The pod's own profile says it already; a field wins; what would be invalid is only told.
    let unconfined = json!({"appArmorProfile": {"type": "Unconfined"}});
    let same =
        born(&[("c", "unconfined")], json!({"securityContext": unconfined, "containers": containers(json!({}))}));
    assert_eq!((field(&same), POD.warnings(&same, None)), (Value::Null, vec![]));
    let other = born(&[("c", "runtime/default")], json!({"containers": containers(unconfined.clone())}));
    assert_eq!((field(&other), POD.warnings(&other, None)), (unconfined["appArmorProfile"].clone(), vec![]));
    let padded = born(&[("c", "localhost/ x")], json!({"containers": containers(json!({}))}));
    assert_eq!((field(&padded), POD.warnings(&padded, None)), (Value::Null, vec![line.to_string()]));
}

#[test]
fn resources_of_the_pod_are_made_complete() {
    let container = |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
    let cases = [
        // Requests alone: the missing ones come from the containers, limits from those that all have.
        (
            json!({"requests": {"cpu": "2"}}),
            vec![container(json!({"memory": "1Gi"}), json!({})), container(json!({"memory": "1Gi"}), json!({}))],
            json!({"requests": {"cpu": "2", "memory": "2Gi"}}),
        ),
        (
            json!({"requests": {"cpu": "1"}}),
            vec![container(json!({}), json!({"cpu": "1", "memory": "1Gi"})), container(json!({}), json!({"cpu": "1"}))],
            json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2"}}),
        ),
        // Never less than what is requested.
        (
            json!({"requests": {"cpu": "5"}}),
            vec![container(json!({}), json!({"cpu": "1"}))],
            json!({"requests": {"cpu": "5"}, "limits": {"cpu": "5"}}),
        ),
        (
            json!({"limits": {"cpu": "2"}}),
            vec![container(json!({"cpu": "1"}), json!({"hugepages-2Mi": "4Mi"}))],
            json!({"requests": {"cpu": "1", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "2", "hugepages-2Mi": "4Mi"}}),
        ),
        (json!({}), vec![container(json!({"cpu": "1"}), json!({"cpu": "1"}))], json!({})),
    ];
    for (own, containers, wanted) in cases {
        let mut containers = containers;
        for (index, container) in containers.iter_mut().enumerate() {
            container["name"] = json!(format!("c{index}"));
        }
        let pod = born(json!({"resources": own, "containers": containers}));
        assert_eq!(pod["spec"]["resources"], wanted, "{own}");
    }
}

#[test]
fn a_resize_that_omits_the_pods_own_resources_keeps_them() {
    let containers = |cpu: &str| json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
    let mut old = json!({"metadata": {"name": "p", "namespace": "d", "resourceVersion": "1"},
        "spec": {"resources": {"requests": {"cpu": "4"}}, "containers": containers("1")}});
    POD.prepare(&mut old, None, &Context::default());
    let mut new = old.clone();
    new["spec"].as_object_mut().unwrap().remove("resources");
    new["spec"]["containers"] = containers("2");
    let context = Context { subresource: "resize".into(), ..Context::default() };
    POD.prepare(&mut new, Some(&old), &context);
    assert_eq!(new["spec"]["resources"], json!({"requests": {"cpu": "4"}}));
    let errors = POD.validate(&new, Some(&old), &context);
    assert!(errors.is_empty(), "{}", errors[0]);
    // And what it adds is made complete.
    let mut memory = old.clone();
    memory["spec"]["resources"] = json!({"limits": {"memory": "1Gi"}, "requests": {"cpu": "4"}});
    POD.prepare(&mut memory, Some(&old), &context);
    assert_eq!(memory["spec"]["resources"]["requests"], json!({"cpu": "4", "memory": "1Gi"}));
}
