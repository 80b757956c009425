#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::qos;

/// What a manifest says has no class yet; the server counts the resources of the pod as a whole, too.
#[test]
fn a_class_that_nobody_has_said_is_the_servers_own() {
    let of = |spec: serde_json::Value| qos(&serde_json::from_value(json!({"spec": spec})).unwrap());
    let same = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
    let bare = json!([{"name": "c"}]);
    assert_eq!(of(json!({"containers": bare})), "BestEffort");
    assert_eq!(of(json!({"containers": bare, "resources": same})), "Guaranteed");
    assert_eq!(of(json!({"containers": [{"name": "c", "resources": same}], "initContainers": bare})), "Burstable");
    assert_eq!(of(json!({"containers": [{"name": "c", "resources": same}]})), "Guaranteed");
}
