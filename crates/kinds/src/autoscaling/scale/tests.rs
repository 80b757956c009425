use super::*;
use crate::tests::{kind, told};

#[test]
fn an_object_is_seen_as_a_scale_and_takes_one_back() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n",
        "uid": "u", "resourceVersion": "7", "labels": {"l": "m"}}, "spec": {"replicas": 3, "paused": true,
        "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}},
        "status": {"replicas": 2}});
    let scale = of(kind("deployments"), &object).unwrap();
    assert_eq!(
        scale,
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "spec": {"replicas": 3}, "status": {"replicas": 2, "selector": "a=b,c"}})
    );
    let back = into(&json!({"metadata": {"name": "d"}, "spec": {}}), &object);
    assert_eq!((&back["spec"]["replicas"], &back["spec"]["paused"]), (&json!(0), &json!(true)));
    assert_eq!((back["metadata"].get("resourceVersion"), &back["metadata"]["labels"]["l"]), (None, &json!("m")));
    let controller = json!({"metadata": {}, "spec": {"replicas": 0, "selector": {"matchLabels": "x", "a": "b"}}});
    let scale = of(kind("replicationcontrollers"), &controller).unwrap();
    assert_eq!((&scale["spec"], &scale["status"]["selector"]), (&json!({}), &json!("a=b,matchLabels=x")));
    assert_eq!(
        told(&validate(&json!({"spec": {"replicas": -1}}))),
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]
    );
}
