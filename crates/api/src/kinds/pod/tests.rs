use serde_json::json;

use super::*;
use crate::kind::Context;

fn born(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p", "generation": 7}, "spec": spec, "status": {"phase": "Running"}});
    (POD.hooks.prepare)(&mut pod, None, &Context::default());
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
    (POD.hooks.prepare)(&mut update, Some(&old), &Context::default());
    assert_eq!((&update["status"]["phase"], &update["metadata"]["generation"]), (&json!("Pending"), &json!(2)));
    let mut status = new.clone();
    status["status"].as_object_mut().unwrap().remove("qosClass");
    (POD.hooks.prepare)(&mut status, Some(&old), &Context { subresource: "status".into(), ..Context::default() });
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
    let demands = Demands::of_tree(&pod);
    assert_eq!(demands.requests()["cpu"].to_string(), "1010m");
    let pod: crate::view::api::core::v1::Pod = serde_json::from_value(json!({"spec": {"containers":
        [{"name": "c", "resources": {"requests": {"cpu": "1"}}}], "resources": {"requests": {"cpu": "2"}}}}))
    .unwrap();
    assert_eq!(requests(&pod)["cpu"].to_string(), "2");
}

#[test]
fn status_word_is_that_of_the_first_container_with_a_reason() {
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
             "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:00Z"}}},
            {"name": "b", "ready": true, "restartCount": 0, "state": {"running": {}}}]}});
    let row: Vec<String> =
        POD.columns[..4].iter().map(|c| (c.cell)(&pod, "2026-01-01T00:00:10Z").as_str().unwrap().to_string()).collect();
    assert_eq!(row, ["p", "1/2", "CrashLoopBackOff", "3 (10s ago)"]);
}
