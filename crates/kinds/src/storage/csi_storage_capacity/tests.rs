use serde_json::{Value, json};

use crate::kind::Context;
use crate::tests::{kind, told};

#[test]
fn room_is_told_of_a_class_in_a_place_which_both_stay() {
    let kind = kind("csistoragecapacities");
    let capacity = |class: &str, nodes: Value, room: &str| {
        let metadata = json!({"name": "c", "namespace": "n", "resourceVersion": "1"});
        json!({"metadata": metadata, "storageClassName": class, "nodeTopology": nodes, "capacity": room})
    };
    let judged = |new, old: Option<&_>| told(&kind.validate(&new, old, &Context::default()));
    let good = capacity("c", json!({"matchLabels": {"zone": "a"}}), "1Gi");
    assert_eq!(judged(good.clone(), None), [""; 0]);
    let wrong = capacity("A", json!({"matchExpressions": [{"key": "zone", "operator": "x"}]}), "-1Gi");
    let complaints = judged(wrong, None);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
    let operator = "nodeTopology.matchExpressions[0].operator: Invalid value: \"x\": not a valid selector operator";
    assert_eq!(complaints[0], operator);
    assert!(complaints[1].starts_with("storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must"));
    assert_eq!(complaints[2], "capacity: Invalid value: \"-1Gi\": must be greater than or equal to 0");
    let moved = capacity("d", json!({"matchLabels": {"zone": "b"}}), "2Gi");
    assert_eq!(
        judged(moved, Some(&good)),
        [
            "nodeTopology: Invalid value: {\"matchLabels\":{\"zone\":\"b\"}}: field is immutable",
            "storageClassName: Invalid value: \"d\": field is immutable",
        ]
    );
}

#[test]
fn labels_of_nodes_that_have_a_newer_name_are_worth_a_word() {
    let capacity = json!({"nodeTopology": {"matchLabels": {"beta.kubernetes.io/arch": "amd64"},
        "matchExpressions": [{"key": "beta.kubernetes.io/os", "operator": "Exists"}]}});
    assert_eq!(
        super::warnings(kind("csistoragecapacities"), &capacity, None),
        [
            "nodeTopology.matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use \
             \"kubernetes.io/os\" instead",
            "nodeTopology.matchLabels.beta.kubernetes.io/arch: deprecated since v1.14; use \"kubernetes.io/arch\" instead",
        ]
    );
}
