use serde_json::json;

use super::*;
use crate::tests::{kind, told};

fn class(with: Value) -> Value {
    let mut class = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "provisioner": "acme.io/disks"});
    class.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    (kind("storageclasses").hooks.default)(kind("storageclasses"), &mut class);
    class
}

fn judged(new: Value, old: Option<Value>) -> Vec<String> {
    let kind = kind("storageclasses");
    told(&kind.validate(&new, old.as_ref(), &Context::default()))
}

#[test]
fn a_class_names_who_makes_its_volumes_and_how() {
    assert_eq!(judged(class(json!({})), None), [""; 0]);
    let made = class(json!({}));
    assert_eq!((&made["reclaimPolicy"], &made["volumeBindingMode"]), (&json!("Delete"), &json!("Immediate")));
    let with = |with: Value| judged(class(with), None);
    assert_eq!(with(json!({"provisioner": "Acme.IO/Disks", "reclaimPolicy": ""})), [""; 0]);
    let wrong =
        json!({"provisioner": "", "parameters": {"": "x"}, "reclaimPolicy": "Recycle", "volumeBindingMode": "x"});
    assert_eq!(
        with(wrong),
        [
            "parameters: Invalid value: \"\": field can not be empty.",
            "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
            "volumeBindingMode: Unsupported value: \"x\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            "provisioner: Required value",
        ]
    );
    assert!(with(json!({"provisioner": "A B"}))[0].starts_with("provisioner: Invalid value: \"a b\": name part must"));
    let many: serde_json::Map<String, Value> = (0..513).map(|n| (n.to_string(), json!("x"))).collect();
    assert_eq!(with(json!({"parameters": many})), ["parameters: Too long: may not be more than 512 bytes"]);
    let large = json!({"parameters": {"k": "x".repeat(256 * 1024)}});
    assert_eq!(with(large), ["parameters: Too long: may not be more than 262144 bytes"]);
}

#[test]
fn places_are_labels_that_are_said_once() {
    let places = |terms: Value| judged(class(json!({"allowedTopologies": terms})), None);
    let zone = |values: &[&str]| json!({"matchLabelExpressions": [{"key": "zone", "values": values}]});
    assert_eq!(places(json!([zone(&["a"]), zone(&["b"])])), [""; 0]);
    let same = "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"";
    assert_eq!(places(json!([zone(&["a", "b"]), zone(&["b", "a"])])), [same]);
    assert_eq!(places(json!([{}])), ["allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\""]);
    let twice = json!([{"matchLabelExpressions": [{"key": "zone", "values": ["a", "a"]}, {"key": "zone"}]}]);
    assert_eq!(
        places(twice),
        [
            "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\"",
            "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
            "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"zone\"",
        ]
    );
    let old = class(
        json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "beta.kubernetes.io/os", "values": ["linux"]}]}]}),
    );
    assert_eq!(
        kind("storageclasses").warnings(&old, None),
        ["allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
    );
}

#[test]
fn what_volumes_were_made_by_stays() {
    let new = class(json!({"provisioner": "x", "parameters": {"a": "b"}, "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true, "mountOptions": ["ro"]}));
    assert_eq!(
        judged(new, Some(class(json!({})))),
        ["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"]
            .map(|field| format!("{field}: Invalid value: null: field is immutable"))
    );
}

#[test]
fn a_default_class_says_so_by_its_name() {
    for (note, shown) in [("storageclass", "c (default)"), ("storageclass.beta", "c (default)"), ("x", "c")] {
        let mut class = class(json!({}));
        class["metadata"]["annotations"] = json!({format!("{note}.kubernetes.io/is-default-class"): "true"});
        assert_eq!(name(&class), shown);
    }
}
