use serde_json::json;

use crate::kind::Context;
use crate::tests::{kind, told};

#[test]
fn a_class_of_attributes_has_some_and_keeps_them() {
    let kind = kind("volumeattributesclasses");
    let class = |driver: &str, parameters: serde_json::Value| json!({"metadata": {"name": "c", "resourceVersion": "1"}, "driverName": driver, "parameters": parameters});
    let judged = |new, old: Option<&_>| told(&kind.validate(&new, old, &Context::default()));
    let good = class("acme.io", json!({"iops": "1"}));
    assert_eq!(judged(good.clone(), None), [""; 0]);
    assert_eq!(
        judged(class("", json!({})), None),
        ["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"]
    );
    assert_eq!(
        judged(class("acme.org", json!({"iops": "2"})), Some(&good)),
        [
            "driverName: Forbidden: updates to driverName are forbidden.",
            "parameters: Forbidden: updates to parameters are forbidden.",
        ]
    );
}
