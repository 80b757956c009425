use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

/// A pod that runs and is ready since long, but for what is said.
fn pod(name: &str, more: impl FnOnce(&mut Value)) -> (Object, Seen) {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "uid": name,
        "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n1", "initContainers": [{"name": "side", "restartPolicy": "Always"}, {"name": "init"}]},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}]}});
    more(&mut pod);
    let pod = Object::from_value(&pod).unwrap();
    let seen = Seen::of(&pod);
    (pod, seen)
}

fn ordered(pods: &[(Object, Seen)], related: &[(Object, Seen)]) -> Vec<String> {
    let order = order(pods.to_vec(), related, NOW.parse().unwrap());
    order.iter().map(|pod| pod.meta().name.clone()).collect()
}

#[test]
fn whoever_is_missed_least_goes_first() {
    let pods = [
        pod("old", |_| {}),
        pod("restarted", |pod| pod["status"]["containerStatuses"] = json!([{"name": "c", "restartCount": 1}])),
        pod("sidecar-restarted", |pod| {
            pod["status"]["initContainerStatuses"] = json!([{"name": "side", "restartCount": 3}]);
        }),
        pod("init-restarted", |pod| {
            pod["status"]["initContainerStatuses"] = json!([{"name": "init", "restartCount": 9}]);
            pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:59:00Z");
        }),
        pod("newly-ready", |pod| {
            pod["status"]["conditions"][0]["lastTransitionTime"] = json!("2026-01-01T00:59:59Z");
        }),
        pod("cheap", |pod| pod["metadata"]["annotations"] = json!({COST: "-1"})),
        pod("dear", |pod| pod["metadata"]["annotations"] = json!({COST: "5"})),
        pod("unready", |pod| pod["status"]["conditions"][0]["status"] = json!("False")),
        pod("unknown", |pod| pod["status"]["phase"] = json!("Unknown")),
        pod("pending", |pod| pod["status"]["phase"] = json!("Pending")),
        pod("nowhere", |pod| {
            pod["spec"]["nodeName"] = json!("");
            pod["status"]["phase"] = json!("Pending");
        }),
    ];
    let want = [
        "nowhere",
        "pending",
        "unknown",
        "unready",
        "cheap",
        "newly-ready",
        "restarted",
        "sidecar-restarted",
        "init-restarted",
        "old",
        "dear",
    ];
    assert_eq!(ordered(&pods, &[]), want);
    let reversed: Vec<_> = pods.iter().rev().cloned().collect();
    assert_eq!(ordered(&reversed, &[]), want, "whatever the order was");
}

#[test]
fn of_pods_that_share_a_node_one_goes_first_and_ages_count_by_powers_of_two() {
    let on = |node: &'static str| move |pod: &mut Value| pod["spec"]["nodeName"] = json!(node);
    let pods = [pod("alone", on("n2")), pod("beside", on("n1"))];
    let related = [
        pod("a", on("n1")),
        pod("b", on("n1")),
        pod("c", on("n2")),
        pod("d", |pod| {
            pod["spec"]["nodeName"] = json!("n2");
            pod["status"]["phase"] = json!("Failed");
        }),
    ];
    assert_eq!(ordered(&pods, &related), ["beside", "alone"]);
    let born = |at: &'static str| move |pod: &mut Value| pod["metadata"]["creationTimestamp"] = json!(at);
    let pods = [pod("b", born("2026-01-01T00:00:00Z")), pod("a", born("2026-01-01T00:00:20Z"))];
    assert_eq!(ordered(&pods, &[]), ["a", "b"], "an hour and nearly an hour are alike: their uids decide");
    let pods = [pod("b", born("2026-01-01T00:59:00Z")), pod("a", born("2026-01-01T00:00:00Z"))];
    assert_eq!(ordered(&pods, &[]), ["b", "a"]);
}
