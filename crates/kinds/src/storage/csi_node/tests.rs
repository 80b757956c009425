use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn node(drivers: Value) -> Value {
    json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"drivers": drivers}, "status": {}})
}

fn judged(new: &Value, old: Option<&Value>) -> Vec<String> {
    told(&kind("csinodes").validate(new, old, &Context::default()))
}

#[test]
fn a_nodes_drivers_are_named_once_and_say_who_the_node_is() {
    let good = node(json!([{"name": "A.b", "nodeID": "i", "topologyKeys": ["zone"], "allocatable": {"count": 0}}]));
    assert_eq!(judged(&good, None), [""; 0]);
    let id = "i".repeat(257);
    let wrong = node(json!([{"name": "", "nodeID": "", "topologyKeys": null},
        {"name": "a", "nodeID": id, "topologyKeys": ["z", "z"], "allocatable": {"count": -1}},
        {"name": "a", "nodeID": "i", "topologyKeys": null}]));
    assert_eq!(
        judged(&wrong, None),
        [
            "spec.drivers[0].name: Required value".to_string(),
            "spec.drivers[0].nodeID: Required value".into(),
            format!("spec.drivers[1].nodeID: Invalid value: \"{id}\": must be 256 characters or less"),
            "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0".into(),
            "spec.drivers[1]: Duplicate value: \"z\"".into(),
            "spec.drivers[2].name: Duplicate value: \"a\"".into(),
        ]
    );
    let long =
        judged(&node(json!([{"name": format!("{}_", "a".repeat(63)), "nodeID": "i", "topologyKeys": null}])), None);
    assert_eq!((long.len(), long[0].as_str()), (2, "spec.drivers[0].name: Too long: may not be more than 63 bytes"));
}

#[test]
fn a_driver_that_is_there_changes_only_how_many_volumes_it_takes() {
    let of = |id: &str, count: i64| {
        node(json!([{"name": "a", "nodeID": id, "topologyKeys": ["z"], "allocatable": {"count": count}}]))
    };
    assert_eq!(judged(&of("i", 2), Some(&of("i", 1))), [""; 0]);
    assert_eq!(judged(&node(json!([])), Some(&of("i", 1))), [""; 0]);
    let shown = "{\"Name\":\"a\",\"NodeID\":\"j\",\"TopologyKeys\":[\"z\"],\"Allocatable\":null}";
    assert_eq!(
        judged(&of("j", 1), Some(&of("i", 1))),
        [format!("spec.drivers: Invalid value: {shown}: field is immutable")]
    );
}
